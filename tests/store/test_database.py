"""The database itself: many workers that open a new one at the same moment."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

from recsys.store.database import Database

OPENERS = 8
FILES = 25


def test_many_open_a_new_file_at_the_same_moment(tmp_path: Path) -> None:
    together = Barrier(OPENERS)

    def open_all(opener: int) -> None:
        for number in range(FILES):
            together.wait(60)
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
