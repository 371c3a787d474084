"""One column of a table, as a snapshot can keep it: texts and ids, times, numbers, or lists of them.

Every table goes through here: events, items and users of an ingest, labelled texts, pairs, and texts to embed.
"""

from pathlib import Path
from typing import Literal, NoReturn

import polars as pl

from recsys.data import columns
from recsys.data.delimited import separator_of
from recsys.data.limits import SEPARATORS
from recsys.data.locations import SourceError
from recsys.data.notation import Notation
from recsys.data.parsing import (
    NO_NUMBERS,
    NULL_IDS,
    as_ids,
    infer_decimals,
    infer_type,
    may_have_decimals,
    parse_timestamps,
    without_null_words,
)

TEXT = {
    "events": (columns.USER_ID, columns.ITEM_ID, columns.EVENT_ID, columns.EVENT_TYPE),
    "items": (columns.ITEM_ID, columns.TITLE),
    "users": (columns.USER_ID,),
}
_TIMES = {"events": (columns.TIMESTAMP,), "items": (columns.UPDATED_AT,), "users": (columns.UPDATED_AT,)}
IDS = (columns.USER_ID, columns.ITEM_ID, columns.EVENT_ID)
_NESTED = (pl.Struct, pl.Binary, pl.Object, pl.Map)


Kind = Literal["events", "items", "users"]


def kept(values: pl.Series, kind: Kind, file: Path, name: str, form: str, notation: Notation) -> pl.Series:
    """Return a column of events, items or users as a snapshot can keep it.

    Args:
        values: as they were read, under their name of the contract.
        kind: of the table.
        file: where it was read from.
        name: what messages call that.
        form: what it is: CSV, Parquet and so on.
        notation: how times and numbers are written.

    Raises:
        SourceError: no snapshot can keep what it holds.
    """
    inner = values.dtype
    while isinstance(inner, pl.List | pl.Array):
        inner = inner.inner  # type: ignore[assignment]
    text = values.name in TEXT[kind]
    if isinstance(inner, _NESTED) or ((text or kind == "users") and inner != values.dtype):
        _refuse(values, name, "text" if text else "scalars" if kind == "users" else "scalars or lists of scalars")
    if text:
        if form in SEPARATORS and values.name != columns.TITLE:
            values = without_null_words(values, NULL_IDS)
        return as_ids(values) if values.name in IDS else values.cast(pl.String)
    if inner in (pl.Categorical, pl.Enum, pl.Null):
        values = values.cast(_with_inner(values.dtype, pl.String()))
    elif inner.is_decimal():
        values = values.cast(_with_inner(values.dtype, pl.Float64()))
    if values.dtype.is_float():
        values = values.fill_nan(None)
    if values.name in _TIMES[kind] and notation.tells_times:
        return _timed(without_null_words(values, NO_NUMBERS) if form in SEPARATORS else values, notation)
    if values.name == columns.TIMESTAMP:
        return without_null_words(values) if form in SEPARATORS else values
    if may_have_decimals(values):
        number = kind == "events" and values.name == columns.VALUE
        # commas stand in numbers where fields are parted by something else
        values = infer_decimals(
            values, notation.decimal, number or (form in SEPARATORS and separator_of(file, form) != ",")
        )
    if form in SEPARATORS and values.dtype == pl.String:
        return infer_type(without_null_words(values))
    return infer_type(values, only_beside_null_words=True) if form in ("NDJSON", "JSON") else values


def as_texts(values: pl.Series, name: str, ids: bool = False) -> pl.Series:
    """Return a column of another table as strings.

    Args:
        values: as they were read.
        name: what messages call the file.
        ids: whether ``12.0`` and 12 are one.

    Raises:
        SourceError: it holds lists, or what is no text.
    """
    if isinstance(values.dtype, (*_NESTED, pl.List, pl.Array)):
        _refuse(values, name, "text")
    return as_ids(values) if ids else values.cast(pl.String)


def _refuse(values: pl.Series, name: str, wanted: str) -> NoReturn:
    raise SourceError(
        f"{name}, column {values.name!r} holds {values.dtype}; {wanted} can be kept. "
        "Flatten or convert it, or leave the column out."
    )


def _timed(values: pl.Series, notation: Notation) -> pl.Series:
    """Return times as a notation has them; a column with others keeps those as they are, for the checks to find."""
    times = parse_timestamps(values, notation)
    if times.null_count() == values.null_count():
        return times
    return pl.select(pl.coalesce(times.cast(pl.String), values.cast(pl.String)).alias(values.name)).to_series()


def _with_inner(dtype: pl.DataType, inner: pl.DataType) -> pl.DataType:
    """Return a type of lists, or of lists of lists, with other values in it; arrays become lists."""
    return pl.List(_with_inner(dtype.inner, inner)) if isinstance(dtype, pl.List | pl.Array) else inner  # type: ignore[arg-type]
