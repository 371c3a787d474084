"""Counts of what new items were shown and brought: they add up over workers, in every database."""

from recsys.database.engine import Database
from recsys.database.exposures import ExposureStore


def test_counts_of_all_workers_add_up(database: Database) -> None:
    one, other = ExposureStore(database), ExposureStore(database)
    one.show({"a": 3, "ü": 1})
    other.show({"a": 2, "b": 1})
    other.bring({"a": 1, "never new": 5})
    one.bring({"a": 1, "b": 4})
    one.bring({})
    assert one.read() == other.read() == {"a": (5, 2), "b": (1, 4), "ü": (1, 0)}


def test_many_items_are_counted_at_once(database: Database) -> None:
    store = ExposureStore(database)
    store.show({f"i{number}": number for number in range(1, 1_201)})
    store.show({"i7": 1})
    found = store.read()
    assert (len(found), found["i7"], found["i1200"]) == (1_200, (8, 0), (1_200, 0))
