"""Sound deliveries raise no critical alarm and open the gate."""

from pathlib import Path

import pytest

from tests.faults import page
from tests.faults.variants import VARIANTS, Variant


def named(variants: tuple[Variant, ...]) -> list:
    """Return parameters with their names as ids."""
    return [pytest.param(variant, id=variant.name) for variant in variants]


@pytest.mark.parametrize("variant", named(tuple(variant for variant in VARIANTS if variant.quick)))
def test_the_early_suites_open(variant: Variant, tmp_path: Path) -> None:
    """Neither the raw log nor the features of a sound delivery close a gate."""
    outcome = variant.drive(tmp_path / "workspace", last="validate_features")
    assert outcome.stage is None, outcome


def test_there_are_many_and_each_has_a_name() -> None:
    """There are at least 30 variants, and names and descriptions are unique."""
    assert len(VARIANTS) >= 30
    assert len({variant.name for variant in VARIANTS}) == len({variant.what for variant in VARIANTS}) == len(VARIANTS)


def test_the_page_agrees_with_the_table() -> None:
    """docs/defects.md lists each variant, and none that closed a gate."""
    text = page.TABLE.path.read_text()
    if page.TABLE.parts().stale:
        pytest.skip("the page says that it is stale")
    fine = page.Found("open", "")
    missing = [variant.name for variant in VARIANTS if page.variant_row(variant, fine) not in text]
    assert missing == [], "run `make defects`"
