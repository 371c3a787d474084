"""What was collected while the service ran, joined to what the sources hold: each event once, each item as it is.

An event that the sources hold as well is the sources': it has its ``event_id``, or, where theirs has none, its user,
item, time and type; a type that theirs does not name is any. An item that was put or deleted is as it was changed,
unless its row says by ``updated_at`` that it is newer. A deleted item that the sources still hold stays, not available,
since what people did with it counts.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import polars as pl

from recsys.data import columns
from recsys.data.json_values import typed
from recsys.data.manifest import LiveMark
from recsys.data.parsing import UTC_MICROSECONDS

CONTEXT = "context"  # the situation, as a JSON object
UNTYPED = "interaction"  # the type of an event whose sender names none
EVENTS = pl.Schema(
    {
        columns.EVENT_ID: pl.String(),
        columns.USER_ID: pl.String(),
        columns.ITEM_ID: pl.String(),
        columns.TIMESTAMP: UTC_MICROSECONDS,
        columns.EVENT_TYPE: pl.String(),
        columns.VALUE: pl.Float64(),
        columns.POSITION: pl.Int64(),
        CONTEXT: pl.String(),
    }
)
_SAME = (columns.USER_ID, columns.ITEM_ID, columns.TIMESTAMP)
_NUMBER = "__number"


class Change(Protocol):
    """An item as it was last changed, ``columns`` as JSON values or None where it was deleted; microseconds."""

    @property
    def item_id(self) -> str: ...

    @property
    def version(self) -> int: ...

    @property
    def columns(self) -> Mapping[str, Any] | None: ...

    @property
    def time(self) -> int: ...


class Description(Protocol):
    """What was last said of a user, ``values`` as JSON values; ``time`` in microseconds since 1970."""

    @property
    def values(self) -> Mapping[str, Any]: ...

    @property
    def time(self) -> int: ...


@dataclass(frozen=True, eq=False)
class LiveTables:
    """What a database has collected.

    Attributes:
        events: with the columns of ``EVENTS``, an ``event_id`` once.
        items: all that were changed, an ``item_id`` once.
        batch: up to which all events are there.
        users: what was said of users, by id.
    """

    events: pl.DataFrame
    items: Sequence[Change]
    batch: int
    users: Mapping[str, Description] = field(default_factory=dict)

    def known(self, item_ids: pl.Series, latest: datetime) -> pl.DataFrame:
        """Return the events of some items up to a time; the others wait until there is what they speak of."""
        there = pl.col(columns.ITEM_ID).is_in(item_ids.implode()) & (pl.col(columns.TIMESTAMP) <= latest)
        return self.events.filter(there)

    def mark(self, events: int, items: int, users: int) -> LiveMark | None:
        """Return what a manifest says of so many joined events, items and users; None of none."""
        if not (events or items or users):
            return None
        newest = max(self.items, key=lambda one: one.version, default=None)
        version, time = (newest.version, newest.time) if newest else (0, 0)
        return LiveMark(events, items, users, self.batch, version, time)


def joined_marks(before: LiveMark | None, now: LiveMark | None) -> LiveMark | None:
    """Return what a manifest says of rows that joined a snapshot, which held something live itself; None of none."""
    if before is None or now is None:
        return before or now
    newest = max(before, now, key=lambda one: one.version)
    return LiveMark(
        before.events + now.events,
        max(before.items, now.items),
        max(before.users, now.users),
        max(before.batch, now.batch),
        newest.version,
        newest.time,
    )


def joined_items(items: pl.DataFrame, changes: Sequence[Change]) -> tuple[pl.DataFrame, int]:
    """Return good items with the changes of some, and how many of those count."""
    own = items.filter(pl.col(columns.ITEM_ID).is_in([one.item_id for one in changes]))
    written = _written_at(own, columns.ITEM_ID)
    counting = [
        one
        for one in changes
        if written.get(one.item_id, 0) <= one.time and (one.columns is not None or one.item_id in written)
    ]
    if not counting:
        return items, 0
    put = [one for one in counting if one.columns is not None]
    deleted = [one.item_id for one in counting if one.columns is None]
    hidden = deleted or any((one.columns or {}).get(columns.AVAILABLE) is False for one in put)
    if hidden and columns.AVAILABLE not in items.columns:
        items = items.with_columns(pl.lit(True).alias(columns.AVAILABLE))
    rows = [typed(name, [_value(one, name) for one in put], kind) for name, kind in items.schema.items()]
    kept = items.filter(~pl.col(columns.ITEM_ID).is_in([one.item_id for one in put]))
    if deleted:
        gone = pl.col(columns.ITEM_ID).is_in(deleted)
        kept = kept.with_columns(
            pl.when(gone).then(False).otherwise(pl.col(columns.AVAILABLE)).alias(columns.AVAILABLE)
        )
    return pl.concat([kept, pl.DataFrame(rows)]), len(counting)


def joined_users(users: pl.DataFrame, said: Mapping[str, Description]) -> tuple[pl.DataFrame, int]:
    """Return good users with what was said of some, and of how many that counts: a row that is newer wins."""
    written = _written_at(users.filter(pl.col(columns.USER_ID).is_in(list(said))), columns.USER_ID)
    said = {user_id: one for user_id, one in said.items() if written.get(user_id, 0) <= one.time}
    if not said:
        return users, 0
    given = {
        columns.USER_ID: list(said),
        columns.UPDATED_AT: [_written(one.time) for one in said.values()],
    }
    rows = [
        typed(name, given.get(name) or [one.values.get(name) for one in said.values()], kind)
        for name, kind in users.schema.items()
    ]
    kept = users.filter(~pl.col(columns.USER_ID).is_in(list(said)))
    return pl.concat([kept, pl.DataFrame(rows)]), len(said)


def joined_events(events: pl.DataFrame, live: pl.DataFrame, context: Sequence[str] = ()) -> tuple[pl.DataFrame, int]:
    """Return good events with those of some live ones that are not among them, and how many these are.

    Args:
        events: of the sources, typed.
        live: with the columns of ``EVENTS``.
        context: columns of ``events`` that a request may give.
    """
    fresh = _unknown(events, live)
    if fresh.is_empty():
        return events, 0
    wanted = dict(events.schema) | {columns.EVENT_ID: pl.String()}
    if (fresh[columns.EVENT_TYPE] != UNTYPED).any():
        wanted[columns.EVENT_TYPE] = pl.String()
    for name in (columns.VALUE, columns.POSITION):
        if fresh[name].count():
            wanted[name] = EVENTS[name]
    told = [json.loads(text) if text else {} for text in fresh[CONTEXT].to_list()] if context else []
    parts = []
    for name, kind in wanted.items():
        if name == columns.TIMESTAMP_KNOWN:
            parts.append(pl.repeat(True, fresh.height, dtype=pl.Boolean, eager=True).alias(name))
        elif name in EVENTS and name != CONTEXT:
            parts.append(fresh[name].cast(kind))
        elif name in context:
            parts.append(typed(name, [one.get(name) for one in told], kind))
        else:
            parts.append(pl.Series(name, [None] * fresh.height, dtype=kind))
    return pl.concat([events, pl.DataFrame(parts)], how="diagonal"), fresh.height


def _written_at(rows: pl.DataFrame, key: str) -> dict[str, int]:
    """Return when each row was written by its id, microseconds since 1970; 0 where it does not say."""
    if columns.UPDATED_AT not in rows.columns:
        return dict.fromkeys(rows[key].to_list(), 0)
    times = rows[columns.UPDATED_AT].dt.epoch("us").fill_null(0)
    return dict(zip(rows[key].to_list(), times.to_list(), strict=True))


def _unknown(events: pl.DataFrame, live: pl.DataFrame) -> pl.DataFrame:
    """Return the live events that the sources do not hold; each of theirs is one live event at most."""
    left, nameless = live, events
    if columns.EVENT_ID in events.columns:
        left = left.join(events.select(columns.EVENT_ID), on=columns.EVENT_ID, how="anti")
        nameless = events.filter(pl.col(columns.EVENT_ID).is_null())
    if columns.TIMESTAMP_KNOWN in events.columns:
        nameless = nameless.filter(pl.col(columns.TIMESTAMP_KNOWN).fill_null(True))
    if columns.EVENT_TYPE in events.columns:
        left = _without(left, nameless.filter(pl.col(columns.EVENT_TYPE).is_not_null()), [*_SAME, columns.EVENT_TYPE])
        nameless = nameless.filter(pl.col(columns.EVENT_TYPE).is_null())
    return _without(left, nameless, list(_SAME)).sort(columns.EVENT_ID)


def _without(live: pl.DataFrame, events: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Return live events without as many of those with some keys as there are events with them."""
    number = pl.int_range(pl.len()).over(keys).alias(_NUMBER)
    held = events.select(*keys, number)
    return live.sort(columns.EVENT_ID).with_columns(number).join(held, on=[*keys, _NUMBER], how="anti").drop(_NUMBER)


def _value(change: Change, name: str) -> Any:
    """Return a column of a changed item."""
    if name == columns.ITEM_ID:
        return change.item_id
    if name == columns.UPDATED_AT:
        return _written(change.time)
    value = (change.columns or {}).get(name)
    return True if value is None and name == columns.AVAILABLE else value


def _written(time: int) -> str:
    return pl.Series([time]).cast(UTC_MICROSECONDS).dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").item()
