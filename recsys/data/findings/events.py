"""Rules about events, counted frame by frame: bursts, users who are many, values out of the usual, items unheard of."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.data import columns
from recsys.data.distributions import EventCounts
from recsys.data.findings.finding import ERROR, WARNING, Finding
from recsys.data.signals import NEUTRAL

IN_A_SECOND, IN_A_MINUTE = 20, 60  # events of one user that no hand makes
BURST_SHARE = 0.001  # of all events
BUSY, BUSY_TIMES, BUSY_SHARE, TAKEN_OVER = 1_000, 100, 0.01, 0.1  # events, medians and shares of one user
FAR = 20  # times the 99th percentile of absolute values
RARELY_NEGATIVE = 0.01
UNHEARD = 0.5  # of the items
_STEPS = 8  # classes of a value for each power of two
_CLASSES = 2_100 * _STEPS


class EventRules:
    """The rules, fed by ``update`` and asked by ``result``.

    Frames may part events in any way; what one user does within a minute is looked for in one frame.

    Attributes:
        counts: of the events so far.
    """

    def __init__(self) -> None:
        self.counts = EventCounts()
        self._bursts = [0, 0]
        self._most = [0, 0]
        self._fine = [False, False]  # whether times tell seconds, and minutes, apart
        self._values: dict[str, _Values] = {}

    def update(self, events: pl.DataFrame) -> None:
        """Look at good events, in any order."""
        self.counts.update(events)
        acts = events
        if columns.EVENT_TYPE in events.columns:  # lists of what was shown come all at once
            acts = acts.filter(~pl.col(columns.EVENT_TYPE).is_in(NEUTRAL).fill_null(False))
        if columns.TIMESTAMP_KNOWN in events.columns:
            acts = acts.filter(pl.col(columns.TIMESTAMP_KNOWN).fill_null(True))
        for place, (every, least) in enumerate((("1s", IN_A_SECOND), ("1m", IN_A_MINUTE))):
            coarser = "1m" if every == "1s" else "1h"
            self._fine[place] |= bool((acts[columns.TIMESTAMP].dt.truncate(coarser) != acts[columns.TIMESTAMP]).any())
            span = pl.col(columns.TIMESTAMP).dt.truncate(every)
            found = acts.group_by(columns.USER_ID, span).len().filter(pl.col("len") >= least)["len"]
            self._bursts[place] += int(found.sum())
            self._most[place] = max([self._most[place], *found.top_k(1)])
        if columns.VALUE in events.columns:
            typed = events[columns.EVENT_TYPE] if columns.EVENT_TYPE in events.columns else None
            kinds = {"": events} if typed is None else {
                str(name or ""): part for (name,), part in events.partition_by(columns.EVENT_TYPE, as_dict=True).items()
            }  # fmt: skip
            for kind, part in kinds.items():
                self._values.setdefault(kind, _Values()).update(part[columns.VALUE].drop_nulls().to_numpy())

    def result(self, items: pl.DataFrame) -> list[Finding]:
        """Return what was found, given the good items."""
        found = [*self._burst_findings(), *self._busy_findings(), *self._value_findings()]
        unheard = items.height - self.counts.by_item.height
        if items.height and unheard > UNHEARD * items.height:
            said = f"{unheard:,} of {items.height:,} items have no event. Their texts alone will be known."
            found.append(Finding("items-without-events", WARNING, "items", unheard, items.height, said))
        return found

    def _burst_findings(self) -> list[Finding]:
        # the second says more than the minute that holds it
        for place, (span, least) in enumerate((("second", IN_A_SECOND), ("minute", IN_A_MINUTE))):
            if self._fine[place] and self._bursts[place] > BURST_SHARE * self.counts.rows:
                said = (
                    f"{self._bursts[place]:,} events came {least} or more in one {span} from one user. Look for "
                    "imports and scripts among them, or for times that were written later than the events happened."
                )
                most = (f"{self._most[place]:,} in one {span}",)
                return [Finding("bursts", WARNING, "events", self._bursts[place], self.counts.rows, said, most)]
        return []

    def _busy_findings(self) -> list[Finding]:
        if not self.counts.rows:
            return []
        counts = self.counts.by_user.sort().to_numpy().astype(np.int64)
        median = int(counts[(len(counts) - 1) // 2])
        busy = counts[counts > max(BUSY, BUSY_TIMES * median, BUSY_SHARE * self.counts.rows)]
        if not len(busy):
            return []
        events, most = int(busy.sum()), int(busy[-1])
        said = (
            f"{len(busy):,} of {len(counts):,} users made {events:,} of {self.counts.rows:,} events, "
            f"each more than {BUSY_TIMES} times the median of {median:,}. Leave out robots, tests and shared accounts."
        )
        severity = ERROR if most > TAKEN_OVER * self.counts.rows else WARNING
        shown = (f"one user with {most:,} events, {most / self.counts.rows:.1%} of all",)
        return [Finding("users-of-too-many-events", severity, "events", events, self.counts.rows, said, shown)]

    def _value_findings(self) -> list[Finding]:
        found = []
        for kind, values in sorted(self._values.items()):
            of = f" of type {kind}" if kind else ""
            far, usual = values.far()
            if far:
                said = (
                    f"{far:,} values of events{of} are more than {FAR} times as large as 99 % of them "
                    f"(about {usual:.3g}). Check their unit, or correct them."
                )
                examples = (f"{values.largest:g}",)
                found.append(Finding("values-out-of-the-usual", WARNING, "events", far, values.count, said, examples))
            if 0 < values.negative <= RARELY_NEGATIVE * values.count:
                said = f"{values.negative:,} values of events{of} are below 0, and all others are not. Correct them."
                examples = (f"{values.smallest:g}",)
                found.append(
                    Finding("rare-negative-values", WARNING, "events", values.negative, values.count, said, examples)
                )
        return found


class _Values:
    """How values are distributed: counts of absolute ones by classes a twelfth of an octave wide or so."""

    def __init__(self) -> None:
        self.count = self.negative = 0
        self.smallest = self.largest = 0.0
        self._tally = np.zeros(_CLASSES, dtype=np.int64)

    def update(self, values: NDArray[np.float64]) -> None:
        if not len(values):
            return
        values = values.astype(np.float64)
        self.count += len(values)
        self.negative += int((values < 0).sum())
        self.smallest = min(self.smallest, float(values.min()))
        self.largest = max(self.largest, float(values.max()), key=abs)
        size = np.abs(values[values != 0])
        places = np.floor(np.log2(size) * _STEPS).astype(np.int64) + _CLASSES // 2
        self._tally += np.bincount(np.clip(places, 0, _CLASSES - 1), minlength=_CLASSES)

    def far(self) -> tuple[int, float]:
        """Return how many are far beyond nearly all that are not 0, and what nearly all are at most."""
        summed = np.cumsum(self._tally)
        if not summed[-1]:
            return 0, 0.0
        place = int(np.searchsorted(summed, 0.99 * summed[-1]))
        beyond = place + 1 + int(np.ceil(np.log2(FAR) * _STEPS))
        return int(summed[-1] - summed[min(beyond, _CLASSES - 1)]), float(2.0 ** ((place + 1 - _CLASSES // 2) / _STEPS))
