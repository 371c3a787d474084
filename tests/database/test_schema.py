"""The tables' versions: of a new database, one of before there were any, an older, a newer, a foreign, a killed one."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest
import sqlalchemy as sql
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from processes import PATIENCE_SECONDS

import recsys.database
from recsys.artifacts import ArtifactError
from recsys.database import engine, schema
from recsys.database.engine import METADATA, Database
from recsys.home import SALT

GOLDEN = Path(__file__).parents[1] / "golden"
OPENERS = 3
OPEN = """
import sys
from pathlib import Path
from recsys.database import schema
from recsys.database.engine import Database
url, salt, migrations = sys.argv[1:]
schema.MIGRATIONS = Path(migrations)
Database(url, Path(salt)).close()
print("alembic" in sys.modules)
"""
NEXT = '''"""Keeps a trace of who ran it."""

import os
import signal

import sqlalchemy as sql
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table("traces", sql.Column("pid", sql.Integer))
    op.add_column("events", sql.Column("added", sql.Integer))
    op.get_bind().execute(sql.text(f"INSERT INTO traces VALUES ({os.getpid()})"))
    op.get_bind().execute(sql.text("UPDATE events SET added = 1"))
    REST
'''


def shape(url: str) -> tuple[str | None, list[object], dict[str, int]]:
    """What a database looks like: its version, how its tables differ from the code's, and how many rows they have."""
    for module in iter_modules(recsys.database.__path__):
        import_module(f"recsys.database.{module.name}")
    opened = sql.create_engine(url)
    with opened.connect() as connection:
        names = set(sql.inspect(connection).get_table_names())
        counts = {
            name: connection.execute(sql.select(sql.func.count()).select_from(sql.table(name))).scalar_one()
            for name in names
        }
        options = {"compare_type": True, "version_table": schema.VERSION_TABLE}
        differences = compare_metadata(MigrationContext.configure(connection, opts=options), METADATA)
        version = schema.version(connection)
    opened.dispose()
    return version, differences, {name: count for name, count in counts.items() if name != schema.VERSION_TABLE}


def grown(folder: Path, rest: str = "") -> Path:
    """The migrations, with one more."""
    shutil.copytree(schema.MIGRATIONS, folder)
    (folder / "versions/r0002_traces.py").write_text(NEXT.replace("REST", rest))
    return folder


def opening(url: str, salt: Path, migrations: Path = schema.MIGRATIONS) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", OPEN, url, salt, migrations], stdout=subprocess.PIPE, text=True)


def said(url: str, question: str) -> list[tuple[object, ...]]:
    opened = sql.create_engine(url)
    with opened.connect() as connection:
        found = [tuple(row) for row in connection.exec_driver_sql(question)]
    opened.dispose()
    return found


def test_the_migrations_lead_to_the_tables_of_the_code(database: Database, url: str) -> None:
    version, differences, counts = shape(url)
    assert (version, differences) == (schema.revisions()[-1], [])
    assert set(counts) == set(METADATA.tables)


def test_revisions_follow_each_other_by_their_numbers() -> None:
    assert schema.revisions() == [f"{number:04}" for number in range(1, len(schema.revisions()) + 1)]


def test_tables_of_before_there_were_versions_keep_their_rows(older: Callable[..., Database], url: str) -> None:
    older("CREATE TABLE events (event_id VARCHAR NOT NULL PRIMARY KEY, user_id VARCHAR NOT NULL, "
          "item_id VARCHAR NOT NULL, timestamp BIGINT NOT NULL, event_type VARCHAR NOT NULL, "
          "position BIGINT)",
          "INSERT INTO events VALUES ('1', 'u', 'i', 5, 'view', NULL)",
          "CREATE INDEX events_by_user ON events (user_id)",  # of fewer columns than it has now
          "CREATE TABLE elsewhere (x INTEGER)")  # fmt: skip
    version, differences, counts = shape(url)
    assert version == schema.revisions()[-1]
    assert [(one[0], one[1].name) for one in differences] == [("remove_table", "elsewhere")]  # type: ignore[index]
    assert counts["events"] == 1
    assert said(url, "SELECT event_id, batch, received FROM events") == [("1", None, None)]


def test_whole_tables_of_before_there_were_versions_get_one(database: Database, url: str, tmp_path: Path) -> None:
    with database.engine.begin() as connection:
        connection.exec_driver_sql(f"DROP TABLE {schema.VERSION_TABLE}")
        database.bump(connection, "x")
    database.close()
    again = Database(url, tmp_path / SALT)
    assert again.versions() == {"x": 1}
    again.close()
    assert shape(url)[:2] == (schema.revisions()[-1], [])


@pytest.mark.parametrize(
    ("columns", "said_of"),
    [
        ("event_id VARCHAR NOT NULL PRIMARY KEY, user_id VARCHAR NOT NULL", "it lacks item_id"),
        ("id INTEGER PRIMARY KEY, organiser VARCHAR NOT NULL", "its key is id"),
        ("event_id VARCHAR NOT NULL PRIMARY KEY, user_id BIGINT", "user_id is BIGINT"),
        ("event_id VARCHAR NOT NULL PRIMARY KEY, town VARCHAR NOT NULL", "it wants a town"),
    ],
)
def test_a_table_of_somebody_else_is_refused(
    older: Callable[..., Database], url: str, columns: str, said_of: str
) -> None:
    with pytest.raises(ArtifactError, match=rf"a table events that recsys has not made: .*{said_of}.*of its own"):
        older(f"CREATE TABLE events ({columns})")
    opened = sql.create_engine(url)
    assert sql.inspect(opened).get_table_names() == ["events"]
    opened.dispose()


def test_a_newer_database_is_left_alone(database: Database, url: str, tmp_path: Path) -> None:
    with database.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE {schema.VERSION_TABLE} SET version_num = '0099'")
    database.close()
    with pytest.raises(ArtifactError, match=r"version 0099 .* up to 0\d+\. Nothing was changed\. .* the backup"):
        Database(url, tmp_path / SALT)
    assert said(url, f"SELECT version_num FROM {schema.VERSION_TABLE}") == [("0099",)]


def test_of_many_that_open_an_older_one_one_migrates(database: Database, url: str, tmp_path: Path) -> None:
    with database.engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO events VALUES ('1', 'u', 'i', 5, 'view'" + ", NULL" * 7 + ")")
    database.close()
    migrations = grown(tmp_path / "migrations", "import time; time.sleep(0.5)")  # so that the others come meanwhile
    openers = [opening(url, tmp_path / SALT, migrations) for _ in range(OPENERS)]
    assert [one.communicate(timeout=PATIENCE_SECONDS) and one.returncode for one in openers] == [0] * OPENERS
    ((pid,),) = said(url, "SELECT pid FROM traces")
    assert pid in [one.pid for one in openers]
    assert said(url, f"SELECT version_num FROM {schema.VERSION_TABLE}") == [("0002",)]
    assert said(url, "SELECT event_id, added FROM events") == [("1", 1)]


def test_a_kill_midway_leaves_the_older_one(database: Database, url: str, tmp_path: Path) -> None:
    with database.engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO events VALUES ('1', 'u', 'i', 5, 'view'" + ", NULL" * 7 + ")")
    database.close()
    before = shape(url)
    killed = opening(url, tmp_path / SALT, grown(tmp_path / "killed", "os.kill(os.getpid(), signal.SIGKILL)"))
    killed.communicate(timeout=PATIENCE_SECONDS)
    assert killed.returncode == -signal.SIGKILL
    assert shape(url) == before
    done = opening(url, tmp_path / SALT, grown(tmp_path / "whole"))
    assert done.communicate(timeout=PATIENCE_SECONDS)[0] == "True\n"
    assert said(url, "SELECT event_id, added FROM events") == [("1", 1)]


def test_a_start_on_the_newest_pays_for_no_alembic(tmp_path: Path) -> None:
    Database.at(tmp_path / "events.db").close()
    opened = opening(f"sqlite:///{tmp_path / 'events.db'}", tmp_path / SALT)
    assert opened.communicate(timeout=PATIENCE_SECONDS)[0] == "False\n"


def test_where_nothing_can_be_written_an_older_one_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events.db"
    older = sql.create_engine(f"sqlite:///{path}")
    with older.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE forgotten_salt (id INTEGER NOT NULL PRIMARY KEY)")
    older.dispose()
    access = engine.os.access
    with monkeypatch.context() as patched:
        patched.setattr(engine.os, "access", lambda place, mode: mode != engine.os.W_OK and access(place, mode))
        with pytest.raises(ArtifactError, match=r"lacks forgotten_salt\.salt\).*Open it once where it can be"):
            Database.at(path)
    Database.at(path).close()
    assert shape(f"sqlite:///{path}")[:2] == (schema.revisions()[-1], [])
