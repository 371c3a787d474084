"""Tables as they come, to Polars; ids as they come, to lists of strings; ranked answers, to frames."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from recsys.data.columns import ITEM_ID, RANK, SCORE
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


def ranked(
    key: str, answers: Mapping[str, Sequence[Any]], items: pl.DataFrame, fields: Sequence[str], **more: pl.Series
) -> pl.DataFrame:
    """Return ranked items as a frame: the key, rank from 1, item_id, score, then the fields, then what is more.

    Args:
        key: what the first column is called.
        answers: items with ``item_id``, ``score`` and ``fields``, best first, by what was asked.
        items: the catalogue, which says of what types the fields are.
        fields: columns of it. One whose name is taken is called ``item_<name>``.
        more: further columns, a value a row.
    """
    rows = [(asked, rank, item) for asked, found in answers.items() for rank, item in enumerate(found, 1)]
    columns = {
        key: pl.Series([asked for asked, _, _ in rows], dtype=pl.String),
        RANK: pl.Series([rank for _, rank, _ in rows], dtype=pl.Int32),
        ITEM_ID: pl.Series([item.item_id for _, _, item in rows], dtype=pl.String),
        SCORE: pl.Series([item.score for _, _, item in rows], dtype=pl.Float64),
    }
    taken = {*columns, *more}
    for name in dict.fromkeys(fields):
        if name != ITEM_ID:
            values = pl.Series([item.fields[name] for _, _, item in rows], dtype=items.schema[name])
            columns[f"item_{name}" if name in taken else name] = values
    return pl.DataFrame(columns | more)
