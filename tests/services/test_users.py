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
from synthetic import Dataset

from recsys.data.ingest import ingest
from recsys.data.snapshot import open_snapshot
from recsys.database.engine import Database
from recsys.database.tombstones import Tombstones
from recsys.home import Home
from recsys.store.generations import current_id, read_generation
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
