"""Promote, shadow and roll back while people ask; adapters by name; lineage and replay: two workers, two adapters."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from variants import make_variant

from recsys.home import Home
from recsys.serving.recommender import Recommender
from recsys.store.adapters import save_adapter
from recsys.store.attempts import begin_attempt
from recsys.store.generations import current_id, promote, read_generation
from recsys.store.manifests import AdapterCard
from recsys.store.names import ADAPTER, GENERATION, remove_alias, set_alias
from recsys.store.pointer import list_promotions
from recsys.store.promotions import Cause
from recsys_client import Client
from recsys_client.schemas.problems import Code
from services.serve import running
from services.worker.promotions import Promotions

Eventually = Callable[[Callable[[], bool]], None]
WORKERS = 2
REASON = "Two generations take turns."
CLIENTS = 64
SWAPS = 1_000
BY_ROUTE = 25  # every so many swaps one of the workers does it
THINKING_SECONDS = 0.25  # of a client between two requests, so that the swaps have the time to be many


@dataclass(frozen=True)
class World:
    """A service of two workers over two generations, ``first`` served, and an adapter without one."""

    home: Home
    url: str
    first: str
    second: str
    adapters: dict[str, str]  # by generation
    unused: str

    def ask(self, method: str, path: str, **body: Any) -> httpx.Response:
        """Ask over a connection of its own, which either worker may take."""
        headers = {"Content-Type": "application/json"} if method == "POST" else {}
        return httpx.request(method, f"{self.url}{path}", json=body or None, headers=headers, timeout=30)

    def answer(self, **body: Any) -> dict[str, Any]:
        response = self.ask("POST", "/v1/recommend", **body)
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    def promote(self, generation_id: str) -> None:
        with Client(self.url, timeout=30) as client:
            assert client.promote(generation_id, force=True, reason=REASON).state == "promoted"

    def switch(self, generation_id: str) -> None:
        """Switch without the gate, which would look at each generation every time."""
        response = self.ask("POST", "/v1/rollback", to=generation_id, reason=REASON)
        assert response.status_code == 200, response.text

    def serves_everywhere(self, generation_id: str) -> bool:
        lines = self.ask("GET", "/metrics").text.splitlines()
        return any(
            line.startswith("recsys_generation_workers{") and generation_id in line and line.endswith(f" {WORKERS}.0")
            for line in lines
        )


@pytest.fixture(scope="module")
def world(copy_of_home: Callable[[Path], Home], tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home = copy_of_home(tmp_path_factory.mktemp("switched"))
    first = str(current_id(home))
    second, adapter = make_variant(home, {"content": 1.0})
    unused = save_adapter(home, lambda folder: (folder / "x").touch(), AdapterCard(base="none", task="none"))
    adapters = {first: read_generation(home, first)[1].adapter, second: adapter}
    with running(home, workers=WORKERS) as url:
        yield World(home, url, first, second, adapters, unused)


@pytest.fixture(autouse=True)
def first_is_served(world: World, eventually: Eventually) -> None:
    world.promote(world.first)
    eventually(lambda: world.serves_everywhere(world.first))


def lists(answer: dict[str, Any]) -> list[tuple[str, float]]:
    return [(item["item_id"], item["score"]) for item in answer["items"]]


def test_adapters_are_listed_with_what_they_can_do(world: World) -> None:
    cards = {card["id"]: card for card in world.ask("GET", "/v1/adapters").json()["adapters"]}
    assert set(cards) == {*world.adapters.values(), world.unused}
    for generation_id, adapter_id in world.adapters.items():
        assert cards[adapter_id]["generations"] == [generation_id]
        assert cards[adapter_id]["can_answer"]
        assert cards[adapter_id]["serving"] == (generation_id == world.first)
        assert "files" not in cards[adapter_id]
    assert not cards[world.unused]["can_answer"]


def test_a_named_adapter_answers_wholly(world: World, known_user: str) -> None:
    usual = world.answer(user_id=known_user)
    named = world.answer(user_id=known_user, adapter=world.adapters[world.second])
    assert (named["generation"], named["adapter"]) == (world.second, world.adapters[world.second])
    assert lists(named) != lists(usual)
    world.promote(world.second)
    assert lists(world.answer(user_id=known_user, adapter=world.adapters[world.second])) == lists(named)
    assert world.ask("POST", "/v1/recommend", history=[], adapter="nothing").status_code == 404
    refused = world.ask("POST", "/v1/recommend", history=[], adapter=world.unused)
    assert refused.status_code == 409
    assert "No generation" in refused.json()["detail"]


def test_an_alias_answers_for_what_it_names_now(world: World, known_user: str) -> None:
    set_alias(world.home, ADAPTER, world.adapters[world.second], "challenger")
    set_alias(world.home, GENERATION, world.first, "champion")
    for named in ({"adapter": "challenger"}, {"generation": "champion"}):
        expected = world.second if "adapter" in named else world.first
        for path, asked in (("recommend", {"user_id": known_user}), ("similar", {"item_id": "i000"})):
            response = world.ask("POST", f"/v1/{path}", **asked, **named)
            assert (response.status_code, response.json()["generation"]) == (200, expected), response.text
    set_alias(world.home, ADAPTER, world.adapters[world.first], "challenger")
    for _ in range(2 * WORKERS):  # whichever worker is asked next
        assert world.answer(user_id=known_user, adapter="challenger")["generation"] == world.first
    remove_alias(world.home, ADAPTER, "challenger")
    unknown = world.ask("POST", "/v1/recommend", history=[], adapter="challenger")
    assert (unknown.status_code, unknown.json()["detail"][:32]) == (404, "There is no adapter 'challenger'")
    assert world.ask("POST", "/v1/recommend", history=[], adapter=world.adapters[world.first][:8]).status_code == 404
    promoted = world.ask("POST", "/v1/generations/champion/promote", force=True, reason=REASON)
    assert promoted.json()["generation"] == world.first
    shadowed = world.ask("POST", "/v1/generations/champion/shadow", share=0.5)
    assert shadowed.json()["generation"] == world.first
    assert world.ask("DELETE", "/v1/generations/champion/shadow").status_code == 200
    assert world.ask("POST", "/v1/generations/nobody/promote").status_code == 404
    file = world.home.generations / "names.json"
    written = file.read_bytes()
    file.write_text("{")
    broken = world.ask("POST", "/v1/recommend", history=[], generation="champion")
    assert (broken.status_code, broken.json()["code"]) == (503, "files-damaged")
    assert world.answer(user_id=known_user, generation=world.first)["generation"] == world.first  # an id needs no names
    file.write_bytes(written)
    listed = {one["id"]: one for one in world.ask("GET", "/v1/generations").json()["generations"]}
    assert [listed[one]["aliases"] for one in (world.first, world.second)] == [["champion"], []]
    assert listed[world.first]["made"] < listed[world.second]["made"]


def test_what_an_adapter_moves_is_said_also_where_that_is_nothing(world: World) -> None:
    listed = {one["id"]: one for one in world.ask("GET", "/v1/generations").json()["generations"]}
    cards = {card["id"]: card for card in world.ask("GET", "/v1/adapters").json()["adapters"]}
    assert listed[world.second]["weights"] == {"content": 1.0}
    assert listed[world.second]["adapter_share"] == 0
    assert "no part in this generation's lists" in listed[world.second]["adapter_part"]
    for generation_id, adapter in world.adapters.items():
        for field in ("weights", "adapter_share", "adapter_part"):
            assert cards[adapter][field] == listed[generation_id][field]
    assert cards[world.unused]["weights"] is None


def test_every_answer_in_many_swaps_is_wholly_one_generations(world: World, known_user: str) -> None:
    expected = {}
    for generation_id in (world.first, world.second):
        answer = world.answer(user_id=known_user, adapter=world.adapters[generation_id])
        expected[generation_id] = (world.adapters[generation_id], lists(answer))
    assert expected[world.first] != expected[world.second]
    stop, seen = threading.Event(), dict.fromkeys(expected, 0)

    def client(_: int) -> int:
        asked = 0
        with httpx.Client(base_url=world.url, timeout=30) as connection:
            while asked == 0 or not stop.wait(THINKING_SECONDS):
                response = connection.post("/v1/recommend", json={"user_id": known_user})
                assert response.status_code == 200, response.text
                answer = response.json()
                assert (answer["adapter"], lists(answer)) == expected[answer["generation"]]
                seen[answer["generation"]] += 1
                asked += 1
        return asked

    with ThreadPoolExecutor(CLIENTS) as threads:
        clients = [threads.submit(client, number) for number in range(CLIENTS)]
        try:
            swap = 0
            # until a slow machine, too, has given enough answers from both
            while swap < SWAPS or (min(seen.values()) <= CLIENTS and not any(client.done() for client in clients)):
                turn = world.second if swap % 2 == 0 else world.first
                if swap % BY_ROUTE:
                    promote(world.home, turn)  # as any process may
                else:
                    world.switch(turn)
                swap += 1
        finally:
            stop.set()
        assert all(client.result() for client in clients)
    assert all(count > CLIENTS for count in seen.values())


def test_a_switch_reaches_all_workers_and_rolls_back(world: World, eventually: Eventually) -> None:
    answer = world.ask("POST", f"/v1/generations/{world.second}/promote", force=True, reason=REASON).json()
    assert (answer["generation"], answer["previous"]) == (world.second, world.first)
    assert answer["findings"]
    eventually(lambda: world.serves_everywhere(world.second))
    back = world.ask("POST", "/v1/rollback").json()
    assert back == {"generation": world.first, "previous": world.second, "findings": []}
    eventually(lambda: world.serves_everywhere(world.first))
    told, forced = httpx.get(f"{world.url}/v1/promotions", params={"limit": 2}).json()["promotions"]
    assert (told["action"], told["generation"], told["previous"]) == ("rollback", world.first, world.second)
    assert (forced["action"], forced["by"], forced["reason"]) == ("publish", "somebody on this machine", REASON)
    assert forced["findings"] == answer["findings"]
    unreasoned = world.ask("POST", f"/v1/generations/{world.second}/promote", force=True)
    assert (unreasoned.status_code, unreasoned.json()["errors"][0]["pointer"]) == (422, "/reason")
    there = world.ask("POST", "/v1/rollback", to=world.second, reason="That one.").json()
    assert there == {"generation": world.second, "previous": world.first, "findings": []}
    assert world.ask("POST", "/v1/rollback", to="0" * 16).status_code == 404
    null = httpx.post(f"{world.url}/v1/rollback", content=b"null", headers={"Content-Type": "application/json"})
    assert (null.status_code, null.json()["detail"][:14]) == (422, "body: null is ")
    assert list_promotions(world.home)[0].reason == "That one."


def test_who_is_overtaken_while_the_gate_looks_is_told_by_a_word_of_its_own(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    third, _ = make_variant(world.home, {"rules": 1.0})
    opened: list[str] = []

    def overtaken(generation_id: str) -> Recommender:
        opened.append(generation_id)
        if len(opened) == 1:
            promote(world.home, world.second)
        return Recommender.open(world.home, generation_id)

    opens: Any = SimpleNamespace(open=lambda _: None)
    answering: Any = SimpleNamespace(opened=overtaken)
    cause = Cause(reason=REASON)
    attempt, _ = begin_attempt(world.home, third, cause, force=True)
    ended = Promotions(world.home, answering, opens).promote(attempt, cause)
    assert (ended.state, ended.code) == ("failed", Code.SWITCHED_MEANWHILE)
    assert current_id(world.home) == world.second


def test_what_cannot_serve_is_refused_before_the_pointer_moves(world: World) -> None:
    assert world.ask("POST", f"/v1/generations/{'0' * 16}/promote").status_code == 404
    worse, _ = make_variant(world.home, {"popularity": 1.0}, worse=True)
    refused = world.ask("POST", f"/v1/generations/{worse}/promote")
    assert refused.status_code == 409
    assert "gate refuses" in refused.json()["detail"]
    broken, _ = make_variant(world.home, {"towers": 0.5})
    (world.home.generations / broken / "system.json").write_text("{}")
    for path in ("promote", "shadow"):
        refused = world.ask("POST", f"/v1/generations/{broken}/{path}")
        assert refused.status_code == 409
        assert "system.json has changed" in refused.json()["detail"]
    assert current_id(world.home) == world.first
    assert world.ask("GET", "/v1/generations").json()["problem"] is None


def test_a_shadow_is_compared_and_changes_nothing(world: World, known_user: str, eventually: Eventually) -> None:
    before = world.answer(user_id=known_user)
    state = world.ask("POST", f"/v1/generations/{world.second}/shadow", share=1.0).json()
    assert (state["generation"], state["share"]) == (world.second, 1.0)

    def compared() -> bool:
        assert lists(world.answer(user_id=known_user)) == lists(before)
        return bool(world.ask("GET", "/v1/shadow").json()["answers"] >= 20)

    eventually(compared)
    found = world.ask("GET", "/v1/shadow").json()
    other = world.answer(user_id=known_user, adapter=world.adapters[world.second])
    same = {item for item, _ in lists(before)} & {item for item, _ in lists(other)}
    assert found["overlap"] == pytest.approx(len(same) / 10)
    assert 0 < found["shadow_p50"] <= found["shadow_p95"]
    assert found["live_cold"] == 0
    assert (found["clicks"], found["clicks_shared"]) == (0, None)
    shown, outside = world.answer(user_id=known_user), next(item for item, _ in lists(before) if item not in same)
    eventually(lambda: world.ask("GET", "/v1/shadow").json()["answers"] > found["answers"])
    clicks = [{"item_id": item, "user_id": known_user, "rec_id": shown["rec_id"]} for item in (min(same), outside)]
    assert world.ask("POST", "/v1/events", events=clicks).json()["accepted"] == 2
    eventually(lambda: world.ask("GET", "/v1/shadow").json()["clicks"] == 2)
    assert world.ask("GET", "/v1/shadow").json()["clicks_shared"] == 0.5
    assert 'recsys_shadow_answers_total{outcome="answered"} 0.0' not in world.ask("GET", "/metrics").text
    assert world.ask("DELETE", f"/v1/generations/{world.first}/shadow").status_code == 404
    assert world.ask("DELETE", f"/v1/generations/{world.second}/shadow").json()["generation"] == world.second
    assert world.ask("GET", "/v1/shadow").json()["generation"] is None


def test_an_answer_can_be_traced_and_replayed_in_any_worker(
    world: World, known_user: str, eventually: Eventually
) -> None:
    wish = {"user_id": known_user, "k": 7, "diversity": 0.4, "filter": {"field": "year", "gte": 1960}}
    answer = world.answer(**wish)
    eventually(lambda: world.ask("GET", f"/v1/recommendations/{answer['rec_id']}").status_code == 200)
    world.promote(world.second)
    for _ in range(6):
        found = world.ask("GET", f"/v1/recommendations/{answer['rec_id']}?replay=true")
        assert found.status_code == 200, found.text
        trace = found.json()
        assert trace["replay"]["same"], trace["replay"]["differences"]
        assert not trace["replay"]["catalogue_changed"]
    _, manifest = read_generation(world.home, world.first)
    assert (trace["generation"], trace["adapter"]) == (answer["generation"], answer["adapter"])
    assert (trace["snapshot"], trace["flow_run"]) == (manifest.snapshot, manifest.flow_run)
    assert trace["index"] == {"table": manifest.index.table, "version": manifest.index.version}
    assert [(item["item_id"], item["score"]) for item in trace["items"]] == lists(answer)
    assert {item["propensity"] for item in trace["items"]} == {1.0}
    assert trace["request"].items() >= wish.items()
    assert trace["history"]
    assert len(trace["adapter_digest"]) == 64
    assert world.ask("GET", f"/v1/recommendations/{'0' * 32}").status_code == 404
    assert world.ask("GET", "/v1/recommendations/x").status_code == 422


def test_every_list_of_a_batch_can_be_traced(world: World, known_user: str, eventually: Eventually) -> None:
    batch = world.ask("POST", "/v1/recommend/batch", users=[{"user_id": known_user}, {"history": []}], k=3).json()
    for part in batch["answers"]:
        path = f"/v1/recommendations/{part['rec_id']}"
        eventually(lambda path=path: world.ask("GET", path).status_code == 200)
        trace = world.ask("GET", f"{path}?replay=true").json()
        assert trace["user_id"] == part["user_id"]
        assert trace["replay"]["same"]


def test_a_named_generation_answers_wholly(world: World, known_user: str) -> None:
    named = world.answer(user_id=known_user, generation=world.second)
    assert (named["generation"], named["adapter"]) == (world.second, world.adapters[world.second])
    assert lists(named) == lists(world.answer(user_id=known_user, adapter=world.adapters[world.second]))
    both = world.answer(user_id=known_user, generation=world.first, adapter=world.adapters[world.first])
    assert both["generation"] == world.first
    assert world.ask("POST", "/v1/recommend", history=[], generation="../" + world.first).status_code == 404
    other = world.adapters[world.second]
    refused = world.ask("POST", "/v1/recommend", history=[], generation=world.first, adapter=other)
    assert refused.status_code == 409
    assert "was made with adapter" in refused.json()["detail"]


def test_a_list_that_is_not_recorded_leaves_no_trace(world: World, known_user: str, eventually: Eventually) -> None:
    preview = world.answer(user_id=known_user, record=False)["rec_id"]
    shown = world.answer(user_id=known_user)["rec_id"]
    eventually(lambda: world.ask("GET", f"/v1/recommendations/{shown}").status_code == 200)
    assert world.ask("GET", f"/v1/recommendations/{preview}").status_code == 404
