"""What a snapshot's users and situations are like, and what is popular among whom: counted once, when first asked."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.data.attributes import attribute_names
from recsys.data.columns import ITEM_ID, UPDATED_AT, USER_ID
from recsys.data.signals import Signals
from recsys.data.snapshot import Snapshot
from recsys.experts.audience import Audience, Segment, fit_audience
from recsys.experts.segments import Codes, read_field

CONTEXT = "context."  # before the name of a field of events, which a user's may have as well


@dataclass(frozen=True, eq=False)
class _Counted:
    """What is popular among whom, and who they are.

    Attributes:
        audience: what is popular.
        rows: (people,) of those who chose something: where each one's history stands among the snapshot's users.
        segments: (people,) of each, -1 where it is unknown, by field of users.
    """

    audience: Audience
    rows: NDArray[np.integer]
    segments: Mapping[str, NDArray[np.int32]]


class SnapshotAudience:
    """Users' attributes in a snapshot, and conditional popularity by them and by context. Safe to share by threads."""

    def __init__(self, snapshot: Snapshot, signals: Signals | None = None) -> None:
        self._snapshot = snapshot
        self._signals = signals
        self._reading = threading.Lock()

    @classmethod
    def of(cls, snapshot: Snapshot, signals: Signals | None = None) -> "SnapshotAudience | None":
        """Return the audience of a snapshot, or None where it says nothing but who did what.

        Args:
            snapshot: its users and their events.
            signals: what events mean; dislikes, and what was only seen, make nothing popular. None: all count.
        """
        manifest = snapshot.manifest
        return cls(snapshot, signals) if manifest.described is not None or manifest.context is not None else None

    def prepare(self) -> None:
        """Read and count all there is, so that no answer waits for it, and nothing is read from the snapshot later."""
        _ = self.schema, self.context_schema, self.audience

    @property
    def schema(self) -> Mapping[str, pl.DataType]:
        """Types of the users' attributes, by name."""
        return {name: kind for name, kind in self._users.schema.items() if name in attribute_names(self._users)}

    @cached_property
    def context_schema(self) -> Mapping[str, pl.DataType]:
        """Types of the events' columns that a request may give, by name."""
        types = self._snapshot.event_schema
        return {name: types[name] for name in self._snapshot.manifest.context or {}}

    def attributes(self, user_id: str, after: int | None = None) -> dict[str, Any]:
        """Return what is known of a user, without what is empty.

        Args:
            user_id: whose.
            after: microseconds since 1970; attributes that are not said to be newer are left out.
        """
        users = self._users
        row = users[USER_ID].search_sorted(user_id)
        if row == users.height or users[USER_ID][row] != user_id:
            return {}
        found = users.row(row, named=True)
        written = found.get(UPDATED_AT)
        if after is not None and (written is None or written.timestamp() * 1_000_000 <= after):
            return {}
        return {name: found[name] for name in attribute_names(users) if found[name] is not None}

    @property
    def audience(self) -> Audience:
        """What is popular among whom; counting takes a while the first time."""
        with self._reading:
            return self._counted.audience

    def members(self, segment: Segment) -> NDArray[np.integer]:
        """Return where the histories of a segment's people stand among the snapshot's users, ascending."""
        with self._reading:
            counted = self._counted
        return counted.rows[counted.segments[segment.field] == segment.number]

    @cached_property
    def _users(self) -> pl.DataFrame:
        users = self._snapshot.users()
        return pl.DataFrame(schema={USER_ID: pl.String}) if users is None else users

    @cached_property
    def _counted(self) -> _Counted:
        described = self._snapshot.manifest.described
        unused = {} if described is None else described.unused
        events = self._snapshot.events()
        if self._signals is not None:
            meaning = self._signals.of_events(events)
            events = events.filter((meaning.kinds >= 0) & (meaning.weights > 0))
        item_ids = self._snapshot.item_ids()
        items = events[ITEM_ID].cast(pl.Enum(item_ids)).to_physical().to_numpy()
        people = events.select(pl.col(USER_ID).unique(maintain_order=True))  # by id, as the events are sorted
        users = events[USER_ID].cast(pl.Enum(people[USER_ID])).to_physical().to_numpy()
        known = people.join(self._users, on=USER_ID, how="left", maintain_order="left")
        whose = np.arange(people.height)
        names = [name for name in attribute_names(self._users) if name not in unused]
        read = [one for name in names if (one := _coded(name, known[name], whose)) is not None]
        codes = [Codes(one.field, one.segments[users]) for one in read]
        context = self._snapshot.manifest.context or {}
        of_events = [_coded(CONTEXT + name, events[name], users) for name, why in context.items() if not why]
        codes += [one for one in of_events if one is not None]
        rows = people[USER_ID].cast(pl.Enum(self._snapshot.user_ids())).to_physical().to_numpy()
        segments = {one.field.name: one.segments for one in read}
        return _Counted(fit_audience(items, users, codes, len(item_ids)), rows, segments)


def _coded(name: str, column: pl.Series, users: NDArray[np.integer]) -> Codes | None:
    """Return a column as segments, or None where it parts nobody."""
    ranked = column.cast(pl.UInt8) if column.dtype == pl.Boolean else column
    places = ranked.rank("dense").fill_null(0).to_numpy()
    values: Sequence[Any] = [None, *column.drop_nulls().unique().sort().to_list()]
    return read_field(name, values, places, users)
