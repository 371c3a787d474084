"""`recsys ingest` and `recsys validate`: raw files to a snapshot and its quality report."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.tables import show_quality
from flows.commands.terminal import FAILED, DebugOption, HomeOption, JsonOption, shell
from recsys.config import IngestConfig

if TYPE_CHECKING:
    from recsys.data.quality import QualityReport

Events = Annotated[str, typer.Option(help="File, folder, glob or object-store URL: Parquet, CSV or NDJSON.")]
Items = Annotated[str, typer.Option(help="File, folder, glob or object-store URL: Parquet, CSV or NDJSON.")]
MapEvent = Annotated[list[str] | None, typer.Option(help="CONTRACT=COLUMN: what a column is called in the events.")]
MapItem = Annotated[list[str] | None, typer.Option(help="CONTRACT=COLUMN: what a column is called in the items.")]
BadShare = Annotated[float, typer.Option(min=0, max=1, help="Share of bad rows that may be set aside.")]
_BAD_SHARE = IngestConfig().max_quarantined_share


def ingest(
    events: Events,
    items: Items,
    map_event: MapEvent = None,
    map_item: MapItem = None,
    max_bad_share: BadShare = _BAD_SHARE,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Turn raw events and items into a validated snapshot."""
    config = IngestConfig(_mapping(map_event), _mapping(map_item), max_bad_share)
    with shell(home, as_json, debug) as session:
        from flows.ingest import ingest_tables
        from recsys.data.snapshot import open_snapshot

        snapshot = open_snapshot(session.home, ingest_tables(events, items, str(session.home.root), config))
        session.show(f"Snapshot {snapshot.id} in {snapshot.path}")
        show_quality(session, snapshot.manifest.quality.values())
        session.result = {
            "snapshot": snapshot.id,
            "path": str(snapshot.path),
            "counts": asdict(snapshot.manifest.counts),
            "times_known": snapshot.times_known,
            "quality": {name: asdict(quality) for name, quality in snapshot.manifest.quality.items()},
        }


def validate(
    events: Events,
    items: Items,
    map_event: MapEvent = None,
    map_item: MapItem = None,
    max_bad_share: BadShare = _BAD_SHARE,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Check raw events and items as ingest does, and write nothing."""
    config = IngestConfig(_mapping(map_event), _mapping(map_item), max_bad_share)
    with shell(home, as_json, debug) as session:
        from recsys.data import ingest

        report: QualityReport = ingest.validate(events, items, config)
        refusal = report.refusal()
        quality = {one.table: asdict(one) for one in report.tables}
        session.result = {"accepted": refusal is None, "quality": quality, "refusal": refusal}
        show_quality(session, report.tables)
        session.show(refusal or "Good enough to ingest.")
        if refusal:
            raise typer.Exit(FAILED)


def _mapping(pairs: list[str] | None) -> dict[str, str]:
    parted = [pair.partition("=") for pair in pairs or []]
    for name, sign, column in parted:
        if not (name and sign and column):
            raise typer.BadParameter(f"{name + sign + column!r} is not of the form CONTRACT=COLUMN.")
    return {name: column for name, _, column in parted}
