"""A database as one SQLite file, for backups: as it is at one moment, while others write; and back into a database.

A PostgreSQL is read and written by SQLAlchemy, so no programs of its server's version are needed, and what one kind of
database held can go into the other. What is copied is not opened as a ``Database``, which may change it.
"""

import errno
import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sql

from recsys.artifacts import PRIVATE
from recsys.callbacks import Progress
from recsys.database.engine import BUSY_TIMEOUT_MILLISECONDS, DISCREET, REACH_SECONDS, URL, Database
from recsys.database.files import sqlite_url
from recsys.database.tenancy import schema_of, search_path
from recsys.errors import SettingError
from recsys.home import Home

PAGES = 4_096  # copied at once: 16 MiB of 4 KiB
ROWS = 5_000  # read and written at once
EVENTS, FORGOTTEN, SALT = "events", "forgotten", "forgotten_salt"
# a database that nobody has used has no row of these
USED = (EVENTS, FORGOTTEN, "impressions", "user_attributes", "live_items")
# What a column of either kind of database is in the other one.
_KINDS: tuple[type[sql.types.TypeEngine], ...] = (
    sql.Boolean,
    sql.BigInteger,
    sql.Integer,
    sql.Double,
    sql.LargeBinary,
    sql.String,
)


@dataclass(frozen=True)
class Contents:
    """What a copy holds.

    Attributes:
        events: how many live events.
        forgotten: how many tombstones.
        salt: what it says of their salt, see ``salt``; None: nothing.
    """

    events: int = 0
    forgotten: int = 0
    salt: str | None = None


def copy_database(home: Home, target: Path, progress: Progress | None = None) -> bool:
    """Write all that the database of a home holds into a new SQLite file, of its owner alone, as it is at one moment.

    Args:
        home: whose database, or that of ``RECSYS_DATABASE_URL``; it may be written to meanwhile, and is not changed.
        target: where nothing is.
        progress: called with pages or tables done, and all.

    Returns:
        whether there is a database; without one nothing is written.

    Raises:
        SettingError: the URL is none.
        sqlalchemy.exc.SQLAlchemyError: the database cannot be reached.
        OSError: the disk of ``target`` is full, or it cannot be written.
    """
    url = os.environ.get(URL)
    if url and not url.startswith("sqlite"):
        _copy_tables(url, schema_of(home), target, progress)
        return True
    path = Path(sql.make_url(url).database or "") if url else home.events_database
    if not path.exists():
        return False
    copy_sqlite(path, target, progress)
    return True


def copy_sqlite(source: Path, target: Path, progress: Progress | None = None) -> None:
    """Write what a SQLite file holds into a new one, as it is at one moment; others may write to it meanwhile."""

    def tell(_: int, remaining: int, total: int) -> None:
        if progress is not None:
            progress(total - remaining, total)

    _make(target)
    with closing(_opened(source)) as there, closing(sqlite3.connect(target)) as here:
        # A transaction of its own: without, each write of others between two steps would begin the copy anew.
        there.execute("BEGIN")
        there.execute("SELECT count(*) FROM sqlite_master").fetchone()
        try:
            there.backup(here, pages=PAGES, progress=tell)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL:  # whose disk it is, SQLite does not say
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target)) from error
            raise
        there.rollback()
        here.execute("PRAGMA journal_mode=DELETE")  # one file, with no log beside it


def contents(copy: Path) -> Contents:
    """Return what a copy holds; it may be of any version."""
    with closing(_opened(copy)) as connection:
        there = _names(connection)
        events, forgotten = (
            connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] if name in there else 0
            for name in (EVENTS, FORGOTTEN)
        )
        said = connection.execute(f"SELECT salt FROM {SALT}").fetchone() if SALT in there else None
    return Contents(events, forgotten, said and said[0])


def tombstones(copy: Path) -> dict[str, int]:
    """Return who is forgotten by a copy, of any version: times in microseconds since 1970 by hash of the user id."""
    with closing(_opened(copy)) as connection:
        if FORGOTTEN not in _names(connection):
            return {}
        return dict(connection.execute(f"SELECT user_hash, time FROM {FORGOTTEN}"))


def load(source: Path, database: Database, name: str, progress: Progress | None = None) -> None:
    """Put all rows of a SQLite file into a database that has the same tables and is unused, in one transaction.

    Asked again by the same name, it finds that done.

    Args:
        source: of the schema that ``database`` has.
        database: a PostgreSQL.
        name: of what is loaded, counted as a change in the same transaction.
        progress: called with tables done and all.
    """
    if database.versions().get(name):
        return
    engine = sql.create_engine(sqlite_url(source.absolute()), **DISCREET)
    try:
        with engine.connect() as there, database.engine.begin() as here:
            found, into = _tables(there), _tables(here)
            for table in into.values():
                if table.name in found:
                    here.execute(sql.delete(table))  # rows that a new database begins with
            _copy_rows(there, here, found, into, progress)
            database.bump(here, name)
    finally:
        engine.dispose()


def is_unused(database: Database) -> bool:
    """Tell whether a database holds nothing that anybody has sent, asked for or forgotten."""
    with database.engine.connect() as connection:
        there = set(sql.inspect(connection).get_table_names())
        return not any(
            connection.execute(sql.select(sql.literal(1)).select_from(sql.table(name)).limit(1)).first()
            for name in USED
            if name in there
        )


def _copy_tables(url: str, own: str | None, target: Path, progress: Progress | None) -> None:
    try:
        reach: dict[str, Any] = {"connect_timeout": REACH_SECONDS} | search_path(own)
        server = sql.create_engine(url, connect_args=reach, **DISCREET)
    except (sql.exc.ArgumentError, ImportError, sql.exc.NoSuchModuleError):  # a password may be in it
        raise SettingError(
            f"The database of {URL} cannot be opened. Install psycopg and write postgresql+psycopg://user@host/name."
        ) from None
    moment = server.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    try:
        with moment.connect() as there:
            _make(target)
            file = sql.create_engine(sqlite_url(target.absolute()), **DISCREET)
            with file.begin() as here:
                found, into = _tables(there), sql.MetaData()
                for table in found.values():
                    columns = (
                        sql.Column(one.name, _portable(one), primary_key=one.primary_key, nullable=one.nullable)
                        for one in table.columns
                    )
                    sql.Table(table.name, into, *columns)
                into.create_all(here)
                _copy_rows(there, here, found, dict(into.tables), progress)
            file.dispose()
    finally:
        server.dispose()


def _copy_rows(
    there: sql.Connection,
    here: sql.Connection,
    found: dict[str, sql.Table],
    into: dict[str, sql.Table],
    progress: Progress | None,
) -> None:
    for number, (name, table) in enumerate(sorted(found.items()), start=1):
        rows = there.execute(sql.select(table), execution_options={"yield_per": ROWS}).mappings()
        for part in rows.partitions():
            here.execute(sql.insert(into[name]), [dict(row) for row in part])
        if progress is not None:
            progress(number, len(found))


def _tables(connection: sql.Connection) -> dict[str, sql.Table]:
    metadata = sql.MetaData()
    metadata.reflect(connection)
    return dict(metadata.tables)


def _portable(column: sql.Column) -> sql.types.TypeEngine:
    """Return a column's type without what is one database's own, such as the name of an order of letters."""
    for kind in _KINDS:
        if isinstance(column.type, kind):
            return kind()
    raise ValueError(f"no table of recsys has a column as {column}: {column.type!r}")


def _opened(path: Path) -> sqlite3.Connection:
    """Open a SQLite file to read from it, also where nothing can be written."""
    alone = not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists()
    options = "mode=ro&immutable=1" if alone else "mode=ro"
    seconds = BUSY_TIMEOUT_MILLISECONDS / 1_000
    return sqlite3.connect(f"file:{quote(str(path.absolute()))}?{options}", uri=True, timeout=seconds)


def _names(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def _make(path: Path) -> None:
    """Make an empty file for its owner alone, which what SQLite puts beside it is like."""
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE))
