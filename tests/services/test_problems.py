"""Faults inside the service: what a caller is told, and what not."""

import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from fastapi import Response
from sqlalchemy.exc import OperationalError
from starlette.requests import ClientDisconnect

from recsys.home import Home
from recsys_client import Client, Invalid
from recsys_client.schemas.problems import PROBLEM_JSON, Code
from recsys_client.schemas.recommend import RecommendRequest
from services.api import create_app
from services.edge import problems
from services.edge.context import AbandonedError
from services.edge.guard import Guard
from services.edge.keys import Keys, create_key
from services.edge.lanes import Lane
from services.edge.metrics import Metrics
from services.worker.state import OneWorker

Ask = Callable[..., httpx.Response]
JSON = {"Content-Type": "application/json"}
NO_KEYS = Home(Path("nowhere"))


class Faulty:
    """Stands for a worker, of which the first that is used fails."""

    def __init__(self, fault: Exception, metrics: Metrics) -> None:
        self.fault = fault
        self.metrics = metrics
        self.scoring = Lane(1, 1, metrics.shed.labels("scoring").inc)

    guard = Guard(Keys(NO_KEYS))

    def lane_for(self, _: float) -> Lane:
        return self.scoring

    @property
    def generation(self) -> Any:
        raise self.fault


@pytest.fixture
def ask(metrics: Metrics) -> Callable[[Exception], httpx.Response]:
    def post(fault: Exception) -> httpx.Response:
        app = create_app()
        app.state.workers = OneWorker(Faulty(fault, metrics))
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)

        async def request() -> httpx.Response:
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return await client.post("/v1/recommend", json={"user_id": "u"})

        return anyio.run(request)

    return post


def sender(metrics: Metrics, home: Home = NO_KEYS) -> Ask:
    """Return what sends a request to an application whose worker fails: what is refused, is refused before."""
    app = create_app()
    app.state.workers = OneWorker(Faulty(RuntimeError("not asked"), metrics))
    app.state.workers.worker.guard = Guard(Keys(home))

    def send(method: str, path: str, **arguments: Any) -> httpx.Response:
        async def request() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
                return await client.request(method, path, **arguments)

        return anyio.run(request)

    return send


@pytest.fixture
def ask_with(metrics: Metrics) -> Ask:
    """As ``sender``, without keys."""
    return sender(metrics)


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


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/users"), ("POST", "/v1/recommend/")])
def test_a_slash_too_few_or_too_many_is_a_404_and_no_redirect(method: str, path: str, metrics: Metrics) -> None:
    app = create_app()
    app.state.workers = OneWorker(Faulty(RuntimeError("not asked"), metrics))

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


def test_every_code_is_a_problem_of_its_own_with_a_page() -> None:
    assert len({str(code) for code in Code}) == len(Code)
    for code in Code:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code)
        made = json.loads(bytes(problems.problem(code, "what is wrong").body))
        assert made["code"] == code
        assert made["status"] == code.status
        assert made["type"] == f"/problems/{code}"
    for status in {code.status for code in Code}:
        assert Code.of(status) in Code


def test_a_status_without_a_code_is_told_as_it_is() -> None:
    async def teapot(scope: Any, receive: Any, send: Any) -> None:
        await Response("short and stout", 418)(scope, receive, send)

    async def request() -> httpx.Response:
        transport = httpx.ASGITransport(problems.Boundary(teapot))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get("/")

    told = anyio.run(request).json()
    assert told["status"] == 418
    assert told["type"] == "about:blank"
    assert "code" not in told


BODY = {"users": [{"user_id": "u"}, {"history": ["i", 5, ""]}], "limits": {"": 1, "a/b~c": 0}, "lmits": {}, "k": True}


def test_each_place_that_is_wrong_is_pointed_to_in_service_and_client_alike(ask_with: Ask) -> None:
    expected = {
        "/users/1/history/1": "string-type",
        "/limits/": "string-too-short",
        "/limits/a~1b~0c": "greater-than-equal",
        "/lmits": "extra-forbidden",
        "/k": "number-wanted",
    }
    answer = ask_with("POST", "/v1/recommend/batch", json=BODY)
    problem = answer.json()
    assert answer.status_code == 422
    assert problem["code"] == Code.INVALID_REQUEST
    assert {one["pointer"]: one["code"] for one in problem["errors"]} == expected
    assert all("parameter" not in one for one in problem["errors"])
    assert "body.lmits: Extra inputs are not permitted; did you mean 'limits'?" in problem["detail"]
    with pytest.raises(Invalid) as refused, Client("http://localhost") as client:
        client.recommend_batch(**BODY)  # type: ignore[arg-type]
    assert refused.value.code == Code.INVALID_REQUEST
    assert {one.pointer: one.code for one in refused.value.errors} == expected
    assert pickle.loads(pickle.dumps(refused.value)).errors == refused.value.errors


def test_an_unknown_field_is_answered_with_those_that_there_are(ask_with: Ask) -> None:
    def told(body: Any) -> str:
        (error,) = ask_with("POST", "/v1/recommend", json=body).json()["errors"]
        return str(error["detail"])

    assert told({"user_id": "u", "diversty": 1}).endswith("; did you mean 'diversity'?")
    assert told({"user_id": "u", "x": 1}).endswith(f"; there are {', '.join(sorted(RecommendRequest.model_fields))}")
    inner = {"user_id": "u", "promotions": [{"item_id": "i", "slot": 1, "item": 1}]}
    assert told(inner).endswith("; did you mean 'item_id'?")
    assert "did you mean" not in told({"user_id": "u", "diversity" * 50_000: 1})  # comparing them would take seconds


def test_parameters_are_named(ask_with: Ask) -> None:
    for path, parameter, code in (
        ("/v1/users/u?limit=0", "limit", "greater-than-equal"),
        ("/v1/users/u?limit=x", "limit", "int-parsing"),
        ("/v1/recommendations/x", "rec_id", "string-pattern-mismatch"),
    ):
        (error,) = ask_with("GET", path).json()["errors"]
        assert (error["parameter"], error["code"]) == (parameter, code)
        assert "pointer" not in error


def test_the_client_names_the_parameters_that_it_does_not_send() -> None:
    with Client("http://localhost") as client:
        for item_id, code in (("a\nb", "string-pattern-mismatch"), ("", "string-too-short"), ("..", "path-segment")):
            with pytest.raises(Invalid) as refused:
                client.item(item_id)
            (error,) = refused.value.errors
            assert (error.parameter, error.code) == ("item_id", code)
            assert error.detail in str(refused.value)


def test_errors_of_a_large_body_are_not_told_without_end(ask_with: Ask) -> None:
    problem = ask_with("POST", "/v1/events", json={"events": [{}] * 1_000}).json()
    assert len(problem["errors"]) == problems.MAX_VIOLATIONS
    assert problem["detail"].endswith("and 1995 more")


def test_every_code_is_given_somewhere() -> None:
    sources = "".join(file.read_text() for file in (Path(__file__).parents[2] / "services").rglob("*.py"))
    unused = [code for code in Code if f"Code.{code.name}" not in sources]
    assert unused == [Code.METHOD_NOT_ALLOWED]  # Starlette's


def test_the_page_lists_every_code() -> None:
    page = (Path(__file__).parents[2] / "services/README.md").read_text()
    rows = re.findall(r"^\| (\d{3}) \| `([a-z-]+)` \| (.+) \|$", page, re.MULTILINE)
    assert rows == [(str(code.status), str(code), code.meaning) for code in Code]


def test_the_type_of_a_problem_is_a_page_that_explains_it(ask_with: Ask) -> None:
    refused = ask_with("POST", "/v1/recommend", json={}).json()
    explained = ask_with("GET", refused["type"])
    assert explained.status_code == 200
    assert explained.headers["Content-Type"].startswith("text/plain")
    assert Code(refused["code"]).meaning in explained.text
    assert ask_with("GET", "/problems/nothing").json()["code"] == Code.NOT_FOUND


@pytest.mark.parametrize("keyed", [False, True])
def test_a_body_that_is_sent_as_something_else_is_refused(keyed: bool, metrics: Metrics, tmp_path: Path) -> None:
    home = Home(tmp_path)
    key = {"Authorization": f"Bearer {create_key(home, 'tests', ['admin'])[1]}"} if keyed else {}
    send, walked = sender(metrics, home), 0
    for path, methods in json.loads(create_app().state.document(keyed))["paths"].items():
        for method, operation in methods.items():
            if "requestBody" not in operation:
                continue
            walked += 1
            for headers, code, name, value in (
                ({}, Code.UNSUPPORTED_MEDIA_TYPE, "Accept", "application/json"),
                ({"Content-Type": "text/plain"}, Code.UNSUPPORTED_MEDIA_TYPE, "Accept", "application/json"),
                ({"Content-Type": "text/json"}, Code.UNSUPPORTED_MEDIA_TYPE, "Accept", "application/json"),
                (JSON | {"Content-Encoding": "gzip"}, Code.UNSUPPORTED_ENCODING, "Accept-Encoding", "identity"),
                (JSON | {"Content-Encoding": "identity, br"}, Code.UNSUPPORTED_ENCODING, "Accept-Encoding", "identity"),
            ):
                refused = send(method, path, content=b"{}", headers=key | headers)
                assert refused.status_code == 415, (method, path, headers, refused.text)
                assert refused.json()["code"] == code
                assert refused.headers[name] == value
            for headers in ({}, {"Content-Encoding": "Identity"}):
                assert send(method, path, content=b"[1]", headers=key | JSON | headers).status_code == 422
    assert walked >= 10


def test_a_wrong_method_is_told_the_right_ones_whichever_it_is(ask_with: Ask) -> None:
    paths = json.loads(create_app().state.document(False))["paths"]
    for path in paths:
        # ids of items and users may hold a slash, so that what follows one may be a part of it
        taking = [
            known for known in paths if re.fullmatch(re.sub(r"\\{(item|user)_id\\}", ".+", re.escape(known)), path)
        ]
        methods = {method for known in taking for method in paths[known]}
        right = {method.upper() for method in methods} | ({"HEAD"} if "get" in methods else set())
        for method in {"GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"} - right:
            refused = ask_with(method, path, headers=JSON)
            assert refused.status_code == 405, (method, path)
            assert refused.headers["Allow"] == ", ".join(sorted(right))
            assert refused.headers["Content-Type"] == PROBLEM_JSON
