"""Faults of a bundle's folder, made by a disk, a person or an attacker."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from din.base.errors import InputError
from din.bundle.contents import verify_bundle
from tests.factories.bundles import bundle
from tests.factories.documents_of import DIGEST
from tests.factories.run import edit

FILE, MANIFEST = Path("vocab/a.txt"), Path("manifest.json")


def replaced(name: Path, make: Callable[[Path, Path], object]) -> Callable[[Path, Path], object]:
    """Put something else in the place of a file; `make` gets its path, and that of a copy outside of the bundle."""

    def plant(root: Path, outside: Path) -> None:
        (root / name).unlink()
        make(root / name, outside / name)

    return plant


def listing(name: str) -> Callable[[Path, Path], object]:
    """Let the manifest name one more file."""
    return lambda root, _: edit(root / MANIFEST, lambda manifest: manifest["files"].update({name: DIGEST}))


def linked(root: Path, outside: Path) -> None:
    """Put a link in the place of the bundle."""
    shutil.rmtree(root)
    root.symlink_to(outside)


FAULTS: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "a file changed": (lambda root, _: (root / FILE).write_text("oneb"), "a.txt: missing, added or changed"),
    "a file deleted": (lambda root, _: (root / FILE).unlink(), "a.txt: missing, added or changed"),
    "a file added below": (lambda root, _: (root / "vocab/more").touch(), "more: missing, added or changed"),
    "the bundle deleted": (lambda root, _: shutil.rmtree(root), "manifest.json: not found"),
    "a folder for a file": (replaced(FILE, lambda path, _: path.mkdir()), "a.txt: missing, added or changed"),
    "a pipe for a file": (replaced(FILE, lambda path, _: os.mkfifo(path)), "a.txt: is a symbolic link, a pipe"),
    "a pipe for the manifest": (replaced(MANIFEST, lambda path, _: os.mkfifo(path)), "json: not a plain file"),
    "a link for a file": (replaced(FILE, Path.symlink_to), "a.txt: is a symbolic link"),
    "a link for the manifest": (replaced(MANIFEST, Path.symlink_to), "manifest.json: is a symbolic link"),
    "a link for the bundle": (linked, "bundle: is a symbolic link"),
    "an added link to a folder": (lambda root, outside: (root / "link").symlink_to(outside), "link: is a symbolic"),
    "a name with NUL": (listing("a\0b"), "manifest.json: files"),
    "a name above": (listing("../outside/x"), "manifest.json: files"),
    "an absolute name": (listing("/etc/passwd"), "manifest.json: files"),
    "a name of 5,000 characters": (listing("x" * 5_000), "manifest.json: "),
    "the manifest's own name": (listing("manifest.json"), "manifest.json: missing, added or changed"),
    "a file below a file": (listing("empty/below"), "below: missing, added or changed"),
    "a file that is not there": (listing("missing"), "missing: missing, added or changed"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_bundle_is_refused(fault: str, tmp_path: Path) -> None:
    """One line names the file, also where a copy outside would do."""
    root, outside = (bundle(tmp_path / name) for name in ("bundle", "outside"))
    plant, says = FAULTS[fault]
    plant(root, outside)
    with pytest.raises(InputError) as refused:
        verify_bundle(root)
    assert says in str(refused.value)
    assert str(refused.value).isprintable() and len(str(refused.value)) < 2_000


def test_another_sound_bundle_is_refused(tmp_path: Path) -> None:
    """A bundle is known by its version."""
    expected = verify_bundle(bundle(tmp_path / "one")).version
    with pytest.raises(InputError, match="holds bundle"):
        verify_bundle(bundle(tmp_path / "two", "two"), expected)
