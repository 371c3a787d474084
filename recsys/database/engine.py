"""One SQL database for all that changes while the service runs: events, impressions, who is forgotten, live items.

SQLite needs no server and is enough for one machine; any number of machines share a PostgreSQL. A commit is on disk
when it returns: SQLite writes ahead (WAL) and syncs at every commit.
"""

import os
import sqlite3
import time
from contextlib import suppress
from pathlib import Path
from stat import S_IRWXO
from typing import Any
from urllib.parse import quote

import sqlalchemy as sql
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry

from recsys.artifacts import PRIVATE
from recsys.database import schema
from recsys.database.tenancy import schema_of, search_path
from recsys.errors import SettingError
from recsys.home import ALONE, SALT, Home

URL = "RECSYS_DATABASE_URL"  # names a PostgreSQL for several machines
DISCREET: dict[str, bool] = {"hide_parameters": True}  # messages name statements, never the ids in them
BUSY_TIMEOUT_MILLISECONDS = 5_000  # how long a SQLite writer waits for its turn; half of a request's time
REACH_SECONDS = 3  # for a PostgreSQL to answer; without, a lost network holds a request for minutes
TRUNCATE_TRIES = 40
WAL_PAUSE_SECONDS = 0.01  # another process makes the file, which takes a few milliseconds
TRUNCATE_PAUSE_SECONDS = 0.05  # a reader that looks at the log is gone within a request's time

# Bytes decide the order of ids in SQLite and in Python; PostgreSQL would ask the language of its server.
TEXT = sql.String().with_variant(sql.String(collation="C"), "postgresql")

METADATA = sql.MetaData()  # of all tables; ``migrations`` leads to them
_CHANGES = sql.Table(
    "changes",
    METADATA,
    sql.Column("name", TEXT, primary_key=True),
    sql.Column("version", sql.BigInteger, nullable=False),
)


class Database:
    """An engine with the settings that durability needs; one object serves all threads of a process.

    Attributes:
        engine: for transactions.
        insert: the dialect's ``INSERT``, which knows what to do about conflicts.
        read_only: the SQLite file lies where nothing can be written; writes fail, and missing tables are empty.
        salt: the file that makes the hashes in the database unreadable to whoever has the database alone.

    Args:
        url: of SQLAlchemy: SQLite or, with psycopg installed, PostgreSQL (``postgresql+psycopg://…``).
        salt: for a PostgreSQL; None: in the environment's home. A SQLite has it beside its file.
        own: schema of a PostgreSQL, made where it is missing, and all that its connections see; None: the usual one.

    Raises:
        SettingError: the URL is none, or names another kind of database or a driver that is not installed.
        ArtifactError: the database is of a newer recsys, or its tables are another program's.
        sqlalchemy.exc.SQLAlchemyError: the database cannot be reached; every method raises it likewise.
    """

    def __init__(self, url: str | sql.URL, salt: Path | None = None, own: str | None = None) -> None:
        location = _location(url)
        self.salt = salt or Home.from_environment().salt
        self.read_only = False
        self._missing: list[
            str
        ] = []  # statements that make tables for one connection, where they cannot be made for all
        match location.get_backend_name():
            case "sqlite":
                self.insert: Any = sqlite.insert
                self.salt = Path(location.database or "").absolute().parent / SALT  # whoever opens it shares its folder
                self.engine = _sqlite_engine(location)
                self.read_only = not _can_be_written(location)
                if self.read_only:
                    sql.event.listen(self.engine, "connect", self._configure_to_read)
            case "postgresql":
                self.insert = postgresql.insert
                # pre_ping: a pooled connection that the server has closed is replaced instead of failing a request
                reach: dict[str, Any] = {"connect_timeout": REACH_SECONDS, "tcp_user_timeout": REACH_SECONDS * 1_000}
                reach |= search_path(own)
                try:
                    self.engine = sql.create_engine(
                        location,
                        pool_pre_ping=True,
                        pool_timeout=REACH_SECONDS,
                        connect_args=reach | search_path(own),
                        **DISCREET,
                    )
                except (ImportError, sql.exc.NoSuchModuleError) as error:
                    raise SettingError(
                        f"{location!r} cannot be opened: {error}. Install psycopg and write postgresql+psycopg://…."
                    ) from None
            case other:
                raise SettingError(f"Events are kept in SQLite or PostgreSQL, not in {other} ({location!r}).")
        try:
            if self.read_only:
                self._missing = schema.stand_ins(self.engine)
                self.engine.dispose()  # for connections that have them
            else:
                if own is not None:
                    schema.make_own(self.engine, own)
                schema.upgrade(self.engine)
        except BaseException:
            self.engine.dispose()
            raise

    @classmethod
    def at(cls, path: Path) -> "Database":
        """Open the SQLite database at a path; folder and file are made where missing, for their owner alone."""
        path.parent.mkdir(mode=ALONE, parents=True, exist_ok=True)
        return cls(sql.URL.create("sqlite", database=str(path)))  # no text: a ? in the path would end it

    @classmethod
    def of(cls, home: Home) -> "Database":
        """Open the database that ``RECSYS_DATABASE_URL`` names, a tenant's schema of it, or else the SQLite of a home.

        Raises:
            SettingError: the URL is none that can be opened, or names a SQLite, which tenants cannot share.
        """
        url = os.environ.get(URL)
        home.make()
        if not url:
            return cls.at(home.events_database)
        if home.tenant is not None and _location(url).get_backend_name() == "sqlite":
            raise SettingError(f"Tenants cannot share one SQLite. Let {URL} name a PostgreSQL, or leave it out.")
        return cls(url, home.salt, schema_of(home))

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    def _configure_to_read(self, connection: Any, _: ConnectionPoolEntry) -> None:
        for statement in self._missing:
            connection.execute(statement)
        connection.execute("PRAGMA query_only=ON")  # or what is written to these would be accepted, and lost

    def bump(self, connection: sql.Connection, name: str) -> int:
        """Count one more change of something, in the transaction that changes it; return the new version.

        Transactions that bump the same name wait for each other, so versions become visible in their order.
        """
        statement = self.insert(_CHANGES).values(name=name, version=1)
        counted = statement.on_conflict_do_update(
            index_elements=[_CHANGES.c.name], set_={"version": _CHANGES.c.version + 1}
        )
        version: int = connection.execute(counted.returning(_CHANGES.c.version)).scalar_one()
        return version

    def count_from_zero(self, connection: sql.Connection, name: str) -> None:
        """Begin to count a name's changes, unless that has begun, or nothing can be written."""
        if self.read_only:
            return
        connection.execute(self.insert(_CHANGES).values(name=name, version=0).on_conflict_do_nothing())

    def hold(self, connection: sql.Connection, name: str) -> int:
        """Return a name's version and let nobody bump it until the transaction ends.

        Call it first: SQLite refuses a transaction that has read before it writes if another wrote in between.
        """
        if self.read_only:
            return self.versions().get(name, 0)
        same = sql.update(_CHANGES).where(_CHANGES.c.name == name).values(version=_CHANGES.c.version)
        version: int = connection.execute(same.returning(_CHANGES.c.version)).scalar_one()
        return version

    def versions(self) -> dict[str, int]:
        """Return how often each name was bumped; one small read, cheap enough for every request."""
        with self.engine.connect() as connection:
            return {row.name: row.version for row in connection.execute(sql.select(_CHANGES))}

    def erase(self) -> bool:
        """Make deleted rows unreadable in the files; return whether that is done.

        SQLite overwrites deleted rows (``secure_delete``) and the log that still holds them is copied and cut to
        nothing; False if readers kept it busy. PostgreSQL overwrites them when it vacuums, which is its own affair.
        """
        if not self.is_sqlite:
            return False
        for _ in range(TRUNCATE_TRIES):
            with self.engine.connect() as connection:
                busy, *_ = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
            if not busy:
                return True
            time.sleep(TRUNCATE_PAUSE_SECONDS)
        return False

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def check_shared(home: Home) -> None:
    """Check that what a service collects is kept where all machines of its home find it.

    Raises:
        SettingError: the home is on an object store, and the database would be a file of this machine's cache.
    """
    if home.store is not None and not os.environ.get(URL):
        raise SettingError(
            f"{home.store} keeps what never changes; events, live items and who is forgotten need a PostgreSQL, which "
            f"all its machines share. Name it by {URL} (postgresql+psycopg://user@host/name)."
        )


def _location(url: str | sql.URL) -> sql.URL:
    try:
        return sql.make_url(url)
    except sql.exc.ArgumentError:  # a password is in it, and nothing is repeated
        raise SettingError(
            f"The URL of the database is none. Write postgresql+psycopg://user@host/name in {URL}, or leave it out."
        ) from None


def _sqlite_engine(location: sql.URL) -> sql.Engine:
    """Return an engine over one file, which is made here or never.

    Whoever removes or replaces the file while it is open must not have writes go to what no name leads to: each use of
    a connection looks whether its file is still the one with the name. A file that is gone is an error until it is put
    back; a new, empty one in its place would have forgotten who is forgotten.
    """
    if not location.database or location.database == ":memory:":
        raise SettingError(f"A SQLite database needs a file, which all workers share; {location!r} names none.")
    path = Path(location.database).absolute()
    if not _can_be_written(location):
        only = {"mode": "ro", "uri": "true"}
        if not path.with_name(f"{path.name}-wal").exists():  # where a log is, somebody else may be writing
            only["immutable"] = "1"  # or SQLite would put one there
        unchanging = location.set(database=f"file:{quote(str(path))}").update_query_dict(only)
        return sql.create_engine(unchanging, **DISCREET)
    try:  # the log and the index that SQLite puts beside it get its mode
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE))
    except FileExistsError:
        _close_to_others(path)
    existing = location.set(database=f"file:{quote(str(path))}").update_query_dict({"mode": "rw", "uri": "true"})
    engine = sql.create_engine(existing, **DISCREET)

    @sql.event.listens_for(engine, "connect")
    def configure(connection: Any, record: ConnectionPoolEntry) -> None:
        record.info["file"] = _file(path)
        _configure_sqlite(connection)

    @sql.event.listens_for(engine, "checkout")
    def check(_: Any, record: ConnectionPoolEntry, __: Any) -> None:
        if record.info["file"] != _file(path):
            raise DisconnectionError(f"{path} is gone or is another file.")  # SQLAlchemy connects anew

    return engine


def _can_be_written(location: sql.URL) -> bool:
    """Tell whether a SQLite file can be written to, with what lies beside it: its disk may be one to read from."""
    path = Path(location.database or "").absolute()
    return os.access(path.parent, os.W_OK) and (not path.exists() or os.access(path, os.W_OK))


def _close_to_others(path: Path) -> None:
    """Take a database that everybody may read, as older versions made them, back for its owner alone.

    One that a group may read and others not is as somebody wants it.
    """
    for file in (path, *(path.with_name(f"{path.name}{end}") for end in ("-wal", "-shm"))):
        with suppress(OSError):  # it is not there, or another user's
            if file.stat().st_mode & S_IRWXO:
                file.chmod(PRIVATE)


def _file(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _configure_sqlite(connection: Any) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MILLISECONDS}")
    _write_ahead(cursor)
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA secure_delete=ON")  # who is forgotten must not be found in free pages
    cursor.close()


def _write_ahead(cursor: sqlite3.Cursor) -> None:
    """Turn on the write-ahead log, with which readers and the one writer do not wait for each other.

    Of two processes that turn it on in a new file at once, SQLite refuses one immediately, whatever its busy timeout.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_MILLISECONDS / 1_000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(WAL_PAUSE_SECONDS)
