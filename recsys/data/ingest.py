"""From raw files to a snapshot: read both tables, set bad rows aside, and write what is good, or refuse."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import polars as pl

from recsys.config import IngestConfig
from recsys.data import columns
from recsys.data.forgetting import Forgotten
from recsys.data.locations import Sources
from recsys.data.quality import QualityError, QualityReport, event_checks, item_checks, split
from recsys.data.repeats import measure_repeats
from recsys.data.signals import suggested
from recsys.data.snapshot import Snapshot, write_snapshot
from recsys.data.sources import Location, read_table
from recsys.home import Home

Complete = Callable[[pl.DataFrame], pl.DataFrame]
_DEFAULT = IngestConfig()
_NOBODY = Forgotten()


def unchanged(table: pl.DataFrame) -> pl.DataFrame:
    """Complete nothing."""
    return table


@dataclass(frozen=True)
class _Tables:
    events: pl.DataFrame
    items: pl.DataFrame
    report: QualityReport


def ingest(
    events: Location,
    items: Location,
    home: Home,
    config: IngestConfig = _DEFAULT,
    now: datetime | None = None,
    forgotten: Forgotten = _NOBODY,
    complete_events: Complete = unchanged,
    complete_items: Complete = unchanged,
) -> Snapshot:
    """Turn raw events and items into a snapshot; the same content, in any order and format, gives the same one.

    Args:
        events: where the events are: a file, a folder, a glob or a URL; or a frame of them.
        items: where the items are, likewise.
        home: the state to write the snapshot to.
        config: column names, and how much may be set aside.
        now: with a time zone; an event after it is in the future. The clock's time by default.
        forgotten: whose events go neither into the snapshot nor into its quarantine.
        complete_events: fills in what good events lack.
        complete_items: fills in what good items lack.

    Raises:
        SourceError: a table cannot be read, or may not be, or is too large.
        QualityError: more rows are bad than ``max_quarantined_share`` allows, or none is good.
        ArtifactError: the same content was ingested before, and that snapshot has been damaged since.
    """
    sources = Sources.from_environment().with_folder(home.cache)  # where what the library fetches itself lies
    tables = _check(events, items, config, now, sources, forgotten)
    if tables.report.refusal():
        raise QualityError(tables.report)
    events_table, items_table = complete_events(tables.events), complete_items(tables.items)
    return write_snapshot(home, events_table, items_table, tables.report.quarantine, tables.report.tables, config)


def validate(
    events: Location, items: Location, config: IngestConfig = _DEFAULT, now: datetime | None = None
) -> QualityReport:
    """Check raw events and items as ``ingest`` does, and write nothing; ``report.refusal()`` says what it would refuse.

    Raises:
        SourceError: a table cannot be read.
    """
    tables = _check(events, items, config, now, Sources.from_environment())
    return replace(tables.report, repeats=measure_repeats(tables.events), signals=suggested(tables.events))


def _check(
    events: Location,
    items: Location,
    config: IngestConfig,
    now: datetime | None,
    sources: Sources,
    forgotten: Forgotten = _NOBODY,
) -> _Tables:
    latest = (now or datetime.now(UTC)).astimezone(UTC) + timedelta(seconds=config.future_tolerance_seconds)
    raw_items = read_table(items, "items", config.item_columns, config.limits, sources)
    good_items, bad_items, item_quality = split(raw_items, "items", item_checks())
    checks = event_checks(good_items[columns.ITEM_ID], latest)
    raw_events = forgotten.remain(read_table(events, "events", config.event_columns, config.limits, sources))
    good_events, bad_events, event_quality = split(raw_events, "events", checks)
    quarantine = pl.concat([bad_events, bad_items])
    report = QualityReport((event_quality, item_quality), quarantine, config.max_quarantined_share)
    return _Tables(good_events, good_items, report)
