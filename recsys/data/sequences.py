"""Interaction sequences of many users as flat arrays: what every scorer trains on and answers from.

Items and users are small integers here; the snapshot holds the tables that turn them back into ids.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from recsys.config import NEGATIVE, TARGET, Role

UNKNOWN_TIME = np.iinfo(np.int64).min  # of an event in the history of an answer, beside times that are known
REPEATS_FROM = 0.1  # share of repeats from which seen items are asked for and offered: leaving them out loses so many


# By what their signals say; all that is no dislike alike; all alike, dislikes too. What was only seen never counts.
Weighing = Literal["signals", "likes alike", "alike"]
WEIGHINGS: tuple[Weighing, ...] = get_args(Weighing)
SIGNALS, LIKES_ALIKE, ALIKE = WEIGHINGS


@dataclass(frozen=True)
class EventSignals:
    """What each event of some sequences means.

    Attributes:
        kinds: (events,) int8, which rule spoke for it; see ``recsys.data.signals``.
        weights: (events,) float32: above 0 it counts so much, 0: it was only seen, below 0: a dislike.
        roles: by kind.
        taking: by kind, whether such events take their item out of the user's lists.
        names: by kind, the type of such events.
    """

    kinds: NDArray[np.int8]
    weights: NDArray[np.float32]
    roles: tuple[Role, ...]
    taking: tuple[bool, ...]
    names: tuple[str, ...] = ()

    def at(self, places: NDArray[np.integer] | NDArray[np.bool_]) -> "EventSignals":
        """Return the signals of some events."""
        return replace(self, kinds=self.kinds[places], weights=self.weights[places])

    def weighed(self, how: Weighing) -> "EventSignals":
        """Return the same with other weights; what the events mean is kept."""
        if how == SIGNALS:
            return self
        counting = (self.weights != 0).astype(np.float32)
        return replace(self, weights=counting if how == ALIKE else np.where(self.weights < 0, self.weights, counting))

    @property
    def dislikes(self) -> NDArray[np.bool_]:
        """Which events are dislikes, (events,)."""
        return np.array([role == NEGATIVE for role in self.roles], dtype=bool)[self.kinds]

    @property
    def targets(self) -> NDArray[np.bool_]:
        """Which events an evaluation may ask for, (events,)."""
        return np.array([role == TARGET for role in self.roles], dtype=bool)[self.kinds]

    @property
    def taken(self) -> NDArray[np.bool_]:
        """Which events take their item out of the user's lists, (events,)."""
        return np.array(self.taking, dtype=bool)[self.kinds]


@dataclass(frozen=True)
class Sequences:
    """Rows of item indices, oldest first.

    Attributes:
        items: (events,) int32, item indices of all rows, one row after the other.
        offsets: (rows + 1,) int64; row ``r`` is ``items[offsets[r]:offsets[r + 1]]``.
        times: (events,) int64 Unix seconds, or None where times are unknown or not needed.
        signals: what the events mean, or None where all count the same.
    """

    items: NDArray[np.int32]
    offsets: NDArray[np.int64]
    times: NDArray[np.int64] | None = None
    signals: EventSignals | None = None

    @classmethod
    def from_lists(cls, rows: Iterable[Sequence[int]]) -> "Sequences":
        """Build sequences without times from lists of item indices."""
        lists = [np.asarray(row, dtype=np.int32) for row in rows]
        lengths = np.fromiter((len(row) for row in lists), dtype=np.int64, count=len(lists))
        items = np.concatenate(lists) if lists else np.empty(0, np.int32)
        return cls(items, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))

    @classmethod
    def single(cls, row: "Sequences | Sequence[int] | NDArray[np.int32]") -> "Sequences":
        """Return one row of item indices as sequences; sequences as they are."""
        if isinstance(row, Sequences):
            return row
        return cls(np.asarray(row, dtype=np.int32), np.array([0, len(row)], dtype=np.int64))

    @classmethod
    def joined(cls, parts: Sequence["Sequences"]) -> "Sequences":
        """Return the rows of several, which all have signals of the same roles or none.

        Where some have times and others have not, those are ``UNKNOWN_TIME``.
        """
        lengths = np.concatenate([part.lengths for part in parts])
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        signals = [part.signals for part in parts if part.signals is not None]
        joined = None
        if signals:
            kinds, weights = (np.concatenate([getattr(one, name) for one in signals]) for name in ("kinds", "weights"))
            joined = replace(signals[0], kinds=kinds, weights=weights)
        times = [np.full(len(part.items), UNKNOWN_TIME) if part.times is None else part.times for part in parts]
        timed = any(part.times is not None for part in parts)
        items = np.concatenate([part.items for part in parts])
        return cls(items, offsets, np.concatenate(times) if timed else None, joined)

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
        return self._at(positions, offsets)

    def only(self, chosen: NDArray[np.bool_]) -> "Sequences":
        """Return every row without the events that are not chosen, (events,); a row may become empty."""
        running = np.concatenate([[0], np.cumsum(chosen)])
        return self._at(chosen, running[self.offsets])

    def last(self, count: int) -> "Sequences":
        """Return every row cut to its ``count`` newest items."""
        return self.slice(np.maximum(self.offsets[:-1], self.offsets[1:] - count), self.offsets[1:])

    def weighed(self, how: Weighing) -> "Sequences":
        """Return the same events with other weights."""
        return self if self.signals is None else replace(self, signals=self.signals.weighed(how))

    def taught(self) -> "Sequences":
        """Return every row without the events that teach nothing: those that were only seen."""
        return self if self.signals is None else self.only(self.signals.weights != 0)

    def taught_before(self, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many events ``taught`` keeps of the first ``counts`` events of each row, (rows,)."""
        if self.signals is None:
            return counts
        running = np.concatenate([[0], np.cumsum(self.signals.weights != 0)])
        return running[self.offsets[:-1] + counts] - running[self.offsets[:-1]]

    def counting(self) -> NDArray[np.int32]:
        """Return the items of the events that count for them, (events,): no dislikes, nothing that was only seen."""
        return self.items if self.signals is None else self.items[self.signals.weights > 0]

    def liked(self) -> "Sequences":
        """Return every row without dislikes, what was only seen, and what a later dislike took back."""
        if self.signals is None:
            return self
        weights = self.signals.weights
        return self.only((weights > 0) & (np.arange(len(weights)) > self.newest_of_item(weights < 0)))

    def taken(self) -> "Sequences":
        """Return every row without the events that leave their item in the user's lists: what counts only a little."""
        if self.signals is None:
            return self
        undone = self.signals.dislikes & ~self.disliked()
        return self.only(self.signals.taken & ~undone)

    def left_out(self, repeats: bool) -> "Sequences":
        """Return every row without the events that leave their item in the user's lists.

        Args:
            repeats: whether people come back to their items: then dislikes alone take them out.
        """
        return self.only(self.disliked()) if repeats else self.taken()

    def disliked(self) -> NDArray[np.bool_]:
        """Return which events are of an item that its user dislikes, (events,): no later event that counts undid it."""
        if self.signals is None:
            return np.zeros(len(self.items), dtype=bool)
        dislikes = self.signals.dislikes
        return self.newest_of_item(dislikes) > self.newest_of_item(~dislikes & (self.signals.weights > 0))

    def newest_of_item(self, chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return for every event the place of the newest chosen event of its row and item, -1 for none, (events,)."""
        if not chosen.any():
            return np.full(len(self.items), -1, dtype=np.int64)
        rows, places = self.rows(), np.where(chosen, np.arange(len(self.items)), -1)
        order = np.lexsort((self.items, rows))
        first = np.ones(len(order), dtype=bool)
        first[1:] = (np.diff(rows[order]) != 0) | (np.diff(self.items[order]) != 0)
        newest = np.maximum.reduceat(places[order], np.flatnonzero(first)) if len(order) else places
        found = np.empty(len(order), dtype=np.int64)
        found[order] = newest[np.cumsum(first) - 1]
        return found

    def _at(self, places: NDArray[np.integer] | NDArray[np.bool_], offsets: NDArray[np.int64]) -> "Sequences":
        times = None if self.times is None else self.times[places]
        signals = None if self.signals is None else self.signals.at(places)
        return Sequences(self.items[places], offsets, times, signals)

    def ages(self) -> NDArray[np.int64]:
        """Return for every event how many newer ones its row holds: 0 for the newest, shape (events,)."""
        return self.offsets[1:][self.rows()] - 1 - np.arange(len(self.items))

    def seen_before(self) -> NDArray[np.bool_]:
        """Return for every event whether its row holds the item earlier, shape (events,)."""
        pairs = self.rows() * (int(self.items.max(initial=0)) + 1) + self.items
        before = np.ones(len(pairs), dtype=bool)
        before[np.unique(pairs, return_index=True)[1]] = False
        return before

    def repeats(self) -> bool:
        """Tell whether rows come back to their items: ``REPEATS_FROM`` of the targets that follow other events.

        Where events have signals, only those count that take their item out of lists, and no dislikes.
        """
        if self.signals is not None:
            plain = self.only(self.signals.taken & ~self.signals.dislikes)
            asked = plain.signals.targets if plain.signals is not None else np.empty(0, dtype=bool)
        else:
            plain, asked = self, np.ones(len(self.items), dtype=bool)
        following = asked.copy()
        following[plain.offsets[:-1][plain.lengths > 0]] = False  # a row's first event follows nothing
        return bool(following.any() and plain.seen_before()[following].mean() >= REPEATS_FROM)


class Scorer(Protocol):
    """Whatever gives every item of the catalogue a score for a history."""

    def score(self, histories: Sequences) -> NDArray[np.float32]:
        """Return (rows, catalogue) scores; higher is better; comparable within a row only."""
        ...
