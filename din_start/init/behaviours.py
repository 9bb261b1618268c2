"""Guess which rows and which columns tell what a user did earlier."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from din.data.rules import Rule
from din.params.fetch import ALL_ROWS
from din.schema import ITEM_ID
from din_start.init import fields, words
from din_start.init.choice import Choice
from din_start.init.look import Column, Look

_ALIKE = 0.9  # share of rows without a click with one answer, from which these rows tell little


def of_answers(label: Rule, answers: pa.ChunkedArray, is_headed: bool) -> dict[str, Choice]:
    """Return the behaviours of a log of ratings or actions: all of them, if the others tell about the user as well.

    Views count as behaviours only if the log has no clicks.
    """
    seen = Column(label.column, answers)
    if seen.distinct <= 2:
        return {}
    if seen.kind == "number" and label.comparison in (">=", ">"):
        if is_headed and not words.means(label.column, "rating"):
            return {}
        what = "a bad rating"
    elif label.comparison == "!=" and words.means(label.value, "opened"):
        if any(words.means(value, "click") for value in seen.different.to_pylist()):
            return {}
        what = f"{label.value}, a visit of the item's page,"
    else:
        return {}
    why = f"{what} tells about the user as well, so all rows enter the history, with their values"
    return {"fetch.table.behaviour": Choice(ALL_ROWS, why)}


def of_skipped(answers: pa.Table, labels: np.ndarray) -> dict[str, Choice]:
    """Return the behaviours of a log by days: all rows, as of midnight, if rows without a click differ in an answer.

    An answer is a number that tells the label. A name alone could mean something else.
    """
    skipped = pa.array(labels == 0)
    for name in answers.column_names:
        column = answers[name]
        counts = column.filter(skipped).value_counts().field("counts")
        differs = pc.max(counts).as_py() < _ALIKE * skipped.true_count
        if differs and Column(name, column).kind == "number" and fields.tells(column, labels) > fields.TELLS_ALL:
            why = f"rows without a click differ in {name}, so they tell about the user as well, and enter the history"
            midnight = (
                "a history that grows within the day tells how the user's last rows ended, which cost GAUC on a public "
                "log; requests must send the history as it was at midnight"
            )
            return {
                "fetch.table.behaviour": Choice(ALL_ROWS, why),
                "featurize.order": Choice("daily", midnight),
            }
    return {}


def of_history(events: Look, before: str, columns: Mapping[str, str]) -> dict[str, Choice]:
    """Return how a column of the events becomes the history."""
    why = f"{before} lists items of the events: what a user had seen before the first of them"
    if not events.headed:
        why += (
            "\nif they were shown together with the row's item instead, remove fetch.table.history, and the separator "
            f"of {before}"
        )
    return {
        "fetch.table.history": Choice(events.paths, why),
        "fetch.table.history_columns": Choice({**columns, ITEM_ID: before}, "the columns of the events"),
    }
