"""Pages in headless Chromium, and what a reader would find wrong with them.

Playwright is the extra `browser`. Chromium is `$DIN_CHROMIUM`, else the one on the path, else Playwright's own.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.din_report.small_runs import MOST_BYTES

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SCRIPT = Path(__file__).with_name("page_faults.js").read_text(encoding="utf-8")
PAPER = 718
"""Pixels between margins of 10 mm on A4, the narrower of the usual papers."""
_NAMED = {"image", "link", "button", "region", "navigation", "heading"}  # roles that a screen reader lists by name


@contextmanager
def chromium() -> "Iterator[Browser]":
    """Start a browser, or skip the test where there is none."""
    advice = "uv pip install -e '.[browser]' && playwright install chromium"
    sync_api = pytest.importorskip("playwright.sync_api", reason=f"Playwright is not installed: {advice}")
    names = ("chromium", "chromium-browser", "google-chrome")
    with sync_api.sync_playwright() as driver:
        found = os.environ.get("DIN_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
        if found is None and not Path(driver.chromium.executable_path).exists():
            pytest.skip(f"there is no Chromium: set DIN_CHROMIUM, or {advice}")
        browser = driver.chromium.launch(executable_path=found)
        yield browser
        browser.close()


@dataclass
class Visit:
    """A page that a browser has opened, with every detail unfolded; it notes complaints and requests."""

    page: "Page"
    file: Path
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def find(self, fault: str) -> Any:
        """Call a function of page_faults.js."""
        return self.page.evaluate(f"({SCRIPT}).{fault}()")

    def faults(self) -> dict[str, list[str]]:
        """Return what is wrong at the window's width and in its colours."""
        on_screen = {name: self.find(name) for name in ("contrast", "small", "overlaps", "sideways", "structure")}
        others = [one for one in self.requests if one != self.file.as_uri()]
        size = self.file.stat().st_size
        found = on_screen | {
            "errors": self.errors,
            "requests": others,
            "size": [f"{size} bytes"] if size > MOST_BYTES else [],
            "names": self._nameless(),
        }
        return {name: these for name, these in found.items() if these}

    def unreachable(self) -> list[str]:
        """Press Tab through the page, and return what is not reached in order or doesn't show that it is."""
        names = self.find("stops")
        found = []
        for number, name in enumerate(names):
            self.page.keyboard.press("Tab")
            focus = self.find("focus")
            if focus != {"stop": number, "visible": True}:
                found.append(f"{name}: {focus}")
        return found

    def cut_on_paper(self) -> list[str]:
        """Return what paper doesn't show whole or not clearly."""
        self.page.set_viewport_size({"width": PAPER, "height": 1000})
        self.page.emulate_media(media="print")
        return [*self.find("cut"), *self.find("contrast")]

    def _nameless(self) -> list[str]:
        """Return elements that a screen reader meets without a name."""
        session = self.page.context.new_cdp_session(self.page)
        nodes = session.send("Accessibility.getFullAXTree")["nodes"]
        heard = [(one["role"]["value"], one.get("name", {}).get("value", "")) for one in nodes if not one["ignored"]]
        return [role for role, name in heard if role in _NAMED and not name.strip()]


@contextmanager
def visit(browser: "Browser", file: Path, width: int = 1000, scheme: str = "light") -> Iterator[Visit]:
    window = {"width": width, "height": 900}
    context = browser.new_context(viewport=window, color_scheme=scheme, reduced_motion="reduce")
    seen = Visit(context.new_page(), file)
    seen.page.on("console", lambda one: seen.errors.append(one.text) if one.type == "error" else None)
    seen.page.on("pageerror", lambda one: seen.errors.append(str(one)))
    seen.page.on("request", lambda one: seen.requests.append(one.url))
    seen.page.goto(file.as_uri())
    seen.page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    yield seen
    context.close()
