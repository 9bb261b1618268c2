"""Where the files of a log are."""

from pathlib import Path

import pytest

from din.base.workspace import Workspace
from din_start.init import layout


@pytest.mark.parametrize(
    ("paths", "name"),
    [
        ("shop.csv", "shop"),
        ("clicks-{date}.csv", "my-blog"),
        ("data/train_2.csv,data/train_1.csv", "my-blog"),
        ("/logs/ml-1m/ratings.dat", "ml-1m"),
        ("s3://bücher/logs/{date}/part-0001.parquet", "buecher"),
        ("/srv/Open_Bandit-Dataset/", "open-bandit-dataset"),
        ("shop/log_standard_*_to_*.csv", "log-standard-to"),
        ("/data/*.csv", "clicks"),
    ],
)
def test_the_name_of_a_log(paths: str, name: str) -> None:
    """Words that many logs share don't name one: each needs a champion of its own."""
    assert layout.name_of(Workspace(Path("/srv/my blog")), paths) == name
