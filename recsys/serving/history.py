"""What a user did, as an answer is made from it: item ids, oldest first, and what is known of each event."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from recsys.data.sequences import SIGNALS, UNKNOWN_TIME, Sequences, Weighing
from recsys.data.signals import SECONDS_A_DAY, Signals
from recsys.selection.catalogue import Catalogue
from recsys.serving.answers import ExcludeSeen

KNOWN = ("times", "event_types", "values")  # of events, beside their items


@dataclass(frozen=True)
class History(Sequence[str]):
    """A sequence of item ids that knows more of its events.

    Attributes:
        item_ids: oldest first.
        times: microseconds since 1970, one an event; None: not known.
        event_types: likewise.
        values: likewise.
    """

    item_ids: Sequence[str]
    times: Sequence[int | None]
    event_types: Sequence[str | None]
    values: Sequence[float | None]

    @classmethod
    def of(cls, item_ids: Sequence[str]) -> "History":
        """Return the history of some item ids of whose events nothing else is known; one that is a history as it is."""
        if isinstance(item_ids, History):
            return item_ids
        unknown = [None] * len(item_ids)
        return cls(list(item_ids), unknown, unknown, unknown)

    @classmethod
    def restored(cls, item_ids: Sequence[str], known: Mapping[str, Sequence[Any]]) -> "History":
        """Return the history of some item ids and of what ``known`` returned."""
        unknown = [None] * len(item_ids)
        return cls(item_ids, *(known.get(name, unknown) for name in KNOWN))

    @property
    def known(self) -> dict[str, list[Any]]:
        """What is known beside the item ids, one an event, by name; what is known of no event is left out."""
        columns = {name: list(getattr(self, name)) for name in KNOWN}
        return {name: values for name, values in columns.items() if any(value is not None for value in values)}

    def __len__(self) -> int:
        return len(self.item_ids)

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> "History": ...

    def __getitem__(self, place: int | slice) -> "str | History":
        if isinstance(place, int):
            return self.item_ids[place]
        return History(self.item_ids[place], self.times[place], self.event_types[place], self.values[place])

    def at(self, places: Sequence[int]) -> "History":
        """Return the events at some places."""
        return History(
            [self.item_ids[place] for place in places],
            [self.times[place] for place in places],
            [self.event_types[place] for place in places],
            [self.values[place] for place in places],
        )

    def __add__(self, newer: "History") -> "History":
        return History(
            [*self.item_ids, *newer.item_ids],
            [*self.times, *newer.times],
            [*self.event_types, *newer.event_types],
            [*self.values, *newer.values],
        )


@dataclass(frozen=True, eq=False)
class KnownHistory:
    """The events of a history that say something of items that a catalogue holds.

    Attributes:
        events: oldest first.
        rows: (events,) the catalogue's.
        sequence: the same as one row, with what they mean where a generation has signals.
    """

    events: History
    rows: NDArray[np.int64]
    sequence: Sequences

    @classmethod
    def of(
        cls,
        history: Sequence[str],
        catalogue: Catalogue,
        signals: Signals | None = None,
        weighing: Weighing = SIGNALS,
    ) -> "tuple[KnownHistory, list[str]]":
        """Return what is known of a history, and the ids that the catalogue does not hold, in their order."""
        given = History.of(history)
        found = [(place, catalogue.find(item_id)) for place, item_id in enumerate(given.item_ids)]
        missing = [given.item_ids[place] for place, row in found if row is None]
        places = [place for place, row in found if row is not None]
        rows = np.array([row for _, row in found if row is not None], dtype=np.int64)
        events = given if not missing else given.at(places)
        meaning = None
        if signals is not None:
            kept, meaning = signals.of_history(events.event_types, events.values, events.times)
            meaning = meaning.weighed(weighing)
            if not kept.all():
                events, rows = events.at(np.flatnonzero(kept).tolist()), rows[kept]
        offsets = np.array([0, len(rows)], dtype=np.int64)
        return cls(events, rows, Sequences(rows.astype(np.int32), offsets, _seconds(events.times), meaning)), missing

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def taught(self) -> Sequences:
        """What a scorer answers from: all but what was only seen."""
        return self.sequence.taught()

    @property
    def taken(self) -> NDArray[np.int64]:
        """Rows that the user's lists leave out by what events mean: looks leave none out, dislikes always do."""
        return self.sequence.taken().items.astype(np.int64)

    def left_out(self, exclude_seen: ExcludeSeen, repeats: bool, now: int | None = None) -> NDArray[np.int64]:
        """Return the rows that a list leaves out, what is disliked among them.

        Args:
            exclude_seen: what of the history the list shall not hold.
            repeats: whether people come back to their items, so that these stay unless it says otherwise.
            now: Unix seconds, when the list is asked for; None: with the last event.
        """
        if exclude_seen is True:
            return self.rows
        if exclude_seen is False:
            return self.disliked
        if exclude_seen is None:
            return self.sequence.left_out(repeats).items.astype(np.int64)
        seen = np.ones(len(self.rows), dtype=bool)
        if exclude_seen.event_types is not None:
            seen = np.array([kind in exclude_seen.event_types for kind in self.events.event_types], dtype=bool)
        times = self.sequence.times
        if exclude_seen.days is not None and times is not None:
            asked = times.max(initial=0) if now is None else now
            seen &= (times == UNKNOWN_TIME) | (times >= asked - exclude_seen.days * SECONDS_A_DAY)
        return np.concatenate([self.rows[seen], self.disliked])

    @property
    def disliked(self) -> NDArray[np.int64]:
        """Rows of items that the user dislikes, and has not used again since."""
        return self.rows[self.sequence.disliked()]


def _seconds(times: Sequence[int | None]) -> NDArray[np.int64] | None:
    """Return Unix seconds of microseconds, ``UNKNOWN_TIME`` for some that are not known, None where none is."""
    if all(time is None for time in times):
        return None
    return np.array([UNKNOWN_TIME if time is None else time // 1_000_000 for time in times], dtype=np.int64)
