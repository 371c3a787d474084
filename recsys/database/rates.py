"""What answers have brought: events that name the answer behind them, by the generation that gave it.

An event counts for an answer that was shown, that held the item, and that was for the event's user or for a history; a
second event of the same answer and item adds nothing. Counted is what is kept: old answers and forgotten users are not.
"""

import itertools
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sql

from recsys.database.comparisons import COMPARISONS, SUMMARISED
from recsys.database.engine import Database
from recsys.database.events import EVENTS, Event
from recsys.database.impressions import IMPRESSIONS
from recsys.database.moments import microseconds

Z = 1.959964  # of the standard normal distribution, for 95 %
AT_ONCE = 500  # rows in memory; ids in one statement
DAY = 86_400_000_000  # microseconds
WEEK = 7  # days
COUNTED, REPEATED, UNLISTED, UNKNOWN = "counted", "repeated", "unlisted", "unknown"
_SHOWN = IMPRESSIONS.c.shown.is_not(sql.false())  # null, of an older version, as shown


@dataclass(frozen=True)
class Rate:
    """What the answers of one generation have brought.

    Attributes:
        lists: answers that were shown.
        clicks: different items of answers that events name.
        clicked: answers with at least one of them.
        weekdays: ``lists`` and ``clicked`` by the day of the week (UTC), days since 1970 modulo 7.
    """

    generation: str
    adapter: str
    lists: int
    clicks: int
    clicked: int
    weekdays: Mapping[int, tuple[int, int]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def rate(self) -> float:
        """The share of answers that have brought something; 0 where there are none."""
        return self.clicked / self.lists if self.lists else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """The rate's 95 % interval."""
        return wilson(self.clicked, self.lists)


@dataclass(frozen=True)
class Rates:
    """The rates of all generations since some time.

    Attributes:
        unknown: events that name an answer which is not kept, or which was not shown.
        unlisted: events that name one which did not hold the item, or was for another user.
    """

    generations: list[Rate]
    unknown: int
    unlisted: int


def wilson(hits: int, trials: int, z: float = Z) -> tuple[float, float]:
    """Return the score interval of a share (E. B. Wilson, 1927); (0, 1) where nothing was tried.

    ``(p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n)`` with ``p = hits / trials`` and ``n = trials``.
    """
    if not trials:
        return 0.0, 1.0
    share, spread = hits / trials, z * z / trials
    half = z * math.sqrt(share * (1 - share) / trials + spread / (4 * trials))
    low, high = ((share + spread / 2 + sign * half) / (1 + spread) for sign in (-1, 1))
    return max(0.0, min(low, share)), min(1.0, max(high, share))  # at 0 and 1 rounding leaves them a hair apart


class RateStore:
    """Reads what answers have brought; one object serves all threads of a process.

    Args:
        database: with the tables of events, impressions and comparisons.
    """

    def __init__(self, database: Database) -> None:
        self._engine = database.engine

    def read(self, since: datetime, event_type: str | None = None) -> Rates:
        """Return the rates of the answers that were given since a time, by generation, the newest answers first.

        Args:
            since: events and answers before it are left out.
            event_type: of the events that count; None: of any.
        """
        first = microseconds(since)
        found = IMPRESSIONS.c
        weekday = (found.time // DAY % WEEK).label("weekday")
        listed = (
            sql.select(found.generation, found.adapter, weekday, sql.func.count().label("lists"))
            .add_columns(sql.func.max(found.time).label("newest"))
            .where(found.time >= first, _SHOWN)
            .group_by(found.generation, found.adapter, "weekday")
        )
        clicks: Counter[str] = Counter()
        clicked: Counter[tuple[str, int]] = Counter()
        left: Counter[str] = Counter()
        with self._engine.connect() as connection:
            origins = connection.execute(listed).all()
            for generation, day, judged in self._brought(connection, first, event_type):
                outcomes = Counter(judged)
                left.update(outcomes)
                if outcomes[COUNTED]:
                    clicks[generation] += outcomes[COUNTED]
                    clicked[generation, day] += 1
        rates = []
        for (generation, adapter), own in sorted(_by_origin(origins).items(), key=lambda one: _newest_first(*one)):
            weekdays = {row.weekday: (row.lists, clicked[generation, row.weekday]) for row in own}
            lists, brought = (sum(side) for side in zip(*weekdays.values(), strict=True))
            rates.append(Rate(generation, adapter, lists, clicks[generation], brought, weekdays))
        return Rates(rates, left[UNKNOWN], left[UNLISTED])

    def shadowed(self, shadow: str) -> tuple[int, int]:
        """Return how many clicks live answers have brought that a shadow has answered, too, and of how many items.

        Of its newest comparisons; a click counts as elsewhere here, and the second number those of items that the
        shadow's list holds as well.
        """
        newest = (
            sql.select(COMPARISONS.c.rec_id, COMPARISONS.c.shared)
            .where(COMPARISONS.c.shadow == shadow)
            .order_by(COMPARISONS.c.time.desc(), COMPARISONS.c.rec_id)
            .limit(SUMMARISED)
            .subquery()
        )
        named = (
            sql.select(EVENTS.c.rec_id, EVENTS.c.item_id, EVENTS.c.user_id.label("who"), newest.c.shared)
            .add_columns(IMPRESSIONS.c.user_id, IMPRESSIONS.c.record)
            .select_from(newest.join(EVENTS, EVENTS.c.rec_id == newest.c.rec_id))
            .join(IMPRESSIONS, (IMPRESSIONS.c.rec_id == newest.c.rec_id) & _SHOWN)
            .where(newest.c.shared.is_not(None))
            .order_by(EVENTS.c.rec_id)
        )
        clicks = shared = 0
        with self._engine.connect() as connection:
            rows = connection.execute(named).mappings().all()
        for _, own in itertools.groupby(rows, key=lambda row: row["rec_id"]):
            together = list(own)
            outcomes = _judged(together[0], [(row["who"], row["item_id"]) for row in together])
            places = {int(place) for place in together[0]["shared"].split(",") if place}
            held = {item for place, item in enumerate(_listed(together[0]["record"])) if place in places}
            counted = [row["item_id"] for row, one in zip(together, outcomes, strict=True) if one == COUNTED]
            clicks += len(counted)
            shared += len(held.intersection(counted))
        return clicks, shared

    def outcomes(self, events: Sequence[Event]) -> Iterator[tuple[str, str]]:
        """Return generation ("" where the answer is unknown) and outcome of events that were stored just now."""
        return ((generation, outcome) for _, generation, outcome in self.judged(events))

    def judged(self, events: Sequence[Event]) -> Iterator[tuple[Event, str, str]]:
        """Return events that were stored just now, each with generation and outcome as ``outcomes`` tells them."""
        given: dict[str, list[Event]] = {}
        for event in events:
            given.setdefault(event.rec_id or "", []).append(event)
        ids = sorted(given)
        for start in range(0, len(ids), AT_ONCE):
            some = ids[start : start + AT_ONCE]
            stored = sql.select(EVENTS.c.rec_id, EVENTS.c.item_id, sql.func.count())
            stored = stored.where(EVENTS.c.rec_id.in_(some)).group_by(EVENTS.c.rec_id, EVENTS.c.item_id)
            answers = sql.select(IMPRESSIONS).where(IMPRESSIONS.c.rec_id.in_(some), _SHOWN)
            with self._engine.connect() as connection:
                counts = {(rec_id, item_id): count for rec_id, item_id, count in connection.execute(stored)}
                known = {row["rec_id"]: row for row in connection.execute(answers).mappings()}
            for rec_id in some:
                own, row = given[rec_id], known.get(rec_id)
                new = Counter(event.item_id for event in own)
                before = {item_id for item_id in new if counts.get((rec_id, item_id), 0) > new[item_id]}
                outcomes = _judged(row, [(event.user_id, event.item_id) for event in own], before)
                for event, outcome in zip(own, outcomes, strict=True):
                    yield event, row["generation"] if row else "", outcome

    def _brought(
        self, connection: sql.Connection, first: int, event_type: str | None
    ) -> Iterator[tuple[str, int, list[str]]]:
        """Return for each answer that events name its generation and weekday, and what becomes of each event."""
        answer = sql.and_(EVENTS.c.rec_id == IMPRESSIONS.c.rec_id, IMPRESSIONS.c.time >= first, _SHOWN)
        named = (
            sql.select(
                EVENTS.c.rec_id,
                EVENTS.c.item_id,
                EVENTS.c.user_id.label("who"),
                *(IMPRESSIONS.c[name] for name in ("user_id", "generation", "record", "time")),
            )
            .select_from(EVENTS.outerjoin(IMPRESSIONS, answer))
            .where(EVENTS.c.rec_id.is_not(None), EVENTS.c.timestamp >= first)
            .order_by(EVENTS.c.rec_id)
        )
        if event_type is not None:
            named = named.where(EVENTS.c.event_type == event_type)
        rows: Iterable[sql.RowMapping] = connection.execution_options(yield_per=AT_ONCE).execute(named).mappings()
        for _, own in itertools.groupby(rows, key=lambda row: row["rec_id"]):
            together = list(own)
            row = together[0] if together[0]["record"] is not None else None
            judged = _judged(row, [(one["who"], one["item_id"]) for one in together])
            yield row["generation"] if row else "", row["time"] // DAY % WEEK if row else 0, judged


def _by_origin(rows: Iterable[Any]) -> dict[tuple[str, str], list[Any]]:
    """Return rows of answers by generation and adapter, by weekday each."""
    found: dict[tuple[str, str], list[Any]] = {}
    for row in sorted(rows, key=lambda row: row.weekday):
        found.setdefault((row.generation, row.adapter), []).append(row)
    return found


def _newest_first(origin: tuple[str, str], rows: Iterable[Any]) -> tuple[int, str, str]:
    return -max(row.newest for row in rows), *origin


def _judged(row: sql.RowMapping | None, events: Iterable[tuple[str, str]], before: Iterable[str] = ()) -> list[str]:
    """Return what becomes of the events, user and item, that name one answer.

    Args:
        row: the answer's; None: it is unknown.
        events: in their order.
        before: items that earlier events have counted.
    """
    listed = set(_listed(row["record"])) if row is not None else set()
    counted = set(before)
    outcomes = []
    for user_id, item_id in events:
        if row is None:
            outcome = UNKNOWN
        elif item_id not in listed or row["user_id"] not in (None, user_id):
            outcome = UNLISTED
        else:
            outcome = REPEATED if item_id in counted else COUNTED
            counted.add(item_id)
        outcomes.append(outcome)
    return outcomes


def _listed(record: str) -> list[str]:
    """Return the items of an impression's record, in order."""
    items = json.loads(record)["items"]
    if isinstance(items, dict):
        return list(items["item_id"])
    return [item["item_id"] for item in items]  # of an older version
