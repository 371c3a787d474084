"""Live items over HTTP: new, changed, hidden and deleted ones, in both workers, while many are put."""

import fcntl
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import fmean
from threading import Event
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from live_world import ASKED, Eventually, World
from variants import make_variant

from recsys.database.engine import Database
from recsys.database.live_items import ItemStore
from recsys.home import Home
from recsys.serving.new_texts import Encoder
from recsys.serving.recommender import Recommender
from recsys.texts.vectors import TextVectors
from services.worker import live_items as items
from services.worker.encoders import Encoders
from services.worker.generation_cache import GenerationCache
from services.worker.live_items import BATCH, MOST_WAITING, WAITING_SECONDS, LiveItems

pytestmark = pytest.mark.processor


WESTERN = {"title": "Saddle Outlaw Canyon", "genres": ["Western"], "year": 2031}


def test_a_new_item_is_offered_by_its_text_in_every_worker(world: World, eventually: Eventually) -> None:
    before = {
        item["item_id"]: item["score"] for item in world.ask("POST", "/v1/recommend", history=["i000"], k=200)["items"]
    }
    version = world.put("new-western", **WESTERN)
    eventually(lambda: world.known(version))
    assert world.holds("new-western", filter={"field": "year", "eq": 2031})
    answer = world.ask(
        "POST", "/v1/recommend", history=["i000"], k=200, fields=["title", "year", "genres"], explain=True
    )
    scores = {item["item_id"]: item["score"] for item in answer["items"]}
    new = next(item for item in answer["items"] if item["item_id"] == "new-western")
    assert new["fields"] == WESTERN
    assert {item: score for item, score in scores.items() if item != "new-western"} == before
    alike = world.ask("POST", "/v1/similar", item_id="new-western", k=200, fields=["genres"])["items"]
    cosines: dict[bool, list[float]] = {True: [], False: []}
    for item in alike:
        cosines[item["fields"]["genres"] == ["Western"]].append(item["score"])
    assert fmean(cosines[True]) > fmean(cosines[False])  # its text is nearer to those of its genre
    assert world.ask("POST", "/v1/search", query="Saddle Outlaw Canyon")["items"][0]["item_id"] == "new-western"
    ranked = world.ask("POST", "/v1/rank", history=["i000"], item_ids=["i001", "new-western", "nothing"])
    assert {item["item_id"] for item in ranked["items"]} == {"i001", "new-western"}
    event = {"user_id": "first buyer", "item_id": "new-western"}
    assert world.ask("POST", "/v1/events", events=[event])["accepted"] == 1
    assert world.ask("POST", "/v1/recommend", user_id="first buyer")["fallback"] is None
    item = world.ask("GET", "/v1/items/new-western")
    assert (item["source"], item["fields"], item["recommendable"]) == ("live", WESTERN, True)


def test_a_new_item_is_moved_up_until_it_was_shown_enough(world: World, eventually: Eventually) -> None:
    liked = world.ask("GET", "/v1/items/i000")["fields"]
    version = world.put("new-twin", **{name: liked[name] for name in ("title", "genres", "year")})
    eventually(lambda: world.known(version))
    wish = {"k": 60, "new_items": {"strength": 3, "slots": 1}, "explain": True}

    def explored(**body: Any) -> list[float]:
        """Return what being new adds to the item, as any worker says."""
        found = []
        for _ in range(ASKED):
            listed = world.ask("POST", "/v1/recommend", history=["i000"], record=False, **wish | body)["items"]
            item = next(one for one in listed if one["item_id"] == "new-twin")
            parts = {part["name"]: part["score"] for part in item["explanation"]["components"]}
            assert sum(parts.values()) == pytest.approx(item["score"], abs=1e-4)
            told = [why["title"] for why in item["explanation"]["reasons"] if why["code"] == "new"]
            assert told == ([liked["title"]] if "exploration" in parts else [])
            found.append(parts.get("exploration", 0.0))
        return found

    assert min(explored()) > 0
    assert len(set(explored())) == 1  # previews count as nothing
    lists = [{"history": ["i000"]}] * 100
    answers = world.ask("POST", "/v1/recommend/batch", users=lists, k=60)["answers"]
    assert all("new-twin" in [item["item_id"] for item in answer["items"]] for answer in answers)
    eventually(lambda: not any(explored()))  # in every worker
    event = {"user_id": "a buyer", "item_id": "new-twin", "rec_id": answers[0]["rec_id"]}
    assert world.ask("POST", "/v1/events", events=[event])["accepted"] == 1
    eventually(lambda: min(explored()) > 0)
    world.ask("DELETE", "/v1/items/new-twin")


def test_an_item_vanishes_and_comes_back(world: World, eventually: Eventually) -> None:
    old = world.ask("GET", "/v1/items/i008")
    assert (old["source"], old["version"]) == ("catalogue", None)
    version = world.put("i008", **old["fields"], available=False)
    eventually(lambda: world.known(version))
    assert not world.holds("i008")
    assert not world.ask("GET", "/v1/items/i008")["recommendable"]
    version = world.put("i008", **old["fields"])
    eventually(lambda: world.known(version))
    assert world.holds("i008")
    version = world.ask("DELETE", "/v1/items/i008")["version"]
    eventually(lambda: world.known(version))
    assert not world.holds("i008")
    world.ask("GET", "/v1/items/i008", status=404)
    world.ask("DELETE", "/v1/items/i008", status=404)
    version = world.put("i008", **old["fields"])
    eventually(lambda: world.known(version))
    assert world.holds("i008")


def test_what_is_gone_is_gone_at_once_for_who_took_it_away(world: World) -> None:
    with httpx.Client(base_url=world.url, timeout=30) as one_worker:
        assert one_worker.delete("/v1/items/i012").status_code == 200
        answer = one_worker.post("/v1/recommend", json={"history": ["i000"], "k": 200}).json()
        assert "i012" not in [item["item_id"] for item in answer["items"]]


def test_a_changed_column_keeps_the_trained_vectors_and_a_changed_text_does_not(
    world: World, eventually: Eventually
) -> None:
    old = world.ask("GET", "/v1/items/i020")["fields"]

    def score() -> float:
        ranked = world.ask("POST", "/v1/rank", history=["i000", "i004"], item_ids=["i020"])
        return float(ranked["items"][0]["score"])

    trained = score()
    version = world.put("i020", **old)
    eventually(lambda: world.known(version))
    assert {score() for _ in range(ASKED)} == {trained}
    version = world.put("i020", **old | {"title": "Kiss Garden Summer", "genres": ["Romance"]})
    eventually(lambda: world.known(version))
    assert world.holds("i020", filter={"field": "title", "eq": "Kiss Garden Summer"})
    assert trained not in {score() for _ in range(ASKED)}


def test_some_columns_change_and_the_others_stay(world: World, eventually: Eventually) -> None:
    old = world.ask("GET", "/v1/items/i024")["fields"]
    version = world.ask("PATCH", "/v1/items/i024", year=1901)["version"]  # the catalogue's item becomes a live one
    item = world.ask("GET", "/v1/items/i024")
    assert (item["source"], item["version"], item["fields"]) == ("live", version, old | {"year": 1901})
    eventually(lambda: world.known(version))
    assert world.listed(filter={"field": "year", "eq": 1901}) == ["i024"]
    patch = httpx.patch(
        f"{world.url}/v1/items/i024",
        content=b'{"year": null, "title": "Prank Uncle"}',
        headers={"Content-Type": "application/merge-patch+json"},
        timeout=30,
    )
    assert patch.status_code == 200, patch.text
    changed = world.ask("GET", "/v1/items/i024")["fields"]
    assert changed == {"title": "Prank Uncle", "genres": old["genres"]}
    version = world.ask("PATCH", "/v1/items/i024", available=False)["version"]
    eventually(lambda: world.known(version))
    assert not world.ask("GET", "/v1/items/i024")["recommendable"]
    for body, detail in (
        ({"title": None}, "title"),
        ({"title": " "}, "title"),
        ({"colour": None}, "colour: there is no such column"),
        ({"year": "1999"}, "year: a whole number is wanted"),
    ):
        assert detail in world.ask("PATCH", "/v1/items/i024", status=422, **body)["detail"]
    world.ask("PATCH", "/v1/items/nothing", status=404, year=1999)
    world.ask("PATCH", "/v1/items/i024", **old, available=None)


def test_many_items_are_put_with_a_result_for_each(world: World, eventually: Eventually) -> None:
    rows: list[Any] = [
        {"item_id": "row-0", "title": "Haunted Cellar", "year": 2040},
        {"item_id": "row-1", "title": "Prank Uncle", "colour": "red"},
        {"item_id": "row-2"},
        {"title": "No id"},
        {"item_id": "row-0", "title": "Again"},
        {"item_id": "row-5", "title": "x", "genres": 4 * [20_000 * "y"]},
        {"item_id": "row-6", "title": "Saddle Canyon", "year": 2040},
        {"item_id": "i028", "title": "Hidden", "year": 2040, "available": False},
    ]
    answer = world.ask("POST", "/v1/items", items=rows)
    assert answer["accepted"] == 3
    told = [(one["index"], one["code"]) for one in answer["rejected"]]
    assert told == [*((index, "invalid-item") for index in (1, 2, 3)), (4, "repeated-item"), (5, "item-too-large")]
    assert "colour" in answer["rejected"][0]["reason"]
    eventually(lambda: world.known(answer["version"]))
    assert {*world.listed(filter={"field": "year", "eq": 2040})} == {"row-0", "row-6"}
    assert world.send("POST", "/v1/items", items=[]).status_code == 422
    for item_id in ("row-0", "row-6", "i028"):
        world.ask("DELETE", f"/v1/items/{item_id}")


def test_all_items_are_listed_page_by_page(world: World, eventually: Eventually) -> None:
    version = world.ask("POST", "/v1/items", items=[{"item_id": "zz-last", "title": "Zebra"}])["version"]
    eventually(lambda: world.known(version))
    world.ask("DELETE", "/v1/items/i032")

    def listed(**query: Any) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        after: dict[str, str] = {}
        while True:
            page = httpx.get(f"{world.url}/v1/items", params=query | after, timeout=30)
            assert page.status_code == 200, page.text
            items += page.json()["items"]
            assert len(page.json()["items"]) <= query["limit"]
            if page.json()["next"] is None:
                return items
            after = {"after": page.json()["next"]}

    whole = listed(limit=200, fields=["title", "year"])
    ids = [item["item_id"] for item in whole]
    assert ids == sorted(set(ids))
    assert "i032" not in ids
    assert whole == listed(limit=7, fields=["title", "year"])
    for source in ("live", "catalogue"):
        assert listed(limit=9, source=source) == [
            item | {"fields": {"title": item["fields"]["title"]}} for item in whole if item["source"] == source
        ]
    for item in (whole[0], whole[-1]):
        one = world.ask("GET", f"/v1/items/{item['item_id']}")
        assert item | {"fields": None} == one | {"fields": None}
        assert item["fields"] == {name: one["fields"].get(name) for name in ("title", "year")}
    refused = httpx.get(f"{world.url}/v1/items", params={"fields": "colour"})
    assert refused.status_code == 404
    assert "colour" in refused.json()["detail"]
    world.ask("DELETE", "/v1/items/zz-last")


def test_an_upload_does_not_run_ahead_of_the_encoder(world: World, eventually: Eventually) -> None:
    version = world.put("before", title="Prank Uncle", year=2034)
    eventually(lambda: world.known(version))
    with (world.home.root / ".encoding.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # nothing is encoded, as while another worker is at it
        ahead: list[str] = []
        while (put := world.send("PUT", path := f"/v1/items/ahead-{len(ahead)}", title="Prank Uncle")).is_success:
            ahead.append(put.json()["item_id"])
            assert len(ahead) <= MOST_WAITING
        assert len(ahead) >= BATCH
        assert (put.status_code, put.headers["Retry-After"]) == (503, "1")
        assert "was not stored" in put.json()["detail"]
        world.ask("GET", path, status=404)
        assert world.send("PATCH", "/v1/items/ahead-0", title="Prank Uncle").status_code == 503
        many = world.send("POST", "/v1/items", items=[{"item_id": "many", "title": "Prank Uncle"}])
        assert (many.status_code, many.json()["accepted"], many.headers["Retry-After"]) == (200, 0, "1")
        assert [(one["index"], one["code"]) for one in many.json()["rejected"]] == [(0, "overloaded")]
    version = world.ask("PUT", path, title="Prank Uncle")["version"]
    eventually(lambda: world.known(version))
    assert {*ahead, path.rpartition("/")[2]} <= set(world.listed())


def test_one_item_does_not_wait_for_a_bulk_upload(world: World, eventually: Eventually) -> None:
    ended, crowded = Event(), Event()

    def upload() -> list[str]:
        """Put one item after the other, and come again where that is asked for; return their ids."""
        ids: list[str] = []
        with httpx.Client(base_url=world.url, timeout=30) as client:
            while not ended.is_set():
                put = client.put(f"/v1/items/bulk-{len(ids)}", json={"title": f"Prank Uncle {len(ids)}"})
                assert put.status_code in (200, 503), put.text
                if put.status_code == 200:
                    ids.append(f"bulk-{len(ids)}")
                if len(ids) > MOST_WAITING:
                    crowded.set()
        return ids

    with ThreadPoolExecutor(1) as threads:
        uploading = threads.submit(upload)
        try:
            eventually(lambda: crowded.is_set() or uploading.done())
            world.put("urgent", title="Haunted Cellar", year=2033)
            only = {"field": "year", "eq": 2033}
            eventually(lambda: all(world.listed(filter=only) == ["urgent"] for _ in range(ASKED)))
            assert not uploading.done()  # offered while the others go on coming
        finally:
            ended.set()
        ids = uploading.result()
    version = world.put("last", title="Prank Uncle")
    eventually(lambda: world.known(version))
    assert all(world.ask("GET", f"/v1/items/{item_id}")["recommendable"] for item_id in ids)


def test_few_changes_may_wait_and_the_oldest_are_encoded_first(
    copy_of_home: Callable[[Path], Home], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = copy_of_home(tmp_path)
    store = ItemStore(Database.of(home))
    encoders, base = Encoders(home, GenerationCache(home)), Recommender.open(home)
    live = LiveItems(home, store, encoders)
    encoders.wait(base.generation_id)
    readings = itertools.count(step=0.6 * items.ENCODING_SECONDS)  # time for one batch
    monkeypatch.setattr(items, "time", SimpleNamespace(monotonic=lambda: next(readings)))
    monkeypatch.setattr(items, "BATCH", 2)
    monkeypatch.setattr(items, "MOST_WAITING", 5)
    assert not live.crowded(base)
    for number in range(5):
        store.put(f"new-{number}", {"title": f"Haunted Cellar {number}"})
    assert live.crowded(base)
    updated = live.applied_to(base, wait=False)
    assert [updated.known_item(f"new-{number}") for number in range(5)] == [True, True, False, False, False]
    assert not live.crowded(updated)
    assert live.pending(base)
    updated = live.applied_to(base)
    assert all(updated.known_item(f"new-{number}") for number in range(5))
    assert not live.pending(base)


def test_fewer_may_wait_where_encoding_takes_longer(
    copy_of_home: Callable[[Path], Home], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = copy_of_home(tmp_path)
    store = ItemStore(Database.of(home))
    encoders, base = Encoders(home, GenerationCache(home)), Recommender.open(home)
    live = LiveItems(home, store, encoders)
    texts = (f"Haunted Cellar {number}" for number in itertools.count())
    now, encode = 0.0, Encoder.encode
    monkeypatch.setattr(items, "time", SimpleNamespace(monotonic=lambda: now))

    def room(seconds: float) -> int:
        """Return how many changes may wait after a batch of texts took so long."""

        def slow(*given: Any, **named: Any) -> Any:
            nonlocal now
            now += seconds
            return encode(*given, **named)

        monkeypatch.setattr(Encoder, "encode", slow)
        for _ in range(BATCH):
            store.put(text := next(texts), {"title": text})
        updated = live.applied_to(base)
        put = 0
        while not live.crowded(updated) and put <= MOST_WAITING:
            store.put("another", None)
            put += 1
        return put

    assert not live.crowded(base)
    assert room(WAITING_SECONDS / 2) == 2 * BATCH
    assert room(2 * WAITING_SECONDS) == BATCH
    assert room(WAITING_SECONDS / 1_000) == MOST_WAITING


def test_another_generation_has_the_live_items_from_its_first_answer(world: World) -> None:
    generation_id, adapter_id = make_variant(world.home, {"content": 1.0})
    TextVectors.of_adapter(world.home, adapter_id)  # the first answer waits for the encoder, but not for a slow export
    only = {"field": "year", "eq": 2031}
    assert world.listed(adapter=adapter_id, filter=only) == ["new-western"]
    world.ask("POST", f"/v1/generations/{generation_id}/promote", force=True, reason="It has no held-out figures.")
    for _ in range(ASKED):
        answer = world.ask("POST", "/v1/recommend", history=["i000"], filter=only)
        assert [item["item_id"] for item in answer["items"]] == ["new-western"]


def test_an_encoder_that_was_dropped_is_opened_again_though_live_items_have_new_texts(
    world: World, eventually: Eventually
) -> None:
    version = world.put("i000", title="Orbit Rocket Nebula", genres=["Romance"])  # the first of those that are checked
    eventually(lambda: world.known(version))
    adapters = [make_variant(world.home, {"content": weight})[1] for weight in (0.3, 0.4)]
    with httpx.Client(base_url=world.url, timeout=30) as one_worker:

        def embeds(**by: str) -> bool:
            response = one_worker.post("/v1/embed", json={"texts": ["a film"], **by})
            assert "cannot be encoded" not in response.text
            return response.status_code == 200  # 503: it takes longer than an answer may

        for adapter in (*adapters, adapters[0]):  # beside the one that serves there is room for one
            eventually(lambda adapter=adapter: embeds(adapter=adapter))
            eventually(embeds)


def test_a_new_item_is_found_by_its_words(world: World, eventually: Eventually) -> None:
    _, adapter_id = make_variant(world.home, {"content": 0.001, "lexical": 1.0})
    TextVectors.of_adapter(world.home, adapter_id)
    asked = {"history": ["new-western"], "adapter": adapter_id}
    ids = [item["item_id"] for item in world.ask("POST", "/v1/recommend", k=1, **asked)["items"]]
    shared = world.ask("GET", f"/v1/items/{ids[0]}")["fields"]["title"].split()
    assert {*WESTERN["title"].split()} & {*shared}
    back = world.ask("POST", "/v1/rank", history=ids, item_ids=["new-western"], adapter=adapter_id, explain=True)
    assert "shares words with" in back["items"][0]["reasons"][0]
    known = {"history": ["i000"], "item_ids": ["i004", "i024", "i028"], "adapter": adapter_id}
    before = world.ask("POST", "/v1/rank", **known)["items"]
    title = world.ask("GET", "/v1/items/i000")["fields"]["title"]
    version = world.put("same-words", title=title, genres=["Western"])
    eventually(lambda: world.known(version))
    assert world.ask("POST", "/v1/rank", **known)["items"] == before  # their scale does not move


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"title": " "}, "title"),
        ({"year": 1999}, "title"),
        ({"title": "x", "colour": "red"}, "colour: there is no such column"),
        ({"title": "x", "year": "1999"}, "year: a whole number is wanted"),
        ({"title": "x", "year": True}, "year"),
        ({"title": "x", "year": 2**70}, "year"),
        ({"title": "x", "genres": "Western"}, "genres"),
        ({"title": "x", "genres": [1]}, "genres"),
        ({"title": "x", "item_id": "y"}, "item_id"),
        ({"title": "x", "available": "perhaps"}, "available"),
    ],
)
def test_what_does_not_fit_the_catalogue_is_refused(world: World, body: dict[str, Any], detail: str) -> None:
    assert detail in world.ask("PUT", "/v1/items/odd", status=422, **body)["detail"]
    world.ask("GET", "/v1/items/odd", status=404)
