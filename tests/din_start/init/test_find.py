"""`din init` decides what each file of a folder is."""

import shutil
import zipfile
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

import pytest
from typer.testing import CliRunner

from din import cli
from din.base.errors import InputError
from din.base.workspace import Workspace
from din.data import SOURCES
from din.params.reading import load
from din_logs.kuairand import KuaiRandPure
from din_logs.publisher import PublishedFiles, Publisher
from din_logs.taobao_ads import TaobaoAds
from din_start.init.find import publisher, tables
from din_start.init.guess import guess

PUBLISHED: dict[str, list[str]] = {
    "movielens-100k": ["u.data", "u.item", "u.user"],
    "movielens": ["ratings.dat", "movies.dat"],
    "amazon-reviews": ["reviews_Beauty_5.json", "meta_Beauty.json"],
    "kuairand-pure": [name for names in KuaiRandPure.names.values() for name in names],
    "taobao-ads": [name for names in TaobaoAds.names.values() for name in names],
}


def write(root: Path, files: dict[str, str]) -> None:
    """Write files, and a zip of them beside their folder."""
    root.mkdir()
    for name, text in files.items():
        (root / name).write_text(text)
    with zipfile.ZipFile(root.with_suffix(".zip"), "w") as archive:
        for name in files:
            archive.write(root / name, f"{root.name}/{name}")


@pytest.mark.parametrize("source", PUBLISHED)
def test_publishers_files_are_recognised(source: str, tmp_path: Path) -> None:
    """In a folder, in a zip, and by one of them, if none that its reader needs is missing."""
    here = Workspace(tmp_path)
    write(tmp_path / "log", dict.fromkeys(["README.txt", *PUBLISHED[source]], "x"))
    for place, path in {"log": "log", "log.zip": "log.zip", f"log/{PUBLISHED[source][0]}": "log"}.items():
        found = publisher(here, place)
        assert (found["fetch.source"].value, found["fetch.options"].value) == (source, {"path": path})
    assert publisher(here, "log/README.txt") == {}
    (tmp_path / "log" / PUBLISHED[source][1]).rename(tmp_path / PUBLISHED[source][1])
    assert publisher(here, "log") == {}


def test_a_plugins_source_recognises_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed plugin's publisher is found like the built-in ones."""
    monkeypatch.setattr(SOURCES, "_things", {**SOURCES._things})

    @SOURCES.register("rentals", PublishedFiles)
    class Rentals(Publisher):
        names: ClassVar = {"events": ("rentals.csv",)}

    write(tmp_path / "log", {"rentals.csv": "x"})
    found = publisher(Workspace(tmp_path), "log")
    assert (found["fetch.source"].value, found["fetch.options"].value) == ("rentals", {"path": "log"})


def test_a_release_of_movielens(tmp_path: Path, log: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    """One word is enough for files that no table can hold; among the repository's own files they would be lost.

    An option is refused instead of switching the reader off.
    """
    ratings = [f"{e['user']}::{e['item']}::{5 if e['click'] else 2}::{e['time']}\n" for e in log]
    films = [f"{at}::Film {at} (1999)::Drama|War\n" for at in range(150)]
    write(tmp_path / "ml-1m", {"ratings.dat": "".join(ratings), "movies.dat": "".join(films)})
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli.app, ["init", "ml-1m/ratings.dat"])
    assert done.exit_code == 0, done.output
    params = load(tmp_path / "params.yaml")
    assert (params.fetch.source, params.fetch.options, params.model_name) == ("movielens", {"path": "ml-1m"}, "ml-1m")
    assert (params.featurize.protocol, params.train.model.softmax, params.train.model.ages) == ("by_user", True, False)
    assert "`ml-1m`" in (tmp_path / "README.md").read_text()
    for name in ("ratings.dat", "movies.dat"):
        shutil.copy(f"ml-1m/{name}", name)
    for words, says in {
        ("ratings.dat",): "fetch.source: movielens reads them; move them to a folder",
        ("ml-1m", "--split", "by_day"): "--split 'by_day': expected temporal, leave_last_out, by_user",
        ("ml-1m", "--label", "rating >= 3"): "--label: the reader of movielens decides the tables",
    }.items():
        done = CliRunner().invoke(cli.app, ["init", *words])
        assert done.exit_code == 2 and says in done.output


def shop(log: list[dict[str, Any]]) -> dict[str, str]:
    """Return the files of a shop, whose users and items are numbered alike, and whose clicks are not its largest."""
    users, items = range(200), range(150)
    return {
        "readme.txt": "Clicks of a shop.\n",
        "clicks.csv": "\n".join(
            ["user,sku,ts,click", *(f"{e['user']},{e['item']},{e['time']},{e['click']}" for e in log)]
        ),
        "test.csv": "\n".join(["user,sku,ts,click", *("3,4,1714953600,1" for _ in range(50))]),
        "products.csv": "\n".join(["price,sku", *(f"{at * 1.5},{at}" for at in items)]),
        "people.csv": "\n".join(["user,age", *(f"{at},{at % 70}" for at in users)]),
        "old-views.csv": "\n".join(
            ["user,sku,ts", *(f"{at % 200},{at % 149},{1_714_000_000 + at % 997}" for at in range(9000))]
        ),
        "returns.csv": "\n".join(["sku,why", *(f"{at % 150},late" for at in range(400))]),
    }


FOUND = {"events": "clicks.csv", "items": "products.csv", "users": "people.csv", "history": "old-views.csv"}


@pytest.mark.parametrize("place", ["shop", "shop/", "shop/*.csv", "shop/clicks.csv", "shop.zip"])
def test_tables_are_told_apart(place: str, tmp_path: Path, log: list[dict[str, Any]]) -> None:
    """A label makes the events, ids without repeats items and users, and earlier behaviours have neither."""
    write(tmp_path / "shop", shop(log))
    here = Workspace(tmp_path)
    place = f"{tmp_path}/{place}" if place.endswith(".zip") else place
    found = tables(here, place, {})
    before = f"zip://shop/{{}}::{place}" if place.endswith(".zip") else "shop/{}"
    assert {table: one.paths for table, one in found.items()} == {
        table: before.format(name) for table, name in FOUND.items()
    }
    assert [name in found["events"].reason for name in ("returns.csv", "test.csv", "people")] == [True, True, False]
    parameters = guess(here, found, {})
    assert parameters["promote.model_name"].value == "shop"
    assert parameters["fetch.table.columns"].value == {"user_id": "user", "item_id": "sku", "timestamp": "ts"}


def test_files_of_a_competition_are_no_tables(tmp_path: Path, log: list[dict[str, Any]]) -> None:
    """Rows to predict are neither the events, nor a rival of them, and a form for answers describes nobody."""
    rows = [f"{e['user']},{e['item']},{e['time']}" for e in log]
    files = {
        "train_clicks.csv": "\n".join(["user,sku,ts", *rows[:2000]]),
        "test_clicks.csv": "\n".join(["user,sku,ts,page", *(f"{row},1" for row in rows)]),
        "sampleSubmission.csv": "\n".join(["user,prediction", *(f"{at},1 2 3" for at in range(200))]),
        "customers.csv": "\n".join(["user,age", *(f"{at},{at % 70}" for at in range(200))]),
    }
    write(tmp_path / "shop", files)
    looks = tables(Workspace(tmp_path), "shop", {})
    chosen = {table: one.paths for table, one in looks.items()}
    assert chosen == {"events": "shop/train_clicks.csv", "users": "shop/customers.csv"}
    assert "sampleSubmission.csv: by its name it holds rows to predict" in looks["events"].reason


def test_tables_that_only_look_like_a_history_or_users(tmp_path: Path, log: list[dict[str, Any]]) -> None:
    """Authors are other users; ids are numbered alike, and topics like items; of two unique columns one has the ids."""
    rows = [f"{e['user']}\t{e['item']}\t{e['time']}\t{e['click']}\n" for e in log]
    goods = [f"{at}\t1400000000\t{at % 9}\t{at % 7} {at % 5} {at % 3}\n" for at in range(150)]
    people = [f"{at}\t{1_400_000_000 + at}\t{at % 7} {at % 11}" + f" {at % 13}" * (at % 4) + "\n" for at in range(200)]
    write(tmp_path / "plain", {"clicks.tsv": "".join(rows), "goods.tsv": "".join(goods), "user.tsv": "".join(people)})
    looks = tables(Workspace(tmp_path), "plain", {})
    expected = {"events": "plain/clicks.tsv", "items": "plain/goods.tsv", "users": "plain/user.tsv"}
    assert {table: one.paths for table, one in looks.items()} == expected
    posts = [f"{1_600_000_000 + at},{at},a{at % 40}" for at in range(150)]
    profiles = [f"{at},2020-01-01 00:{at // 60:02}:{at % 60:02},f" for at in range(200)]
    files = {
        "clicks.csv": "user,item,ts,click\n" + "".join(rows).replace("\t", ","),
        "posts.csv": "\n".join(["ts,item,author_user", *posts]),
        "profiles.csv": "\n".join(["#id,registered,sex", *profiles]),
    }
    write(tmp_path / "headed", files)
    looks = tables(Workspace(tmp_path), "headed", {})
    expected = {"events": "headed/clicks.csv", "items": "headed/posts.csv", "users": "headed/profiles.csv"}
    assert {table: one.paths for table, one in looks.items()} == expected


def test_a_file_beside_the_repository(
    tmp_path: Path, log: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second look takes nothing that the first one wrote for a part of the log; an option decides."""
    for name, text in shop(log).items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    texts = set()
    for _ in range(2):
        done = CliRunner().invoke(cli.app, ["init", "clicks.csv", "--history", "test.csv"])
        assert done.exit_code == 0, done.output
        table = load(tmp_path / "params.yaml").fetch.table
        assert (table.events, table.items, table.users) == ("clicks.csv", "products.csv", "people.csv")
        assert table.history == "test.csv"
        texts.add((tmp_path / "params.yaml").read_text())
    assert len(texts) == 1
    done = CliRunner().invoke(cli.app, ["init", "clicks.csv", "--events", "clicks.csv"])
    assert (done.exit_code, "give one of these" in done.output) == (2, True)


def test_files_of_days(tmp_path: Path, log: list[dict[str, Any]]) -> None:
    """Files whose names differ in the day are one table, and a fetch reads the days that are new."""
    rows = [f"{e['user']},{e['item']},{e['time']},{e['click']}" for e in log]
    days = {f"c-2024-05-{6 + day:02}.csv": "\n".join(["user,sku,ts,click", *rows]) for day in range(3)}
    parts = (f"part-{at}-{UUID(int=at * 0xA1B2C3D4E5F6 << 40)}.csv" for at in (1, 77))
    write(tmp_path / "shop", days | dict.fromkeys(parts, "a,b\n1,2\n"))
    here = Workspace(tmp_path)
    found = tables(here, "shop", {})
    assert found["events"].paths == "shop/c-{date}.csv"
    assert "not used: shop/part-*-*.csv" in found["events"].reason
    (found,) = tables(here, "shop/c-2024-05-07.csv", {}).values()
    assert found.paths == "shop/c-2024-05-07.csv"
    assert tables(here, "shop/c-{date}.csv", {})["events"].paths == "shop/c-{date}.csv"
    (tmp_path / "by2").mkdir()
    for day in range(6, 8):
        (tmp_path / "by2" / f"2024-05-0{day}").mkdir()
        (tmp_path / f"by2/2024-05-0{day}/c.csv").write_text(days["c-2024-05-06.csv"])
    assert tables(here, str(tmp_path / "by2"), {})["events"].paths == f"{tmp_path}/by2/{{date}}/c.csv"


def test_numbered_files_beside_others(tmp_path: Path, log: list[dict[str, Any]]) -> None:
    """Where a glob of the numbers would match the items as well, the files are named one by one."""
    rows = [f"{e['user']},{e['item']},{e['time']},{e['click']}" for e in log]
    goods = "\n".join(["sku,price", *(f"{at},{at * 1.5}" for at in range(150))])
    text = "\n".join(["user,sku,ts,click", *rows])
    write(tmp_path / "shop", {"1.csv": text, "2.csv": text, "items.csv": goods})
    found = tables(Workspace(tmp_path), "shop", {})
    assert found["events"].paths == "shop/1.csv,shop/2.csv"
    assert found["items"].paths == "shop/items.csv"
    (tmp_path / "shop" / "goods").mkdir()
    (tmp_path / "shop" / "items.csv").rename(tmp_path / "shop" / "goods" / "items.csv")
    assert tables(Workspace(tmp_path), "shop", {})["events"].paths == "shop/*.csv"


def test_files_of_months(tmp_path: Path, log: list[dict[str, Any]]) -> None:
    """Files whose names differ in a month are one table; May as a part of a word is none."""
    rows = [f"{e['user']},{e['item']},{e['time']},{e['click']}" for e in log]
    text = "\n".join(["user,sku,ts,click", *rows])
    write(tmp_path / "shop", dict.fromkeys(["2019-Oct.csv", "2019-Nov.csv"], text) | {"2019-mayor.csv": "a,b\n1,2\n"})
    seen = tables(Workspace(tmp_path), "shop", {})["events"]
    assert {file.name for file in seen.files} == {"shop/2019-Oct.csv", "shop/2019-Nov.csv"}
    assert "not used: shop/2019-mayor.csv" in seen.reason


def test_no_file_is_a_log(tmp_path: Path) -> None:
    """The message says the way out for the likeliest file, and what each other one lacks."""
    write(tmp_path / "shop", {"a.csv": "user,item\n" + "1,2\n" * 30, "b.txt": "x\ny\n"})
    with pytest.raises(InputError) as error:
        tables(Workspace(tmp_path), "shop", {})
    message = str(error.value)
    assert "shop/a.csv: no column holds times" in message and "such as 2000-01-01\nThe other files:" in message
    assert message.endswith("shop/b.txt: its only column is 'x'")
    (tmp_path / "zips").mkdir()
    (tmp_path / "shop.zip").rename(tmp_path / "zips" / "shop.zip")
    for place, says in {
        "zips": r"Found zips/shop.zip: name zips/shop.zip to read it",
        "shop/a.csv": "a.csv: no column holds times",
        "stop": "stop: no file of a log is there",
    }.items():
        with pytest.raises(InputError, match=says):
            tables(Workspace(tmp_path), place, {})
