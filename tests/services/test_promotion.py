"""The gate behind the route: both generations are measured as they were opened, whatever items were put since."""

from collections.abc import Callable
from functools import partial
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
from recsys.home import Home
from recsys.publishing import checks
from recsys.store.generations import current_id
from recsys_client.schemas.generations import PromoteRequest
from services.api import create_app
from services.edge.auth import Guard
from services.edge.keys import Keys
from services.edge.lanes import Lane
from services.edge.metrics import Metrics
from services.routes import generations
from services.worker.current import CurrentGeneration
from services.worker.encoders import Encoders
from services.worker.generation_cache import GenerationCache
from services.worker.live_items import LiveItems
from services.worker.state import Worker

JSON = {"Content-Type": "application/json"}


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
    worker = SimpleNamespace(home=home, cache=cache, generation=generation)
    worker.opened = partial(Worker.opened, worker)  # type: ignore[arg-type]
    return worker


def test_neither_the_candidate_nor_what_is_served_has_live_items(worker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[int] = []
    rehearse = checks.rehearse

    def listening(candidate: Any, served: Any, *rest: Any) -> Any:
        measured.extend([candidate.items_version, served.items_version])
        return rehearse(candidate, served, *rest)

    monkeypatch.setattr(checks, "rehearse", listening)
    first = str(current_id(worker.home))
    second, _ = make_variant(worker.home, {"content": 1.0})
    monkeypatch.setattr(checks, "judge_rehearsal", lambda *_: checks.Verdict(True, ()))
    answer = generations._promote(worker, second, PromoteRequest())
    assert (answer.generation, answer.previous) == (second, first)
    assert measured == [0, 0]
    assert worker.generation.recommender().items_version == 1


def test_what_serves_with_live_items_can_be_promoted_again(worker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "judge_rehearsal", lambda *_: checks.Verdict(True, ()))
    served = str(current_id(worker.home))
    worker.generation.recommender().scoring.source.kind = "approximate"  # as a large catalogue is searched
    assert generations._promote(worker, served, PromoteRequest()).generation == served
    assert worker.generation.recommender().index_recall([["i000"]], 10) > 0.9


def test_a_gate_that_takes_long_goes_on_and_is_told_where_to_look(
    tmp_path: Path, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go_on, ended = Event(), Event(), Event()

    def judging(*_: Any) -> None:
        began.set()
        go_on.wait(60)
        ended.set()

    async def told(*_: Any) -> httpx.Response:
        transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.post("/v1/generations/0123456789abcdef/promote", headers=JSON)

    monkeypatch.setattr(generations, "_promote", judging)
    monkeypatch.setattr(generations, "LOADED_SECONDS", 0.2)
    app = create_app()
    lane = Lane(1, 8, list)
    app.state.worker = SimpleNamespace(guard=Guard(Keys(Home(tmp_path))), metrics=metrics, loading=lane)
    answer = anyio.run(told)
    assert (answer.status_code, answer.json()["code"]) == (503, "too-late")
    assert "GET /v1/promotions" in answer.json()["detail"]
    assert began.wait(60)
    go_on.set()
    assert ended.wait(60)
