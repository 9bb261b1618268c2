"""The meaning of a column's name."""

import pytest

from din_start.init import words


@pytest.mark.parametrize(
    ("name", "meaning", "is_named"),
    [
        ("userId", "user", True),
        ("Kunden-Nr.", "user", True),
        ("Käufer", "user", True),
        ("item_id:token", "item", True),
        ("add_to_cart", "item", False),
        ("商品", "item", True),
    ],
)
def test_names_in_several_languages(name: str, meaning: str, is_named: bool) -> None:
    """A name means a role in any of the languages, whatever its case, accents and parts."""
    assert words.means(name, meaning) is is_named
