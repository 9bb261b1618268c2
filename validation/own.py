"""A user's own expectations: a file in Great Expectations' format, on the tables of a suite or on a SELECT.

    expectations:
      - type: expect_column_values_to_be_between
        kwargs: {column: rows, min_value: 500, row_condition: 'date >= "2024-05-01"', condition_parser: pandas}
        severity: critical
        notes: fewer rows mean that an ad server is down; ask its team
        meta: {name: enough_rows, table: days}
      - type: expect_table_row_count_to_equal
        kwargs: {value: 0}
        severity: warning
        meta: {name: free_items, select: SELECT item_id FROM items WHERE price = 0}

`meta` has the name of the expectation in reports, and its table or SELECT. A SELECT runs in DuckDB and may read the
suite's tables. The file is the last phase of a suite, so the suite's critical expectations hold already.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import duckdb
import pandas as pd
from great_expectations.exceptions import GreatExpectationsError
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
from great_expectations.expectations.metadata_types import FailureSeverity
from pydantic import Field

from din.base import documents
from din.base.duckdb_errors import exhausted
from din.base.errors import InputError, listed, shown
from din.params.reading import plain, read_text
from validation.expectations import Expected
from validation.suite_data import SuiteData, quoted
from validation.thresholds import Severity

_SCHEMA = "judged"


@dataclass(frozen=True, kw_only=True)
class Meta:
    """The metadata of an expectation, which the library keeps: its name in reports, and its table or SELECT."""

    __pydantic_config__ = documents.STRICT

    name: str
    table: str | None = None
    select: str | None = None


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """An expectation in the library's format."""

    __pydantic_config__ = documents.STRICT

    type: str
    kwargs: dict[str, Any]
    meta: Meta
    severity: Severity = "critical"
    notes: str | None = None


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A file of expectations. Other keys that the library writes are ignored."""

    expectations: Annotated[list[Configuration], Field(min_length=1)]


class Own:
    """The expectations of a file.

    Raises:
        InputError: the file is missing or not in the library's format, or an expectation's type or one of its arguments
            is unknown.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        text = read_text(path, "name an existing file in params.yaml, or null")
        self._suite = documents.check(Suite, plain(text, path), str(path))
        self._expectations = [self._made(configuration) for configuration in self._suite.expectations]

    def expected(self, data: SuiteData, tables: dict[str, pd.DataFrame], used_names: set[str]) -> Iterator[Expected]:
        """Yield the expectations.

        Args:
            tables: the tables of the suite's built-in expectations, by name.
            used_names: the names of the built-in expectations; the yielded names are added.

        Raises:
            InputError: a name is taken, a table is unknown, or a SELECT fails.
            Unavailable: memory or disk space is too little for a SELECT.
        """
        table_names = _name_tables(data, tables)
        for configuration, expectation in zip(self._suite.expectations, self._expectations, strict=True):
            meta = configuration.meta
            at = f"{self._path}: {shown(meta.name)}"
            if meta.name in used_names:
                raise InputError(f"{at}: an expectation of this name exists; choose another meta.name")
            used_names.add(meta.name)
            if (meta.table is None) == (meta.select is None):
                raise InputError(f"{at}: expected either meta.table or meta.select")
            if meta.table is not None and meta.table not in table_names:
                raise InputError(f"{at}: no table {shown(meta.table)}; expected one of {listed(sorted(table_names))}")
            if meta.table in tables:
                column_arguments = [value for key, value in configuration.kwargs.items() if key.startswith("column")]
                named = [name for value in column_arguments for name in (value if isinstance(value, list) else [value])]
                yield Expected(meta.table, tables[meta.table].filter(named), expectation)
                continue
            source = quoted(meta.table) if meta.table is not None else f"({meta.select})"
            try:
                selected = data.connection.execute(f"SELECT * FROM {source}").df()
                yield Expected(f"own: {meta.name}", selected, expectation)  # no table of the suite has such a name
            except duckdb.Error as error:
                reason = str(error).splitlines()[0]
                refused = InputError(f"{at}: DuckDB refuses the SELECT: {reason}; correct meta.select")
                raise exhausted(error) or refused from None

    def _made(self, configuration: Configuration) -> Any:
        try:
            return ExpectationConfiguration(
                type=configuration.type,
                kwargs=configuration.kwargs,
                meta={"name": configuration.meta.name, "column": configuration.kwargs.get("column")},
                severity=FailureSeverity(configuration.severity),
                notes=configuration.notes
                or f"an expectation of {self._path}: {configuration.type} {configuration.kwargs}",
            ).to_domain_obj()
        except (GreatExpectationsError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise InputError(
                f"{self._path}: {shown(configuration.meta.name)}: {reason}; correct its type or kwargs"
            ) from None


def _name_tables(data: SuiteData, tables: dict[str, pd.DataFrame]) -> set[str]:
    """Make the tables of the suite readable by name in SQL, and return the names."""
    connection = data.connection
    connection.execute(f"CREATE SCHEMA {_SCHEMA}")
    for name, query in data.views().items():
        connection.execute(f"CREATE VIEW {_SCHEMA}.{name} AS {query}")
    connection.execute(f"SET search_path = '{_SCHEMA},main'")
    for name, frame in tables.items():
        connection.register(name, frame.reset_index())
    return {*tables, *data.views()}
