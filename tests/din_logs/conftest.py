"""Fixtures that fetch logs into a workspace of the test's own."""

from tests.factories.raw_logs import (
    example_params,
    fetch_public,
    fetch_table,
    public_params,
    table_params,
    workspace,
)

__all__ = ["example_params", "fetch_public", "fetch_table", "public_params", "table_params", "workspace"]
