"""One conformance suite over every database that can hold events."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from threading import Barrier

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from processes import PATIENCE_SECONDS
from sqlalchemy.exc import IntegrityError

from recsys.database.engine import Database
from recsys.database.events import AddResult, Event, EventStore

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.fixture
def store(url: str) -> Iterator[EventStore]:
    store = EventStore(Database(url))
    yield store
    store.database.close()


def event(user: str = "u", item: str = "i", seconds: float = 0, **rest: object) -> Event:
    return Event(user_id=user, item_id=item, timestamp=NOON + timedelta(seconds=seconds), **rest)  # type: ignore[arg-type]


def forget(store: EventStore, user_id: str) -> int:
    with store.database.engine.begin() as connection:
        return store.forget(connection, user_id, 100)


def test_everything_stored_comes_back(store: EventStore) -> None:
    full = event("üser", "i/1", 0.000001, event_id="e1", event_type="purchase", value=-0.1, position=3)
    bare = event("üser", "i 2", 1)
    assert store.add([bare, full]) == AddResult(accepted=2, duplicates=0)
    assert store.history("üser") == [full, bare]
    assert store.history("nobody") == []
    assert store.count() == 2


def test_order_is_timestamp_then_position_then_id(store: EventStore) -> None:
    expected = [
        event(seconds=0, event_id="z", position=9),
        event(seconds=1, event_id="B"),
        event(seconds=1, event_id="a"),
        event(seconds=1, event_id="y", position=-2),
        event(seconds=1, event_id="B2", position=4),
        event(seconds=1, event_id="a2", position=4),
    ]
    store.add(reversed(expected))
    assert store.history("u") == expected
    assert store.history("u", limit=2) == expected[-2:]


def test_an_event_counts_once(store: EventStore) -> None:
    first, second = event(item="a", event_id="1"), event(item="b", event_id="2")
    assert store.add([first, first]) == AddResult(accepted=1, duplicates=1)
    assert store.add([first, second]) == AddResult(accepted=1, duplicates=1)
    assert store.add([event(item="other", event_id="1")]) == AddResult(accepted=0, duplicates=1)
    assert store.history("u") == [first, second]


def test_without_an_id_the_content_is_the_id(store: EventStore) -> None:
    same_moment = (NOON + timedelta(hours=2)).replace(tzinfo=timezone(timedelta(hours=2)))
    assert store.add([event(), Event("u", "i", same_moment)]) == AddResult(accepted=1, duplicates=1)
    assert store.add([event(value=1.0), event(position=1), event(event_type="view"), event(seconds=1)]).accepted == 4


def test_events_survive_reopening(url: str) -> None:
    store = EventStore(Database(url))
    store.add([event()])
    store.database.close()
    reopened = EventStore(Database(url))
    assert reopened.history("u") == [event()]
    assert reopened.add([event()]) == AddResult(accepted=0, duplicates=1)
    reopened.database.close()


def test_forgetting_takes_one_user_only(store: EventStore) -> None:
    store.add([event("gone", "a"), event("gone", "b"), event("stays", "a")])
    assert forget(store, "gone") == 2
    assert forget(store, "gone") == 0
    assert store.history("gone") == []
    assert store.history("stays") == [event("stays", "a")]


def test_nothing_is_stored_of_a_failed_call(store: EventStore) -> None:
    broken = event(event_id="2")
    object.__setattr__(broken, "item_id", None)  # refused by the table
    with pytest.raises(IntegrityError):
        store.add([event(event_id="1"), broken])
    assert store.count() == 0


def test_a_large_call_is_one_call(store: EventStore) -> None:
    events = [event(item=str(number), seconds=number) for number in range(5_000)]
    assert store.add(events) == AddResult(accepted=5_000, duplicates=0)
    assert [found.item_id for found in store.history("u")] == [str(number) for number in range(4_000, 5_000)]


def test_threads_share_a_store(store: EventStore) -> None:
    def work(number: int) -> int:
        accepted = sum(store.add([event(f"u{number % 3}", f"i{number}", step)]).accepted for step in range(10))
        return accepted + store.add([event("shared", seconds=number)]).accepted

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(work, range(16))) == 16 * 11
    assert store.count() == 16 * 11
    assert len(store.history("shared")) == 16


def test_writers_of_the_same_events_in_other_orders_do_not_deadlock(store: EventStore) -> None:
    start = Barrier(2, timeout=PATIENCE_SECONDS)

    def work(direction: int) -> int:
        accepted = 0
        for step in range(10):
            events = [event(event_id=f"{step}-{number}") for number in range(500)]
            start.wait()
            accepted += store.add(events[::direction]).accepted
        return accepted

    with ThreadPoolExecutor(2) as threads:
        assert sum(threads.map(work, (1, -1))) == store.count() == 5_000


WRITER = """
import sys
from datetime import datetime, timedelta, UTC
from recsys.database.engine import Database
from recsys.database.events import Event, EventStore
url, name = sys.argv[1:]
sys.stdin.readline()  # all processes open the new database at the same moment
store = EventStore(Database(url))
moment = datetime(2026, 1, 1, tzinfo=UTC)
accepted = 0
for step in range(40):
    own = [Event(name, f"i{step}-{n}", moment + timedelta(seconds=step)) for n in range(5)]
    both = [Event("both", f"i{n}", moment, event_id=f"{step}-{n}") for n in range(5)]
    accepted += store.add(own + both).accepted
print(accepted)
"""


def test_processes_write_together_and_lose_nothing(url: str) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, url, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for name in "abc"
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    accepted = [int(writer.communicate(timeout=PATIENCE_SECONDS)[0]) for writer in writers]
    store = EventStore(Database(url))
    assert sum(accepted) == store.count() == 3 * 200 + 200
    assert [len(store.history(name)) for name in ("a", "b", "c", "both")] == [200] * 4
    store.database.close()


CRASHING_WRITER = """
import os, sys
from datetime import datetime, UTC
from recsys.database.engine import Database
from recsys.database.events import Event, EventStore
store = EventStore(Database(sys.argv[1]))
store.add([Event("u", "i", datetime(2026, 1, 2, 12, tzinfo=UTC))])
os.kill(os.getpid(), 9)
"""


def test_an_accepted_event_survives_a_killed_process(url: str) -> None:
    assert subprocess.run([sys.executable, "-c", CRASHING_WRITER, url]).returncode == -9
    store = EventStore(Database(url))
    assert store.history("u") == [event()]
    store.database.close()


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(
    events=st.lists(
        st.builds(
            event,
            item=st.sampled_from("abc"),
            seconds=st.integers(0, 2),
            event_id=st.sampled_from(["", "B", "a", "é", "z"]),
            position=st.sampled_from([None, 0, 1]),
        ),
        max_size=12,
    ),
    limit=st.integers(1, 12),
)
def test_any_calls_in_any_order_agree_with_a_dictionary(store: EventStore, events: list[Event], limit: int) -> None:
    forget(store, "u")
    known: dict[str, Event] = {}
    for one in events:
        added = store.add([one])
        assert added == AddResult(accepted=int(one.event_id not in known), duplicates=int(one.event_id in known))
        known.setdefault(one.event_id, one)
    key = [(e.timestamp, e.position is not None, e.position or 0, e.event_id.encode(), e) for e in known.values()]
    assert store.history("u", limit) == [entry[-1] for entry in sorted(key, key=lambda entry: entry[:-1])][-limit:]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"timestamp": datetime(2026, 1, 1)}, "time zone"),
        ({"timestamp": datetime(1969, 12, 31, tzinfo=UTC)}, "1970"),
        ({"timestamp": datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))}, "1970"),
        ({"timestamp": datetime.max.replace(tzinfo=timezone(timedelta(hours=-14)))}, "9998"),
        ({"user_id": ""}, "user_id"),
        ({"item_id": ""}, "item_id"),
        ({"value": float("nan")}, "finite"),
    ],
)
def test_an_impossible_event_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Event(**{"user_id": "u", "item_id": "i", "timestamp": NOON, **change})  # type: ignore[arg-type]


def test_another_kind_of_database_is_refused() -> None:
    with pytest.raises(ValueError, match="SQLite or PostgreSQL, not in mysql"):
        Database("mysql+pymysql://localhost/x")


def test_a_history_is_read_from_the_index(tmp_path: Path) -> None:
    import sqlalchemy as sql

    store = EventStore(Database.at(tmp_path / "new" / "events.db"))
    plans: list[str] = []

    def explain(connection: sql.Connection, _: object, statement: str, parameters: object, *__: object) -> None:
        if statement.startswith("SELECT"):
            plan = connection.connection.driver_connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plans.extend(row[-1] for row in plan)

    sql.event.listen(store._engine, "before_cursor_execute", explain)
    store.history("u")
    store.database.close()
    assert plans == ["SEARCH events USING INDEX events_by_user (user_id=?)"]


def test_a_sender_is_told_of_its_own_events_only(store: EventStore) -> None:
    mine, yours = event(item="a", event_id="1"), event(item="b", event_id="2")
    assert store.add([mine], "one") == AddResult(accepted=1, duplicates=0)
    assert store.add([yours], "two") == AddResult(accepted=1, duplicates=0)
    assert store.add([mine], "one") == AddResult(accepted=0, duplicates=1)
    # another's id: told as if it were new, and from then on as its own
    assert store.add([yours], "one") == AddResult(accepted=0, duplicates=1, foreign=1)
    assert store.add([yours, mine], "one") == AddResult(accepted=0, duplicates=2)
    assert store.add([mine, mine, event(item="c", event_id="3")], "two") == AddResult(1, 2, foreign=1)
    assert store.history("u") == [mine, yours, event(item="c", event_id="3")]  # and counts once


def test_events_of_before_there_were_keys_are_nobodys(store: EventStore) -> None:
    store.add([event(event_id="1")])
    assert store.add([event(event_id="1")]) == AddResult(accepted=0, duplicates=1)
    assert store.add([event(event_id="1")], "one") == AddResult(accepted=0, duplicates=1, foreign=1)
    assert store.add([event(event_id="1")], "one") == AddResult(accepted=0, duplicates=1)


def test_forgetting_leaves_no_id_of_an_event(store: EventStore) -> None:
    store.add([event("first", event_id="secret 1"), event("other", event_id="2")], "one")
    store.add([event("second", event_id="secret 1"), event("second", event_id="2")], "two")
    assert forget(store, "second") == 0
    assert store.add([event("third", event_id="2")], "two").foreign == 1
    assert forget(store, "first") == 1
    assert store.add([event("second", event_id="secret 1")], "two") == AddResult(accepted=1, duplicates=0)


def test_a_table_without_senders_gets_them(older: Callable[..., Database]) -> None:
    text, columns = "VARCHAR NOT NULL", "timestamp BIGINT NOT NULL, value DOUBLE PRECISION, position BIGINT"
    ids = ", ".join(f"{name} {text}" for name in ("user_id", "item_id", "event_type"))
    database = older(
        f"CREATE TABLE events (event_id {text} PRIMARY KEY, {ids}, {columns})",
        "INSERT INTO events VALUES ('1', 'u', 'i', 'view', 1, NULL, NULL)",
    )
    store = EventStore(database)
    assert [old.event_id for old in store.history("u")] == ["1"]
    assert store.add([event(event_id="1"), event(event_id="2")], "one") == AddResult(1, 1, foreign=1)


def test_the_same_id_with_another_content_is_a_conflict(store: EventStore) -> None:
    first = event(item="a", event_id="1", value=4, rec_id="answer")
    assert store.add([first], "one").conflicts == ()
    assert store.add([first, event(item="a", event_id="1", value=4.0, rec_id="answer")], "one").conflicts == ()
    changes = ({"item": "b"}, {"user": "v"}, {"value": 5}, {"rec_id": "other"}, {"rec_id": None}, {"seconds": 1})
    others = [event(**{"item": "a", "event_id": "1", "value": 4, "rec_id": "answer"} | change) for change in changes]
    added = store.add([first, *others], "one")
    assert added == AddResult(accepted=0, duplicates=7)
    assert added.conflicts == (1, 2, 3, 4, 5, 6)
    within = [event(item="c", event_id="2"), event(item="d", event_id="2"), event(item="c", event_id="2")]
    assert store.add(within, "one").conflicts == (1,)
    assert store.history("u") == [first, within[0]]  # the first of each stays


def test_a_time_that_was_left_out_is_no_conflict(store: EventStore) -> None:
    store.add([event(event_id="1", timed=False)])
    assert store.add([event(event_id="1", seconds=9, timed=False)]).conflicts == ()
    assert store.add([event(item="b", event_id="1", seconds=9, timed=False)]).conflicts == (0,)


def test_conflicts_tell_a_sender_nothing_of_others(store: EventStore) -> None:
    store.add([event(item="a", event_id="1")], "one")
    mine = event("other", item="b", event_id="1")
    assert store.add([mine], "two") == AddResult(accepted=0, duplicates=1, foreign=1)  # told as accepted
    assert store.add([mine], "two").conflicts == ()
    assert store.add([event(item="a", event_id="1")], "two").conflicts == (0,)  # with what it has sent itself
    assert store.add([mine], "three", openly=True).conflicts == (0,)
    assert forget(store, "other") == 0
    assert store.add([event(item="a", event_id="1")], "two") == AddResult(accepted=0, duplicates=1, foreign=1)


def test_repetitions_noted_by_an_older_version_conflict_with_nothing(older: Callable[..., Database]) -> None:
    ids = "event_id VARCHAR NOT NULL, sender VARCHAR NOT NULL, user_id VARCHAR NOT NULL"
    database = older(
        f"CREATE TABLE repeated_events ({ids}, PRIMARY KEY (event_id, sender))",
        "INSERT INTO repeated_events VALUES ('1', 'two', 'u')",
    )
    store = EventStore(database)
    store.add([event(event_id="1")], "one")
    added = store.add([event(item="b", event_id="1")], "two")
    assert (added, added.conflicts) == (AddResult(accepted=0, duplicates=1), ())
