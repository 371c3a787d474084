"""Faults inside the service: what a caller is told, and what not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from sqlalchemy.exc import OperationalError
from starlette.requests import ClientDisconnect

from recsys.home import Home
from services.api import create_app
from services.edge import problems
from services.edge.auth import Guard
from services.edge.context import AbandonedError
from services.edge.keys import Keys
from services.edge.lanes import Lane
from services.edge.metrics import Metrics


class Faulty:
    """Stands for a worker, of which the first that is used fails."""

    def __init__(self, fault: Exception, metrics: Metrics) -> None:
        self.fault = fault
        self.metrics = metrics
        self.scoring = Lane(1, 1, metrics.shed.labels("scoring").inc)

    guard = Guard(Keys(Home(Path("nowhere"))))

    def lane_for(self, _: float) -> Lane:
        return self.scoring

    @property
    def generation(self) -> Any:
        raise self.fault


@pytest.fixture
def ask(metrics: Metrics) -> Callable[[Exception], httpx.Response]:
    def post(fault: Exception) -> httpx.Response:
        app = create_app()
        app.state.worker = Faulty(fault, metrics)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)

        async def request() -> httpx.Response:
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return await client.post("/v1/recommend", json={"user_id": "u"})

        return anyio.run(request)

    return post


def test_a_fault_is_a_500_that_tells_nothing_secret(ask: Callable[[Exception], httpx.Response]) -> None:
    response = ask(RuntimeError("the password is 1234"))
    assert response.status_code == response.json()["status"] == 500
    assert response.headers["Content-Type"] == "application/problem+json"
    assert "1234" not in response.text


def test_a_lost_event_store_is_a_503_to_try_again(ask: Callable[[Exception], httpx.Response]) -> None:
    response = ask(OperationalError("SELECT secret", {}, Exception("database is locked")))
    assert response.status_code == response.json()["status"] == 503
    assert response.headers["Retry-After"] == "1"
    assert "secret" not in response.text


@pytest.mark.parametrize("left", [AbandonedError(), ClientDisconnect()])
def test_an_answer_that_nobody_waits_for_is_no_fault(
    ask: Callable[[Exception], httpx.Response], caplog: pytest.LogCaptureFixture, left: Exception
) -> None:
    assert ask(left).status_code == 408
    assert not caplog.records


@pytest.mark.parametrize(("method", "path"), [("PUT", "/v1/items"), ("POST", "/v1/recommend/")])
def test_a_slash_too_few_or_too_many_is_a_404_and_no_redirect(method: str, path: str, metrics: Metrics) -> None:
    app = create_app()
    app.state.worker = Faulty(RuntimeError("not asked"), metrics)

    async def request() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            return await client.request(method, path, json={})

    response = anyio.run(request)
    assert response.status_code == response.json()["status"] == 404
    assert response.headers["Content-Type"] == "application/problem+json"


def test_an_answer_that_takes_too_long_is_given_up_with_a_503(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(problems, "ANSWER_SECONDS", 0.01)
    ended: list[str] = []

    async def stuck(*_: Any) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("cancelled")

    async def request() -> httpx.Response:
        transport = httpx.ASGITransport(problems.Boundary(stuck))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get("/")

    response = anyio.run(request)
    assert response.status_code == response.json()["status"] == 503
    assert response.headers["Retry-After"] == "1"
    assert response.headers["Content-Type"] == "application/problem+json"
    assert ended == ["cancelled"]
