"""Ids of events that come more than once, whenever the events happened: found by hashes, told apart by the ids."""

from collections.abc import Iterator

import polars as pl

from recsys.data import columns
from recsys.data.segments import trie
from recsys.data.segments.room import Room
from recsys.data.segments.scatter import Scatter
from recsys.data.segments.spill import Spill
from recsys.data.sifting import Sifted, repeated_names
from recsys.data.sources import FILE, ROW

_BUCKETS = 6  # bits
_MOST_HELD = 32 << 20
_HASH, _STEP, _WINDOW = "hash", "step", "window"


class Names:
    """Takes the good events of all batches.

    Args:
        room: for what does not fit into memory.
    """

    def __init__(self, room: Room) -> None:
        self._room = room
        self._hashes = Spill(room, "names", _MOST_HELD)
        self._surplus = Spill(room, "surplus", _MOST_HELD)

    def add(self, good: pl.DataFrame) -> None:
        """Take good events."""
        if columns.EVENT_ID not in good.columns:
            return
        steps = pl.Series(_STEP, trie.steps(good[columns.TIMESTAMP]))
        hashes = good[columns.EVENT_ID].hash().alias(_HASH)
        rows = pl.DataFrame([hashes, steps]).filter(good[columns.EVENT_ID].is_not_null())
        self._hashes.add(rows, _bucket(rows[_HASH]))

    def resolve(self, scatter: Scatter, read: pl.Schema) -> Iterator[Sifted]:
        """Yield the events that go, since another of their id stays, where the two are not looked at together."""
        if not self._hashes.rows or scatter.is_one:
            return
        suspected = self._suspected(scatter)
        if suspected.is_empty():
            return
        found = Spill(self._room, "suspected", _MOST_HELD)
        for window in suspected[_WINDOW].unique().sort().to_list():
            own = suspected.filter(pl.col(_WINDOW) == window)[_HASH]
            rows = scatter.read(window)
            rows = rows.filter(
                rows[columns.EVENT_ID].hash().is_in(own.implode()) & rows[columns.EVENT_ID].is_not_null()
            )
            found.add(rows, _bucket(rows[columns.EVENT_ID].hash()))
        for bucket in sorted(found.rows):
            surplus = repeated_names(pl.concat(found.take(bucket), how="diagonal_relaxed"), read)
            if not surplus.good.is_empty():
                self._surplus.add(surplus.good.select(FILE, ROW), scatter.window_of(surplus.good))
                yield surplus

    def without_surplus(self, unit: pl.DataFrame, scatter: Scatter) -> pl.DataFrame:
        """Return the events of a unit without those that ``resolve`` has yielded."""
        if not self._surplus.rows:
            return unit
        gone = [part for window in scatter.window_of(unit).unique().to_list() for part in self._surplus.read(window)]
        return unit.join(pl.concat(gone), on=[FILE, ROW], how="anti", maintain_order="left") if gone else unit

    def _suspected(self, scatter: Scatter) -> pl.DataFrame:
        """Return hashes that come more than once, with their windows, but for those of one window that stays whole."""
        parts = []
        for bucket in sorted(self._hashes.rows):
            rows = pl.concat(self._hashes.take(bucket))
            rows = rows.filter(rows[_HASH].is_duplicated())
            rows = rows.select(_HASH, scatter.windowed(rows[_STEP]).alias(_WINDOW))
            large = pl.col(_WINDOW).is_in(scatter.parted)
            apart = rows.filter((pl.col(_WINDOW).n_unique() > 1).over(_HASH) | large.any().over(_HASH))
            parts.append(apart.unique())
        return pl.concat(parts)


def _bucket(hashes: pl.Series) -> pl.Series:
    return hashes // (1 << (64 - _BUCKETS))
