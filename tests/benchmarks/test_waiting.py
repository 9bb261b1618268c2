"""How long champions stay is counted from the days that replaced them."""

from benchmarks.waiting import stay_table, stays


def test_stays_count_the_days_between_promotions() -> None:
    assert stays([True, True, False, False, True, False]) == [1, 1, 3, 1]
    assert stays([False, False, False]) == [3]


def test_the_table_counts_refused_days() -> None:
    text = stay_table({250: [True, False, False, True], 1_000: [True, True, True, True]})
    assert "| 250 | 4 | 2 | 2 | 3 | 3 |" in text
    assert "| 1,000 | 4 | 0 | 1 | 1 | 1 |" in text
