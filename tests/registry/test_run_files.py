"""Files that runs keep beside promotions, and that never change a promotion."""

from datetime import timedelta
from pathlib import Path

import pytest

from din.errors import InputError
from din.registry.objects import Objects
from din.registry.registry import Registry
from din.registry.run_files import keep, take


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    """Return an empty namespace."""
    return Objects(str(tmp_path / "r"), "ads")


def folder(root: Path, **files: str) -> Path:
    """Return a folder with these files, with `__` for `/`."""
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_kept_files_come_back(objects: Objects, tmp_path: Path) -> None:
    """Names and contents come back, the newest of each name, and an unwritten key gives an empty folder."""
    keep(objects, "runs/a:b", folder(tmp_path / "one", outcome__train="1", run="x"))
    kept = keep(objects, "runs/a:b", folder(tmp_path / "two", outcome__train="2"))
    assert kept.files == ["outcome/train"]
    taken = take(objects, "runs/a:b", tmp_path / "back")
    assert sorted(taken.files) == ["outcome/train", "run"]
    files = (path for path in (tmp_path / "back").rglob("*") if path.is_file())
    found = {path.relative_to(tmp_path / "back").as_posix(): path.read_text() for path in files}
    assert found == {"outcome/train": "2", "run": "x"}
    take(objects, "stages/none", tmp_path / "empty")
    assert list((tmp_path / "empty").iterdir()) == []


@pytest.mark.parametrize("key", ["runs", "runs/", "bundles/x", "promotions/000001.json", "../runs/x"])
def test_other_keys_are_refused(objects: Objects, tmp_path: Path, key: str) -> None:
    """Only runs and stages can be kept, and the message says so."""
    with pytest.raises(InputError, match="expected runs/<run id> or stages/<name>"):
        keep(objects, key, folder(tmp_path / "f", a="1"))


def test_the_files_of_a_promotion_are_out_of_reach(objects: Objects, tmp_path: Path) -> None:
    """`keep` can't write them, `take` leaves them out, and another attempt of the run is stored beside them."""
    registry = Registry(str(tmp_path / "r"), "ads")
    first = registry.put_run("run", {"gate.json": b"open", "dvc.lock": b"1"})
    assert registry.put_run("run", {"gate.json": b"open", "dvc.lock": b"1"}) == first
    second = registry.put_run("run", {"gate.json": b"open", "dvc.lock": b"2"})
    assert not first.keys() & second.keys()
    (name, *_) = first
    assert objects.read(f"runs/run/{name}") == b"open"
    with pytest.raises(InputError, match="only `din promote` writes"):
        keep(objects, "runs/run", folder(tmp_path / "f", **{name.replace("/", "__"): "closed"}))
    take(objects, "runs/run", tmp_path / "back")
    assert list((tmp_path / "back").iterdir()) == []


def test_records_are_garbage_only_after_their_days(objects: Objects, tmp_path: Path) -> None:
    """Runs without a promotion and results of stages are removed only after gc's days, and verify ignores them."""
    keep(objects, "runs/failed", folder(tmp_path / "f", outcome="3"))
    keep(objects, "stages/abc", folder(tmp_path / "f"))
    registry = Registry(str(tmp_path / "r"), "ads")
    assert registry.verify() == [] and registry.gc(dry_run=False) == []
    assert registry.gc(timedelta(0), dry_run=False) == [objects.at("runs/failed"), objects.at("stages/abc")]
    assert objects.keys("runs") == {}
