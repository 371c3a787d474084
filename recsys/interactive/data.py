"""From tables to a snapshot, as a home asks: without whom it has forgotten, completed by its classifiers."""

from datetime import datetime
from functools import partial

from recsys.callbacks import StageProgress, step
from recsys.config import IngestConfig
from recsys.data.ingest import Complete, unchanged
from recsys.data.ingest import ingest as ingest_tables
from recsys.data.snapshot import Snapshot, joined_snapshot
from recsys.database.engine import Database
from recsys.database.live_tables import read_live
from recsys.database.tombstones import Tombstones
from recsys.home import Home, Place
from recsys.interactive.display import reporting
from recsys.interactive.frames import Table, as_table
from recsys.remote.following import reached
from recsys.store.names import ADAPTER, meant

_DEFAULT = IngestConfig()


def ingest(
    events: Table | None = None,
    items: Table | None = None,
    config: IngestConfig = _DEFAULT,
    *,
    users: Table | None = None,
    live: bool = False,
    append: str | None = None,
    since: datetime | None = None,
    home: Place = None,
    progress: bool | StageProgress = True,
) -> Snapshot:
    """Check the tables and keep them as a snapshot; the same content again is found, in whatever form it comes.

    >>> import polars as pl, recsys
    >>> snapshot = recsys.ingest(pl.read_parquet("events.parquet"), "items.parquet")
    >>> snapshot.manifest.counts.users
    60
    >>> snapshot.items().columns
    ['item_id', 'title', 'genres', 'year']

    Args:
        events: user_id, item_id, timestamp and more: a path, glob or URL, or a frame of Polars, pandas or Arrow.
        items: item_id, title and more, likewise; either may be left out where the other joins a snapshot.
        config: names of columns, how many bad rows may be set aside, classifiers that fill in what is missing.
        users: user_id and attributes, likewise; None: nothing is known of users but their events.
        live: join what the service has collected: events, items that were put or deleted, what was said of users.
        append: id of a snapshot that the tables join, or ``latest``: what results is what one ingest of all rows gives;
            of an item's rows the one with the newest ``updated_at`` stays. None: the tables are all there is.
        since: with a time zone; events before that time are passed over. None: none is.
        home: the folder of all state; None: RECSYS_HOME, else ``.recsys`` in the working folder.
        progress: True: bars; False: none; or a callback with stage, done and total.

    Raises:
        SourceError: a table cannot be read.
        QualityError: too many rows are bad.
        ArtifactError: a classifier of ``config`` is missing, or the snapshot that is to be joined.
    """
    place = reached(home)
    tables = [None if one is None else as_table(one, name) for one, name in ((events, "events"), (items, "items"))]
    before = None if append is None else joined_snapshot(place, append)
    with reporting(progress) as report, step(report, "Ingest"):
        database = Database.of(place)
        try:
            collected = read_live(database) if live else None
            forgotten = Tombstones(database).read()  # last: nobody is forgotten between and found in the snapshot
        finally:
            database.close()
        return ingest_tables(
            tables[0],
            tables[1],
            place,
            config,
            forgotten=forgotten,
            users=None if users is None else as_table(users, "users"),
            live=collected,
            complete_events=_rating(place, config),
            complete_items=_categorising(place, config),
            append=before,
            since=since,
        )


def _rating(home: Home, config: IngestConfig) -> Complete:
    """Return what fills in the values of events, by the classifier of reviews that the settings name."""
    if config.reviews is None:
        return unchanged
    from recsys.texts.labels import open_classifier, rate_reviews  # torch, which most tables have no use for

    classifier = open_classifier(home, meant(home, ADAPTER, config.reviews.adapter))
    return partial(rate_reviews, classifier=classifier, config=config.reviews)


def _categorising(home: Home, config: IngestConfig) -> Complete:
    """Return what fills in the categories of items, by the classifier that the settings name."""
    if config.categories is None:
        return unchanged
    from recsys.texts.labels import fill_categories, open_classifier

    classifier = open_classifier(home, meant(home, ADAPTER, config.categories.adapter))
    return partial(fill_categories, classifier=classifier, config=config.categories)
