"""A SQLite file is the one at its path, whatever characters that has."""

import asyncio
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sql
from sqlalchemy.ext.asyncio import create_async_engine

from recsys.database.engine import Database
from recsys.database.files import sqlite_url
from recsys.home import SALT

NAMES = ["Jürgen", "a home", "what?#1", "what?mode=ro", "100%20", "{x}[y]*", "file:x"]


@pytest.mark.parametrize("name", NAMES)
def test_the_events_of_a_home_lie_in_it(tmp_path: Path, name: str) -> None:
    database = Database.at(tmp_path / name / "events.db")
    database.close()
    assert database.salt == tmp_path / name / SALT
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name / "events.db").stat().st_size


@pytest.mark.parametrize("name", NAMES)
def test_a_url_leads_to_its_file(tmp_path: Path, name: str) -> None:
    """Those of a search for settings, which formats it first, and of Prefect's server, which opens it likewise."""
    folder = tmp_path / name
    folder.mkdir()
    study = optuna.create_study(storage=sqlite_url(folder / "search.db"), study_name="x")
    assert study.trials == []

    async def opened() -> None:
        engine = create_async_engine(sqlite_url(folder / "prefect.db", "sqlite+aiosqlite"))
        async with engine.begin() as connection:
            await connection.execute(sql.text("CREATE TABLE made (x)"))
        await engine.dispose()

    asyncio.run(opened())
    assert sorted(path.name for path in folder.iterdir()) == ["prefect.db", "search.db"]
    assert [path.name for path in tmp_path.iterdir()] == [name]
