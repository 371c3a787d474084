"""Which version the tables of a database have, and the way to this recsys's: the revisions in ``migrations/``.

Whoever opens a database brings it there. Of many who open it at once one does, in one transaction, while the others
wait: a kill in the middle leaves it as it was. A database that is newer than the code is left alone.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sql

from recsys.artifacts import ArtifactError

VERSION_TABLE = "recsys_schema"  # Alembic's own name would be another program's that shares a PostgreSQL
MIGRATIONS = Path(__file__).with_name("migrations")
SCHEMA_LOCK = 0x72656373  # any constant: names the PostgreSQL lock under which the tables are made
WAIT_MILLISECONDS = 3_600_000  # for whoever changes a large SQLite, which takes as long as it takes
_VERSION = sql.table(VERSION_TABLE, sql.column("version_num"))
_ALONE = threading.Lock()  # Alembic's operations are the whole process's
_LOG = logging.getLogger(__name__)


def revisions() -> list[str]:
    """Return the versions that this recsys knows, the newest last, by the names of their files."""
    return sorted(path.name[1:5] for path in (MIGRATIONS / "versions").glob("r[0-9][0-9][0-9][0-9]_*.py"))


def version(connection: sql.Connection) -> str | None:
    """Return the version of a database; None: it has no tables, or was made before versions were kept."""
    if not sql.inspect(connection).has_table(VERSION_TABLE):
        return None
    found: str | None = connection.execute(sql.select(_VERSION.c.version_num)).scalar_one_or_none()
    return found


def check_known(found: str | None) -> None:
    """Refuse what a newer recsys has made.

    Raises:
        ArtifactError: so it is.
    """
    known = revisions()
    if found is not None and found not in known:
        raise ArtifactError(
            f"The database has version {found} of its tables; this recsys knows them up to {known[-1]}. Nothing was "
            "changed. Install the newer recsys again, or restore the backup that was made before it was installed."
        )


def make_own(engine: sql.Engine, name: str) -> None:
    """Make a schema of a PostgreSQL unless it is there: who may make none is given one."""
    with engine.begin() as connection:
        connection.execute(sql.select(sql.func.pg_advisory_xact_lock(SCHEMA_LOCK)))
        if not sql.inspect(connection).has_schema(name):
            connection.execute(sql.schema.CreateSchema(name))


def upgrade(engine: sql.Engine) -> None:
    """Bring a database to the newest version that this recsys knows, unless it has it.

    Raises:
        ArtifactError: it is of a newer recsys, or its tables are another program's; nothing has changed.
        sqlalchemy.exc.SQLAlchemyError: it cannot be reached or written.
    """
    newest = revisions()[-1]
    with engine.connect() as connection:
        if version(connection) == newest:
            return
    with _ALONE, engine.connect() as connection, _patient(connection), connection.begin():
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")  # or two could both find the old version
        else:
            connection.execute(sql.select(sql.func.pg_advisory_xact_lock(SCHEMA_LOCK)))
        found = version(connection)
        check_known(found)
        if found != newest:
            _LOG.info("Bring the database's tables from version %s to %s.", found or "0", newest)
            _run(connection)


@contextmanager
def _patient(connection: sql.Connection) -> Iterator[None]:
    """Let a SQLite connection wait longer than others do for their turn."""
    if connection.dialect.name != "sqlite":
        yield
        return
    usual = connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one()
    connection.exec_driver_sql(f"PRAGMA busy_timeout={WAIT_MILLISECONDS}")
    connection.rollback()  # SQLAlchemy's own notion of a transaction; SQLite has begun none
    try:
        yield
    finally:
        connection.exec_driver_sql(f"PRAGMA busy_timeout={usual}")


def _run(connection: sql.Connection) -> None:
    from alembic import command  # a quarter of a second, which only those pay who have something to do
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    command.upgrade(config, "head")


def stand_ins(engine: sql.Engine) -> list[str]:
    """Return statements that make, for one connection, the tables that a database for reading alone lacks.

    Raises:
        ArtifactError: it is of a newer recsys, or its tables lack columns.
    """
    with engine.connect() as connection:
        found = version(connection)
        check_known(found)
        if found == revisions()[-1]:
            return []
        there = _columns(connection)
    blank = sql.create_engine("sqlite://")
    upgrade(blank)
    with blank.connect() as connection:
        wanted = _columns(connection)
        made = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'table'").all()
    blank.dispose()
    lacking = [f"{name}.{column}" for name in sorted(there) for column in sorted(wanted.get(name, set()) - there[name])]
    if lacking:
        raise ArtifactError(
            f"The database is of an older recsys (it lacks {', '.join(lacking)}) and lies where nothing can be "
            "written. Open it once where it can be: every start of the service does, and `recsys export-events FILE`."
        )
    return [text.replace("CREATE TABLE", "CREATE TEMPORARY TABLE", 1) for name, text in made if name not in there]


def _columns(connection: sql.Connection) -> dict[str, set[str]]:
    inspector = sql.inspect(connection)
    return {name: {one["name"] for one in inspector.get_columns(name)} for name in inspector.get_table_names()}
