"""MovieLens releases in their own files."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from din.base.artifacts import read_json
from din.base.errors import InputError
from din.base.workspace import Workspace

Fetch = Callable[..., dict[str, pa.Table]]
# sorted by user and film, not by time; user 1 rated films 10 and 30 in the same second
RATINGS = [(1, 10, "4", 978_300_760), (1, 20, "3", 978_300_000), (1, 30, "5", 978_300_760)]
RATINGS += [(user, film, "4", 978_400_000 + 60 * film) for user in range(2, 40) for film in (10, 20)]
FILMS = [(10, "Star Wars: Episode IV (1977)", "Action|Sci-Fi"), (20, "Cité, La (1995)", "Drama")]
FILMS += [(30, "Babylon 5", "(no genres listed)")]


def write_csv(root: Path) -> None:
    """Write the form of 20M and later: CSV with a header, titles with commas in quotes, half stars."""
    root.mkdir(parents=True)
    rows = "".join(f"{user},{film},{stars}.0,{time}\n" for user, film, stars, time in RATINGS)
    (root / "ratings.csv").write_text("userId,movieId,rating,timestamp\n" + rows.replace("10,4.0,9783", "10,3.5,9783"))
    films = "".join(f'{film},"{title}",{genres}\n' for film, title, genres in FILMS)
    (root / "movies.csv").write_text("movieId,title,genres\n" + films, encoding="utf-8")
    (root / "tags.csv").write_text("userId,movieId,tag,timestamp\n")


def write_dat(root: Path) -> None:
    """Write the form of 1M: `::` between values, no header, Latin-1."""
    root.mkdir(parents=True)
    (root / "ratings.dat").write_text("".join("::".join(map(str, row)) + "\n" for row in RATINGS))
    (root / "movies.dat").write_bytes("".join("::".join(map(str, row)) + "\n" for row in FILMS).encode("latin-1"))
    people = [f"{user}::{'MF'[user % 2]}::25::{user % 3}::0{user:04}\n" for user in range(1, 40)]
    (root / "users.dat").write_text("".join(people))


def test_csv_releases(workspace: Workspace, fetch_public: Fetch) -> None:
    """Ratings from 4 on are clicks, all are behaviours, genres are lists, and the year comes from the title."""
    write_csv(workspace.root / "ml-20m")
    raw = fetch_public("movielens", "ml-20m")
    events = raw["events"].slice(0, 3).to_pydict()
    assert events["label"] == [0, 0, 1]
    assert events["behaviour"] == [1, 1, 1]
    assert events["rating"] == [3.5, 3.0, 5.0]
    assert raw["items"].to_pydict() == {
        "item_id": [10, 20, 30],
        "year": [1977, 1995, None],
        "genres": [["Action", "Sci-Fi"], ["Drama"], []],
    }
    assert "users" not in raw
    manifest = read_json(workspace.raw / "manifest.json")
    assert (manifest["protocol"], {*manifest["fields"]}) == ("by_user", {"item", "behaviour"})
    assert fetch_public("movielens", "ml-20m", positive_rating=3.5)["events"]["label"].to_pylist()[:3] == [1, 0, 1]


def test_dat_releases(workspace: Workspace, fetch_public: Fetch) -> None:
    """Files with `::` give the same films, also with colons and accents in titles, and the profiles of 1M."""
    write_dat(workspace.root / "ml-1m")
    write_csv(workspace.root / "ml-20m")
    raw = fetch_public("movielens", "ml-1m")
    assert raw["users"].slice(0, 2).to_pydict() == {
        "user_id": [1, 2],
        "gender": ["F", "M"],
        "age": [25, 25],
        "occupation": [1, 2],
        "zip": ["00001", "00002"],
    }
    assert set(read_json(workspace.raw / "manifest.json")["fields"]["user"]) == {"gender", "age", "occupation"}
    assert raw["items"] == fetch_public("movielens", "ml-20m")["items"]


def test_a_bad_line(workspace: Workspace, fetch_public: Fetch) -> None:
    """The message names the file and the line, and says what was expected."""
    write_dat(workspace.root / "1m")
    with (workspace.root / "1m/ratings.dat").open("a") as file:
        file.write("1::40::5\n")
    with pytest.raises(InputError, match=r"1m/ratings\.dat.*line 80: Expected 4 columns, got 3: 1::40::5"):
        fetch_public("movielens", "1m")
