"""What answers have brought: counted by hand, for every database, and what of it is not counted."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sql
from hypothesis import given
from hypothesis import strategies as st

from recsys.database.comparisons import Comparison, ShadowStore
from recsys.database.engine import Database
from recsys.database.events import Event, EventStore
from recsys.database.impressions import Impression, ImpressionStore
from recsys.database.rates import Rate, Rates, RateStore, wilson
from recsys.database.tombstones import Tombstones

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(minutes=1)


def answer(
    rec_id: str, items: Sequence[str], user: str | None = "u", generation: str = "g", *, shown: bool = True
) -> Impression:
    listed = [{"item_id": item, "score": 0.5, "propensity": 1.0} for item in items]
    return Impression(rec_id, NOON, user, generation, f"of {generation}", shown=shown, items=listed)  # type: ignore[arg-type]


def click(rec_id: str | None, item: str, user: str = "u", **rest: object) -> Event:
    return Event(user, item, LATER, rec_id=rec_id, **rest)  # type: ignore[arg-type]


@pytest.fixture
def world(database: Database) -> tuple[EventStore, ImpressionStore, RateStore]:
    return EventStore(database), ImpressionStore(database, Tombstones(database)), RateStore(database)


def test_clicks_count_for_the_answer_that_brought_them(
    world: tuple[EventStore, ImpressionStore, RateStore],
) -> None:
    events, impressions, rates = world
    answers = [answer("1", "abc"), answer("2", "abd"), answer("3", "ab", None), answer("4", "ab", generation="h")]
    impressions.add([*answers, answer("preview", "ab", shown=False)])
    clicks = [
        click("1", "a"),
        click("1", "b"),
        click("1", "b", event_type="purchase"),  # the same item again
        click("1", "d"),  # the list did not hold it
        click("2", "a", "somebody else"),
        click("3", "a", "anybody"),  # it was for a history
        click("nothing", "a"),
        click("preview", "a"),
        click(None, "c"),
    ]
    assert events.add(clicks).accepted == len(clicks)
    found = rates.read(NOON)
    of_g, of_h = Rate("g", "of g", lists=3, clicks=3, clicked=2), Rate("h", "of h", lists=1, clicks=0, clicked=0)
    assert found == Rates([of_g, of_h], unknown=2, unlisted=2)
    assert of_g.rate == 2 / 3
    assert [list(one.weekdays.values()) for one in found.generations] == [[(3, 2)], [(1, 0)]]
    assert [rate.clicks for rate in rates.read(NOON, "purchase").generations] == [1, 0]
    assert rates.read(NOON + timedelta(seconds=1)) == Rates([], unknown=8, unlisted=0)
    assert rates.read(LATER + timedelta(seconds=1)) == Rates([], unknown=0, unlisted=0)


def test_what_becomes_of_new_events_is_told_once(world: tuple[EventStore, ImpressionStore, RateStore]) -> None:
    events, impressions, rates = world
    impressions.add([answer("1", "ab")])
    batch = [click("1", "a"), click("1", "a", event_type="purchase"), click("1", "z"), click("?", "a")]
    events.add(batch)
    assert sorted(rates.outcomes(batch)) == [("", "unknown"), ("g", "counted"), ("g", "repeated"), ("g", "unlisted")]
    again = [click("1", "a", event_type="view"), click("1", "b")]
    events.add(again)
    assert list(rates.outcomes(again)) == [("g", "repeated"), ("g", "counted")]


def test_a_shadow_is_told_which_clicked_items_it_has_as_well(
    world: tuple[EventStore, ImpressionStore, RateStore],
) -> None:
    events, impressions, rates = world
    comparisons = ShadowStore(events.database)
    impressions.add([answer("1", "abc"), answer("2", "abc"), answer("preview", "abc", shown=False)])
    for rec_id, shadow, shared in (("1", "h", [0, 2]), ("2", "h", []), ("preview", "h", [0]), ("1", "other", [1])):
        comparisons.add([Comparison(rec_id, "g", shadow, NOON, 3, 0.5, 1, 1, 0, 0, shared)])
    events.add([click("1", item) for item in "abz"] + [click("2", "a"), click("preview", "a")])
    assert rates.shadowed("h") == (3, 1)  # a, of a and b of the one and a of the other
    assert rates.shadowed("other") == (2, 1)
    assert rates.shadowed("nobody") == (0, 0)
    with events.database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE shadow_answers SET shared = NULL")  # as older versions have left them
    assert rates.shadowed("h") == (0, 0)


def test_a_forgotten_user_has_clicked_nothing(world: tuple[EventStore, ImpressionStore, RateStore]) -> None:
    events, impressions, rates = world
    impressions.add([answer("1", "ab"), answer("2", "ab", "other")])
    events.add([click("1", "a"), click("2", "b", "other")])
    Tombstones(events.database).forget("u", (events.forget, impressions.forget))
    assert rates.read(NOON) == Rates([Rate("g", "of g", lists=1, clicks=1, clicked=1)], unknown=0, unlisted=0)


def test_answers_of_an_older_version_count_as_shown(older: Callable[..., Database]) -> None:
    record = '{"items":[{"item_id":"a","propensity":1.0,"score":0.5}],"request":{}}'
    columns = (
        "time BIGINT NOT NULL, user_id TEXT, generation TEXT NOT NULL, adapter TEXT NOT NULL, record TEXT NOT NULL"
    )
    row = {"time": int(NOON.timestamp()) * 1_000_000, "record": record}
    database = older(
        f"CREATE TABLE impressions (rec_id TEXT PRIMARY KEY, {columns})",
        lambda connection: connection.execute(
            sql.text("INSERT INTO impressions VALUES ('1', :time, 'u', 'g', 'of g', :record)"), row
        ),
    )
    events, _ = EventStore(database), ImpressionStore(database, Tombstones(database))
    events.add([click("1", "a")])
    assert RateStore(database).read(NOON).generations == [Rate("g", "of g", lists=1, clicks=1, clicked=1)]


@given(trials=st.integers(0, 10_000), share=st.floats(0, 1))
def test_an_interval_holds_its_share(trials: int, share: float) -> None:
    hits = int(share * trials)
    low, high = wilson(hits, trials)
    assert 0 <= low <= (hits / trials if trials else 0.5) <= high <= 1
    mirrored = wilson(trials - hits, trials)
    assert mirrored == (pytest.approx(1 - high), pytest.approx(1 - low))


def test_an_interval_is_wilsons() -> None:
    assert wilson(7, 20) == (pytest.approx(0.1812, abs=1e-4), pytest.approx(0.5671, abs=1e-4))  # as in R: prop.test
