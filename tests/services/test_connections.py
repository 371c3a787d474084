"""Connections that send slowly, too much, or nothing: they end, and others do not notice."""

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from threading import Event

import httpx
import pytest
from processes import PATIENCE_SECONDS
from workers import memory_of

from recsys.home import Home

TRICKLE_SECONDS = 0.2
SOCKETS = 60
MANY_SOCKETS, ROUNDS = 500, 10
SENDERS = 4
CHUNK = b"%x\r\n%s\r\n" % (2**20, b" " * 2**20)
FLAT_BYTES = 48 * 2**20  # what four senders of a gibibyte each may cost: their allowed bodies, some copies
BODY = json.dumps({"history": []}).encode()
HEAD = b"POST /v1/recommend HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@contextmanager
def connected(service: httpx.Client) -> Iterator[socket.socket]:
    url = service.base_url
    with socket.create_connection((url.host, url.port), timeout=60) as connection:
        yield connection


def answer_of(connection: socket.socket) -> bytes:
    """Return all that arrives until the other end closes."""
    received = b""
    while part := connection.recv(65536):
        received += part
    return received


def trickle(service: httpx.Client, start: bytes, closed: Event) -> bytes:
    """Send a beginning, if any, then a byte from time to time, until the other end closes; return what it said."""
    with connected(service) as connection:
        connection.sendall(start)
        connection.settimeout(TRICKLE_SECONDS)
        received = b""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            try:
                part = connection.recv(65536)
                if not part:
                    break
                received += part
            except TimeoutError:
                with suppress(ConnectionError):  # it has ended, and what it said is still to be read
                    connection.sendall(b"x" if start else b"")
            except ConnectionError:
                break
        else:
            pytest.fail("the connection stays open")
    closed.set()
    return received


def test_slow_senders_are_ended_and_hold_nobody_up(service: httpx.Client) -> None:
    closed = Event()
    length = f"Content-Length: {len(BODY)}\r\n\r\n".encode()
    starts = [b"", b"POST /v1/recommend HTTP/1.1\r\nHost: x\r\nX-", HEAD + b"Content-Length: 100000\r\n\r\n{"]
    starts.append(HEAD + length + BODY + b"GET / HTTP/1.1\r\nX-")  # the second request on a connection
    with ThreadPoolExecutor(SOCKETS) as threads:
        senders = [threads.submit(trickle, service, starts[n % len(starts)], closed) for n in range(SOCKETS)]
        asked = 0
        while not closed.is_set():
            assert service.post("/v1/recommend", json={"history": []}).status_code == 200
            asked += 1
        said = [sender.result() for sender in senders]
    assert asked > 1  # held up, the first would have had its answer when they were ended
    for number, text in enumerate(said):
        assert b"408 Request Timeout" in text, starts[number % len(starts)]
        assert b"problem+json" in text
        assert (b"200 OK" in text) == (number % len(starts) == 3)


@pytest.mark.parametrize("header", [b"X-Long: ", b"GET /"], ids=["header", "path"])
def test_headers_without_an_end_are_refused(service: httpx.Client, header: bytes) -> None:
    with connected(service) as connection:
        start = header if header.startswith(b"GET") else b"GET / HTTP/1.1\r\n" + header
        try:
            connection.sendall(start + b"x" * 2_000_000)
            assert b"431" in answer_of(connection)
        except ConnectionError:  # it closed while we were still sending
            pass
    assert service.get("/livez").status_code == 200


def test_requests_that_follow_each_other_on_one_connection_are_answered(service: httpx.Client) -> None:
    request = HEAD + f"Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY
    last = request.replace(b"Host: x", b"Host: x\r\nConnection: close")
    with connected(service) as connection:
        connection.sendall(request * 3 + last)
        assert answer_of(connection).count(b"HTTP/1.1 200 OK") == 4


def test_hundreds_of_trickling_connections_do_not_keep_others_waiting(service: httpx.Client) -> None:
    with ExitStack() as stack:
        senders = [stack.enter_context(connected(service)) for _ in range(MANY_SOCKETS)]
        for number, sender in enumerate(senders):
            sender.sendall((HEAD + b"Content-Length: 100000\r\n\r\n") if number % 2 else HEAD)
        for _ in range(ROUNDS):
            for sender in senders:
                with suppress(ConnectionError):  # the time it has for a request is over
                    sender.sendall(b"x")
            assert service.post("/v1/recommend", json={"history": [], "record": False}).status_code == 200
            assert service.get("/readyz").status_code == 200


def send_chunks(service: httpx.Client, head: bytes) -> tuple[int, bytes]:
    """Send chunks until the other end has enough, a gibibyte at most; return how many MiB went, and the answer."""
    with connected(service) as connection:
        sent = 0
        try:
            connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
            while sent < 1_024:
                connection.sendall(CHUNK)
                sent += 1
        except ConnectionError:
            pass
        try:
            return sent, answer_of(connection)
        except ConnectionError:
            return sent, b""


def test_bodies_without_an_end_are_refused_and_fill_no_memory(classifying_home: Home, service: httpx.Client) -> None:
    before = memory_of(classifying_home)
    with ThreadPoolExecutor(SENDERS) as threads:
        found = list(threads.map(lambda _: send_chunks(service, HEAD), range(SENDERS)))
        found.append(send_chunks(service, HEAD.replace(b"/v1/recommend", b"/nothing")))
        assert service.post("/v1/recommend", json={"history": []}).status_code == 200
    assert all(sent < 64 for sent, _ in found), "it reads on"
    answers = [text for _, text in found if text]  # a reset may overtake the answer
    assert all(text.count(b"HTTP/1.1") == 1 for text in answers)
    assert all(b"413" in text or b"404" in text for text in answers)
    assert answers
    assert memory_of(classifying_home) - before < FLAT_BYTES
