"""The rule that says no: the figures of the house stay below their ceilings."""

from benchmarks.house import CEILINGS, figures


def test_no_figure_is_above_its_ceiling() -> None:
    """Who raises a ceiling says in the body of the commit what for."""
    measured = figures()
    assert measured.keys() == CEILINGS.keys()
    assert {name: (now, CEILINGS[name]) for name, now in measured.items() if now > CEILINGS[name]} == {}
