"""What a table says, whatever its bytes are: one order of its rows and columns, and a hash over its values.

The hash covers values, not how a version of Polars lays them out in memory, and neither Parquet nor the clock.
"""

import hashlib
from typing import Any

import polars as pl

from recsys.data import columns

_PLACE = "__place"
_SLICE = 250_000  # rows hashed at once, so that a large table is not copied whole

# Columns that come first, in this order; all others follow by name.
_FIRST = {
    "events": (
        columns.USER_ID,
        columns.ITEM_ID,
        columns.TIMESTAMP,
        columns.POSITION,
        columns.EVENT_ID,
        columns.EVENT_TYPE,
        columns.VALUE,
        columns.TIMESTAMP_KNOWN,
    ),
    "items": (columns.ITEM_ID, columns.TITLE),
    "users": (columns.USER_ID,),
}
CONTRACT_COLUMNS = _FIRST["events"]
# After the order within a user come the columns that part any two events which are no duplicates.
ORDER = {
    "events": (columns.USER_ID, *columns.EVENT_ORDER, columns.ITEM_ID, columns.EVENT_TYPE),
    "items": (columns.ITEM_ID,),
    "users": (columns.USER_ID,),
}


def arranged(frame: pl.DataFrame, table: str) -> pl.DataFrame:
    """Return a table with its columns in their order."""
    first = [name for name in _FIRST[table] if name in frame.columns]
    return frame.select(*first, *sorted(name for name in frame.columns if name not in first))


def canonical(frame: pl.DataFrame, table: str) -> pl.DataFrame:
    """Return a table with its columns and its rows in their order."""
    ordered, keys = arranged(frame, table), [name for name in ORDER[table] if name in frame.columns]
    return _by_user_and_time(ordered, keys) if table == "events" else ordered.sort(keys, nulls_last=True)


def _by_user_and_time(events: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Return events by all keys: by user and time first, one column after the other, which few events are left of."""
    rows = events.sort(columns.TIMESTAMP, nulls_last=True).sort(columns.USER_ID, nulls_last=True, maintain_order=True)
    same = rows.select(
        pl.all_horizontal(pl.col(name) == pl.col(name).shift() for name in (columns.USER_ID, columns.TIMESTAMP))
    ).to_series()
    tied = same.fill_null(False) | same.shift(-1).fill_null(False)
    if not tied.any():
        return rows
    places = tied.arg_true()
    order = rows[places].with_columns(places.alias(_PLACE)).sort(keys, nulls_last=True)[_PLACE]
    every = pl.int_range(rows.height, dtype=pl.UInt32, eager=True)
    return rows[every.scatter(places, order.cast(pl.UInt32))]


def schema_of(frame: pl.DataFrame) -> dict[str, str]:
    """Return the types of a table's columns, by name."""
    return {name: str(dtype) for name, dtype in frame.schema.items()}


def feed_table(sha: Any, frame: pl.DataFrame) -> None:
    """Hash the values of a table, column by column."""
    for name in frame.columns:
        for part in range(0, frame.height, _SLICE):
            _feed(sha, frame[name].slice(part, _SLICE))


def table_hash(frame: pl.DataFrame) -> str:
    """Return the SHA-256 over the values of a table in the order given."""
    sha = hashlib.sha256()
    feed_table(sha, frame)
    return sha.hexdigest()


def _feed(sha: Any, values: pl.Series) -> None:
    sha.update(values.is_null().cast(pl.UInt8).to_numpy().tobytes())
    if isinstance(values.dtype, pl.Array):
        values = values.arr.to_list()
    if isinstance(values.dtype, pl.List):
        lengths = values.list.len().fill_null(0)
        sha.update(lengths.cast(pl.UInt64).to_numpy().tobytes())
        inner = values.filter(lengths > 0).explode()
        _feed(sha, inner)
    elif values.dtype == pl.String:
        present = values.fill_null("")
        sha.update(present.str.len_bytes().cast(pl.UInt64).to_numpy().tobytes())
        sha.update(present.str.join("").item().encode())
    else:
        physical = values.to_physical()
        kind = pl.Float64 if physical.dtype.is_float() else pl.UInt64 if physical.dtype == pl.UInt64 else pl.Int64
        sha.update(physical.cast(kind).fill_null(0).to_numpy().tobytes())
