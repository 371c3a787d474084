"""Interaction sequences of many users as three flat arrays: what every scorer trains on and answers from.

Items and users are small integers here; the snapshot holds the tables that turn them back into ids.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Sequences:
    """Rows of item indices, oldest first.

    Attributes:
        items: (events,) int32, item indices of all rows, one row after the other.
        offsets: (rows + 1,) int64; row ``r`` is ``items[offsets[r]:offsets[r + 1]]``.
        times: (events,) int64 Unix seconds, or None where times are unknown or not needed.
    """

    items: NDArray[np.int32]
    offsets: NDArray[np.int64]
    times: NDArray[np.int64] | None = None

    @classmethod
    def from_lists(cls, rows: Iterable[Sequence[int]]) -> "Sequences":
        """Build sequences without times from lists of item indices."""
        lists = [np.asarray(row, dtype=np.int32) for row in rows]
        lengths = np.fromiter((len(row) for row in lists), dtype=np.int64, count=len(lists))
        items = np.concatenate(lists) if lists else np.empty(0, np.int32)
        return cls(items, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.diff(self.offsets)

    def row(self, index: int) -> NDArray[np.int32]:
        """Return one row, oldest first."""
        return self.items[self.offsets[index] : self.offsets[index + 1]]

    def rows(self) -> NDArray[np.int64]:
        """Return the row number of every event, shape (events,)."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def take(self, indices: NDArray[np.integer]) -> "Sequences":
        """Return the chosen rows, in the given order."""
        return self.slice(self.offsets[:-1][indices], self.offsets[1:][indices])

    def slice(self, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> "Sequences":
        """Return one row for each pair of positions in ``items``; ``ends`` are exclusive."""
        lengths = ends - starts
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        positions = np.arange(offsets[-1]) - np.repeat(offsets[:-1] - starts, lengths)
        times = None if self.times is None else self.times[positions]
        return Sequences(self.items[positions], offsets, times)

    def only(self, chosen: NDArray[np.bool_]) -> "Sequences":
        """Return every row without the events that are not chosen, (events,); a row may become empty."""
        running = np.concatenate([[0], np.cumsum(chosen)])
        times = None if self.times is None else self.times[chosen]
        return Sequences(self.items[chosen], running[self.offsets], times)

    def last(self, count: int) -> "Sequences":
        """Return every row cut to its ``count`` newest items."""
        return self.slice(np.maximum(self.offsets[:-1], self.offsets[1:] - count), self.offsets[1:])

    def ages(self) -> NDArray[np.int64]:
        """Return for every event how many newer ones its row holds: 0 for the newest, shape (events,)."""
        return self.offsets[1:][self.rows()] - 1 - np.arange(len(self.items))


class Scorer(Protocol):
    """Whatever gives every item of the catalogue a score for a history."""

    def score(self, histories: Sequences) -> NDArray[np.float32]:
        """Return (rows, catalogue) scores; higher is better; comparable within a row only."""
        ...
