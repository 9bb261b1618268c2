"""Defects of deliveries, each a small pure function from a sound delivery to a defective one.

There are three kinds: rows of the tables are changed before they are written, written files are damaged, or a finished
workspace is spoiled after one of its stages.
"""

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from onnx import numpy_helper
from safetensors.numpy import load_file, save_file

from benchmarks.defects.delivery import DAY, FIELDS, HOUR, START, Delivery, Frame, Layout, Size, draw
from din.base.artifacts import MANIFEST, hash_files, read_json, write_json
from din.bundle.bundle_writer import seal

Plant = Callable[[Delivery], Delivery]
Change = Callable[[Frame], Frame]
Spoil = Callable[[Path], None]
FEATURES, PREDICTIONS, RAW = Path("data/features"), Path("reports/predictions"), Path("data/raw")


@dataclass(frozen=True)
class Late:
    """A defect of a finished workspace; `spoil` runs once the stage `after` is done.

    `first` changes the sound delivery before its stages run, for defects of what is off by default.
    """

    after: str
    spoil: Spoil
    first: Plant | None = None


def chain(*plants: Plant) -> Plant:
    """Plant several changes one after another."""

    def planted(delivery: Delivery) -> Delivery:
        for plant in plants:
            delivery = plant(delivery)
        return delivery

    return planted


# --- rows of tables


def table(name: str, change: Change) -> Plant:
    """Change one table of the delivery."""
    return lambda delivery: replace(delivery, **{name: change(getattr(delivery, name).copy())})


def events(change: Change) -> Plant:
    """Change the events."""
    return table("events", change)


def settings(**values: Any) -> Plant:
    """Set parameters, in the form of `Delivery.set`."""
    return lambda delivery: delivery.set(**values)


def layout(**values: Any) -> Plant:
    """Write the files in another form."""
    return lambda delivery: replace(delivery, layout=Layout(**values))


def put(column: str, row: int, value: Any) -> Change:
    """Change one cell."""

    def change(rows: Frame) -> Frame:
        rows[column] = rows[column].astype(object)
        rows.loc[rows.index[row], column] = value
        return rows

    return change


def larger(_: Delivery) -> Delivery:
    """Deliver a log of three times the rows, for defects that a thousand rows per day can't show."""
    return draw(0, Size(users=2_000, a_day=3_300))


def longer(_: Delivery) -> Delivery:
    """Deliver a log of 130 days, for defects of one day that is less than a hundredth of the log."""
    return draw(0, Size(days=130, a_day=150))


def row_again(row: int) -> Change:
    """Append a copy of one row."""
    return lambda rows: pd.concat([rows, rows.iloc[[row]]], ignore_index=True)


def days(rows: Frame) -> np.ndarray:
    """Return the day of each row, counted from 0."""
    return ((rows["timestamp"] - START) // DAY).to_numpy()


def newest(rows: Frame, count: int = 1) -> np.ndarray:
    """Mark the rows of the newest days."""
    return days(rows) > days(rows).max() - count


def on_newest(count: int, change: Change) -> Change:
    """Change only the rows of the newest days, and keep the order of the file."""

    def changed(rows: Frame) -> Frame:
        late = newest(rows, count)
        return pd.concat([rows[~late], change(rows[late].copy())], ignore_index=True)

    return changed


def last_day(*changes: Change) -> Plant:
    """Change the events of the newest day."""
    return chain(*(events(on_newest(1, change)) for change in changes))


def last_two_days(change: Change) -> Plant:
    """Change the events of the newest two days."""
    return events(on_newest(2, change))


def on_all_but_newest(count: int, change: Change) -> Change:
    """Change only the rows of the days before the newest ones."""

    def changed(rows: Frame) -> Frame:
        late = newest(rows, count)
        return pd.concat([change(rows[~late].copy()), rows[late]], ignore_index=True)

    return changed


def assign(column: str, value: Callable[[Frame], Any]) -> Change:
    """Set a column from the rows."""
    return lambda rows: rows.assign(**{column: value(rows)})


def milliseconds(rows: Frame) -> Frame:
    """Write times in milliseconds instead of seconds."""
    return rows.assign(timestamp=1000 * rows["timestamp"])


def flipped(rows: Frame) -> Frame:
    """Exchange clicks and their absence."""
    return rows.assign(label=1 - rows["label"])


def keep(share: float) -> Change:
    """Keep a random share of the rows."""
    return lambda rows: rows.sample(frac=share, random_state=1).sort_index()


def again(seconds: int) -> Change:
    """Append the same rows with later times."""
    return lambda rows: pd.concat([rows, rows.assign(timestamp=rows["timestamp"] + seconds)])


def yesterdays_as_todays(rows: Frame) -> Frame:
    """Replace the newest day by a copy of the day before."""
    day, last = days(rows), days(rows).max()
    copy = rows[day == last - 1].assign(timestamp=lambda r: r["timestamp"] + DAY)
    return pd.concat([rows[day < last], copy], ignore_index=True)


def without_day(number: int) -> Change:
    """Leave out a day."""
    return lambda rows: rows[days(rows) != number]


def shifted_hours(hours: int) -> Change:
    """Turn the clock of each day, within the day."""

    def change(rows: Frame) -> Frame:
        within = (rows["timestamp"] - START) % DAY
        return rows.assign(timestamp=rows["timestamp"] - within + (within + hours * HOUR) % DAY)

    return change


def at_midnight(rows: Frame) -> Frame:
    """Cut times to dates."""
    return rows.assign(timestamp=rows["timestamp"] - (rows["timestamp"] - START) % DAY)


def until_hour(hour: int) -> Change:
    """Keep the rows before an hour of the day."""
    return lambda rows: rows[(rows["timestamp"] - START) % DAY < hour * HOUR]


def moved(row: int, timestamp: int) -> Change:
    """Change the date of one row."""
    return put("timestamp", row, timestamp)


def share_moved(share: float, seconds: int) -> Change:
    """Change the dates of a random share of the rows."""

    def change(rows: Frame) -> Frame:
        hit = np.random.default_rng(2).random(len(rows)) < share
        return rows.assign(timestamp=rows["timestamp"] + hit * seconds)

    return change


def mostly(column: str, share: float) -> Change:
    """Write the most frequent value of a column into a random share of the rows."""

    def change(rows: Frame) -> Frame:
        hit = np.random.default_rng(21).random(len(rows)) < share
        return rows.assign(**{column: rows[column].mask(hit, rows[column].mode()[0])})

    return change


def shuffled(column: str) -> Change:
    """Permute a column."""
    return lambda rows: rows.assign(**{column: np.random.default_rng(3).permutation(rows[column].to_numpy())})


def permuted_ids(column: str) -> Change:
    """Give each id the meaning of another."""

    def change(rows: Frame) -> Frame:
        ids = np.sort(rows[column].unique())
        other = dict(zip(ids, np.random.default_rng(4).permutation(ids), strict=True))
        return rows.assign(**{column: rows[column].map(other)})

    return change


def credited_to_the_next(share: float) -> Change:
    """Credit a random share of the clicks to the next row of the same user."""

    def change(rows: Frame) -> Frame:
        of_user = rows.sort_values(["user_id", "timestamp"], kind="stable")
        label = of_user["label"].to_numpy()
        follows = of_user["user_id"].to_numpy()[1:] == of_user["user_id"].to_numpy()[:-1]
        hit = np.flatnonzero(
            follows & (label[:-1] > label[1:]) & (np.random.default_rng(15).random(len(follows)) < share)
        )
        label = label.copy()
        label[hit], label[hit + 1] = 0, 1
        return rows.assign(label=pd.Series(label, of_user.index))

    return change


def scaled(column: str, share: float, factor: float) -> Change:
    """Write a random share of a column's numbers on another scale."""

    def change(rows: Frame) -> Frame:
        hit = np.random.default_rng(16).random(len(rows)) < share
        return rows.assign(**{column: rows[column] * np.where(hit, factor, 1)})

    return change


def robots(rows: Frame) -> Frame:
    """Let 5 % of the users with at least ten rows click everything."""
    counts = rows["user_id"].value_counts()
    frequent = np.sort(counts[counts >= 10].index.to_numpy())
    chosen = np.random.default_rng(5).choice(frequent, len(counts) // 20, replace=False)
    return rows.assign(label=np.where(rows["user_id"].isin(chosen), 1, rows["label"]))


def one_robot(share: float) -> Change:
    """Let one user see and click a share of the whole log as fast as it goes."""

    def change(rows: Frame) -> Frame:
        count = int(share * len(rows))
        more = rows.sample(count, random_state=6).assign(user_id=rows["user_id"].iloc[0], label=1)
        return pd.concat([rows, more]).sort_values("timestamp", ignore_index=True)

    return change


def burst(count: int, a_second: int) -> Change:
    """Let one user see many items per second for a while on the newest day."""

    def change(rows: Frame) -> Frame:
        more = rows[newest(rows)].sample(count, random_state=7, replace=True)
        begin = START + int(days(rows).max()) * DAY + 12 * HOUR
        more = more.assign(user_id=rows["user_id"].iloc[0], timestamp=begin + np.arange(count) // a_second)
        return pd.concat([rows, more]).sort_values("timestamp", ignore_index=True)

    return change


def doubled(times: float) -> Change:
    """Draw as many further impressions for the same users and items, which are no copies."""

    def change(rows: Frame) -> Frame:
        more = rows.sample(int((times - 1) * len(rows)), replace=True, random_state=8)
        random = np.random.default_rng(9)
        moved = more["timestamp"] + random.integers(-1800, 1800, len(more))
        begin = START + int(days(rows).min()) * DAY
        more = more.assign(
            timestamp=np.clip(moved, begin, begin + DAY - 1), item_id=random.permutation(more["item_id"])
        )
        return pd.concat([rows, more]).sort_values("timestamp", ignore_index=True)

    return change


def without(gone: Callable[[Frame], Any]) -> Change:
    """Lose some rows."""
    return lambda rows: rows[~gone(rows)]


def of_items(delivery: Delivery, rows: Frame, column: str) -> Frame:
    """Return a field of the rows' items."""
    return rows["item_id"].map(delivery.items.set_index("item_id")[column])


def hour(rows: Frame) -> Frame:
    """Return the hour of each row."""
    return (rows["timestamp"] - START) % DAY // HOUR


def old_pages(share: float) -> Change:
    """Log impressions of earlier days again on the newest day, at times of that day."""

    def change(rows: Frame) -> Frame:
        today = rows[newest(rows)]
        count = int(share * len(today))
        times = today["timestamp"].sample(count, random_state=17).to_numpy()
        old = rows[days(rows) < days(rows).max()].sample(count, random_state=18).assign(timestamp=times)
        return pd.concat([rows, old]).sort_values("timestamp", ignore_index=True)

    return change


def loaded_ahead(rows: Frame) -> Frame:
    """Log every third impression a second time, up to five minutes later and without a click."""
    again = rows.iloc[::3]
    later = np.random.default_rng(19).integers(1, 300, len(again))
    return pd.concat([rows, again.assign(timestamp=again["timestamp"] + later, label=0)])


def visitors(share: float, a_user: int, label: Callable[[Frame], Any], first: int = 70_001) -> Plant:
    """Let new users come on the newest two days, with `a_user` rows each."""

    def planted(delivery: Delivery) -> Delivery:
        more = delivery.events[newest(delivery.events, 2)].sample(frac=share, random_state=20)
        more = more.assign(user_id=first + np.arange(len(more)) // a_user, label=label(more))
        profiles = pd.DataFrame({"user_id": more["user_id"].unique(), "age": 33, "gender": "f"})
        rows = pd.concat([delivery.events, more]).sort_values("timestamp", ignore_index=True)
        return replace(delivery, events=rows, users=pd.concat([delivery.users, profiles], ignore_index=True))

    return planted


def history_of_the_log(delivery: Delivery) -> Delivery:
    """Put the log's own clicks, as they are, into the prior histories."""
    clicks = delivery.events.loc[delivery.events["label"] == 1, ["user_id", "item_id", "timestamp", "play_time"]]
    return replace(delivery, history=pd.concat([delivery.history, clicks], ignore_index=True))


def new_items_without_category(delivery: Delivery) -> Delivery:
    """Show most items, which have no category, only on the newest day."""
    items, rows = delivery.items, delivery.events
    old = 501 + (rows["item_id"] - 501) % 60
    return replace(
        delivery,
        items=items.assign(category=items["category"].mask(items["item_id"] > 560)),
        events=rows.assign(item_id=rows["item_id"].where(newest(rows), old)),
    )


def histories_of_others(rows: Frame) -> Frame:
    """Give each prior history to the next user."""
    ids = np.sort(rows["user_id"].unique())
    return rows.assign(user_id=rows["user_id"].map(dict(zip(ids, np.roll(ids, 1), strict=True))))


# --- fields


def declared(group: str, name: str, kind: Any) -> Plant:
    """Declare one more field."""
    fields = FIELDS | {group: FIELDS[group] | {name: kind}}
    return settings(featurize__fields=fields)


def context(name: str, kind: Any, value: Callable[[Frame], Any]) -> Plant:
    """Add a column to the events and declare it as a context."""
    kept = ("tab", "position", "device", "play_time", name)
    return chain(events(assign(name, value)), declared("context", name, kind), settings(fetch__table__keep=kept))


def xor(delivery: Delivery) -> Delivery:
    """Add two contexts that carry no information alone and tell the label together."""
    coin = np.random.default_rng(10).integers(0, 2, len(delivery.events))
    fields = FIELDS | {"context": FIELDS["context"] | {"bucket": "categorical", "arm": "categorical"}}
    kept = ("tab", "position", "device", "play_time", "bucket", "arm")
    rows = delivery.events.assign(bucket=coin, arm=coin ^ delivery.events["label"])
    return replace(delivery, events=rows).set(featurize__fields=fields, fetch__table__keep=kept)


def feedback_as_context(delivery: Delivery) -> Delivery:
    """Declare the play time as a context."""
    behaviour = {name: kind for name, kind in FIELDS["behaviour"].items() if name != "play_time"}
    fields = FIELDS | {"context": FIELDS["context"] | {"play_time": "numeric"}, "behaviour": behaviour}
    return delivery.set(featurize__fields=fields)


def rate(side: str, key: str, name: str) -> Plant:
    """Add the click rate of each id over the whole log to a side table, as a numeric field."""
    return _with_clicks(side, key, name, lambda ids, clicks: ids.map(clicks.mean()).round(4))


def counted(side: str, key: str, name: str) -> Plant:
    """Add the number of clicks of each id over the whole log to a side table, as a numeric field."""
    return _with_clicks(side, key, name, lambda ids, clicks: ids.map(clicks.sum()).fillna(0).astype(int))


def graded(side: str, key: str, name: str) -> Plant:
    """Add the grade of each id's click rate over the whole log to a side table: one of five equal groups."""

    def grades(ids: Any, clicks: Any) -> Any:
        rank = ids.map(clicks.mean()).fillna(0).rank(method="first", pct=True)
        return np.array(list("edcba"))[np.minimum(5 * rank, 4).astype(int)]

    return _with_clicks(side, key, name, grades, "categorical")


def clicks_of_the_day(key: str) -> Plant:
    """Add the number of clicks of each id on the day, with later ones, as a context."""
    return context("clicks_today", "numeric", lambda rows: rows.groupby([key, days(rows)])["label"].transform("sum"))


def _with_clicks(side: str, key: str, name: str, values: Callable[[Any, Any], Any], kind: str = "numeric") -> Plant:
    def planted(delivery: Delivery) -> Delivery:
        table = getattr(delivery, side)
        column = values(table[key], delivery.events.groupby(key)["label"])
        return replace(delivery, **{side: table.assign(**{name: column})})

    return chain(planted, declared(side.removesuffix("s"), name, kind))


def vectors(change: Callable[[np.ndarray], Any] = lambda numbers: numbers) -> Plant:
    """Give each item a vector near that of its category; `change` is made to the numbers [items, 8] or their rows."""

    def planted(delivery: Delivery) -> Delivery:
        random = np.random.default_rng(11)
        _, category = np.unique(delivery.items["category"], return_inverse=True)
        numbers = random.normal(size=(category.max() + 1, 8))[category] + 0.3 * random.normal(size=(len(category), 8))
        written = [" ".join(f"{number:.4f}" for number in row) for row in change(numbers / 3)]
        separators = {"tags": "|", "embedding": " "}
        changed = replace(delivery, items=delivery.items.assign(embedding=written))
        return changed.set(fetch__table__separators=separators)

    return chain(planted, declared("item", "embedding", "vector"))


def weighted(change: Change = lambda rows: rows) -> Plant:
    """Weigh each row by its place on the page, the first least; `change` is made to the events afterwards."""
    worth = assign("worth", lambda r: np.round(0.2 + np.log1p(r["position"]), 2))
    kept = ("tab", "position", "device", "play_time", "worth")
    return chain(events(worth), events(change), settings(featurize__weight="worth", fetch__table__keep=kept))


def users_know_the_test(delivery: Delivery) -> Delivery:
    """Give users a field that says whether they clicked on most of the newest two days' impressions."""
    late = delivery.events[newest(delivery.events, 2)]
    rate = late.groupby("user_id")["label"].mean()
    segment = delivery.users["user_id"].map(rate).map(lambda x: "none" if np.isnan(x) else f"s{round(4 * x)}")
    return declared("user", "segment", "categorical")(replace(delivery, users=delivery.users.assign(segment=segment)))


def histories_know_later_clicks(delivery: Delivery) -> Delivery:
    """Put the log's own clicks into the prior histories, dated before the log."""
    clicks = delivery.events.loc[delivery.events["label"] == 1, ["user_id", "item_id", "play_time"]]
    later = clicks.assign(timestamp=START - HOUR)
    return replace(delivery, history=pd.concat([delivery.history, later], ignore_index=True))


def from_other_seed(delivery: Delivery) -> Delivery:
    """Deliver items of another catalogue, with the same ids and other categories and tags."""
    return replace(delivery, items=draw(99).items)


# --- damage to files


def _damaged(pattern: str, files: slice, damage: Callable[[Path], object]) -> Plant:
    """Damage some of the files that match a pattern, in the order of their names."""

    def done(folder: Path) -> None:
        for path in sorted(folder.glob(pattern))[files]:
            damage(path)

    return lambda delivery: delivery.damaged(done)


def first_file(change: Callable[[bytes], bytes], pattern: str = "events/*") -> Plant:
    """Change the bytes of the first file that matches a pattern."""
    return _damaged(pattern, slice(1), lambda path: path.write_bytes(change(path.read_bytes())))


def last_file(change: Callable[[bytes], bytes]) -> Plant:
    """Change the bytes of the newest file of events."""
    return _damaged("events/*", slice(-1, None), lambda path: path.write_bytes(change(path.read_bytes())))


def every_file(change: Callable[[bytes], bytes]) -> Plant:
    """Change the bytes of all files of events."""
    return _damaged("events/*", slice(None), lambda path: path.write_bytes(change(path.read_bytes())))


def removed(pattern: str) -> Plant:
    """Remove files."""
    return _damaged(pattern, slice(None), Path.unlink)


copied = _damaged(
    "events/*", slice(-1, None), lambda path: path.with_name(f"900{path.suffix}").write_bytes(path.read_bytes())
)
"""Deliver the newest file twice, under two names."""


def lines(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[bytes], bytes]:
    """Change a text file line by line."""
    return lambda content: b"".join(change(content.splitlines(keepends=True)))


def short_gzip(content: bytes) -> bytes:
    """Cut a gzip file short."""
    return content[: len(content) * 2 // 3]


def bad_checksum(content: bytes) -> bytes:
    """Flip a byte of the contents of a gzip file."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


def long_cell(content: bytes) -> bytes:
    """Write 10 MB into one cell of the third row."""
    head, second, third, *rest = content.split(b"\n")
    return b"\n".join(
        [head, second, third.replace(b"phone", b"x" * 10_000_000).replace(b"web", b"x" * 10_000_000), *rest]
    )


def column_renamed(old: str, new: str) -> Plant:
    """Rename a column in the newest file only."""
    return last_file(lambda content: content.replace(old.encode(), new.encode(), 1))


def swapped_header(first: str, second: str) -> Callable[[bytes], bytes]:
    """Swap two names of the header."""
    a, b = first.encode(), second.encode()
    return lines(lambda rows: [rows[0].replace(a, b"\0").replace(b, a).replace(b"\0", b), *rows[1:]])


def gzip_of(content: bytes) -> bytes:
    """Compress a file, so that its suffix no longer tells its form."""
    return gzip.compress(content)


# --- a finished workspace


def edit(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """Rewrite one Parquet file."""
    pq.write_table(change(pq.read_table(path)), path)


def edited(path: str, change: Change) -> Spoil:
    """Change the newest file that matches a pattern, and keep its types."""

    def spoil(workspace: Path) -> None:
        file = sorted(workspace.glob(path))[-1]
        schema = pq.read_schema(file)
        edit(file, lambda rows: pa.Table.from_pandas(change(rows.to_pandas()), schema, preserve_index=False))

    return spoil


def sealed(spoil: Spoil, root: Path = FEATURES) -> Spoil:
    """Spoil a file and update the manifest, so that the planted defect is the only one."""

    def done(workspace: Path) -> None:
        spoil(workspace)
        manifest = workspace / root / MANIFEST
        files = {path: digest for path, digest in hash_files(workspace / root).items() if path != MANIFEST}
        write_json(manifest, read_json(manifest) | {"files": files})

    return done


def shards(split: str, change: Change, first: Plant | None = None) -> Late:
    """Change the rows of a split after `featurize`, and seal the features."""
    return Late("featurize", sealed(edited(f"{FEATURES}/shards/*/{split}.parquet", change)), first)


def predictions(after: str, change: Change) -> Late:
    """Change the predictions of the test rows after a stage."""
    return Late(after, edited(f"{PREDICTIONS}/test.parquet", change))


def resized(split: str, change: Change) -> Spoil:
    """Change the rows of a split of the features, and seal them with their new number."""
    pattern = f"{FEATURES}/shards/*/{split}.parquet"

    def spoil(workspace: Path) -> None:
        edited(pattern, change)(workspace)
        manifest = read_json(workspace / FEATURES / MANIFEST)
        rows = manifest["rows"] | {split: sum(pq.read_metadata(file).num_rows for file in workspace.glob(pattern))}
        write_json(workspace / FEATURES / MANIFEST, manifest | {"rows": rows, "impressions": rows["train"]})

    return sealed(spoil)


def cut(pattern: str) -> Spoil:
    """Cut a file in half."""

    def spoil(workspace: Path) -> None:
        path = sorted(workspace.glob(pattern))[-1]
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return spoil


def lost(pattern: str) -> Spoil:
    """Remove a file."""
    return lambda workspace: sorted(workspace.glob(pattern))[-1].unlink()


def scaled_weights(factor: float) -> Spoil:
    """Multiply all weights of the trained model."""

    def spoil(workspace: Path) -> None:
        path = workspace / "models/din/weights.safetensors"
        weights = load_file(path)
        save_file({name: (factor * array).astype(array.dtype) for name, array in weights.items()}, path)

    return spoil


def edited_graph(name: str) -> Spoil:
    """Change the largest weights of a graph in the bundle, and seal the bundle again."""

    def spoil(workspace: Path) -> None:
        path = workspace / "models/bundle" / name
        model = onnx.load(path)
        floats = [tensor for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT]
        largest = max(floats, key=lambda tensor: int(np.prod(tensor.dims)))
        largest.CopyFrom(numpy_helper.from_array(1.05 * numpy_helper.to_array(largest), largest.name))
        onnx.save(model, path)
        seal(path.parent)

    return spoil


def json_changed(path: str, change: Callable[[Any], Any]) -> Spoil:
    """Change a JSON file; `change` returns the new value."""

    def spoil(workspace: Path) -> None:
        file = workspace / path
        file.write_text(json.dumps(change(json.loads(file.read_text()))))

    return spoil
