"""What is known of a user, and forgetting it: in answers, in files, and in the next ingest."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import polars as pl
import pytest
from synthetic import Dataset, people, situations
from variants import describe_users

from recsys.data.ingest import ingest
from recsys.data.snapshot import open_snapshot
from recsys.database.engine import Database
from recsys.database.events import EventStore
from recsys.database.tombstones import Tombstones
from recsys.home import Home
from recsys.store.generations import current_id, promote, read_generation
from services.serve import running


@dataclass(frozen=True)
class World:
    home: Home
    url: str

    def ask(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        """Ask over a connection of its own, which either worker may take."""
        response = httpx.request(method, f"{self.url}{path}", json=body or None, timeout=30)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer


@pytest.fixture(scope="module")
def world(copy_of_home: Callable[[Path], Home], tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home = copy_of_home(tmp_path_factory.mktemp("people"))
    snapshot = open_snapshot(home, read_generation(home, str(current_id(home)))[1].snapshot)
    promote(home, describe_users(home, people(), situations(snapshot.events())))
    with running(home, workers=2) as url:
        yield World(home, url)


def test_a_users_history_says_where_it_is_from(world: World, home: Home, known_user: str) -> None:
    snapshot = open_snapshot(home, read_generation(home, str(current_id(home)))[1].snapshot)
    own = snapshot.events().filter(user_id=known_user)
    titles = dict(snapshot.items().select("item_id", "title").iter_rows())
    world.ask("POST", "/v1/events", events=[{"user_id": known_user, "item_id": "i001", "event_type": "click"}])
    world.ask("POST", "/v1/recommend", user_id=known_user)
    answer = world.ask("GET", f"/v1/users/{known_user}")
    assert answer["events"] == {"snapshot": own.height, "live": 1}
    assert [event["item_id"] for event in answer["history"]] == [*own["item_id"], "i001"]
    assert all(event["title"] == titles[event["item_id"]] for event in answer["history"])
    assert [event["source"] for event in answer["history"]] == ["snapshot"] * own.height + ["live"]
    first = datetime.fromisoformat(answer["history"][0]["timestamp"])
    assert abs((first - own["timestamp"][0]).total_seconds()) < 1
    assert world.ask("GET", f"/v1/users/{known_user}?limit=1")["history"] == answer["history"][-1:]
    nobody = world.ask("GET", "/v1/users/nobody at all")
    assert (nobody["history"], nobody["events"]) == ([], {"snapshot": 0, "live": 0})


def genres_of(world: World, **body: Any) -> list[str]:
    answer = world.ask("POST", "/v1/recommend", fields=["genres"], **body)
    return [item["fields"]["genres"][0] for item in answer["items"]]


def test_who_has_done_nothing_gets_what_people_alike_choose(world: World) -> None:
    answer = world.ask("POST", "/v1/recommend", user_id="new0", explain=True, fields=["genres"])
    assert answer["fallback"] == "segment"
    assert [item["fields"]["genres"][0] for item in answer["items"]].count("Western") >= 9
    best = answer["items"][0]
    assert best["reasons"][0] == "popular among people of taste Western"
    assert best["explanation"]["reasons"][0]["code"] == "segment"
    assert best["explanation"]["reasons"][0]["title"] == "taste Western"
    parts = {one["name"]: one["score"] for one in best["explanation"]["components"]}
    assert set(parts) == {"popularity", "segment.taste"}
    assert sum(parts.values()) == pytest.approx(best["score"], abs=1e-4)
    assert "unused_attributes" not in answer
    ids = [item["item_id"] for item in answer["items"]]
    ranked = world.ask("POST", "/v1/rank", user_id="new0", item_ids=ids[::-1])
    assert [item["item_id"] for item in ranked["items"]] == ids
    assert ranked["fallback"] == "segment"
    users = [{"user_id": "new0"}, {"user_id": "nobody knows"}]
    first, second = world.ask("POST", "/v1/recommend/batch", users=users)["answers"]
    assert [item["item_id"] for item in first["items"]] == ids
    assert second["fallback"] == "popular"
    replayed = world.ask("GET", f"/v1/recommendations/{answer['rec_id']}?replay=true")
    assert replayed["replay"]["same"], replayed["replay"]


def test_attributes_are_put_read_and_forgotten_live(world: World) -> None:
    path = "/v1/users/a newcomer"
    assert world.ask("POST", "/v1/recommend", user_id="a newcomer")["fallback"] == "popular"
    put = world.ask("PUT", path, attributes={"taste": "Horror", "age": 30, "town": None})
    assert put == {"user_id": "a newcomer", "attributes": {"taste": "Horror", "age": 30}}
    for _ in range(4):  # in either worker
        assert genres_of(world, user_id="a newcomer").count("Horror") >= 9
    told = world.ask("GET", path)
    assert (told["attributes"], told["attributes_source"]) == ({"taste": "Horror", "age": 30}, "live")
    world.ask("PUT", path, attributes={"taste": "Opera"})
    answer = world.ask("POST", "/v1/recommend", user_id="a newcomer")
    assert (answer["fallback"], answer["unused_attributes"]) == ("popular", ["taste"])
    world.ask("PUT", path, attributes={"taste": "Comedy"})
    assert genres_of(world, user_id="a newcomer").count("Comedy") >= 9

    assert world.ask("GET", "/v1/users/new1")["attributes_source"] == "snapshot"
    for gone in ("a newcomer", "new1"):
        world.ask("DELETE", f"/v1/users/{gone}")
        for _ in range(4):
            assert world.ask("POST", "/v1/recommend", user_id=gone)["fallback"] == "popular"
        told = world.ask("GET", f"/v1/users/{gone}")
        assert (told["attributes"], told["attributes_source"]) == ({}, None)
    world.ask("PUT", "/v1/users/new1", attributes={"taste": "Romance"})  # tells of themselves anew
    assert genres_of(world, user_id="new1").count("Romance") >= 9


@pytest.mark.parametrize(
    ("attributes", "code", "pointer", "said"),
    [
        ({"tast": "Horror"}, "invalid-attributes", "/attributes/tast", "did you mean 'taste'?"),
        ({"height": 1}, "invalid-attributes", "/attributes/height", "there are age, taste, town."),
        ({"age": "old"}, "invalid-attributes", "/attributes/age", "a whole number"),
        ({"taste": ["Horror"]}, "invalid-attributes", "/attributes/taste", "a text"),
        ({"taste": "x" * 257}, "invalid-attributes", "/attributes/taste", "at most 256 characters"),
        ({f"a{n}": n for n in range(60)}, "invalid-attributes", "/attributes", "at most 50 attributes"),
        ([], "invalid-request", "/attributes", "dictionary"),
    ],
)
def test_attributes_that_do_not_fit_are_refused(
    world: World, attributes: Any, code: str, pointer: str, said: str
) -> None:
    response = httpx.put(f"{world.url}/v1/users/somebody", json={"attributes": attributes})
    problem = response.json()
    assert (response.status_code, problem["code"]) == (422, code), problem
    assert problem["errors"][0]["pointer"] == pointer
    assert said in problem["errors"][0]["detail"], problem
    assert world.ask("GET", "/v1/users/somebody")["attributes"] == {}


def test_a_request_may_say_in_what_situation_it_asks(world: World) -> None:
    plain = world.ask("POST", "/v1/recommend", user_id="nobody at all")
    assert "unused_context" not in plain
    phone = world.ask("POST", "/v1/recommend", user_id="nobody at all", context={"device": "phone"})
    assert phone["fallback"] == "segment"
    ids = [item["item_id"] for item in phone["items"]]
    assert sum(int(item_id[-1]) % 2 for item_id in ids) >= 9
    ranked = world.ask("POST", "/v1/rank", history=[], item_ids=ids[::-1], context={"device": "phone"})
    assert [item["item_id"] for item in ranked["items"]] == ids
    (batch,) = world.ask("POST", "/v1/recommend/batch", users=[{"history": []}], context={"device": "phone"})["answers"]
    assert [item["item_id"] for item in batch["items"]] == ids
    unused = world.ask("POST", "/v1/recommend", user_id="nobody at all", context={"device": "fridge", "hour": None})
    assert unused["unused_context"] == {"device": "fridge"}
    assert unused["items"] == plain["items"]
    replayed = world.ask("GET", f"/v1/recommendations/{phone['rec_id']}?replay=true")
    assert replayed["replay"]["same"], replayed["replay"]


def test_what_trends_can_be_asked_among_people_alike(world: World) -> None:
    asked = {"user_id": "new0", "days": 60, "k": 20, "explain": True}
    everybody = world.ask("POST", "/v1/lists/trending", **asked)
    alike = world.ask("POST", "/v1/lists/trending", segment=True, **asked)
    assert alike["items"] != everybody["items"]
    assert "unused_attributes" not in alike
    replayed = world.ask("GET", f"/v1/recommendations/{alike['rec_id']}?replay=true")
    assert replayed["replay"]["same"], replayed["replay"]
    row = {"recipe": "trending", "segment": True, "days": 60, "k": 20}
    page = world.ask("POST", "/v1/page", user_id="new0", rows=[row], explain=True)
    assert page["rows"][0]["items"] == alike["items"]
    world.ask("PUT", "/v1/users/of an unknown taste", attributes={"taste": "Opera"})
    unknown = world.ask("POST", "/v1/lists/trending", segment=True, **(asked | {"user_id": "of an unknown taste"}))
    assert unknown["items"] == everybody["items"]
    assert unknown["unused_attributes"] == ["taste"]


@pytest.mark.parametrize("path", ["recommend", "recommend/batch", "rank"])
def test_a_situation_that_is_not_declared_is_refused(world: World, path: str) -> None:
    rest = {"recommend/batch": {"users": [{"history": []}]}, "rank": {"history": [], "item_ids": ["i001"]}}
    body = rest.get(path, {"history": []}) | {"context": {"devise": "phone"}}
    response = httpx.post(f"{world.url}/v1/{path}", json=body)
    problem = response.json()
    assert (response.status_code, problem["code"]) == (422, "invalid-context"), problem
    assert problem["errors"][0]["pointer"] == "/context/devise"
    assert "did you mean 'device'?" in problem["detail"]


def test_events_keep_their_situation(world: World) -> None:
    event = {"user_id": "keeper", "item_id": "i001", "event_id": "in a situation", "context": {"device": "phone"}}
    assert world.ask("POST", "/v1/events", events=[event])["accepted"] == 1
    assert world.ask("POST", "/v1/events", events=[event])["duplicates"] == 1
    other = event | {"context": {"device": "desk"}}
    assert world.ask("POST", "/v1/events", events=[other])["rejected"][0]["code"] == "conflict"
    wrong = event | {"event_id": "another", "context": {"moon": "full"}}
    rejected = world.ask("POST", "/v1/events", events=[wrong])["rejected"][0]
    assert (rejected["code"], "no such field" in rejected["reason"]) == ("invalid-event", True)
    database = Database.of(world.home)
    (kept,) = EventStore(database).history("keeper")
    database.close()
    assert kept.context == {"device": "phone"}
    world.ask("DELETE", "/v1/users/keeper")


def test_a_forgotten_user_is_a_new_one_and_leaves_no_trace(world: World, dataset: Dataset, tmp_path: Path) -> None:
    user, stranger = "u007", "a person whom nobody has seen"
    for gone in (user, stranger):
        world.ask("POST", "/v1/events", events=[{"user_id": gone, "item_id": f"i{n:03}"} for n in range(3)])
        for _ in range(5):
            assert world.ask("POST", "/v1/recommend", user_id=gone)["fallback"] is None
    traces = [world.ask("POST", "/v1/recommend", user_id=user)["rec_id"] for _ in range(4)]
    known = world.ask("GET", f"/v1/users/{user}")

    answer = world.ask("DELETE", f"/v1/users/{user}")
    assert answer["removed"]["events"] == 3
    assert answer["removed"]["erased"]
    assert answer["hidden"] == known["events"]["snapshot"] > 0
    assert "next ingest" in answer["next_ingest"].lower()
    assert world.ask("DELETE", f"/v1/users/{stranger}")["hidden"] == 0
    for _ in range(8):  # in either worker
        assert world.ask("POST", "/v1/recommend", user_id=user)["fallback"] == "popular"
    assert world.ask("GET", f"/v1/users/{user}")["history"] == []
    for rec_id in traces:
        assert httpx.get(f"{world.url}/v1/recommendations/{rec_id}").status_code == 404

    world.ask("POST", "/v1/events", events=[{"user_id": user, "item_id": "i010"}])  # comes back: somebody new
    assert world.ask("POST", "/v1/recommend", user_id=user)["fallback"] is None
    assert (
        world.ask("POST", "/v1/recommend", user_id=user)["items"]
        == (world.ask("POST", "/v1/recommend", history=["i010"])["items"])
    )
    world.ask("DELETE", f"/v1/users/{user}")

    for gone in (user, stranger):
        holding = [
            path.relative_to(world.home.root).as_posix()
            for path in world.home.root.rglob("*")
            if path.is_file() and path.parent.parent != world.home.snapshots and gone.encode() in path.read_bytes()
        ]
        assert holding == [], gone

    fresh = Home(tmp_path / "next")
    database = Database.of(world.home)
    events = pl.read_parquet(dataset.events)
    late = events.filter(user_id=user).head(1).with_columns(timestamp=pl.lit(datetime.now(UTC)))
    bad = late.with_columns(item_id=pl.lit("no such item"), timestamp=pl.lit(datetime(2024, 1, 1, tzinfo=UTC)))
    parts = [part.with_columns(pl.col("timestamp").cast(events.schema["timestamp"])) for part in (events, late, bad)]
    pl.concat(parts).write_parquet(tmp_path / "events.parquet")
    next_one = ingest(tmp_path / "events.parquet", dataset.items, fresh, forgotten=Tombstones(database).read())
    database.close()
    assert next_one.events().filter(user_id=user).height == 1  # what came after
    assert next_one.events().height == events.height - known["events"]["snapshot"] + 1
    assert user not in str(next_one.quarantine().to_dicts())
    shutil.rmtree(fresh.root)


@pytest.mark.parametrize("user_id", ["team/42", "a/../b", "100% me?"])
def test_ids_that_look_like_addresses_can_be_read_and_forgotten(world: World, user_id: str) -> None:
    world.ask("POST", "/v1/events", events=[{"user_id": user_id, "item_id": "i002"}])
    path = f"/v1/users/{quote(user_id, safe='')}"
    answer = world.ask("GET", path)
    assert (answer["user_id"], answer["events"]["live"]) == (user_id, 1)
    assert world.ask("DELETE", path)["removed"]["events"] == 1
    assert world.ask("GET", path)["events"]["live"] == 0


def test_what_happened_before_forgetting_is_not_read_when_it_comes_late(world: World) -> None:
    world.ask("DELETE", "/v1/users/late")
    old = {"user_id": "late", "item_id": "i001", "timestamp": "2024-05-01T00:00:00Z"}
    world.ask("POST", "/v1/events", events=[old])
    assert world.ask("POST", "/v1/recommend", user_id="late")["fallback"] == "popular"
