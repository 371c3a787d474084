"""The flow from raw files to a snapshot and its quality report; and MovieLens for those without data of their own."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

from pydantic import WithJsonSchema

from flows import progress
from flows.forms import Folder, JoinedSnapshot, Moment
from flows.locations import TableLocation, is_remote, located_flow, resolved
from flows.moments import moment
from flows.quality_report import report_dataset, report_quality
from flows.retries import NETWORK
from flows.runs import flow, stage
from flows.runtime import open_home
from flows.work import READING
from recsys.config import IngestConfig
from recsys.data.movielens import fetch_movielens_100k
from recsys.data.publishers.prepared import DATASETS, prepared
from recsys.data.snapshot import Snapshot
from recsys.home import Home
from recsys.interactive.data import ingest

_DEFAULT = IngestConfig()


# a form offers those that there are; a flow that is called says itself what was meant
Dataset = Annotated[str, WithJsonSchema({"type": "string", "enum": list(DATASETS)})]


@stage("fetch MovieLens 100K", again=NETWORK)
def fetch_movielens(cache: Path) -> tuple[str, str]:
    """Return the locations of MovieLens 100K's events and items, fetched into the cache on the first call."""
    with progress.step("Fetch MovieLens 100K"):
        events, items = fetch_movielens_100k(cache)
    return str(events), str(items)


@stage("write snapshot")
def write_snapshot(
    events: str | None,
    items: str | None,
    home: Home,
    config: IngestConfig,
    users: str | None = None,
    live: bool = False,
    append: str | None = None,
    since: datetime | None = None,
) -> Snapshot:
    """Read and check the tables and write the snapshot."""
    given = [resolved(location) if location else None for location in (events, items, users)]
    return ingest(
        given[0],
        given[1],
        config,
        users=given[2],
        live=live,
        append=append,
        since=since,
        home=home,
        progress=progress.report,
    )


write_remote_snapshot = stage("write snapshot", again=NETWORK)(write_snapshot.fn)


@located_flow("ingest", READING, about={"events": ""})
def ingest_tables(
    events: TableLocation | None = None,
    items: TableLocation | None = None,
    home: Folder | None = None,
    config: IngestConfig = _DEFAULT,
    users: TableLocation | None = None,
    live: bool = False,
    append: JoinedSnapshot | None = None,
    since: Moment | None = None,
) -> str:
    """Turn raw events, items and users into a snapshot and return its id.

    Args:
        events: a file, a folder, a glob or a URL; a signed one as secret:NAME or env:NAME; empty: none join a snapshot.
        items: likewise; empty: those of the snapshot that events join.
        home: the folder of all state; empty: RECSYS_HOME of whoever runs this.
        config: column names, and how many bad rows may be set aside.
        users: where the users' attributes are, likewise; empty: nothing is known of users but their events.
        live: join what the service has collected: events, items that were put or deleted, what was said of users.
        append: id of a snapshot that all of this joins, or latest for the newest; empty: this is all there is.
        since: events before this time are passed over, such as 2026-11-28 or 2026-11-28T06:00:00Z; empty: none is.

    Raises:
        ArtifactError: there is no such snapshot.
        SourceError: a table cannot be read, or may not be.
        SettingError: since is no time, or a location holds a credential, or names one that is not there.
        QualityError: too many rows are bad.
    """
    remote = any(is_remote(location) for location in (events, items, users) if location)
    write = write_remote_snapshot if remote else write_snapshot
    place = open_home(home)
    joins = () if append is None and since is None else (append, moment(since, "since") if since else None)
    snapshot = write(events, items, place, config, users, live, *joins)
    report_quality(place, snapshot)
    return snapshot.id


@flow("ingest-dataset", READING)
def ingest_dataset(
    dataset: Dataset,
    path: Folder,
    home: Folder | None = None,
    config: IngestConfig = _DEFAULT,
    live: bool = False,
) -> str:
    """Turn a data set, as its publisher ships it, into a snapshot and return its id. Nothing is downloaded.

    Args:
        dataset: its name.
        path: the folder or the archive of its files, where the flow runs.
        home: the folder of all state; empty: RECSYS_HOME of whoever runs this.
        config: how many bad rows may be set aside; names of columns are the data set's own.
        live: join what the service has collected: events, items that were put or deleted, what was said of users.

    Raises:
        SettingError: there is no such data set.
        SourceError: its files are absent, damaged, those of another one, or may not be read.
        QualityError: too many rows are bad.
    """
    place = open_home(home).make()
    place.cache.mkdir(exist_ok=True)
    with prepared(dataset, Path(path), place.cache, config.limits) as tables:
        report_dataset(dataset, tables.notes)
        users = str(tables.users) if tables.users else None
        return ingest_tables(str(tables.events), str(tables.items), str(place.root), config, users, live)
