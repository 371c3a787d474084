"""The database itself: many workers that open a new one at the same moment, and what its errors tell."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
import sqlalchemy as sql
from processes import PATIENCE_SECONDS

from recsys.database.engine import Database

OPENERS = 8
FILES = 25


def test_many_open_a_new_file_at_the_same_moment(tmp_path: Path) -> None:
    together = Barrier(OPENERS)

    def open_all(opener: int) -> None:
        for number in range(FILES):
            together.wait(PATIENCE_SECONDS)
            database = Database.at(tmp_path / f"{number}.db")
            with database.engine.begin() as connection:
                database.bump(connection, "openers")
            database.close()

    with ThreadPoolExecutor(OPENERS) as threads:
        list(threads.map(open_all, range(OPENERS)))
    for number in range(FILES):
        database = Database.at(tmp_path / f"{number}.db")
        assert database.versions() == {"openers": OPENERS}
        database.close()


def test_an_error_names_the_statement_and_nobody(database: Database) -> None:
    with database.engine.connect() as connection, pytest.raises(sql.exc.DBAPIError) as raised:
        connection.execute(sql.text("SELECT * FROM nowhere WHERE user_id = :user"), {"user": "ann"})
    assert "SELECT * FROM nowhere" in str(raised.value)
    assert "ann" not in str(raised.value)
