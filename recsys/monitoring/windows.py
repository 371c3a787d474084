"""Which days are looked at, which weeks they are compared with, and what training had seen before each of them.

Days are whole days of UTC. What is looked at ends at a midnight; past windows are those that end so many weeks earlier,
on the same weekdays. Each is compared with a reference of its own, as long before it as the training lies before what
is looked at: an older training is further from today, and so was last month's from last month.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.config import MonitorConfig
from recsys.data import columns
from recsys.monitoring.forecasts import LEAST_WEEKS

DAY = "__day"
LEAST_REFERENCE = 14  # days
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Days = tuple[int, int]  # from the first on, before the last; since 1970


@dataclass(frozen=True)
class Window:
    """Some days, and what they are compared with."""

    days: Days
    reference: Days


@dataclass(frozen=True)
class Windows:
    """What is looked at, and the same some weeks before.

    Attributes:
        now: what is looked at.
        past: of the weeks before, oldest first; none, where too little is known of them.
    """

    now: Window
    past: tuple[Window, ...]


@dataclass(frozen=True)
class History:
    """All events that are known, of which those of a training come first.

    Attributes:
        events: of the snapshot and newer ones, with ``DAY``, by time.
        first: the first day that is known.
        trained: the day after the last one of the training.
        resumed: the first day of what is newer than the training; days between are not known.
        end: the day before which everything is looked at.
    """

    events: pl.DataFrame
    first: int
    trained: int
    resumed: int
    end: int

    @classmethod
    def of(cls, trained: pl.DataFrame, newer: pl.DataFrame, until: datetime) -> "History":
        """Join a training's events with newer ones, which are those after its last; ``until`` is cut to a midnight.

        Columns that only one of both has are null in the other.
        """
        newest = trained[columns.TIMESTAMP].max()
        newer = newer.filter(pl.col(columns.TIMESTAMP) > newest)
        end = day_of(until)
        day = (pl.col(columns.TIMESTAMP).dt.epoch("s") // 86_400).cast(pl.Int32).alias(DAY)
        joined = pl.concat([trained, newer], how="diagonal_relaxed").with_columns(day)
        joined = joined.filter(pl.col(DAY) < end).sort(columns.TIMESTAMP, columns.USER_ID, columns.ITEM_ID)
        cut = day_of(newest) + 1  # type: ignore[arg-type]  # a snapshot has events
        resumed = day_of(newer[columns.TIMESTAMP].min()) if newer.height else end  # type: ignore[arg-type]
        first = day_of(trained[columns.TIMESTAMP].min())  # type: ignore[arg-type]
        return cls(joined, first, cut, max(resumed, cut - 1), end)

    @property
    def has_newer(self) -> bool:
        """Whether anything is known beyond the training."""
        return self.resumed < self.end

    def windows(self, days: int, config: MonitorConfig) -> Windows:
        """Return the last so many days, and as many weeks before them as are known with a reference.

        The reference is ``config.reference_days`` long, or shorter where otherwise too few weeks would be left.
        """
        start, step = self.end - days, 7 * -(-days // 7)
        gap = max(0, start - self.trained)
        starts = [start - step * number for number in range(1, config.past_weeks + 1)]
        known = [one for one in starts if self._knows((one, one + days))]
        length, chosen = self._reference(known, gap, config.reference_days)
        now = Window((start, self.end), (start - gap - length, start - gap))
        past = tuple(Window((one, one + days), (one - gap - length, one - gap)) for one in reversed(chosen))
        return Windows(now, past)

    def known_days(self, before: int, most: int) -> list[int]:
        """Return the days that are known whole, of so many before one."""
        return [day for day in range(before - most, before) if self._knows((day, day + 1))]

    def _reference(self, starts: list[int], gap: int, wanted: int) -> tuple[int, list[int]]:
        """Return how long references are, and the starts of windows, newest first, before which one is known."""
        for length in range(wanted, LEAST_REFERENCE - 1, -1):
            chosen = [one for one in starts if one - gap - length >= self.first]
            if len(chosen) >= LEAST_WEEKS:
                return length, chosen
        return wanted, []

    def _knows(self, days: Days) -> bool:
        """Tell whether all of some days are known: the training's last day may have ended early."""
        if days[0] < self.first:
            return False
        continued = self.resumed <= self.trained
        return continued or days[1] < self.trained or days[0] >= self.resumed

    def within(self, days: Days) -> pl.DataFrame:
        """Return the events of some days."""
        low, high = np.searchsorted(self.events[DAY].to_numpy(), days).tolist()
        return self.events.slice(low, high - low)

    def counts(self, values: NDArray[np.int64], kinds: int) -> "DailyCounts":
        """Count the events of each day by a number that each has, -1 for none."""
        day = self.events[DAY].to_numpy() - self.first
        kept = (values >= 0) & (day >= 0)
        length = self.end - self.first
        flat = np.bincount(day[kept] * np.int64(kinds) + values[kept], minlength=length * kinds)
        running = np.zeros((length + 1, kinds), dtype=np.int64)
        np.cumsum(flat.reshape(length, kinds), axis=0, out=running[1:])
        return DailyCounts(running, self.first)


@dataclass(frozen=True)
class DailyCounts:
    """Running sums by day, (days + 1, kinds): any days are one subtraction."""

    running: NDArray[np.int64]
    first: int

    def of(self, days: Days) -> NDArray[np.int64]:
        """Return the counts of some days, (kinds,)."""
        low, high = (min(max(day - self.first, 0), len(self.running) - 1) for day in days)
        return self.running[high] - self.running[low]


def day_of(moment: datetime) -> int:
    """Return the day of a time, since 1970 in UTC."""
    return (moment - _EPOCH) // timedelta(days=1)


def midnight(day: int) -> datetime:
    """Return when a day begins."""
    return _EPOCH + timedelta(days=day)
