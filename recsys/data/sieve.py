"""The events of an ingest on their way: batches as they were read become good events, node by node, each once."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import polars as pl

from recsys.data import columns
from recsys.data.attributes import Values, check_context, unused_of
from recsys.data.compact import compact
from recsys.data.content import CONTRACT_COLUMNS
from recsys.data.earlier import EarlierEvents
from recsys.data.live import joined_events
from recsys.data.quality import TableQuality
from recsys.data.segments.names import Names
from recsys.data.segments.room import Room
from recsys.data.segments.scatter import Scatter
from recsys.data.set_aside import SetAside
from recsys.data.sifting import BASE, Check, Sifted, cleared, quality_of, sift, without_duplicates
from recsys.data.signal_kinds import further_kinds
from recsys.data.since import Since
from recsys.data.sources import FILE, ROW

Complete = Callable[[pl.DataFrame], pl.DataFrame]
_ID, _LIVE = columns.EVENT_ID, "the service"
_KEY = (columns.USER_ID, columns.ITEM_ID, columns.TIMESTAMP)


def unchanged(table: pl.DataFrame) -> pl.DataFrame:
    """Complete nothing."""
    return table


class EventSieve:
    """Takes batches, and gives good events without duplicates.

    Args:
        room: for what does not fit into memory.
        set_aside: takes the bad rows.
        checks: what makes a row bad.
        context: columns that a request may give.
        base: the events that these join; None: there are none before.
        since: passes over events before a time.
    """

    def __init__(
        self,
        room: Room,
        set_aside: SetAside,
        checks: list[Check],
        context: Sequence[str] = (),
        base: EarlierEvents | None = None,
        since: Since | None = None,
    ) -> None:
        self._set_aside = set_aside
        self._checks = checks
        self._context = context
        self._base = base
        self._since = since or Since(None)
        self._scatter, self._names = Scatter(room), Names(room)
        self._read, self._typed = pl.Schema(), pl.DataFrame()
        self._rows = 0
        self._reasons: Counter[tuple[str, str]] = Counter()
        self._live: pl.DataFrame | None = None
        self._candidates: list[pl.DataFrame] = []
        self._hashes: list[pl.Series] = []
        self._kinds: pl.DataFrame | None = None
        self._values: dict[str, Values] = {}
        self.joined = self.late = self.known = self.good = 0

    def expect(self, live: pl.DataFrame) -> None:
        """Join live events, with the columns of ``recsys.data.live.EVENTS``, that the batches do not hold."""
        self._live = live

    def add(self, raw: pl.DataFrame) -> None:
        """Take a batch as it was read; all have the same columns."""
        self._read = raw.schema
        sifted = sift(self._since.remain(raw), "events", self._checks)
        good = sifted.good
        self._rows += good.height + sifted.quarantine.height
        self.good += good.height
        self._typed = good.clear()
        self._put_aside(sifted)
        if self._base is not None:
            self.late += self._base.late(good)
            self._note(good)
        self._take(good)

    @property
    def passed_over(self) -> int:
        """Rows before the time from which on events are wanted."""
        return self._since.passed_over

    @property
    def quality(self) -> TableQuality:
        """What was read so far, and set aside."""
        return quality_of("events", self._rows, self._reasons)

    @property
    def like(self) -> pl.DataFrame:
        """A table without rows that has the columns of all events."""
        own = cleared(self._typed)
        return own if self._base is None else pl.concat([self._base.like, own], how="diagonal_relaxed")

    def units(self, complete: Complete = unchanged) -> Iterator[pl.DataFrame]:
        """Yield all good events that are not in segments which stay, the nodes from the oldest; see ``Scatter.units``.

        Args:
            complete: fills in what good events lack.

        Raises:
            SourceError: a column cannot be the context of a request.
        """
        check_context(self.like, self._context, CONTRACT_COLUMNS)
        if self._base is not None:
            if self._live is not None:
                self._note(self._live)
            hashes = pl.concat([pl.Series(dtype=pl.UInt64), *self._hashes]).unique()
            for earlier in self._base.touched(hashes, self.like.schema):
                self._take(earlier)
        if self._live is not None:
            self._join(self._live)
        for surplus in self._names.resolve(self._scatter, self._read):
            self._put_aside(surplus)
        for unit in self._scatter.units():
            good, repeated = without_duplicates(self._names.without_surplus(unit, self._scatter), "events", self._read)
            self._put_aside(repeated)
            if self._base is None:
                good = complete(cleared(good))
            else:
                earlier, new = good.filter(pl.col(FILE) == BASE), good.filter(pl.col(FILE) != BASE)
                new = complete(cleared(new)) if new.height or earlier.is_empty() else cleared(new)
                good = new if earlier.is_empty() else pl.concat([cleared(earlier), new], how="diagonal_relaxed")
            self._summarise(good)
            yield good

    def unused_context(self) -> dict[str, str]:
        """Return columns of context that make no segments, and why."""
        if self._base is not None and self._context:
            for part in self._base.rest(self._context):
                self._look(part)
        return unused_of(self._values)

    @property
    def kinds(self) -> pl.DataFrame:
        """A few events of each type, as many as tell what values there are."""
        return self.like if self._kinds is None else self._kinds

    def _take(self, good: pl.DataFrame) -> None:
        self._scatter.add(good)
        self._names.add(good)
        if self._live is not None:
            known = good.join(self._live.select(_KEY), on=_KEY, how="semi")
            if columns.EVENT_ID in known.columns:
                others = good.join(self._live.select(_KEY), on=_KEY, how="anti")
                known = pl.concat([known, others.join(self._live.select(_ID), on=_ID, how="semi")])
            self._candidates.append(compact(known))

    def _note(self, events: pl.DataFrame) -> None:
        """Take note of where events belong among those before, and of their ids."""
        if self._base is not None and not events.is_empty():
            self._base.touch(events)
            if _ID in events.columns:
                self._hashes.append(events[_ID].drop_nulls().hash())

    def _join(self, live: pl.DataFrame) -> None:
        candidates = pl.concat([self._typed, *self._candidates], how="diagonal_relaxed")
        held, _ = without_duplicates(candidates, "events", self._read)
        joined, self.joined = joined_events(held, live, self._context)
        if self.joined:
            self._scatter.add(
                joined[held.height :].with_columns(pl.lit(_LIVE).alias(FILE), pl.lit(0, pl.UInt64).alias(ROW))
            )

    def _put_aside(self, sifted: Sifted) -> None:
        self._reasons += sifted.reasons
        self.known += sifted.known
        if self._base is not None and sifted.known:
            self._base.remove(int((sifted.good[FILE] == BASE).sum()))
        self._set_aside.add(sifted.quarantine)

    def _summarise(self, good: pl.DataFrame) -> None:
        self._kinds = further_kinds(self._kinds, good)
        self._look(good)

    def _look(self, events: pl.DataFrame) -> None:
        for name in self._context:
            if name in self._values:
                self._values[name].add(events[name])
            else:
                self._values[name] = Values.of(events[name])
