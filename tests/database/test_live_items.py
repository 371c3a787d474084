"""Live items in every database: how much room there is for them, and what is kept of those that are gone."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest

from recsys.artifacts import canonical_json
from recsys.database import live_items
from recsys.database.engine import Database
from recsys.database.live_items import ItemStore, Room, RoomError, Taken

PROCESSES = 6


def size(columns: dict[str, str]) -> int:
    return len(canonical_json(columns))


SMALL, LARGE = {"title": "Ж"}, {"title": "Ж" * 40}


def test_a_sender_has_a_share_and_all_have_a_whole(database: Database) -> None:
    store = ItemStore(database, Room(items=4, bytes=10_000, share=0.5))
    store.put("a", SMALL, "one")
    store.put("b", SMALL, "one")
    with pytest.raises(RoomError, match="a key may have 2"):
        store.put("c", SMALL, "one")
    assert store.find("c") is None
    store.put("c", SMALL, "two")
    store.put("d", SMALL, None)
    with pytest.raises(RoomError, match="there may be 4"):
        store.put("e", SMALL, None)
    assert store.version() == 4  # what was refused is no change
    assert store.taken() == {
        "one": Taken(2, 2 * size(SMALL)),
        "two": Taken(1, size(SMALL)),
        None: Taken(1, size(SMALL)),
    }


def test_without_keys_all_is_one_senders(database: Database) -> None:
    store = ItemStore(database, Room(items=4, bytes=10_000, share=0.5))
    store.put("a", SMALL)
    store.put("b", SMALL)
    with pytest.raises(RoomError, match="a key may have 2"):
        store.put("c", SMALL)


def test_bytes_are_those_of_the_record_and_an_overwritten_item_counts_its_difference(database: Database) -> None:
    store = ItemStore(database, Room(items=100, bytes=2 * (size(SMALL) + size(LARGE)), share=0.5))
    store.put("a", SMALL, "one")
    store.put("b", SMALL, "one")
    store.put("b", LARGE, "one")  # exactly what there is
    with pytest.raises(RoomError, match="MiB together"):
        store.put("a", {"title": "Жа"}, "one")
    with pytest.raises(RoomError):
        store.put("c", SMALL, "one")
    store.put("b", SMALL, "one")
    store.put("c", SMALL, "one")
    assert store.taken() == {"one": Taken(3, 3 * size(SMALL))}


def test_of_many_items_those_without_room_are_told_one_by_one(database: Database) -> None:
    store = ItemStore(database, Room(items=6, bytes=2 * (2 * size(SMALL) + size(LARGE)), share=0.5))
    outcomes = store.put_all([("a", SMALL), ("b", LARGE), ("c", LARGE), ("d", SMALL), ("e", SMALL)], "one")
    assert [type(outcome) for outcome in outcomes] == [int, int, RoomError, int, RoomError]
    assert [item.item_id for item in store.changed()] == ["a", "b", "d"]
    assert [outcome for outcome in outcomes if isinstance(outcome, int)] == [1, 2, 3]
    assert store.version() == 3  # what was refused is no change
    assert store.put_all([("b", SMALL), ("e", SMALL)], "one")[0] == 4


def test_changes_of_one_item_lose_nothing(database: Database) -> None:
    store, ready = ItemStore(database), Barrier(PROCESSES)
    store.put("a", SMALL)

    def change(number: int) -> int:
        ready.wait()
        return store.change("a", lambda item: {**(item.columns if item and item.columns else {}), f"c{number}": 1}, "k")

    with ThreadPoolExecutor(PROCESSES) as threads:
        versions = set(threads.map(change, range(PROCESSES)))
    assert versions == {*range(2, PROCESSES + 2)}
    found = store.find("a")
    assert found is not None
    assert found.columns == SMALL | {f"c{number}": 1 for number in range(PROCESSES)}

    def refuse(item: object) -> dict[str, str]:
        raise KeyError("no")

    with pytest.raises(KeyError):
        store.change("a", refuse, "k")
    assert store.version() == PROCESSES + 1


def test_pages_go_by_id(database: Database) -> None:
    store = ItemStore(database)
    for item_id in ("b", "é", "B", "a", "aa"):
        store.put(item_id, SMALL)
    store.put("a", None)
    found = [(item.item_id, item.columns is None) for item in store.page("", 3)]
    assert found == [("B", False), ("a", True), ("aa", False)]
    assert [item.item_id for item in store.page("aa", 3)] == ["b", "é"]


def test_deleting_gives_room_back_and_always_goes(database: Database) -> None:
    store = ItemStore(database, Room(items=2, bytes=10_000, share=0.5))
    for number in range(5):
        store.put("a", SMALL, "one")
        with pytest.raises(RoomError):
            store.put("b", SMALL, "one")
        store.put("a", None, f"another {number}")
        store.put("never there", None, "one")
    assert store.taken() == {}


def test_an_item_taken_over_is_its_new_senders(database: Database) -> None:
    store = ItemStore(database, Room(items=4, bytes=10_000, share=0.5))
    for item_id, sender in (("a", "one"), ("b", "one"), ("a", "two")):
        store.put(item_id, SMALL, sender)
    assert store.taken() == {"one": Taken(1, size(SMALL)), "two": Taken(1, size(SMALL))}
    store.put("c", SMALL, "one")
    with pytest.raises(RoomError):
        store.put("a", SMALL, "one")
    assert store.taken()["two"].items == 1


def test_what_is_live_beyond_the_room_can_still_be_changed(database: Database) -> None:
    before = ItemStore(database)
    for item_id in ("a", "b", "c"):
        before.put(item_id, LARGE, "one")
    store = ItemStore(database, Room(items=2, bytes=size(LARGE), share=0.5))
    store.put("a", LARGE, "one")
    store.put("b", SMALL, "one")
    with pytest.raises(RoomError):
        store.put("b", LARGE, "one")
    with pytest.raises(RoomError):
        store.put("d", SMALL, "one")


def test_of_two_that_put_at_once_the_last_place_is_ones(database: Database) -> None:
    store, ready = ItemStore(database, Room(items=8, bytes=10_000, share=0.5)), Barrier(PROCESSES)

    def put(number: int) -> bool:
        ready.wait()
        try:
            return store.put(f"item {number}", SMALL, "one") > 0
        except RoomError:
            return False

    with ThreadPoolExecutor(PROCESSES) as threads:
        assert sum(threads.map(put, range(PROCESSES))) == 4


def test_a_table_of_before_gets_its_columns_once_and_its_items_are_counted(
    older: Callable[..., Database], url: str
) -> None:
    database = older(
        "CREATE TABLE live_items (item_id VARCHAR NOT NULL PRIMARY KEY, version BIGINT NOT NULL, record VARCHAR)",
        """INSERT INTO live_items VALUES ('a', 1, '{"title":"Ж"}'), ('b', 2, NULL)""",
        "CREATE TABLE changes (name VARCHAR NOT NULL PRIMARY KEY, version BIGINT NOT NULL)",
        f"INSERT INTO changes VALUES ('{live_items.CHANGE}', 2)",
    )
    ready = Barrier(PROCESSES)

    def start(_: int) -> dict[str | None, Taken]:
        own = Database(url)
        ready.wait()
        try:
            return ItemStore(own).taken()
        finally:
            own.close()

    with ThreadPoolExecutor(PROCESSES) as threads:
        assert list(threads.map(start, range(PROCESSES))) == [{None: Taken(1, size(SMALL))}] * PROCESSES
    store = ItemStore(database)
    assert store.put("a", SMALL, "one") == 3
    assert [(item.item_id, item.columns) for item in store.changed()] == [("b", None), ("a", SMALL)]


def test_old_deletions_are_forgotten_but_for_items_of_the_catalogue(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_items, "MOST_DELETED", 2)
    store = ItemStore(database)
    store.put("kept", SMALL)
    for number in range(5):
        store.put(f"gone {number}", SMALL)
        store.put(f"gone {number}", None)
    for item_id in ("kept", "gone 0"):
        store.add_vectors("adapter", [item_id], ["digest"], np.ones((1, 3), np.float32))  # encoded as it went
    store.tidy({"gone 1"})
    assert store.ids() == {"kept", "gone 1", "gone 3", "gone 4"}
    assert store.count() == 4
    assert set(store.vectors("adapter", ["kept", "gone 0"])) == {"kept"}
