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
    if events.is_empty() or users.null_count() or times.null_count():
        return events.sort(keys, nulls_last=True)
    numbers, whole = _first_bytes(users)
    order, same, together = _order(numbers, times.to_physical().to_numpy())
    tied = np.zeros(len(order), dtype=bool)
    if not whole:  # the numbers of several users may be the same
        several = same & (users[order[1:]] != users[order[:-1]]).to_numpy()
        groups = np.cumsum(np.append(0, ~same))
        tied[1:] = several
        tied = np.bincount(groups, tied)[groups] > 0 if several.any() else tied
    tied[1:] |= together
    tied[:-1] |= together
    if tied.any():
        places = np.flatnonzero(tied)
        rows = events[order[places]].select(*keys, pl.Series(_PLACE, order[places]))
        order[places] = rows.sort(keys, nulls_last=True)[_PLACE].to_numpy()
    return events[order]


def _order(users: NDArray[np.uint64], times: NDArray[np.int64]) -> tuple[NDArray[np.uint32], Any, Any]:
    """Return the order by user and time, and for each but the first whether user, or both, are those before."""
    by_user = _sorted(users)
    same = users[by_user[1:]] == users[by_user[:-1]]
    places = np.empty(len(users), dtype=np.uint64)  # of users, each in a few bits
    places[by_user] = np.cumsum(np.append(False, ~same))
    since = (times - times.min()).astype(np.uint64)
    bits = int(since.max()).bit_length()
    if int(places.max()).bit_length() + bits > 64:
        order = np.lexsort((times, places)).astype(np.uint32)
        return order, same, same & (times[order[1:]] == times[order[:-1]])
    together = places << np.uint64(bits) | since
    order = _sorted(together)
    return order, same, together[order[1:]] == together[order[:-1]]


def _sorted(numbers: NDArray[np.uint64]) -> NDArray[np.uint32]:
    return pl.Series(numbers).arg_sort().to_numpy(writable=True)


def _first_bytes(texts: pl.Series) -> tuple[NDArray[np.uint64], bool]:
    """Return of each text eight bytes behind those that all have in common, as a number that sorts as it.

    The second value tells whether no two texts have the same number.
    """
    ends = str(texts.min()).encode(), str(texts.max()).encode()
    common = sum(itertools.accumulate((one == other for one, other in zip(*ends, strict=False)), operator.and_))
    lengths = texts.str.len_bytes().to_numpy().astype(np.int64)
    together = np.frombuffer(texts.str.join("").item().encode(), dtype=np.uint8)
    starts = np.cumsum(lengths) - lengths + common
    found = np.zeros((len(texts), 8), dtype=np.uint8)
    longest, shortest = int(lengths.max()) - common, int(lengths.min()) - common
    for place in range(min(8, longest)):
        there = slice(None) if place < shortest else np.flatnonzero(lengths > common + place)
        found[there, place] = together[starts[there] + place]
    whole = longest <= 8 and (not len(together) or bool(together.min()))  # a byte of zero is as good as none
    return found.view(">u8").ravel().astype(np.uint64), whole


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
    some = values.null_count() > 0
    sha.update(values.is_null().cast(pl.UInt8).to_numpy().tobytes() if some else bytes(len(values)))
    if isinstance(values.dtype, pl.Array):
        values = values.arr.to_list()
    if isinstance(values.dtype, pl.List):
        lengths = values.list.len().fill_null(0)
        sha.update(lengths.cast(pl.UInt64).to_numpy().tobytes())
        inner = values.filter(lengths > 0).explode()
        _feed(sha, inner)
    elif values.dtype == pl.String:
        present = values.fill_null("") if some else values
        sha.update(present.str.len_bytes().cast(pl.UInt64).to_numpy().tobytes())
        sha.update(present.str.join("").item().encode())
    else:
        physical = values.to_physical()
        kind = pl.Float64 if physical.dtype.is_float() else pl.UInt64 if physical.dtype == pl.UInt64 else pl.Int64
        sha.update((physical.cast(kind).fill_null(0) if some else physical.cast(kind)).to_numpy().tobytes())
