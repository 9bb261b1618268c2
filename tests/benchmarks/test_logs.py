"""`benchmarks.logs`: where the files of a log are."""

from pathlib import Path

from benchmarks.logs import absolute
from din.params import load, to_json


def test_each_file_of_a_list_starts_at_the_folder(tmp_path: Path) -> None:
    """A log may be several files, separated by commas; the given parameters stay as they are."""
    params = to_json(load(Path(__file__).parents[2] / "params.yaml"))
    params["fetch"]["table"]["events"] = "log/a.csv, log/b.csv,s3://c/d.csv"
    found = absolute(params, tmp_path)
    assert found["fetch"]["table"]["events"] == f"{tmp_path}/log/a.csv,{tmp_path}/log/b.csv,s3://c/d.csv"
    assert params["fetch"]["table"]["events"].startswith("log/")
