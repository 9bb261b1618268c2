"""A source's options: the block of `fetch` that has the source's name, or `fetch.options`, as the source types them."""

from typing import Any

from din.data import SOURCES
from din.params.blocks import to_json
from din.params.fetch import Fetch
from din.params.reading import path_keys


def options_of(fetch: Fetch) -> Any:
    """Return the options of the source, of the type that it registered, or None if it has none.

    Raises:
        InputError: there is no such source, or `fetch.options` does not fit it.
    """
    return fetch.block or SOURCES[fetch.source].parse(fetch.options, "fetch.options").get("options")


def options_of_rows(fetch: Fetch) -> dict[str, Any]:
    """Return the options that shape the source's rows: all but paths, which differ by machine.

    Raises:
        InputError: see `options_of`.
    """
    options = options_of(fetch)
    place = fetch.source if fetch.block else "options"
    values = {} if options is None else to_json(options)
    paths = path_keys()
    return {key: value for key, value in values.items() if f"fetch.{place}.{key}" not in paths}
