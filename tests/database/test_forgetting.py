"""Impressions and forgetting, over every database; and what is left in SQLite's files."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
import sqlalchemy as sql

from recsys.data.forgetting import Forgotten, hash_user
from recsys.database.engine import Database
from recsys.database.events import Event, EventStore
from recsys.database.impressions import Impression, ImpressionStore, Options
from recsys.database.moments import microseconds
from recsys.database.tombstones import Tombstones

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Stores:
    database: Database
    events: EventStore
    tombstones: Tombstones
    impressions: ImpressionStore

    @classmethod
    def on(cls, database: Database) -> "Stores":
        tombstones = Tombstones(database)
        return cls(database, EventStore(database), tombstones, ImpressionStore(database, tombstones))

    def forget(self, user_id: str) -> tuple[int, ...]:
        return self.tombstones.forget(user_id, [self.events.forget, self.impressions.forget]).rows


@pytest.fixture
def stores(database: Database) -> Iterator[Stores]:
    return Stores.on(database)


def impression(rec_id: str, user_id: str | None = "u", time: datetime = NOON) -> Impression:
    items = [{"item_id": "i/1", "score": 0.1, "propensity": 1.0}]
    options = Options({"filter": {"field": "titel", "eq": "ü"}})
    lineage = {"index": {"version": 2}}
    return Impression(rec_id, time, user_id, "g", "a", "key", True, lineage, options, ["i1"], items, None)


def test_an_impression_comes_back_whole(stores: Stores) -> None:
    one, other = impression("r1"), impression("r2", None)
    assert stores.impressions.add([other, one]) == 2
    assert stores.impressions.add([one, impression("r3")]) == 1
    assert stores.impressions.find("r1") == one
    assert stores.impressions.find("r2") == other
    assert stores.impressions.find("r4") is None
    assert (stores.impressions.count(), stores.impressions.count("u")) == (3, 2)


def test_old_impressions_go(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsys.database.impressions.PURGE_ROWS", 2)
    stores.impressions.add([impression(str(day), time=NOON - timedelta(days=day)) for day in range(10)])
    assert stores.impressions.purge(NOON - timedelta(days=4)) == 5
    assert stores.impressions.count() == 5
    assert stores.impressions.purge(NOON - timedelta(days=4)) == 0


def test_forgetting_much_lets_others_write_between(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsys.database.tombstones.FORGET_ROWS", 2)
    stores.events.add([Event("gone", f"{number}", NOON) for number in range(7)])
    stores.impressions.add([impression(f"{number}", "gone") for number in range(4)])
    commits: list[object] = []
    sql.event.listen(stores.database.engine, "commit", commits.append)
    assert stores.forget("gone") == (7, 4)
    assert len(commits) == 1 + 3 + 2  # the last of each finds the rest, or nothing
    assert (stores.events.count(), stores.impressions.count()) == (0, 0)
    assert stores.tombstones.read().when("gone") is not None


def test_forgetting_takes_all_of_one_user(stores: Stores) -> None:
    stores.events.add([Event(user, item, NOON) for user in ("gone", "stays") for item in "ab"])
    stores.impressions.add([impression("1", "gone"), impression("2", "stays"), impression("3", None)])
    before = datetime.now(UTC)
    assert stores.forget("gone") == (2, 1)
    assert (len(stores.events.history("stays")), stores.impressions.count()) == (2, 2)
    when = Stores.on(stores.database).tombstones.read().when("gone")
    assert microseconds(before) <= when <= microseconds(datetime.now(UTC))
    assert stores.tombstones.read().when("stays") is None
    assert stores.forget("gone") == (0, 0)
    assert stores.tombstones.read().when("gone") > when


def test_an_answer_that_waited_is_not_written_after_its_user_went(stores: Stores) -> None:
    stores.forget("gone")
    later = datetime.now(UTC) + timedelta(seconds=1)
    late = [impression("1", "gone"), impression("2", "stays"), impression("3", "gone", later)]
    assert stores.impressions.add(late) == 2
    assert stores.impressions.find("1") is None
    assert stores.impressions.find("3") is not None  # a user who comes back counts again


def test_versions_count_changes(database: Database) -> None:
    with database.engine.begin() as connection:
        assert [database.bump(connection, "x") for _ in range(3)] == [1, 2, 3]
    assert database.versions() == {"x": 3}


def test_no_byte_of_a_forgotten_user_stays_in_the_files(tmp_path: Path) -> None:
    """Pages split, move and are freed on the way; 20 users of 1,000 go and none is found in any file."""
    stores = Stores.on(Database.at(tmp_path / "events.db"))
    draw = random.Random(0)
    users = [f"user-{draw.random()}" for _ in range(1_000)]
    for number in range(20):
        stores.events.add(
            Event(draw.choice(users), "i", NOON + timedelta(seconds=draw.randrange(10**6))) for _ in range(300)
        )
        stores.impressions.add([impression(f"{number}-{place}", draw.choice(users)) for place in range(50)])
    gone = draw.sample(users, 20)
    files = lambda: b"".join(path.read_bytes() for path in sorted(tmp_path.iterdir()))  # noqa: E731
    assert any(user.encode() in files() for user in gone)
    for user in gone:
        assert stores.tombstones.forget(user, [stores.events.forget, stores.impressions.forget]).erased
    assert [user for user in gone if user.encode() in files()] == []
    assert users[0].encode() in files() or users[1].encode() in files()
    stores.database.close()


def test_events_up_to_the_tombstone_do_not_remain() -> None:
    forgotten = Forgotten(b"salt", {hash_user(b"salt", "gone"): microseconds(NOON)})
    times = ["2026-01-02T11:59:59Z", "2026-01-02T12:00:00Z", "2026-01-02T12:00:01Z", "?"]
    events = pl.DataFrame({"user_id": ["gone"] * 4 + ["stays"] * 4, "timestamp": times * 2})
    assert forgotten.remain(events).rows() == [("gone", times[2]), *[("stays", time) for time in times]]
    made_up = events.with_columns(timestamp_known=pl.lit(False))
    assert forgotten.remain(made_up)["user_id"].unique().to_list() == ["stays"]
    assert Forgotten().remain(events) is events
