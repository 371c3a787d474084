"""What is answered at all: what the description and the page name, by GET and HEAD alike, and nothing of BentoML's."""

import json
import socket
import subprocess
import sys

import httpx
import pytest
from processes import PATIENCE_SECONDS

from recsys_client.schemas.problems import Code

OTHERS = ["/", "/docs.json", "/page/page.js", "/problems/not-found"]
BENTOML = ["/healthz", "/schema.json", "/static_content/", "/static_content/swagger-ui.css", "/assets/", "/is_alive"]
SLASHES = [
    "/v1/recommend/",
    "/docs.json/",
    "/page",
    "/page/",
    "/static_content",
    "/livez/",
    "//evil.example/",
    "/v1//recommend",
    "/problems/",
    "/problems/not-found/",
]
ASK_BY_BENTOML = """
import asyncio, sys
from bentoml import AsyncHTTPClient, SyncHTTPClient
from bentoml.exceptions import BentoMLException

async def enter():
    async with AsyncHTTPClient(sys.argv[1]):
        pass

for ask in (lambda: SyncHTTPClient(sys.argv[1]), lambda: asyncio.run(enter())):
    try:
        ask()
    except BentoMLException as error:
        print(error)
"""


@pytest.mark.parametrize("path", BENTOML)
def test_bentoml_answers_nothing_by_itself(service: httpx.Client, path: str) -> None:
    for method in ("GET", "HEAD", "POST"):
        answer = service.request(method, path, headers={"Content-Type": "application/json"})
        assert answer.status_code == 404
        assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("path", SLASHES)
def test_no_answer_sends_elsewhere(service: httpx.Client, path: str) -> None:
    for method in ("GET", "HEAD", "POST", "DELETE"):
        asked = service.build_request(method, "/", headers={"Content-Type": "application/json"})
        asked.url = service.base_url.copy_with(raw_path=path.encode())
        answer = service.send(asked)
        assert answer.status_code == 404
        assert "Location" not in answer.headers
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert method == "HEAD" or answer.json()["code"] == "not-found"


def test_whatever_is_got_can_be_asked_for_without_its_body(service: httpx.Client) -> None:
    document = service.get("/docs.json").json()
    assert "HEAD" in document["info"]["description"]
    described = [path for path, operations in document["paths"].items() if "get" in operations]
    for path in (*OTHERS, *described):
        got, head = (service.request(method, path) for method in ("GET", "HEAD"))
        assert head.status_code == got.status_code, path
        assert head.content == b""
        assert head.headers["Content-Type"] == got.headers["Content-Type"]
        if path != "/metrics" and "request_id" not in got.text:  # numbers move, and ids are new
            assert head.headers["Content-Length"] == got.headers["Content-Length"]


def test_every_wrong_method_is_told_the_right_ones(service: httpx.Client) -> None:
    for path, allowed in {
        "/": "GET, HEAD",
        "/livez": "GET, HEAD",
        "/v1/recommend": "POST",
        "/v1/items/x": "DELETE, GET, HEAD, PATCH, PUT",
        "/v1/generations/0123456789abcdef/shadow": "DELETE, POST",
    }.items():
        answer = service.options(path)
        assert answer.status_code == answer.json()["status"] == 405
        assert answer.headers["Allow"] == allowed


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", Code.BAD_REQUEST),
        (b"GET * HTTP/1.1\r\nHost: localhost\r\n\r\n", Code.BAD_REQUEST),
        (b"no request at all\r\n\r\n", Code.BAD_REQUEST),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + 300 * b"A: b\r\n" + b"\r\n", Code.HEADERS_TOO_LARGE),
    ],
)
def test_what_reaches_no_route_has_a_code_too(service: httpx.Client, sent: bytes, code: Code) -> None:
    with socket.create_connection((service.base_url.host, service.base_url.port), PATIENCE_SECONDS) as connection:
        connection.sendall(sent)
        head, _, body = b"".join(iter(lambda: connection.recv(65_536), b"")).partition(b"\r\n\r\n")
    problem = json.loads(body)
    assert head.startswith(b"HTTP/1.1 %d " % code.status)
    assert (problem["code"], problem["type"], problem["status"]) == (code, f"/problems/{code}", code.status)


def test_bentomls_own_clients_find_no_description_of_theirs(service: httpx.Client) -> None:
    command = [sys.executable, "-c", ASK_BY_BENTOML, str(service.base_url)]  # apart, since importing it warns
    asked = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert asked.splitlines() == [f"Failed to fetch schema from {service.base_url}/schema.json"] * 2


def test_no_other_protocol_is_spoken(service: httpx.Client) -> None:
    key = {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version": "13"}
    for name in ("websocket", "h2c", "anything"):
        answer = service.get("/livez", headers={"Connection": "Upgrade", "Upgrade": name, **key})
        assert answer.status_code == 200
        assert answer.headers["Connection"] == "close"
