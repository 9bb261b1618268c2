"""Guess which columns of a log are the user and the item."""

from din.errors import listed
from din.init import words
from din.init.ask import Choice, Misnamed, Undecided, by_name
from din.init.look import Column, Look

_FEWEST_IDS = 10
_ONCE = 0.9  # values a row, from which ids hardly repeat


def guess(log: Look, role: str, entries: tuple[str, ...], given: str | None, used: set[str]) -> Choice:
    """Return the column of the user, or of the item.

    Args:
        log: the first rows.
        role: `user` or `item`.
        entries: the words that mean it.
        given: the column that a person named.
        used: the columns of other roles.

    Raises:
        Undecided: several columns may be it, or the one that is it by its name has values that don't fit.
        Misnamed: the given column can't be it.
    """
    if given is not None:
        if problem := _no_id(log.columns[given], role):
            raise Misnamed(f"--{role} {given}: {problem}", role)
        return Choice(given, "you said so")
    free = {name: column for name, column in log.columns.items() if name not in used}
    problems = {
        name: why for name, column in free.items() if (why := _no_id(column, role) or _unlike_ids(column, role))
    }
    fitting = [name for name in free if name not in problems]
    named = by_name(fitting, entries)
    unfit = [name for name in problems if words.means(name, words.ID) or len(words.words(name)) == 1]
    meant = min(by_name(unfit, entries), key=lambda name: _certainty(name, entries), default=None)
    blamed = False  # a column that means the role, and holds ids that can't be used, keeps others from it
    if meant is not None and log.columns[meant].distinct >= _FEWEST_IDS:
        is_likelier = not named or _certainty(meant, entries) < min(_certainty(name, entries) for name in named)
        lacks_values = log.columns[meant].missing > 0
        blamed = is_likelier and (lacks_values or (not named and _is_once(log.columns[meant])))
    if named and not blamed:
        first = words.rank(named[0], entries)
        equal = [name for name in named if words.rank(name, entries) == first]
        best = max(equal, key=lambda name: (words.means(name, words.ID), -len(name)))
        return Choice(best, f"the name means {'an' if role == 'item' else 'a'} {role}; {_repeats(log.columns[best])}")
    others = words.ITEM if role == "user" else words.USER
    plain = [name for name in fitting if not words.means(name, (*others, *words.FEEDBACK, *words.TIME, *words.NUMBER))]
    if plain and not log.headed:
        return Choice(
            plain[0], f"the first such column of a file without a header: check it; {_repeats(log.columns[plain[0]])}"
        )
    if len(plain) == 1 and not blamed:
        return Choice(plain[0], f"the only column left that repeats like ids; {_repeats(log.columns[plain[0]])}")
    candidates = sorted(plain or fitting, key=lambda name: -log.columns[name].distinct)
    problem = f"no name of a column means the {role}"
    if meant is not None:
        problem = f"{meant} means the {role}, but {problems[meant]}"
        if not _no_id(log.columns[meant], role):
            candidates.insert(0, meant)
    found = listed(candidates) or f"none of {listed(log.columns)}"
    raise Undecided(
        f"{log.files[0].name}: {problem}; candidates by their values: {found}. Name one with --{role}",
        role,
        candidates,
    )


def _certainty(name: str, entries: tuple[str, ...]) -> tuple[int, bool]:
    """Return how certainly a name means a role that it matches: less is more certain."""
    rank = words.rank(name, entries)
    assert rank is not None, "the name matches an entry"
    return rank, not words.means(name, words.ID)


def _no_id(column: Column, role: str) -> str | None:
    """Return why a column can't be the user or the item, and what to do, or None."""
    if not (column.is_text or column.is_number):
        return f"its values are of type {column.values.type}; expected whole numbers or text: name another column"
    if column.missing:
        return f"{column.missing:,} of the first {column.rows:,} values are missing; fill them or drop their rows"
    if column.is_number and not column.is_integral:
        return f"its values are real numbers ({column.examples}); expected whole numbers or text: name another column"
    if column.distinct <= 2:
        return f"its only values are {column.examples}; expected more than two {role}s: name another column"
    return None


def _unlike_ids(column: Column, role: str) -> str | None:
    """Return why a column is hardly the user or the item, unless a person says so, or None."""
    if not (column.is_text or column.is_whole):
        return f"its values are real numbers ({column.examples})"
    if column.distinct < _FEWEST_IDS:
        return f"it has only {column.distinct} values ({column.examples}), fewer than {_FEWEST_IDS}"
    if _is_once(column):
        return f"hardly any {role} repeats: {_repeats(column)}"
    return None


def _is_once(column: Column) -> bool:
    return column.distinct >= _ONCE * column.rows


def _repeats(column: Column) -> str:
    return f"{column.distinct:,} values in the first {column.rows:,} rows"
