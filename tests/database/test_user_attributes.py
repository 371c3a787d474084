"""Attributes that were put while the service runs: the last word counts, bounded, and gone with their user."""

from threading import Barrier, Thread

import pytest

from recsys.database.engine import Database
from recsys.database.tombstones import Tombstones
from recsys.database.user_attributes import MOST_BYTES, AttributesError, AttributeStore


def test_the_last_word_counts_for_everybody(database: Database) -> None:
    store, other = AttributeStore(database), AttributeStore(database)
    assert store.find("u") is None
    store.put("u", {"age": 30, "town": "Graz", "pays": True}, "key-1")
    found = other.find("u")
    assert found is not None
    assert found.values == {"age": 30, "town": "Graz", "pays": True}
    other.put("u", {"age": 31})
    again = store.find("u")
    assert again is not None
    assert again.values == {"age": 31}
    assert again.time >= found.time
    assert (store.count(), store.find("U")) == (1, None)


def test_there_is_room_for_so_much_and_so_many(database: Database) -> None:
    store = AttributeStore(database, most=2)
    with pytest.raises(AttributesError, match="at most 4,096 bytes as JSON; these have 4,1"):
        store.put("large", {"story": "x" * MOST_BYTES})
    assert (store.find("large"), store.count()) == (None, 0)
    for user in ("a", "b"):
        store.put(user, {"age": 1})
    with pytest.raises(AttributesError, match="Attributes of 2 users may be put"):
        store.put("c", {"age": 1})
    store.put("b", {"age": 2})  # who has some may always tell more
    assert Tombstones(database).forget("a", [store.forget]).rows == (1,)
    store.put("c", {"age": 1})
    assert store.count() == 2


def test_of_two_that_put_the_last_user_one_is_too_many(database: Database) -> None:
    store, together, refused = AttributeStore(database, most=3), Barrier(6), []

    def put(user: str) -> None:
        together.wait()
        try:
            store.put(user, {"age": 1})
        except AttributesError:
            refused.append(user)

    threads = [Thread(target=put, args=(f"u{n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (store.count(), len(refused)) == (3, 3)


def test_attributes_go_with_their_user(database: Database) -> None:
    store, tombstones = AttributeStore(database), Tombstones(database)
    store.put("gone", {"age": 30})
    store.put("stays", {"age": 40})
    assert tombstones.forget("gone", [store.forget]).rows == (1,)
    assert tombstones.forget("gone", [store.forget]).rows == (0,)
    assert store.find("gone") is None
    assert store.find("stays") is not None
    assert store.count() == 1
