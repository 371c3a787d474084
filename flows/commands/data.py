"""`recsys ingest`, `validate`, `export-events`: files to a snapshot or its quality report, live events to a file."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.datasets import DatasetOption, PathOption, check_given, located
from flows.commands.tables import notes_of, show_findings, show_quality
from flows.commands.terminal import FAILED, DebugOption, HomeOption, JsonOption, shell
from recsys.config import DecimalMark, IngestConfig, TimeUnit, read_settings, to_dict

if TYPE_CHECKING:
    from recsys.data.quality import QualityReport

Events = Annotated[str | None, typer.Option(help="File, folder, glob, URL or env:NAME: Parquet, CSV or NDJSON.")]
Items = Annotated[str | None, typer.Option(help="File, folder, glob, URL or env:NAME: Parquet, CSV or NDJSON.")]
UsersOption = Annotated[
    str | None, typer.Option(help="Users and their attributes, if any are known: where they are, likewise.")
]
ContextOption = Annotated[
    list[str] | None,
    typer.Option(help="Column of the events that a request may give, such as device; repeatable."),
]
MapEvent = Annotated[list[str] | None, typer.Option(help="CONTRACT=COLUMN: what a column is called in the events.")]
MapItem = Annotated[list[str] | None, typer.Option(help="CONTRACT=COLUMN: what a column is called in the items.")]
MapUser = Annotated[list[str] | None, typer.Option(help="CONTRACT=COLUMN: what a column is called in the users.")]
BadShare = Annotated[
    float | None, typer.Option(min=0, max=1, help="Share of bad rows that may be set aside; 0.01 by default.")
]
Zone = Annotated[str | None, typer.Option(help="IANA name of the zone of times without one, such as Europe/Berlin.")]
Unit = Annotated[TimeUnit | None, typer.Option(help="Unit of times as numbers; by magnitude if not given.")]
Format = Annotated[
    str | None, typer.Option(help="How times are written as texts, such as '%d.%m.%Y %H:%M'; ISO 8601 always fits.")
]
Decimal = Annotated[
    DecimalMark | None, typer.Option(help="What stands before the fraction of numbers in texts, where it is not clear.")
]
DuplicateShare = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Share of duplicates that may be set aside; half by default."),
]
Joining = Annotated[
    str | None,
    typer.Option(help="Id of a snapshot that all of this joins, or latest; what is not given is as it has it."),
]
Since = Annotated[str | None, typer.Option(help="Pass over events before this time, such as 2026-11-28T06:00Z.")]
LiveOption = Annotated[
    bool,
    typer.Option(
        "--live/--no-live", help="Join what the service has collected: events, changed items, users' attributes."
    ),
]
PageOption = Annotated[
    Path | None, typer.Option(dir_okay=False, help="Write all of it as one HTML page, which is replaced.")
]
ConfigFile = Annotated[
    Path | None, typer.Option(dir_okay=False, help="JSON file with settings of IngestConfig, its limits among them.")
]


def ingest(
    events: Events = None,
    items: Items = None,
    users: UsersOption = None,
    dataset: DatasetOption = None,
    path: PathOption = None,
    map_event: MapEvent = None,
    map_item: MapItem = None,
    map_user: MapUser = None,
    context: ContextOption = None,
    max_bad_share: BadShare = None,
    timezone: Zone = None,
    timestamp_unit: Unit = None,
    timestamp_format: Format = None,
    decimal: Decimal = None,
    max_duplicate_share: DuplicateShare = None,
    config: ConfigFile = None,
    live: LiveOption = False,
    append: Joining = None,
    since: Since = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Turn raw events, items and users into a validated snapshot, or let them join one."""
    check_given(events, items, users, dataset, path, append)
    mapped = _mapping(map_event), _mapping(map_item), _mapping(map_user)
    with shell(home, as_json, debug) as session:
        settings = _settings(config, *mapped, context, max_bad_share, max_duplicate_share)
        settings = _noted(settings, timezone, timestamp_unit, timestamp_format, decimal)
        from flows.ingest import ingest_tables
        from flows.locations import named
        from recsys.data.findings.gathered import snapshot_findings
        from recsys.data.signals import suggested
        from recsys.data.snapshot import open_snapshot

        with located(session, events, items, users, dataset, path, settings.limits) as place:
            places = ((place.events, "events"), (place.items, "items"), (place.users, "users"))
            tables = [named(location, kind) if location else None for location, kind in places]
            run = ingest_tables(tables[0], tables[1], str(session.home.root), settings, tables[2], live, append, since)
            snapshot = open_snapshot(session.home, run, verify=False)
        described = snapshot.manifest.described
        session.show(f"Snapshot {snapshot.id} in {snapshot.path}")
        joined = snapshot.manifest.live
        if joined:
            session.show(
                f"Collected by the service: {joined.events:,} events, {joined.items:,} items, {joined.users:,} users."
            )
        appended = snapshot.manifest.appended
        if appended:
            session.show(appended.sentence)
        repeats, signals = snapshot.manifest.repeats, suggested(snapshot.kinds())
        declared = snapshot.manifest.context
        unused = (described.unused if described else {}) | {name: why for name, why in (declared or {}).items() if why}
        show_quality(session, snapshot.manifest.quality.values(), notes_of(repeats, signals, unused))
        odd = show_findings(session, snapshot_findings(session.home, snapshot))
        session.result = {
            "snapshot": snapshot.id,
            "path": str(snapshot.path),
            "counts": asdict(snapshot.manifest.counts),
            "times_known": snapshot.times_known,
            "quality": {name: asdict(quality) for name, quality in snapshot.manifest.quality.items()},
            "findings": odd,
        }
        session.result |= {"repeats": asdict(repeats)} if repeats else {}
        session.result |= {"signals": [to_dict(rule) for rule in signals]} if signals else {}
        session.result |= {"described": asdict(described)} if described else {}
        session.result |= {"context": declared} if declared is not None else {}
        session.result |= {"live": asdict(joined)} if joined else {}
        session.result |= {"appended": asdict(appended)} if appended else {}
        session.result |= place.result


def export_events(
    out: Annotated[Path, typer.Argument(dir_okay=False, help="A Parquet file, which is replaced.")],
    since: Annotated[int, typer.Option(min=0, help="The batch that the export before told; 0: all there are.")] = 0,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Write the service's live events to a file, and tell where the next export begins."""
    with shell(home, as_json, debug) as session:
        from recsys.database.engine import Database
        from recsys.database.live_tables import EventExport

        database = Database.of(session.home)
        try:
            events, batch = EventExport(database).write(out, since)
        finally:
            database.close()
        session.result = {"path": str(out), "events": events, "batch": batch}
        session.show(f"{events:,} events in {out}.\nNext: recsys export-events --since {batch} FILE")


def validate(
    events: Events = None,
    items: Items = None,
    users: UsersOption = None,
    dataset: DatasetOption = None,
    path: PathOption = None,
    map_event: MapEvent = None,
    map_item: MapItem = None,
    map_user: MapUser = None,
    context: ContextOption = None,
    max_bad_share: BadShare = None,
    timezone: Zone = None,
    timestamp_unit: Unit = None,
    timestamp_format: Format = None,
    decimal: Decimal = None,
    max_duplicate_share: DuplicateShare = None,
    config: ConfigFile = None,
    page: PageOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Check raw events, items and users as ingest does, and write nothing."""
    check_given(events, items, users, dataset, path)
    mapped = _mapping(map_event), _mapping(map_item), _mapping(map_user)
    with shell(home, as_json, debug) as session:
        settings = _settings(config, *mapped, context, max_bad_share, max_duplicate_share)
        settings = _noted(settings, timezone, timestamp_unit, timestamp_format, decimal)
        from flows.locations import named, resolved
        from recsys.data import ingest
        from recsys.data.snapshot import brought, list_snapshots

        def at(location: Any, name: str) -> Any:
            return resolved(named(location, name)) if isinstance(location, str) else location

        with located(session, events, items, users, dataset, path, settings.limits, kept=False) as place:
            tables = at(place.events, "events"), at(place.items, "items")
            before = next(map(brought, reversed(list_snapshots(session.home))), None)
            users_at = at(place.users, "users")
            report: QualityReport = ingest.validate(*tables, settings, users=users_at, before=before)
        refusal = report.refusal()
        quality = {one.table: asdict(one) for one in report.tables}
        session.result = {"accepted": refusal is None, "quality": quality, "refusal": refusal}
        session.result |= {"repeats": asdict(report.repeats)} if report.repeats else {}
        session.result |= {"signals": [to_dict(rule) for rule in report.signals]} if report.signals else {}
        session.result |= {"unused": dict(report.unused)} if users or dataset else {}
        session.result |= {"unused_context": dict(report.unused_context)} if settings.context_columns else {}
        session.result |= place.result
        unused = {**report.unused, **report.unused_context}
        show_quality(session, report.tables, notes_of(report.repeats, report.signals, unused))
        session.result["findings"] = show_findings(session, report.findings)
        if page is not None:
            from recsys.evaluation.data_page import write_data_page

            write_data_page(page, report, before.id if before else None)
            session.result["page"] = str(page)
            session.show(f"Page: {page}")
        session.show(refusal or "Good enough to ingest.")
        if refusal:
            raise typer.Exit(FAILED)


def _settings(
    config: Path | None,
    events: dict[str, str],
    items: dict[str, str],
    users: dict[str, str],
    context: list[str] | None,
    bad_share: float | None,
    duplicate_share: float | None,
) -> IngestConfig:
    """Return the settings of a file, or the default ones, with what the options say."""
    given = read_settings(IngestConfig, config) if config else IngestConfig()
    share = given.max_quarantined_share if bad_share is None else bad_share
    duplicates = given.max_duplicate_share if duplicate_share is None else duplicate_share
    return replace(
        given,
        event_columns=given.event_columns | events,
        item_columns=given.item_columns | items,
        user_columns=((given.user_columns or {}) | users) or None,
        context_columns=tuple(context) if context else given.context_columns,
        max_quarantined_share=share,
        max_duplicate_share=duplicates,
    )


def _noted(
    given: IngestConfig, zone: str | None, unit: TimeUnit | None, form: str | None, decimal: DecimalMark | None
) -> IngestConfig:
    """Return settings with what the options say of how times and numbers are written."""
    return replace(
        given,
        timezone=zone or given.timezone,
        timestamp_unit=unit or given.timestamp_unit,
        timestamp_format=form or given.timestamp_format,
        decimal=decimal or given.decimal,
    )


def _mapping(pairs: list[str] | None) -> dict[str, str]:
    parted = [pair.partition("=") for pair in pairs or []]
    for name, sign, column in parted:
        if not (name and sign and column):
            raise typer.BadParameter(f"{name + sign + column!r} is not of the form CONTRACT=COLUMN.")
    return {name: column for name, _, column in parted}
