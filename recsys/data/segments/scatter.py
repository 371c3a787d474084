"""Good events, put aside by when they happened, and given back node by node: each time as many as memory holds."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from recsys.data import columns
from recsys.data.segments import trie
from recsys.data.segments.room import Room
from recsys.data.segments.spill import Spill
from recsys.data.sources import FILE

UNIT_LEAVES = 3  # how many leaves are looked at in one go
_WINDOW = 7  # bits of steps in a window: six days
_MOST_WINDOWS = 1_024  # that one batch is put into


class Scatter:
    """Takes good events in any order; of one node all come back together.

    Args:
        room: for what does not fit into memory.
    """

    def __init__(self, room: Room) -> None:
        self._room = room
        self._spill = Spill(room, "events")
        self._shift = _WINDOW
        self._files: dict[str, int] = {}
        self.rows = 0

    def add(self, good: pl.DataFrame) -> None:
        """Take good events, with ``FILE`` and ``ROW``."""
        self.rows += good.height
        runs = good[FILE].rle().struct.unnest()  # a batch is of one file, or of a few
        for name in runs["value"].to_list():
            self._files.setdefault(name, len(self._files))
        numbers = np.array([self._files[name] for name in runs["value"]], dtype=np.uint32).repeat(
            runs["len"].to_numpy()
        )
        windows = self.window_of(good)
        while windows.n_unique() > _MOST_WINDOWS:
            self._shift += 1
            self._spill.coarsen(1)
            windows = self.window_of(good)
        self._spill.add(good.with_columns(pl.Series(FILE, numbers)), windows)

    @property
    def is_one(self) -> bool:
        """Whether all events come back together."""
        return self.rows <= _most()

    @property
    def parted(self) -> list[int]:
        """Windows whose events do not all come back together."""
        return [] if self.is_one else [window for window, rows in self._spill.rows.items() if rows > _most()]

    def window_of(self, events: pl.DataFrame) -> pl.Series:
        """Return the window of each event; those of one window mostly come back together."""
        return self.windowed(pl.Series(trie.steps(events[columns.TIMESTAMP])))

    def windowed(self, steps: pl.Series) -> pl.Series:
        """Return the window of each step of ``trie.steps``."""
        return steps // (1 << self._shift)

    def read(self, window: int) -> pl.DataFrame:
        """Return the events of a window, which stay."""
        return self._named(list(self._spill.read(window)))

    def units(self) -> Iterator[pl.DataFrame]:
        """Yield the events of all nodes, the oldest first, as they came; they go."""
        if not self.rows:
            return
        if self.is_one:
            yield self._named([part for window in sorted(self._spill.rows) for part in self._spill.take(window)])
            return
        for unit in _units(self._spill, sorted(self._spill.rows), self._room):
            yield self._named(unit)

    def _named(self, parts: list[pl.DataFrame]) -> pl.DataFrame:
        rows = pl.concat(parts, how="diagonal_relaxed")
        return rows.with_columns(pl.Series(list(self._files), dtype=pl.String).gather(rows[FILE]).alias(FILE))


def _most() -> int:
    return UNIT_LEAVES * trie.LEAF_ROWS


def _units(spill: Spill, numbers: list[int], room: Room, finer: int = 0) -> Iterator[list[pl.DataFrame]]:
    """Yield the events of numbers next to each other that are few enough and lie in one node of theirs."""
    if sum(spill.rows[number] for number in numbers) <= _most():
        yield [part for number in numbers for part in spill.take(number)]
    elif len(numbers) > 1:
        bit = (numbers[0] ^ numbers[-1]).bit_length() - 1
        middle = (numbers[0] >> bit | 1) << bit
        yield from _units(spill, [number for number in numbers if number < middle], room, finer)
        yield from _units(spill, [number for number in numbers if number >= middle], room, finer)
    elif finer == 2:  # one user in an hour
        yield list(spill.take(numbers[0]))
    else:
        inner = Spill(room, f"events-{finer}-{numbers[0]}")
        for part in spill.take(numbers[0]):
            inner.add(part, _finer(part, finer))
        yield from _units(inner, sorted(inner.rows), room, finer + 1)


def _finer(events: pl.DataFrame, finer: int) -> pl.Series:
    if finer == 0:
        return pl.Series(trie.steps(events[columns.TIMESTAMP]))
    return pl.Series(trie.users_hashed(events[columns.USER_ID]) >> 32, dtype=pl.Int64)
