"""The database of events: whether it can be reached, what its version is, and whether it is whole."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sql

from recsys.artifacts import digest
from recsys.database import comparisons, events, exposures, impressions, live_items, schema, tombstones, user_attributes
from recsys.database.engine import DISCREET, METADATA, REACH_SECONDS, URL
from recsys.database.files import sqlite_url
from recsys.database.salt import CHECK
from recsys.database.tenancy import schema_of, search_path
from recsys.health.findings import Seen, failed, fine, some, warning
from recsys.home import Home

LARGE_LOG = 256 * 2**20  # bytes; SQLite copies it back at 4 MB, unless a reader never lets go
CLOCKS = 5.0  # seconds apart; an event's time is its sender's, and what is newest is told by both
LEAST_POSTGRESQL = 130_000  # server_version_num
NEEDED = ("SELECT", "INSERT", "UPDATE", "DELETE")
# what puts its tables into METADATA
_ = (comparisons, events, exposures, impressions, live_items, tombstones, user_attributes)


def look_at_database(home: Home, quick: bool) -> Iterator[Seen]:
    """See whether the database is there, of this version, whole, and what it is told the time is."""
    url = os.environ.get(URL)
    if url and sql.make_url(url).get_backend_name() == "postgresql":
        yield from _postgresql(home, url)
        return
    path = Path(sql.make_url(url).database or "") if url else home.events_database
    if not path.exists():
        if home.generations.is_dir() and home.salt.exists():
            yield failed(f"{path} is gone, and {home.salt} is there.", "Restore it, or who was forgotten comes back.")
        else:
            yield fine(f"{path} is not there yet; the service makes it")
        return
    try:
        yield from _sqlite(home, path, quick)
    except sql.exc.DatabaseError as error:
        yield _damaged(path, str(error.orig))


def _sqlite(home: Home, path: Path, quick: bool) -> Iterator[Seen]:
    log = path.with_name(f"{path.name}-wal")
    size = log.stat().st_size if log.exists() else 0
    if size > LARGE_LOG:
        yield warning(
            f"{log} has {size / 2**20:,.0f} MiB: something has read for long, or everything was killed.",
            "End long readers; the next event that is accepted copies it back.",
        )
    # Without a log nobody writes, and SQLite need not make one in order to read.
    only = "&mode=ro" if log.exists() else "&mode=ro&immutable=1"
    engine = sql.create_engine(sqlite_url(path.absolute()) + only, **DISCREET)
    with ExitStack() as stack:
        stack.callback(engine.dispose)
        connection = stack.enter_context(engine.connect())
        check = "quick_check" if quick else "integrity_check"
        said = [str(row[0]) for row in connection.exec_driver_sql(f"PRAGMA {check}(5)")]
        if said != ["ok"]:
            yield _damaged(path, some(said))
            return
        wrong = False
        for one in (*_version(connection), *_salt(home, connection)):
            wrong = True
            yield one
        if not wrong:
            yield fine(f"{path}: whole, version {schema.version(connection) or 'none yet'}, log {size / 2**20:.1f} MiB")


def _damaged(path: Path, said: str) -> Seen:
    todo = "Stop the service, keep the file, restore the newest backup; `sqlite3 FILE .recover` saves rows."
    return failed(f"{path} is damaged: {said}.", todo)


def _postgresql(home: Home, url: str) -> Iterator[Seen]:
    where = sql.make_url(url).render_as_string(hide_password=True)
    reach: dict[str, Any] = {"connect_timeout": REACH_SECONDS} | search_path(schema_of(home))
    engine = sql.create_engine(url, connect_args=reach, **DISCREET)
    with ExitStack() as stack:
        stack.callback(engine.dispose)
        try:
            connection = engine.connect()
        except sql.exc.OperationalError as error:
            said = str(error.orig).strip().partition("\n")[0]
            yield failed(f"{where} cannot be reached: {said}.", f"Look at the server, and at {URL}.")
            return
        with connection:
            number = int(connection.exec_driver_sql("SHOW server_version_num").scalar_one())
            now = connection.exec_driver_sql("SELECT clock_timestamp()").scalar_one()
            apart = abs((datetime.now(UTC) - now).total_seconds())
            seen = [*_version(connection), *_salt(home, connection), *_rights(connection)]
            if number < LEAST_POSTGRESQL:
                seen.append(warning(f"PostgreSQL {number // 10_000} is no longer maintained.", "Upgrade the server."))
            if apart > CLOCKS:
                seen.append(warning(f"Its clock and this one are {apart:,.0f} s apart.", "Let both follow NTP."))
            if not seen:
                seen.append(fine(f"{where}: PostgreSQL {number // 10_000}, version {schema.version(connection)}"))
            yield from seen


def _version(connection: sql.Connection) -> Iterator[Seen]:
    found, newest = schema.version(connection), schema.revisions()[-1]
    schema.check_known(found)
    there = set(sql.inspect(connection).get_table_names()) & set(METADATA.tables)
    if found is None and there:
        yield warning(
            "Its tables are of before they had versions.",
            f"Back it up; the next start of the service brings them to version {newest}.",
        )
    elif found is not None and found != newest:
        yield warning(
            f"Its tables have version {found}, and this recsys has {newest}.",
            "Back it up; the next start of the service brings them there.",
        )


def _salt(home: Home, connection: sql.Connection) -> Iterator[Seen]:
    """See whether this machine has the salt by which who was forgotten is found."""
    if not sql.inspect(connection).has_table("forgotten_salt"):
        return
    said = connection.exec_driver_sql("SELECT salt FROM forgotten_salt").scalar_one_or_none()
    if said is None:
        return
    salt = home.salt.read_text().strip() if home.salt.exists() else None
    if salt is None or said not in (salt, CHECK + digest(salt.encode())):
        yield failed(
            f"{home.salt} {'is missing' if salt is None else 'is not the salt of this database'}: nobody who asked to "
            "be forgotten is found, and no service starts.",
            "Copy it, with mode 0600, from another machine of this database or from a backup.",
        )


def _rights(connection: sql.Connection) -> Iterator[Seen]:
    """See whether this user may do with the tables what a service does, and make those that are missing."""
    there = set(sql.inspect(connection).get_table_names())
    lacking = [
        f"{right} on {name}"
        for name in sorted(there & set(METADATA.tables))
        for right in NEEDED
        if not connection.execute(sql.select(sql.func.has_table_privilege(name, right))).scalar_one()
    ]
    if lacking:
        yield failed(f"This user lacks {some(lacking)}.", "GRANT them, or make this user the tables' owner.")
    may = sql.select(sql.func.has_schema_privilege(sql.func.current_schema(), "CREATE"))
    if schema.version(connection) != schema.revisions()[-1] and not connection.execute(may).scalar_one():
        yield failed("Tables must be made or changed, and this user may not.", "GRANT CREATE ON SCHEMA to this user.")
