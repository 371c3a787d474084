"""Tables as they come, to Polars; ids as they come, to lists of strings."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl

from recsys.data.sources import Location, SourceError

Table = Any  # a path or URL, a Polars frame, or one of whatever else speaks Arrow: pandas, PyArrow, DuckDB …


def as_table(table: Table, kind: str) -> Location:
    """Return a location as it is, and any kind of frame as one of Polars.

    Raises:
        SourceError: it is neither, or its columns cannot be read.
    """
    if isinstance(table, str | Path | pl.DataFrame):
        return table
    if isinstance(table, pl.LazyFrame):
        return table.collect()
    given = f"{type(table).__module__.partition('.')[0]}'s {type(table).__name__}"
    if not (hasattr(table, "__arrow_c_stream__") or hasattr(table, "__dataframe__")):
        raise SourceError(f"The {kind} are {given}. Give a path, or a frame of Polars, pandas, PyArrow or the like.")
    try:
        return pl.DataFrame(table)
    except (TypeError, ValueError, ImportError, pl.exceptions.PolarsError) as error:
        raise SourceError(f"The {kind}, {given}, cannot be read as a table: {error}.") from error


def as_ids(given: Any) -> list[str]:
    """Return one id, or some, as strings, each once: a frame of another library may hold them as numbers."""
    several = [given] if isinstance(given, str) or not isinstance(given, Iterable) else given
    return list(dict.fromkeys(str(one) for one in several))
