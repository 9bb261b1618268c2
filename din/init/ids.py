"""Guess which columns of a log are the user and the item.

A column must fit by its values. Among those that fit, a name that means the role decides. Without such a name, a role
is guessed only if one column fits.
"""

from din.errors import InputError, listed
from din.init import words
from din.init.look import Choice, Column, Look

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
        InputError: several columns may be it, the one that is it by its name has values that don't fit, or the given
            column can't be it.
    """
    if given is not None:
        if problem := _no_id(log.columns[given], role):
            raise InputError(f"--{role} {given}: {problem}")
        return Choice(given, "you said so")
    free = {name: column for name, column in log.columns.items() if name not in used}
    problems = {name: _no_id(column, role) or _unlike_ids(column, role) for name, column in free.items()}
    fitting = [name for name, problem in problems.items() if problem is None]
    named = words.by_name(free, entries)
    named.sort(key=lambda name: (words.rank(name, entries), not words.means(name, words.ID)))

    def is_meant(name: str) -> bool:
        sounds_like_id = words.means(name, words.ID) or len(words.words(name)) == 1
        return sounds_like_id and free[name].distinct >= _FEWEST_IDS

    # Ids with gaps can't be used, and no column whose name is less certain replaces them.
    meant = [name for name in named if problems[name] is None or (free[name].missing and is_meant(name))]
    meant += filter(is_meant, named)
    problem = f"no name of a column means the {role}"
    if meant and problems[meant[0]] is None:
        return Choice(meant[0], f"the name means the {role}; {_repeats(log.columns[meant[0]])}")
    others = words.ITEM if role == "user" else words.USER
    plain = [name for name in fitting if not words.means(name, (*others, *words.FEEDBACK, *words.TIME, *words.NUMBER))]
    if plain and not log.headed:
        why = f"the first such column of a file without a header: check it; {_repeats(log.columns[plain[0]])}"
        return Choice(plain[0], why)
    if len(plain) == 1 and not meant:
        return Choice(plain[0], f"the only column left that repeats like ids; {_repeats(log.columns[plain[0]])}")
    candidates = sorted(plain or fitting, key=lambda name: -log.columns[name].distinct)
    if meant or named:
        blamed = [*meant, *named][0]
        problem = f"{blamed} means the {role}, but {problems[blamed]}"
        if _no_id(free[blamed], role) is None:
            candidates = [blamed, *(name for name in candidates if name != blamed)]
    found = listed(candidates) or f"none of {listed(log.columns)}"
    raise InputError(f"{log.files[0].name}: {problem}; candidates by their values: {found}. Name one with --{role}")


def _no_id(column: Column, role: str) -> str | None:
    """Return why a column can't be the user or the item, and what to do, or None."""
    if not (column.is_text or column.is_number):
        return f"its values are of type {column.values.type}; expected whole numbers or text: name another column"
    if column.missing:
        return f"{column.missing:,} of the first {column.rows:,} values are missing; fill them or drop their rows"
    if column.is_number and not column.is_whole:
        return f"its values are real numbers ({column.examples}); expected whole numbers or text: name another column"
    if column.distinct <= 2:
        return f"its only values are {column.examples}; expected more than two {role}s: name another column"
    return None


def _unlike_ids(column: Column, role: str) -> str | None:
    """Return why a column is hardly the user or the item, unless a person says so, or None."""
    if column.distinct < _FEWEST_IDS:
        return f"it has only {column.distinct} values ({column.examples}), fewer than {_FEWEST_IDS}"
    if column.distinct >= _ONCE * column.rows:
        return f"hardly any {role} repeats: {_repeats(column)}"
    return None


def _repeats(column: Column) -> str:
    return f"{column.distinct:,} values in the first {column.rows:,} rows"
