"""One run over everything that is given: the training's data, newer events, the next catalogue, what answers brought.

::

    report = monitor(Watched(trained_events, trained_items, newer=events, until=now), MonitorConfig())
    report.level, [check.sentence for check in report.checks if check.level != "ok"]

It takes values and returns a value: the same ones give the same report.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.config import MonitorConfig, TextConfig
from recsys.data import columns
from recsys.data.quality import TableQuality
from recsys.database.rates import Rate
from recsys.monitoring import answers, arrivals, embeddings, mixes, traffic, wording
from recsys.monitoring.checks import OK, Check, Level, Reading, asks_for_training, judged, worst
from recsys.monitoring.windows import History, midnight

_DEFAULT = MonitorConfig()
_READ = TextConfig()


@dataclass(frozen=True)
class Vectors:
    """Vectors of items.

    Attributes:
        item_ids: (items,).
        known: (items, dimensions), of the items that were trained on.
        texts: of some texts that were trained on, and of some that are new or changed, (texts, dimensions) both, as
            ``wording.texts_of`` returns them; None: they were not encoded.
    """

    item_ids: Sequence[str]
    known: NDArray[np.float32]
    texts: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None


@dataclass(frozen=True)
class Watched:
    """What is looked at, as it was read.

    Attributes:
        events: that were trained on.
        items: likewise.
        newer: events since then, typed; older ones among them are passed over. None: there are none to be had.
        catalogue: the items of today; None: as they were.
        until: counts and shares end at the midnight before.
        now: when it is looked; None: then.
        reading: how an item becomes a text.
        quality: of raw tables, by what an ingest would set aside of them.
        schemas: of raw tables, the types of their columns; each beside those of the training in ``trained_schemas``.
        vectors: of the items; None: no check of vectors is made.
        rates: what answers have brought, by event type; ``answers.ANY`` for all.
        served: the generation that is served; empty: none is.
    """

    events: pl.DataFrame
    items: pl.DataFrame
    until: datetime
    newer: pl.DataFrame | None = None
    catalogue: pl.DataFrame | None = None
    now: datetime | None = None
    reading: TextConfig = _READ
    quality: Sequence[TableQuality] = ()
    allowed_bad_rows: float = 0.01
    schemas: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    trained_schemas: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    vectors: Vectors | None = None
    rates: Mapping[str, Sequence[Rate]] = field(default_factory=dict)
    served: str = ""


@dataclass(frozen=True)
class Report:
    """What a run has found.

    Attributes:
        begin: of the days whose mix was compared; of the end, see ``until``.
        events: in these days.
        false_alarms: the chance that such a run finds anything in unchanged data.
        rates: what answers have brought, by event type, each by generation, the newest answers first.
    """

    begin: datetime
    end: datetime
    events: int
    false_alarms: float
    checks: tuple[Check, ...]
    rates: Mapping[str, Sequence[Rate]] = field(default_factory=dict)

    @property
    def level(self) -> Level:
        return worst(self.checks)

    @property
    def findings(self) -> tuple[Check, ...]:
        """The checks that are not as usual, in their order."""
        return tuple(check for check in self.checks if check.level != OK)

    @property
    def training_helps(self) -> bool:
        """Whether something that a training learns has changed much, and nothing says that the data is broken."""
        return asks_for_training(self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "level": self.level,
            "training_helps": self.training_helps,
            "begin": self.begin.isoformat(),
            "end": self.end.isoformat(),
            "events": self.events,
            "false_alarms": self.false_alarms,
            "checks": [asdict(check) for check in self.checks],
            "answers": answers.told(self.rates),
        }


def monitor(watched: Watched, config: MonitorConfig = _DEFAULT) -> Report:
    """Look at everything that is given and judge all of it together."""
    none = watched.events.clear()
    newer = none if watched.newer is None else watched.newer
    history = History.of(watched.events, newer, watched.until)
    windows = history.windows(config.window_days, config)
    readings = [*_of_arrivals(watched, config), *_of_events(history, watched, config), *_of_items(watched, config)]
    readings += answers.answers(watched.rates, watched.served, config)
    first, last = windows.now.days
    return Report(
        midnight(first),
        midnight(last),
        history.within(windows.now.days).height,
        config.false_alarms,
        judged(readings, config.false_alarms),
        watched.rates,
    )


def _of_arrivals(watched: Watched, config: MonitorConfig) -> Iterator[Reading]:
    newest = None if watched.newer is None else watched.newer[columns.TIMESTAMP].max()
    trained = watched.events[columns.TIMESTAMP].max()
    yield from arrivals.freshness(trained, newest, watched.now or watched.until, config)  # type: ignore[arg-type]  # they are times
    for name, found in watched.schemas.items():
        yield arrivals.schema(name, watched.trained_schemas[name], found)
    for quality in watched.quality:
        yield arrivals.bad_rows(quality, watched.allowed_bad_rows)


def _of_events(history: History, watched: Watched, config: MonitorConfig) -> Iterator[Reading]:
    if not history.has_newer:
        return
    windows = history.windows(config.window_days, config)
    yield traffic.volume(history, config)
    yield traffic.unknown_users(history, windows, config)
    yield traffic.cold_items(history, windows, config)
    delivered = [name for name in watched.events.columns if watched.newer is None or name in watched.newer.columns]
    empty = traffic.missing_values(history, windows, delivered, config)
    late = traffic.lag(history, windows, config)
    yield from (one for one in (empty, late) if one is not None)
    items = watched.items if watched.catalogue is None else watched.catalogue
    yield from mixes.mixes(history, items, windows, config)
    yield mixes.popularity(history, windows, config)
    if watched.vectors is not None:
        yield embeddings.chosen(history, windows, watched.vectors.item_ids, watched.vectors.known, config)


def _of_items(watched: Watched, config: MonitorConfig) -> Iterator[Reading]:
    if watched.catalogue is None:
        return
    numbers = arrivals.numbers(watched.items, watched.catalogue, config)
    if numbers is not None:
        yield numbers
    before, new = wording.texts_of(watched.items, watched.catalogue, watched.reading)
    yield from wording.wording(before, new, config)
    if watched.vectors is not None and watched.vectors.texts is not None:
        yield embeddings.new_texts(*watched.vectors.texts, config)
