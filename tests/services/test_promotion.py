"""Promoting over HTTP: measured as it was opened, told at once or later, one at a time, by the operator's limits."""

import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import anyio
import httpx
import pytest
from variants import make_variant

from recsys.database.engine import Database
from recsys.database.live_items import ItemStore
from recsys.errors import SettingError
from recsys.home import Home
from recsys.publishing import admission, checks
from recsys.store.attempts import find_attempt
from recsys.store.generations import current_id
from recsys_client import AsyncClient, Conflict
from services.api import create_app
from services.edge.guard import Guard
from services.edge.keys import Keys
from services.edge.lanes import Lane
from services.edge.metrics import Metrics
from services.edge.preferences import Preference
from services.routes import promotions as routes
from services.serve import ServeError, free_port, start
from services.worker.current import CurrentGeneration
from services.worker.encoders import Encoders
from services.worker.generation_cache import GenerationCache
from services.worker.live_items import LiveItems
from services.worker.promotions import GATE, Promotions, limits_from_environment
from services.worker.state import OneWorker

URL = "http://localhost"
PATIENCE_SECONDS = 60
JSON = {"Content-Type": "application/json"}
AT_ONCE = {"Prefer": "respond-async"}
Ask = Callable[[httpx.AsyncClient], Awaitable[Any]]


@pytest.fixture
def worker(copy_of_home: Callable[[Path], Home], metrics: Metrics, tmp_path: Path) -> Any:
    """What promoting needs of a worker, which answers with one live item."""
    home = copy_of_home(tmp_path)
    store, cache = ItemStore(Database.of(home)), GenerationCache(home)
    store.put("new", {"title": "Haunted Cellar"})
    encoders = Encoders(home, cache)
    generation = CurrentGeneration(home, cache, LiveItems(home, store, encoders), encoders, metrics)
    generation.check()
    assert generation.recommender().known_item("new")
    return SimpleNamespace(
        home=home,
        cache=cache,
        generation=generation,
        guard=Guard(Keys(home)),
        metrics=metrics,
        reading=Lane(1, 8, list),
        loading=Lane(1, 8, list),
        promotions=Promotions(home, generation, cache),
    )


@pytest.fixture
def ask(worker: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[Ask], Any]:
    """Runs what asks the application that has the worker; it waits for as long as a busy machine takes."""
    monkeypatch.setattr(routes, "LOADED_SECONDS", PATIENCE_SECONDS)
    app = create_app()
    app.state.workers = OneWorker(worker)

    def run(asking: Ask) -> Any:
        async def asked() -> Any:
            transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
            async with httpx.AsyncClient(transport=transport, base_url=URL, headers=JSON) as client:
                return await asking(client)

        return anyio.run(asked)

    return run


class Gate:
    """A gate that looks at a generation until it may go on."""

    def __init__(self) -> None:
        self.asked, self.open = Event(), Event()

    def __call__(self, *arguments: Any) -> checks.Verdict:
        self.asked.set()
        assert self.open.wait(PATIENCE_SECONDS)
        return checks.Verdict(True, ("It is good.",))


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """A gate in the place of the real one; it lets all go on at the end."""
    closed = Gate()
    monkeypatch.setattr(admission, "judged", closed)
    yield closed
    closed.open.set()


async def decided(client: httpx.AsyncClient, path: str) -> dict[str, Any]:
    with anyio.fail_after(PATIENCE_SECONDS):
        while (found := (await client.get(path)).json())["state"] == "running":
            await anyio.sleep(0.05)
    return dict(found)


def test_neither_the_candidate_nor_what_is_served_has_live_items(
    worker: Any, ask: Callable[[Ask], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[int] = []
    rehearse = checks.rehearse

    def listening(candidate: Any, served: Any, *rest: Any) -> Any:
        measured.extend([candidate.items_version, served.items_version])
        return rehearse(candidate, served, *rest)

    monkeypatch.setattr(checks, "rehearse", listening)
    first = str(current_id(worker.home))
    second, _ = make_variant(worker.home, {"content": 1.0})
    monkeypatch.setattr(checks, "judge_rehearsal", lambda *_: checks.Verdict(True, ()))
    answer = ask(lambda client: client.post(f"/v1/generations/{second}/promote")).json()
    assert (answer["generation"], answer["previous"], answer["state"]) == (second, first, "promoted")
    assert measured == [0, 0]
    assert worker.generation.recommender().items_version == 1


def test_what_serves_with_live_items_can_be_promoted_again(
    worker: Any, ask: Callable[[Ask], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "judge_rehearsal", lambda *_: checks.Verdict(True, ()))
    served = str(current_id(worker.home))
    worker.generation.recommender().scoring.source.kind = "approximate"  # as a large catalogue is searched
    assert ask(lambda client: client.post(f"/v1/generations/{served}/promote")).status_code == 200
    assert worker.generation.recommender().index_recall([["i000"]], 10) > 0.9


def test_a_gate_that_takes_long_goes_on_and_tells_whoever_asks(
    worker: Any, ask: Callable[[Ask], Any], gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "LOADED_SECONDS", 0.2)
    served = str(current_id(worker.home))
    second, _ = make_variant(worker.home, {"content": 1.0})
    path = f"/v1/generations/{second}/promote"

    async def asking(client: httpx.AsyncClient) -> None:
        accepted = await client.post(path)
        begun = accepted.json()
        assert (accepted.status_code, begun["state"], begun["findings"]) == (202, "running", None)
        place = accepted.headers["Location"]
        assert place == f"/v1/promotions/{begun['promotion']}"
        assert (await client.get(place)).json() == begun
        assert find_attempt(worker.home, begun["promotion"]).running  # for every process
        assert current_id(worker.home) == served

        joined = await client.post(path, headers=AT_ONCE)
        assert (joined.status_code, joined.headers["Location"]) == (202, place)
        assert joined.headers["Preference-Applied"] == "respond-async"
        forced = {"force": True, "reason": "I know."}
        for other in (client.post(path, json=forced), client.post(f"/v1/generations/{served}/promote")):
            refused = await other
            assert (refused.status_code, refused.json()["code"]) == (409, "promotion-running")
            assert refused.headers["Location"] == place

        listed = (await client.get("/v1/generations")).json()
        assert (listed["current"], listed["promoting"]) == (served, begun)

        gate.open.set()
        ended = await decided(client, place)
        assert (ended["state"], ended["previous"], ended["findings"]) == ("promoted", served, ["It is good."])
        assert worker.generation.serving == current_id(worker.home) == second
        assert (await client.get("/v1/generations")).json()["promoting"] is None
        (last, *_) = (await client.get("/v1/promotions")).json()["promotions"]
        assert (last["generation"], last["promotion"]) == (second, begun["promotion"])
        monkeypatch.setattr(routes, "LOADED_SECONDS", PATIENCE_SECONDS)
        again = await client.post(path)
        assert (again.status_code, again.json()["state"]) == (200, "promoted")
        assert again.json()["promotion"] != begun["promotion"]

    ask(asking)


def test_who_rolls_back_waits_for_no_gate_and_what_is_judged_is_overtaken(
    worker: Any, ask: Callable[[Ask], Any], gate: Gate
) -> None:
    second, _ = make_variant(worker.home, {"content": 1.0})
    third, _ = make_variant(worker.home, {"rules": 1.0})

    async def asking(client: httpx.AsyncClient) -> None:
        accepted = await client.post(f"/v1/generations/{second}/promote", headers=AT_ONCE)
        assert await anyio.to_thread.run_sync(gate.asked.wait, PATIENCE_SECONDS)
        unreasoned = await client.post("/v1/rollback", json={"to": third})
        assert (unreasoned.status_code, unreasoned.json()["errors"][0]["pointer"]) == (422, "/reason")
        assert (await client.post("/v1/rollback", json={"to": third, "reason": "Now."})).json()["generation"] == third
        assert not gate.open.is_set()
        gate.open.set()
        ended = await decided(client, accepted.headers["Location"])
        assert (ended["state"], ended["problem"]["code"]) == ("failed", "switched-meanwhile")

    ask(asking)
    assert current_id(worker.home) == third


def test_what_a_gate_refuses_later_is_told_with_its_findings_and_raised_by_the_client(
    worker: Any, ask: Callable[[Ask], Any]
) -> None:
    served = str(current_id(worker.home))
    worse, _ = make_variant(worker.home, {"popularity": 1.0}, worse=True)
    path = f"/v1/generations/{worse}/promote"

    async def asking(client: httpx.AsyncClient) -> None:
        accepted = await client.post(path, headers=AT_ONCE)
        assert accepted.status_code == 202
        ended = await decided(client, accepted.headers["Location"])
        assert (ended["state"], ended["problem"]["status"]) == ("refused", 409)
        assert ended["problem"]["code"] == "refused-by-gate"
        assert ended["findings"]
        assert (await client.get(f"/v1/promotions/{'f' * 16}")).json()["code"] == "unknown-promotion"

        async with AsyncClient(URL, transport=client._transport) as typed:
            begun = await typed.promote(worse, wait=False)
            assert begun.state == "running"
            with pytest.raises(Conflict, match="gate refuses") as refused:
                await typed.promote(worse)
            assert refused.value.code == "refused-by-gate"
            told = await typed.promotion(begun.promotion)
            assert (told.state, told.generation) == ("refused", worse)

    ask(asking)
    assert current_id(worker.home) == served


def test_a_fault_leaves_nothing_running(
    worker: Any, ask: Callable[[Ask], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty(*_: Any) -> None:
        raise RuntimeError("the disk is on fire")

    monkeypatch.setattr(admission, "judged", faulty)
    served = str(current_id(worker.home))
    failed = ask(lambda client: client.post(f"/v1/generations/{served}/promote"))
    assert (failed.status_code, failed.json()["code"]) == (500, "fault")
    assert "fire" not in failed.text


def test_the_operators_limits_are_the_gates(
    worker: Any, ask: Callable[[Ask], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "gate.json"
    file.write_text(json.dumps({"min_targets": 1_000_000}))
    monkeypatch.setenv(GATE, str(file))
    worker.promotions = Promotions(worker.home, worker.generation, worker.cache, limits_from_environment())
    second, _ = make_variant(worker.home, {"content": 1.0})
    path = f"/v1/generations/{second}/promote"
    answer = ask(lambda client: client.post(path, json={"force": True, "reason": "To read its findings."}))
    assert any("1,000,000 are needed" in finding for finding in answer.json()["findings"])


@pytest.mark.parametrize(
    ("content", "said"),
    [("{", "line 1"), ('{"tolerence": 0.1}', "tolerance"), ('{"tolerance": -1}', "tolerance is -1"), (None, "no such")],
)
def test_limits_that_are_none_are_told_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, said: str
) -> None:
    file = tmp_path / "gate.json"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv(GATE, str(file))
    with pytest.raises(SettingError, match=GATE) as told:
        limits_from_environment()
    assert said in str(told.value)
    with pytest.raises(ServeError, match=GATE):
        start(Home(tmp_path), free_port())


@pytest.mark.parametrize(
    ("header", "seconds", "applied"),
    [
        (None, None, ""),
        ("respond-async", 0.0, "respond-async"),
        ("Respond-Async; x=y, handling=lenient", 0.0, "respond-async"),
        ("respond-async, wait=3", 3.0, "wait=3"),
        ('wait="2"', 2.0, "wait=2"),
        ("wait=soon, wait=1", None, ""),
        ("return=minimal, ,;", None, ""),
        ("wait=" + "9" * 40, None, ""),
    ],
)
def test_what_is_preferred_is_read_as_rfc_7240_writes_it(
    header: str | None, seconds: float | None, applied: str
) -> None:
    assert Preference.of(header) == Preference(seconds, applied)
