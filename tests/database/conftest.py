"""Every database that can hold state.

PostgreSQL joins where its server programs and psycopg are installed; a private server is started for it.
"""

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sql

from recsys.database.engine import Database
from recsys.home import SALT
from services.serve import free_port


def postgres_programs() -> Path | None:
    """Return the folder of the newest installed PostgreSQL server, or None."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    if importlib.util.find_spec("psycopg") is None:
        return None
    return found[-1].parent if found else Path(on_path).parent if on_path else None


DATABASES = ["sqlite", *(["postgresql"] if postgres_programs() else [])]


@pytest.fixture(scope="package")
def postgres() -> Iterator[str]:
    """A private PostgreSQL server: its URL without a database name."""
    programs = postgres_programs()
    assert programs is not None
    folder = Path(tempfile.mkdtemp(prefix="recsys-postgres-"))
    user = "postgres" if os.geteuid() == 0 else None  # the server refuses to run as root
    if user:
        shutil.chown(folder, user)
    data = folder / "data"
    port = free_port()
    quiet = {"cwd": folder, "check": True, "stdout": subprocess.DEVNULL, "user": user}
    # en_US-like collations order "a" before "B"; the store must not depend on what the server was set up with
    subprocess.run([programs / "initdb", "-D", data, "-U", "recsys", "-A", "trust", "-E", "UTF8"], **quiet)
    options = f"-c listen_addresses=127.0.0.1 -p {port} -k {folder}"
    subprocess.run([programs / "pg_ctl", "start", "-w", "-D", data, "-l", folder / "log", "-o", options], **quiet)
    try:
        yield f"postgresql+psycopg://recsys@127.0.0.1:{port}"
    finally:
        subprocess.run([programs / "pg_ctl", "stop", "-D", data, "-m", "immediate"], **quiet)
        shutil.rmtree(folder)


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'events.db'}"
    import psycopg

    server = request.getfixturevalue("postgres")
    with psycopg.connect(f"{server.replace('+psycopg', '')}/postgres", autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS events")
        connection.execute("CREATE DATABASE events")
    return f"{server}/events"


@pytest.fixture
def database(url: str, tmp_path: Path) -> Iterator[Database]:
    """An empty database, and a folder for what belongs beside it."""
    database = Database(url, tmp_path / SALT)
    yield database
    database.close()


Older = Callable[..., Database]


@pytest.fixture
def older(url: str, tmp_path: Path) -> Iterator[Older]:
    """Opens the database that an older version has left: made by statements, or what else is done by a connection."""
    opened: list[Database] = []

    def left_by(*statements: str | Callable[[sql.Connection], object]) -> Database:
        engine = sql.create_engine(url)
        with engine.begin() as connection:
            for statement in statements:
                if isinstance(statement, str):
                    connection.exec_driver_sql(statement)
                else:
                    statement(connection)
        engine.dispose()
        opened.append(Database(url, tmp_path / SALT))
        return opened[-1]

    yield left_by
    for one in opened:
        one.close()
