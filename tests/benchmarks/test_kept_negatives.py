"""The benchmark of missing negatives, in small."""

import pytest

from benchmarks.kept_negatives import HEAD, compare


@pytest.mark.slow
def test_the_three_sides_are_compared() -> None:
    """Fewer rows train where negatives are missing, and calibration is wrong where nobody says so."""
    whole, kept, forgotten = compare(20_000, 0.2, 1)
    assert len(whole.line()) == len(HEAD)
    assert whole.rows > 3 * kept.rows == 3 * forgotten.rows
    assert whole.oracle == kept.oracle > 0.6
    assert forgotten.calibration > 2 * kept.calibration
