"""A look at good tables: what is odd about them, and how they are distributed; events come in any number of parts.

Of events what is kept grows with users, items and days, and not with events.
"""

from collections.abc import Mapping

import polars as pl

from recsys.config import TextConfig
from recsys.data import columns
from recsys.data.distributions import MOST_TYPES, SPANS, Distribution, doubling, over_time
from recsys.data.findings.drift import Profile, drift_findings
from recsys.data.findings.events import EventRules
from recsys.data.findings.finding import ERROR, Finding
from recsys.data.findings.texts import text_findings
from recsys.data.text import item_texts

_DAY, _COUNT = "day", "len"


class Look:
    """Fed by ``update`` with good events, and asked then."""

    def __init__(self) -> None:
        self._rules = EventRules()
        self._profile: Profile | None = None
        self._days: list[pl.DataFrame] = []
        self._items: list[pl.DataFrame] = []
        self._types: list[pl.DataFrame] = []

    def update(self, events: pl.DataFrame) -> None:
        """Take a part of the events; all have the same columns."""
        own = Profile.of(events)
        self._profile = own if self._profile is None else self._profile.with_more(own)
        self._rules.update(events)
        known = events
        if columns.TIMESTAMP_KNOWN in events.columns:
            known = events.filter(pl.col(columns.TIMESTAMP_KNOWN).fill_null(True))
        day = pl.col(columns.TIMESTAMP).dt.truncate("1d").alias(_DAY)
        self._days = _added(self._days, known.group_by(day).len())
        self._items = _added(self._items, events.group_by(columns.ITEM_ID).len())
        if columns.EVENT_TYPE in events.columns:
            self._types = _added(self._types, events.group_by(columns.EVENT_TYPE).len())

    def findings(
        self, items: pl.DataFrame, users: pl.DataFrame | None, before: Mapping[str, Profile] | None = None
    ) -> tuple[Finding, ...]:
        """Return what is odd, the gravest first.

        Args:
            items: the good ones.
            users: likewise; None: nothing is known of them.
            before: profiles of the last snapshot's tables; None: there is none.
        """
        now = {"items": Profile.of(items)} | ({} if users is None else {"users": Profile.of(users)})
        now |= {} if self._profile is None else {"events": self._profile}
        found = [*drift_findings(before or {}, now), *self._rules.result(items), *text_findings(items)]
        return tuple(sorted(found, key=lambda one: one.severity != ERROR))

    def distributions(self, items: pl.DataFrame) -> tuple[Distribution, ...]:
        """Return how events lie in time, by user, item and type, and how long the texts of items are."""
        if not self._items:
            return ()
        by_item = items.select(columns.ITEM_ID).join(_sum(self._items), columns.ITEM_ID, how="left")
        lengths = pl.Series(map(len, item_texts(items, TextConfig())), dtype=pl.Int64)
        found = [
            *self._over_time(),
            Distribution("users", "events", doubling(self._rules.by_user)),
            Distribution("items", "events", doubling(by_item[_COUNT].fill_null(0))),
            Distribution("items", "characters of text", doubling(lengths)),
        ]
        if self._types:
            found.append(Distribution("events", "type", _most_frequent(_sum(self._types))))
        return tuple(found)

    def _over_time(self) -> list[Distribution]:
        days = _sum(self._days)
        drawn = over_time(days.select(pl.col(_DAY).alias(columns.TIMESTAMP)))  # of days that have events: for its spans
        counts: list[Distribution] = []
        for one in drawn:
            every, form = SPANS[one.by]
            spans = days.group_by(pl.col(_DAY).dt.truncate(every).dt.strftime(form)).agg(pl.col(_COUNT).sum())
            found = dict(spans.iter_rows())
            counts.append(Distribution(one.what, one.by, {name: int(found.get(name, 0)) for name in one.counts}))
        return counts


def _most_frequent(types: pl.DataFrame) -> dict[str, int]:
    """Return the counts of types, the most frequent first, the rest of them together."""
    ordered = types.sort([_COUNT, columns.EVENT_TYPE], descending=[True, False])
    rows = [("(none)" if name is None else str(name), int(count)) for name, count in ordered.iter_rows()]
    rest = sum(count for _, count in rows[MOST_TYPES:])
    return dict(rows[:MOST_TYPES]) | ({f"{len(rows) - MOST_TYPES} others": rest} if rest else {})


def _added(parts: list[pl.DataFrame], more: pl.DataFrame) -> list[pl.DataFrame]:
    """Return counts with others, added up now and then."""
    parts = [*parts, more]
    return [_sum(parts)] if len(parts) > 16 else parts


def _sum(parts: list[pl.DataFrame]) -> pl.DataFrame:
    key = parts[0].columns[0]
    return pl.concat(parts, how="vertical_relaxed").group_by(key).agg(pl.col(_COUNT).sum())
