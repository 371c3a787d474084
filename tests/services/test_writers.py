"""What a key that writes may take, hold up and learn: sizes of items and bodies, room, lanes, and others' events."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import anyio
import httpx
import pytest
import sqlalchemy as sql
from anyio import to_thread

from recsys.data.json_values import MAX_MEMBERS, MAX_TEXT
from recsys.database.engine import Database
from recsys.database.live_items import _ITEMS, ItemStore, Room
from recsys.home import Home
from recsys.serving.live_columns import MAX_BYTES
from services.api import create_app
from services.edge.bodies import AN_ITEM, EVENTS, ITEMS, BodyLimit
from services.edge.guard import Guard
from services.edge.keys import Key, Keys, create_key
from services.edge.lanes import Lane
from services.edge.metrics import Metrics
from services.serve import running
from services.worker.current import CurrentGeneration
from services.worker.encoders import Encoders
from services.worker.generation_cache import GenerationCache
from services.worker.live_items import LiveItems
from services.worker.state import OneWorker

UNCHANGED = {"available": False}  # an item that is hidden needs no encoder, so nothing waits for one


@dataclass(frozen=True)
class Writers:
    """A service with two keys that may write, and one that may do everything."""

    home: Home
    client: httpx.Client
    keys: dict[str, Key] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)

    def ask(self, who: str, method: str, path: str, content: Any = None) -> httpx.Response:
        body = content if isinstance(content, bytes) or content is None else json.dumps(content).encode()
        headers = {"Authorization": f"Bearer {self.tokens[who]}", "Content-Type": "application/json"}
        return self.client.request(method, path, headers=headers, content=body)

    def send(self, who: str, *events: dict[str, Any]) -> tuple[int, int]:
        answer = self.ask(who, "POST", "/v1/events", {"events": events})
        assert answer.status_code == 200, answer.text
        return answer.json()["accepted"], answer.json()["duplicates"]

    def counted(self) -> dict[str, float]:
        """Return the events by what is said of them in the open."""
        lines = self.client.get("/metrics").text.splitlines()
        found = [line.split() for line in lines if line.startswith("recsys_events_total{")]
        return {name.split('"')[1]: float(value) for name, value in found}


@pytest.fixture(scope="module")
def writers(copy_of_home: Callable[[Path], Home], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Writers]:
    home = copy_of_home(tmp_path_factory.mktemp("writers"))
    made = {name: create_key(home, name, scopes) for name, scopes in WHO.items()}
    with running(home) as url, httpx.Client(base_url=url, timeout=30) as client:
        keys, tokens = ({name: pair[place] for name, pair in made.items()} for place in (0, 1))
        yield Writers(home, client, keys, tokens)


WHO = {"one": ["write"], "two": ["write"], "admin": ["admin"], "reader": ["recommend"]}


def item_of(size: int) -> dict[str, Any]:
    """Return columns of so many bytes as they are stored."""
    empty = {"title": "x", "genres": ["", "", "", ""]} | UNCHANGED
    left = size - len(json.dumps(empty, separators=(",", ":")))
    quarter, rest = divmod(left, 4)
    return empty | {"genres": [*[quarter * "y"] * 3, (quarter + rest) * "y"]}


def test_an_item_has_as_many_bytes_as_are_promised_and_no_more(writers: Writers) -> None:
    assert writers.ask("one", "PUT", "/v1/items/large", item_of(MAX_BYTES)).status_code == 200
    refused = writers.ask("one", "PUT", "/v1/items/larger", item_of(MAX_BYTES + 1))
    assert refused.status_code == 413
    assert "64 KiB" in refused.json()["detail"]
    assert f"{MAX_BYTES + 1:,}" in refused.json()["detail"]
    assert writers.ask("admin", "GET", "/v1/items/larger").status_code == 404
    # escaped by its sender, a character takes twice and thrice the room that it is stored in
    escaped = json.dumps({"title": "x", "genres": 2 * [MAX_TEXT // 2 * "\u0436"]} | UNCHANGED).encode()
    assert len(escaped) > MAX_BYTES
    assert writers.ask("one", "PUT", "/v1/items/escaped", escaped).status_code == 200
    for item_id in ("large", "escaped"):
        assert writers.ask("one", "DELETE", f"/v1/items/{item_id}").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "limit"),
    [
        ("PUT", "/v1/items/x", AN_ITEM),
        ("PATCH", "/v1/items/x", AN_ITEM),
        ("POST", "/v1/items", ITEMS),
        ("POST", "/v1/events", EVENTS),
    ],
)
def test_a_body_that_takes_long_to_parse_is_refused_before(
    writers: Writers, method: str, path: str, limit: BodyLimit
) -> None:
    dense = b'{"events":[' + limit.commas * b"{}," + b"{},{}]}"
    assert len(dense) < limit.size
    refused = writers.ask("one", method, path, dense)
    assert refused.status_code == refused.json()["status"] == 413
    assert "commas" in refused.json()["detail"]
    long = b'{"title":"' + limit.size * b"x" + b'"}'
    assert writers.ask("one", method, path, long).status_code == 413
    documented = writers.client.get("/docs.json").json()["paths"][path.replace("/x", "/{item_id}")][method.lower()]
    assert documented["x-max-body-bytes"] == limit.size


@pytest.mark.parametrize(
    ("column", "detail"),
    [
        ('"genres":' + 900 * "[" + 900 * "]", "genres: a list of texts"),
        ('"none":' + 900 * '{"a":' + "1" + 900 * "}", "none: there is no such column"),
        ('"genres":"\\ud800"', "genres: a list of texts"),
        ('"genres":["\\udfff"]', "genres: a list of texts"),
        (f'"{300 * "c"}":1', "there is no such column"),
        ('"\\ud800":1', "unicode"),
        ('"genres":[' + MAX_MEMBERS * '"a",' + '"a"]', f"at most {MAX_MEMBERS:,} members"),
        ('"genres":["' + (MAX_TEXT + 1) * "a" + '"]', "genres: a list of texts"),
        ('"year":' + 4_000 * "9", "year: a whole number"),
        ('"year":1e999', "year: a whole number"),
        ('"year":NaN', "year: a whole number"),
    ],
)
def test_whatever_a_column_holds_the_refusal_is_short(writers: Writers, column: str, detail: str) -> None:
    refused = writers.ask("one", "PUT", "/v1/items/odd", f'{{"title":"x",{column}}}'.encode())
    assert refused.status_code == 422, refused.text
    assert detail in refused.json()["detail"]
    assert len(refused.content) < 700
    assert writers.ask("admin", "GET", "/v1/items/odd").status_code == 404


def test_a_key_has_room_for_so_much_and_deleting_gives_it_back(writers: Writers) -> None:
    assert writers.ask("one", "PUT", "/v1/items/mine", {"title": "x"} | UNCHANGED).status_code == 200
    database, room = Database.of(writers.home), Room()
    store = ItemStore(database)
    assert set(store.taken()) == {writers.keys["one"].id}
    with database.engine.begin() as connection:  # as if it had put as much as it may
        own = sql.update(_ITEMS).where(_ITEMS.c.item_id == "mine")
        connection.execute(own.values(bytes=int(room.share * room.bytes)))
    refused = writers.ask("one", "PUT", "/v1/items/more", {"title": "x"} | UNCHANGED)
    assert (refused.status_code, "retry-after" in refused.headers) == (409, False)  # time alone helps nobody
    assert "a key may have 5,000, of 19.5 MiB together" in refused.json()["detail"]
    assert "Delete some" in refused.json()["detail"]
    assert writers.ask("admin", "GET", "/v1/items/more").status_code == 404
    assert writers.ask("two", "PUT", "/v1/items/more", {"title": "x"} | UNCHANGED).status_code == 200
    assert writers.ask("two", "DELETE", "/v1/items/mine").status_code == 200
    assert writers.ask("one", "PUT", "/v1/items/again", {"title": "x"} | UNCHANGED).status_code == 200
    for item_id in ("more", "again"):
        assert writers.ask("one", "DELETE", f"/v1/items/{item_id}").status_code == 200
    assert store.taken() == {}
    database.close()


def test_a_key_is_told_of_its_own_events_alone(writers: Writers) -> None:
    known = {"user_id": "told", "item_id": "i001", "event_id": "order 7"}
    before = writers.counted()
    assert writers.send("one", known) == (1, 0)
    assert writers.send("one", known, known) == (0, 2)  # its own, repeated
    for _ in range(2):
        assert writers.send("two", known | {"event_id": "order 8"}) == ((1, 0) if _ == 0 else (0, 1))
    assert writers.send("two", known) == (1, 0)  # as any new one
    assert writers.send("two", known) == (0, 1)  # and, asked again, as any of its own
    assert writers.send("admin", known) == (0, 1)
    after = writers.counted()
    assert {outcome: after[outcome] - before[outcome] for outcome in after} == {
        "accepted": 3.0,
        "duplicate": 5.0,
        "rejected": 0.0,
    }
    past = writers.ask("admin", "GET", "/v1/users/told").json()
    assert past["events"]["live"] == 2  # each counts once
    assert writers.ask("admin", "DELETE", "/v1/users/told").json()["removed"]["events"] == 2


def test_a_rejected_event_names_the_item_and_nothing_else(writers: Writers) -> None:
    answer = writers.ask("one", "POST", "/v1/events", {"events": [{"user_id": "u", "item_id": "none"}]}).json()
    assert [one["reason"] for one in answer["rejected"]] == ["There is no item 'none'."]


def test_events_and_reading_wait_for_no_item(tmp_path: Path, metrics: Any) -> None:
    putting, release = Event(), Event()

    def put(*_: Any) -> int:
        putting.set()
        release.wait(60)
        return 1

    generation = SimpleNamespace(
        recommender=lambda: SimpleNamespace(
            generation_id="g",
            known_item=lambda item_id: True,
            standing=lambda live: live,
            catalogue=SimpleNamespace(items=SimpleNamespace(schema={"title": _text()}), split=lambda ids: ([], ids)),
        ),
        hide=lambda item_id, version: None,
    )
    database = Database.at(tmp_path / "events.db")
    from recsys.database.events import EventStore

    app = create_app()
    app.state.workers = OneWorker(
        SimpleNamespace(
            guard=Guard(Keys(Home(tmp_path))),
            generation=generation,
            items=SimpleNamespace(store=SimpleNamespace(put=put, find=lambda item_id: None), crowded=lambda _: False),
            events=EventStore(database),
            metrics=metrics,
            **{name: Lane(1, 8, list) for name in ("reading", "writing", "changing")},
        )
    )

    async def main() -> None:
        transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
        async with (
            httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
            anyio.create_task_group() as group,
        ):
            group.start_soon(lambda: client.put("/v1/items/slow", json={"title": "x"}))
            try:
                assert await to_thread.run_sync(putting.wait, 60)
                event = {"user_id": "u", "item_id": "i"}
                with anyio.fail_after(60):
                    assert (await client.post("/v1/events", json={"events": [event]})).json()["accepted"] == 1
                    assert (await client.get("/v1/items/other")).status_code == 404
            finally:
                release.set()

    anyio.run(main)
    database.close()


def _text() -> Any:
    import polars as pl

    return pl.String()


def test_what_is_hidden_stays_so_until_the_change_that_hid_it_is_known(
    copy_of_home: Callable[[Path], Home], tmp_path: Path, metrics: Metrics
) -> None:
    home = copy_of_home(tmp_path)
    database = Database.of(home)
    store, cache = ItemStore(database), GenerationCache(home)
    encoders = Encoders(home, cache, ahead=False)
    current = CurrentGeneration(home, cache, LiveItems(home, store, encoders), encoders, metrics)
    current.check()
    opened = current.recommender()

    def offered() -> bool:
        catalogue = current.recommender().catalogue
        return bool(catalogue.available[catalogue.row("i012")])

    assert offered()
    current.hide("i012", 3)
    assert not offered()
    assert opened.catalogue.available[opened.catalogue.row("i012")]  # an answer under way is wholly one state's
    for version in (1, 2):  # a look that began before knows nothing of it
        assert store.put("i020", None) == version
        current.refresh()
        assert not offered()
    assert store.put("i020", None) == 3
    current.refresh()
    assert offered()  # by then the database says what is so
    database.close()
