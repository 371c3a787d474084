"""What there is to look at in a home: what is served and was trained on, what came since, and what answers brought.

Raw files are read by the settings of the snapshot's own ingest: they are what the next one would be given.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import sqlalchemy as sql

from recsys.artifacts import ArtifactError
from recsys.config import TARGET, IngestConfig, MonitorConfig, TextConfig, from_stored
from recsys.data import columns
from recsys.data.locations import Sources
from recsys.data.notation import Notation
from recsys.data.parsing import parse_timestamps
from recsys.data.quality import TableQuality
from recsys.data.sifting import event_checks, item_checks, split
from recsys.data.signals import signals_of, suggested
from recsys.data.snapshot import Snapshot, brought, list_snapshots
from recsys.data.sources import Location, read_table
from recsys.database.engine import Database
from recsys.database.events import EVENTS, EventStore
from recsys.database.impressions import ImpressionStore
from recsys.database.live_items import ItemStore
from recsys.database.moments import microseconds
from recsys.database.rates import Rate, RateStore
from recsys.database.tombstones import Tombstones
from recsys.errors import SettingError
from recsys.home import Home
from recsys.monitoring.answers import ANY
from recsys.monitoring.arrivals import types
from recsys.monitoring.embeddings import MOST_VECTORS
from recsys.monitoring.monitor import Vectors, Watched
from recsys.monitoring.windows import day_of, midnight
from recsys.monitoring.wording import texts_of
from recsys.store.generations import current_id, generation_snapshot, read_generation
from recsys.store.manifests import GenerationManifest

_PREDICTED = "_predicted"  # behind a column's name: an ingest has filled in what it had not
_CONTRACT = (
    columns.USER_ID, columns.ITEM_ID, columns.TIMESTAMP, columns.EVENT_ID, columns.EVENT_TYPE, columns.VALUE,
    columns.POSITION,
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is watched.

    Attributes:
        snapshot: what was trained on.
        generation: what is served; None: nothing is, and the newest snapshot is watched.
    """

    snapshot: Snapshot
    generation: GenerationManifest | None


@dataclasses.dataclass(frozen=True)
class _Raw:
    """A raw table as the next ingest would read it: its good rows, and what of it is bad."""

    rows: pl.DataFrame
    quality: TableQuality


def subject(home: Home) -> Subject:
    """Return what is served and what it was trained on.

    Raises:
        ArtifactError: there is no snapshot, or it is not what it was.
    """
    served = current_id(home)
    if served is not None:
        _, manifest = read_generation(home, served)
        return Subject(generation_snapshot(home, manifest), manifest)
    snapshots = list_snapshots(home)
    if not snapshots:
        raise ArtifactError(f"There is no snapshot in {home.snapshots} to compare with. Run `recsys ingest` first.")
    return Subject(brought(snapshots[-1]), None)


def read(
    home: Home,
    watched: Subject,
    config: MonitorConfig,
    events: Location | None = None,
    items: Location | None = None,
    until: datetime | None = None,
) -> Watched:
    """Read what is to be looked at.

    Args:
        home: where state lives.
        watched: see ``subject``.
        config: of the run.
        events: raw events that the next ingest would be given; None: the live events of the database.
        items: raw items likewise; None: the catalogue with its live changes.
        until: when it is looked; None: now. Where a raw file ends earlier, the days that are looked at end with it.

    Raises:
        SourceError: a table cannot be read, or may not be.
        SettingError: ``until`` lies before the end of what was trained on.
    """
    now = until or datetime.now(UTC)
    snapshot, manifest = watched.snapshot, watched.generation
    trained, catalogue = snapshot.events(), snapshot.items()
    learnt: Any = trained[columns.TIMESTAMP].max()
    if until is not None and until < learnt:
        raise SettingError(
            f"until is {until:%Y-%m-%d %H:%M}, and what is compared with has learnt from events up to "
            f"{learnt:%Y-%m-%d %H:%M}. Give a later time."
        )
    ingest, schemas = from_stored(IngestConfig, snapshot.manifest.config), snapshot.manifest.schemas
    raw: dict[str, _Raw] = {}
    if items is not None:
        raw["items"] = _raw(home, "items", items, ingest)
    if events is not None:
        ids = [catalogue[columns.ITEM_ID], *(one.rows[columns.ITEM_ID] for one in raw.values())]
        known = None if items is None else pl.concat(ids)
        late = max(now, datetime.now(UTC)) + timedelta(seconds=ingest.future_tolerance_seconds)
        raw["events"] = _raw(home, "events", events, ingest, known, late, config.arrival_column)
    database = Database.of(home)
    try:
        newer = raw["events"].rows if events is not None else _live_events(database, trained, snapshot, config)
        changed = raw["items"].rows if items is not None else _live_catalogue(database, catalogue)
        rates = {} if manifest is None else _rates(database, trained, manifest, now, config)
    finally:
        database.close()
    newer = _alike(newer, trained, (config.arrival_column,)).filter(pl.col(columns.TIMESTAMP) < now)
    end = now
    if events is not None and newer.height:
        newest: Any = newer[columns.TIMESTAMP].max()
        end = min(now, midnight(day_of(newest) + 1))
    return Watched(
        events=trained,
        items=catalogue,
        until=end,
        now=now,
        newer=newer,
        catalogue=changed,
        reading=TextConfig() if manifest is None else manifest.config.text,
        quality=[one.quality for one in raw.values()],
        allowed_bad_rows=ingest.max_quarantined_share,
        schemas={name: _without_predicted(types(one.rows), schemas[name]) for name, one in raw.items()},
        trained_schemas={name: _without_predicted(schemas[name], schemas[name]) for name in raw},
        rates=rates,
        served="" if manifest is None else manifest.id,
    )


def with_vectors(home: Home, manifest: GenerationManifest, watched: Watched, config: MonitorConfig) -> Watched:
    """Add the vectors of the items of what is served; with ``config.embeddings`` new texts are encoded as well.

    Raises:
        ArtifactError: they are missing or not those of the generation.
    """
    from recsys.store.index import map_vectors, open_index  # LanceDB, which the other checks have no use for

    known = map_vectors(home.lance, open_index(home.lance, manifest.index), manifest.index)
    texts = None
    if config.embeddings and watched.catalogue is not None:
        from recsys.ranking.text_maps import TextMaps  # torch, as the encoder
        from recsys.texts.vectors import TextVectors

        folder, _ = read_generation(home, manifest.id)
        reading, random = TextMaps.load(folder).text, np.random.default_rng(config.seed)
        encoder = TextVectors.of_adapter(home, manifest.adapter)
        samples = (_some(texts, random) for texts in texts_of(watched.items, watched.catalogue, reading))
        before, new = (encoder.unit_vectors(some, [str(place) for place in range(len(some))]) for some in samples)
        texts = (before, new)
    return dataclasses.replace(watched, vectors=Vectors(watched.items[columns.ITEM_ID].to_list(), known, texts))


def _raw(
    home: Home,
    kind: Any,
    location: Location,
    config: IngestConfig,
    catalogue: pl.Series | None = None,
    latest: datetime | None = None,
    arrival: str = "",
) -> _Raw:
    """Read a raw table as the next ingest would; without a catalogue no item of an event is unknown."""
    sources = Sources.from_environment().with_folder(home.cache)
    mapping = config.event_columns if kind == "events" else config.item_columns
    notation = Notation.of(config)
    raw = read_table(location, kind, mapping, config.limits, sources, notation)
    if latest is not None:
        checks = event_checks(raw[columns.ITEM_ID].unique() if catalogue is None else catalogue, latest)
    else:
        checks = item_checks()
    rows, _, quality = split(raw, kind, checks)
    if arrival in rows.columns:
        rows = rows.with_columns(parse_timestamps(rows[arrival], notation))
    return _Raw(rows, quality)


def _live_events(database: Database, trained: pl.DataFrame, snapshot: Snapshot, config: MonitorConfig) -> pl.DataFrame:
    """Return the events of the database that are newer than all that were trained on."""
    EventStore(database)
    newest: Any = trained[columns.TIMESTAMP].max()
    received = EVENTS.c.received.label(config.arrival_column)
    wanted = sql.select(*(EVENTS.c[name] for name in (*_CONTRACT, "context")), received)
    wanted = wanted.where(EVENTS.c[columns.TIMESTAMP] > microseconds(newest)).order_by(EVENTS.c[columns.EVENT_ID])
    with database.engine.connect() as connection:
        rows = [dict(row) for row in connection.execute(wanted).mappings()]
    context = list(snapshot.manifest.context or {})
    for row in rows:
        said = json.loads(row.pop("context") or "{}")
        row.update({name: None if said.get(name) is None else str(said[name]) for name in context})
    texts = (columns.USER_ID, columns.ITEM_ID, columns.EVENT_ID, columns.EVENT_TYPE, *context)
    schema: dict[str, Any] = dict.fromkeys(texts, pl.String)
    times = (columns.TIMESTAMP, config.arrival_column)
    schema |= dict.fromkeys(times, pl.Int64) | {columns.VALUE: pl.Float64, columns.POSITION: pl.Int64}
    return pl.DataFrame(rows, schema=schema).with_columns(pl.col(times).cast(pl.Datetime("us", "UTC")))


def _live_catalogue(database: Database, catalogue: pl.DataFrame) -> pl.DataFrame | None:
    """Return the catalogue with what was put since, by its columns of text; None where nothing was."""
    live = [item for item in ItemStore(database).changed() if item.columns is not None]
    if not live:
        return None
    text = [name for name, kind in catalogue.schema.items() if kind in (pl.String, pl.List(pl.String))]
    rows = [{**(item.columns or {}), columns.ITEM_ID: item.item_id} for item in live]
    read = [{name: row.get(name) for name in text} for row in rows]
    changed = pl.DataFrame(read, schema={name: catalogue.schema[name] for name in text}, strict=False)
    kept = catalogue.join(changed.select(columns.ITEM_ID), on=columns.ITEM_ID, how="anti")
    return pl.concat([kept, changed], how="diagonal").sort(columns.ITEM_ID)


def _rates(
    database: Database, trained: pl.DataFrame, manifest: GenerationManifest, now: datetime, config: MonitorConfig
) -> Mapping[str, Sequence[Rate]]:
    """Return the rates of answers by any event, and by each type of event that is asked for."""
    EventStore(database)
    ImpressionStore(database, Tombstones(database))
    signals = signals_of(manifest.config)
    rules = (suggested(trained) or ()) if signals is None else signals.rules
    wanted = sorted({rule.event_type for rule in rules if rule.role == TARGET and rule.event_type})
    store, since = RateStore(database), now - timedelta(days=config.rate_days)
    found: dict[str, Sequence[Rate]] = {ANY: store.read(since).generations}
    if not found[ANY]:
        return {}
    return found | {name: store.read(since, name).generations for name in wanted}


def _alike(newer: pl.DataFrame, trained: pl.DataFrame, more: Sequence[str]) -> pl.DataFrame:
    """Return newer events by the columns of those that were trained on, of their types where they can be."""
    names = [name for name in newer.columns if name in trained.columns or name in more]
    found = newer.select(names)
    for name in set(names) & set(trained.columns):
        if found.schema[name] != trained.schema[name]:
            try:
                found = found.with_columns(pl.col(name).cast(trained.schema[name], strict=False))
            except pl.exceptions.PolarsError:  # a list is no number; the check of columns says so
                found = found.drop(name)
    return found


def _without_predicted(found: Mapping[str, str], trained: Mapping[str, str]) -> dict[str, str]:
    """Return columns without those that an ingest fills in, which raw files need not have."""
    filled = {name.removesuffix(_PREDICTED) for name in trained if name.endswith(_PREDICTED)}
    return {name: kind for name, kind in found.items() if name.removesuffix(_PREDICTED) not in filled}


def _some(texts: Sequence[str], random: np.random.Generator) -> list[str]:
    if len(texts) <= MOST_VECTORS:
        return list(texts)
    return [texts[place] for place in np.sort(random.choice(len(texts), MOST_VECTORS, replace=False))]
