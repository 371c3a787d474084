"""What a database has collected while the service ran, as it goes into the next snapshot, and out of the database.

Events get the number of a batch when they first leave: what follows a batch are later ones, each in one batch. The
numbers are on disk before anything is read, so whoever is killed in between finds the same events again.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import sqlalchemy as sql

from recsys.artifacts import staged_file
from recsys.data import columns
from recsys.data.live import CONTEXT, EVENTS, LiveTables
from recsys.data.parsing import UTC_MICROSECONDS
from recsys.database.engine import Database
from recsys.database.events import EVENTS as TABLE
from recsys.database.live_items import ItemStore
from recsys.database.user_attributes import AttributeStore

CHANGE = "event_batches"
BATCH_ROWS = 5_000  # numbered in one transaction, so that other writers wait for it but shortly
READ_ROWS = 50_000  # read at once


class EventExport:
    """The way of events out of a database. Any number of processes may use it at once.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database cannot be reached; every method raises it likewise.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def close_batch(self) -> int:
        """Number all events that have no number yet, and return the newest number; 0: there was never an event."""
        waiting = sql.select(TABLE.c.event_id).where(TABLE.c.batch.is_(None)).limit(1)
        with self._database.engine.connect() as connection:
            found = connection.execute(waiting).first() is not None
        while found:
            found = self._number() == BATCH_ROWS
        return self._database.versions().get(CHANGE, 0)

    def _number(self) -> int:
        """Number the next few thousand and return how many those were; who numbers at the same time waits."""
        some = sql.select(TABLE.c.event_id).where(TABLE.c.batch.is_(None)).order_by(TABLE.c.event_id).limit(BATCH_ROWS)
        with self._database.engine.connect() as connection, connection.begin() as transaction:
            number = self._database.bump(connection, CHANGE)  # from here on nobody else numbers
            ids = connection.execute(some).scalars().all()
            if not ids:
                transaction.rollback()
                return 0
            connection.execute(sql.update(TABLE).where(TABLE.c.event_id.in_(ids)).values(batch=number))
        return len(ids)

    def read(self, until: int, since: int = 0) -> pl.DataFrame:
        """Return the events of the batches behind ``since`` up to ``until``, by ``event_id``; columns of ``EVENTS``."""
        frames = [EVENTS.to_frame(), *self._frames(until, since)]
        return pl.concat(frames).sort(columns.EVENT_ID)

    def _frames(self, until: int, since: int) -> Iterator[pl.DataFrame]:
        found = sql.select(*(TABLE.c[name] for name in EVENTS)).where(TABLE.c.batch > since, TABLE.c.batch <= until)
        raw = pl.Schema({**EVENTS, columns.TIMESTAMP: pl.Int64()})
        with self._database.engine.connect().execution_options(yield_per=READ_ROWS) as connection:
            for rows in connection.execute(found).partitions():
                frame = pl.DataFrame([tuple(row) for row in rows], schema=raw, orient="row")
                yield frame.with_columns(pl.col(columns.TIMESTAMP).cast(UTC_MICROSECONDS))

    def write(self, path: Path, since: int = 0) -> tuple[int, int]:
        """Write the events behind a batch to a Parquet file, whole or not at all, as an ingest reads them.

        What was said of the situation stands in columns of its own.

        Args:
            path: of the file, which is replaced.
            since: of the batch; 0: from the beginning.

        Returns:
            How many events, and the batch that the next export gives as ``since``.
        """
        until = self.close_batch()
        events = self.read(until, since)
        told: list[dict[str, Any]] = [json.loads(text) if text else {} for text in events[CONTEXT].to_list()]
        names = sorted({name for one in told for name in one} - set(EVENTS))
        situation = [pl.Series(name, [one.get(name) for one in told], strict=False) for name in names]
        path.parent.mkdir(parents=True, exist_ok=True)
        with staged_file(path.parent) as staging:
            events.drop(CONTEXT).with_columns(situation).write_parquet(staging)
            staging.replace(path)
        return events.height, until


def read_live(database: Database) -> LiveTables:
    """Return all that a database has collected: events, and items and users as they are now."""
    export = EventExport(database)
    batch = export.close_batch()
    items = ItemStore(database).changed()
    return LiveTables(export.read(batch), items, batch, AttributeStore(database).all())
