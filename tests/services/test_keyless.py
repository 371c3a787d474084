"""Without keys: what a page from elsewhere has a browser send, and what comes over a proxy, no route answers."""

from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from recsys.home import Home
from services.api import create_app
from services.edge.guard import Guard
from services.edge.keyless import PROXY_HEADERS
from services.edge.keys import Keys, create_key
from services.worker.state import OneWorker

JSON = {"Content-Type": "application/json"}
STATES = ("/v1/generations", "/v1/shadow", "/v1/adapters")
FORM_TYPES = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x")
PROXIED = {
    "Forwarded": "for=127.0.0.1",
    "Via": "1.1 proxy",
    "X-Forwarded-For": "127.0.0.1",
    "X-Forwarded-Host": "localhost",
    "X-Forwarded-Proto": "https",
    "X-Forwarded": "for=127.0.0.1",
    "X_Forwarded_For": "127.0.0.1",
    "X-Real-IP": "127.0.0.1",
    "X-Client-IP": "127.0.0.1",
    "X-Cluster-Client-IP": "127.0.0.1",
    "True-Client-IP": "127.0.0.1",
    "CF-Connecting-IP": "127.0.0.1",
    "X-Original-Host": "localhost",
}
FOREIGN_PAGES = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost:1"},
    {"Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Origin": "null"},
    {"Sec-Fetch-Site": "CROSS-SITE"},
]
FOREIGN_HOSTS = [
    "evil.example",
    "evil.example:3000",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "evil.localhost.example:3000",
    "localhost@evil.example",
    "127.0.0.1, evil.example",
    "192.0.2.1",
    "0.0.0.0:3000",
    "[::]",
    "[2001:db8::1]:3000",
    "::1",
    "localhost..",
    "localhost:http",
    "",
]
OWN_HOSTS = [
    "localhost",
    "LocalHost:3000",
    "localhost.:3000",
    "127.0.0.1",
    "127.9.9.9:1",
    "127.0.0.1.",
    "[::1]",
    "[::1]:3000",
]


def routes(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Return every method and path that is described, with ids that name nothing, and what is open beside them."""
    described = [
        (method.upper(), path.replace("{", "").replace("}", ""))
        for path, operations in document["paths"].items()
        for method in operations
    ]
    others = [("GET", "/"), ("HEAD", "/"), ("GET", "/docs.json"), ("GET", "/page/page.js"), ("GET", "/nothing")]
    return [*described, *others, ("OPTIONS", "/v1/rollback"), ("OPTIONS", "/nothing")]


def refused(answer: httpx.Response, status: int = 403) -> None:
    assert answer.status_code == status, (answer.request.method, answer.request.url, answer.text)
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    if answer.request.method != "HEAD":
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["status"] == status
        assert "recsys keys create" in answer.json()["detail"]


def states(service: httpx.Client) -> list[Any]:
    return [service.get(path).json() for path in STATES]


@pytest.mark.parametrize("headers", [*FOREIGN_PAGES, *({name: value} for name, value in PROXIED.items())], ids=str)
def test_no_route_answers_a_page_from_elsewhere_or_a_proxy(service: httpx.Client, headers: dict[str, str]) -> None:
    before = states(service)
    for method, path in routes(service.get("/docs.json").json()):
        refused(service.request(method, path, headers=JSON | headers))
    assert states(service) == before


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_no_route_answers_under_a_name_of_others(service: httpx.Client, host: str) -> None:
    before = states(service)
    for method, path in routes(service.get("/docs.json").json()):
        refused(service.request(method, path, headers=JSON | {"Host": host}))
    assert states(service) == before


@pytest.mark.parametrize("host", OWN_HOSTS)
def test_this_machine_has_several_names(service: httpx.Client, host: str) -> None:
    for own in ({}, {"Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}):
        headers = JSON | {"Host": host} | own
        assert service.get("/livez", headers=headers).status_code == 200
        assert service.post("/v1/recommend", headers=headers, content='{"history": []}').status_code == 200


def test_a_preflight_is_refused_and_promises_nothing(service: httpx.Client) -> None:
    for method in ("DELETE", "PUT", "POST"):
        asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": method}
        refused(service.options("/v1/users/ann", headers=asked | {"Access-Control-Request-Private-Network": "true"}))


def test_no_form_can_switch(service: httpx.Client) -> None:
    before = states(service)
    current = before[0]["current"]
    for path in (f"generations/{current}/shadow", f"generations/{current}/promote", "rollback", "recommend", "events"):
        for headers in (
            {},
            *({"Content-Type": form} for form in FORM_TYPES),
            {"Content-Type": "text/plain;application/json"},
        ):
            refused(service.post(f"/v1/{path}", headers=headers), 415)
            refused(service.post(f"/v1/{path}", headers=headers, content="{}"), 415)
    refused(service.put("/v1/items/i001", content='{"title": "x"}'), 415)
    refused(service.delete("/v1/users/nobody", headers={"Content-Type": "text/plain"}), 415)
    assert states(service) == before


def test_json_is_said_in_several_ways(service: httpx.Client) -> None:
    for media_type in ("application/json", "Application/JSON; charset=utf-8", "application/vnd.recsys+json"):
        answer = service.post("/v1/recommend", headers={"Content-Type": media_type}, content='{"history": []}')
        assert answer.status_code == 200, answer.text
    assert service.delete("/v1/users/nobody").status_code == 200


def test_a_link_from_anywhere_opens_the_page_and_nothing_else(service: httpx.Client) -> None:
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert service.get("/", headers=followed).status_code == 200
    for path in ("/v1/generations", "/metrics", "/docs.json", "/page/page.js"):
        refused(service.get(path, headers=followed))
    refused(service.post("/", headers=JSON | followed))


@pytest.mark.parametrize("name", ["accept", "x-request-id", "traceparent", "user-agent", "x-via-nothing", "forwarder"])
def test_other_headers_are_no_proxys(name: str) -> None:
    assert not PROXY_HEADERS.fullmatch(name)


def ask(home: Home, client: str, path: str, headers: list[tuple[str, str]] | None = None) -> httpx.Response:
    """Ask the application of a home from an address."""
    app = create_app()
    app.state.workers = OneWorker(type("Worker", (), {"guard": Guard(Keys(home))}))

    async def request() -> httpx.Response:
        transport = httpx.ASGITransport(app, client=(client, 1), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as asker:
            return await asker.get(path)

    return anyio.run(request)


def test_without_keys_only_this_machine_is_answered(tmp_path: Path) -> None:
    home = Home(tmp_path)
    for path in ("/livez", "/docs.json", "/", "/v1/generations", "/nothing"):
        refused(ask(home, "192.0.2.1", path))
    for client in ("127.0.0.1", "127.0.0.2", "::1"):
        assert ask(home, client, "/livez").status_code == 200


def test_two_hosts_or_none_are_no_name_of_this_machine(tmp_path: Path) -> None:
    for hosts in (["localhost", "evil.example"], ["localhost", "localhost"], [""]):
        refused(ask(Home(tmp_path), "127.0.0.1", "/livez", [("Host", host) for host in hosts]))


def test_with_a_key_anybody_may_stand_in_front(tmp_path: Path) -> None:
    home = Home(tmp_path)
    create_key(home, "first", ["admin"])
    headers = {"Host": "shop.example", "Origin": "https://shop.example", "Sec-Fetch-Site": "cross-site", **PROXIED}
    assert ask(home, "192.0.2.1", "/livez", list(headers.items())).status_code == 200
    assert ask(home, "192.0.2.1", "/v1/generations", list(headers.items())).status_code == 401
