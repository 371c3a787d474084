"""What a table says, whatever its bytes are: one order of its rows and columns, and a hash over its values.

The hash covers values, not how a version of Polars lays them out in memory, and neither Parquet nor the clock.
"""

import hashlib
import itertools
import operator
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

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
    """Return events by all keys: as numbers first, of user and time, and by the keys those that numbers do not part."""
    users, times = events[columns.USER_ID], events[columns.TIMESTAMP]
    if users.null_count() or times.null_count():
        return events.sort(keys, nulls_last=True)
    numbers, instants = _first_bytes(users), times.to_physical().to_numpy()
    order = np.lexsort((instants, numbers))
    numbers, instants, users = numbers[order], instants[order], users[order]
    same = numbers[1:] == numbers[:-1]
    several = np.zeros(len(order), dtype=bool)  # whether the numbers of several users are the same
    several[1:] = same & (users[1:] != users[:-1]).to_numpy()
    if several.any():
        groups = np.cumsum(np.append(0, ~same))
        several = np.bincount(groups, several)[groups] > 0
    tied = several
    together = same & (instants[1:] == instants[:-1])
    tied[1:] |= together
    tied[:-1] |= together
    if tied.any():
        places = np.flatnonzero(tied)
        rows = events[order[places]].select(*keys, pl.Series(_PLACE, order[places]))
        order[places] = rows.sort(keys, nulls_last=True)[_PLACE].to_numpy()
    return events[order]


def _first_bytes(texts: pl.Series) -> NDArray[np.uint64]:
    """Return of each text the first eight bytes behind those that all have in common, as a number that sorts as it."""
    if texts.is_empty():
        return np.zeros(0, dtype=np.uint64)
    ends = str(texts.min()).encode(), str(texts.max()).encode()
    common = sum(itertools.accumulate((one == other for one, other in zip(*ends, strict=False)), operator.and_))
    lengths = texts.str.len_bytes().to_numpy().astype(np.int64)
    together = np.frombuffer(texts.str.join("").item().encode(), dtype=np.uint8)
    starts = np.cumsum(lengths) - lengths + common
    found = np.zeros((len(texts), 8), dtype=np.uint8)
    for place in range(8):
        there = np.flatnonzero(lengths > common + place)
        found[there, place] = together[starts[there] + place]
    return found.view(">u8").ravel().astype(np.uint64)


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
