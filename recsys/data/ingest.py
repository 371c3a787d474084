"""From raw files to a snapshot: read the tables, set bad rows aside, and write what is good, or refuse."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import polars as pl

from recsys.config import IngestConfig
from recsys.data import columns
from recsys.data.attributes import attribute_names, check_context, unused
from recsys.data.findings.gathered import profiles
from recsys.data.findings.look import Look
from recsys.data.forgetting import Forgotten
from recsys.data.live import LiveTables, joined_events, joined_items, joined_users
from recsys.data.locations import Sources
from recsys.data.manifest import LiveMark
from recsys.data.notation import Notation
from recsys.data.quality import QualityError, QualityReport, event_checks, item_checks, split, user_checks
from recsys.data.repeats import measure_repeats
from recsys.data.signals import suggested
from recsys.data.snapshot import CONTRACT_COLUMNS, Snapshot, write_snapshot
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
    users: pl.DataFrame | None
    report: QualityReport
    live: LiveMark | None = None


def ingest(
    events: Location,
    items: Location,
    home: Home,
    config: IngestConfig = _DEFAULT,
    now: datetime | None = None,
    forgotten: Forgotten = _NOBODY,
    complete_events: Complete = unchanged,
    complete_items: Complete = unchanged,
    users: Location | None = None,
    live: LiveTables | None = None,
) -> Snapshot:
    """Turn raw events, items and users into a snapshot; the same content, in any order and format, gives the same one.

    Args:
        events: where the events are: a file, a folder, a glob or a URL; or a frame of them.
        items: where the items are, likewise.
        home: the state to write the snapshot to.
        config: column names, and how much may be set aside.
        now: with a time zone; an event after it is in the future. The clock's time by default.
        forgotten: whose events and attributes go neither into the snapshot nor into its quarantine.
        complete_events: fills in what good events lack.
        complete_items: fills in what good items lack.
        users: where the users and their attributes are, likewise; None: nothing is known of them but their events.
        live: what was collected while the service ran, which joins what the sources hold; None: nothing does.

    Raises:
        SourceError: a table cannot be read, or may not be, or is too large.
        QualityError: more rows are bad than ``max_quarantined_share`` allows, or none is good.
        ArtifactError: the same content was ingested before, and that snapshot has been damaged since.
    """
    sources = Sources.from_environment().with_folder(home.cache)  # where what the library fetches itself lies
    tables = _check(events, items, users, config, now, sources, forgotten, live)
    if tables.report.refusal():
        raise QualityError(tables.report)
    events_table, items_table = complete_events(tables.events), complete_items(tables.items)
    report = tables.report
    return write_snapshot(
        home,
        events_table,
        items_table,
        report.quarantine,
        report.tables,
        config,
        tables.users,
        report.unused,
        report.unused_context,
        tables.live,
    )


def validate(
    events: Location,
    items: Location,
    config: IngestConfig = _DEFAULT,
    now: datetime | None = None,
    users: Location | None = None,
    before: Snapshot | None = None,
) -> QualityReport:
    """Check raw tables as ``ingest`` does, and write nothing; ``report.refusal()`` says what it would refuse.

    What is good is looked through as well: for what is odd about it, alone and beside the snapshot ``before`` it.

    Raises:
        SourceError: a table cannot be read.
    """
    tables = _check(events, items, users, config, now, Sources.from_environment())
    look = Look()
    look.update(tables.events)
    return replace(
        tables.report,
        repeats=measure_repeats(tables.events),
        signals=suggested(tables.events),
        findings=look.findings(tables.items, tables.users, profiles(before)),
        distributions=look.distributions(tables.items),
    )


def _check(
    events: Location,
    items: Location,
    users: Location | None,
    config: IngestConfig,
    now: datetime | None,
    sources: Sources,
    forgotten: Forgotten = _NOBODY,
    live: LiveTables | None = None,
) -> _Tables:
    latest = (now or datetime.now(UTC)).astimezone(UTC) + timedelta(seconds=config.future_tolerance_seconds)
    notation = Notation.of(config)
    raw_items = read_table(items, "items", config.item_columns, config.limits, sources, notation)
    good_items, bad_items, item_quality = split(raw_items, "items", item_checks())
    changed = fresh = told = 0
    if live is not None:
        good_items, changed = joined_items(good_items, live.items)
    checks = event_checks(good_items[columns.ITEM_ID], latest)
    raw_events = forgotten.remain(read_table(events, "events", config.event_columns, config.limits, sources, notation))
    good_events, bad_events, event_quality = split(raw_events, "events", checks)
    if live is not None:
        known = forgotten.remain(live.known(good_items[columns.ITEM_ID], latest))
        good_events, fresh = joined_events(good_events, known, config.context_columns or ())
    bad, qualities = [bad_events, bad_items], [event_quality, item_quality]
    context = config.context_columns or ()
    check_context(good_events, context, CONTRACT_COLUMNS)
    unfit = unused(good_events, list(context))
    good_users, left = None, {}
    named = config.user_columns or {}
    raw_users = None if users is None else read_table(users, "users", named, config.limits, sources, notation)
    raw_users = None if raw_users is None else forgotten.remain(raw_users, columns.UPDATED_AT)
    if raw_users is not None and not raw_users.is_empty():  # everybody in it may be forgotten
        good_users, bad_users, user_quality = split(raw_users, "users", user_checks())
        if live is not None:
            said = {name: one for name, one in live.users.items() if (forgotten.when(name) or -1) < one.time}
            good_users, told = joined_users(good_users, said)
        left = unused(good_users, attribute_names(good_users))
        bad, qualities = [*bad, bad_users], [*qualities, user_quality]
    report = QualityReport(
        tuple(qualities), pl.concat(bad), config.max_quarantined_share, unused=left, unused_context=unfit
    )
    mark = None if live is None else live.mark(fresh, changed, told)
    return _Tables(good_events, good_items, good_users, report, mark)
