"""Connections that send slowly, too much, or nothing: they end, and others do not notice."""

import json
import socket
import struct
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
from services.serve import log_file

TRICKLE_SECONDS = 0.2
SOCKETS = 60
MANY_SOCKETS, ROUNDS = 500, 10
SENDERS = 4
LEAVERS = 600
CHUNK = b"%x\r\n%s\r\n" % (2**20, b" " * 2**20)
FLAT_BYTES = 48 * 2**20  # what four senders of a gibibyte each may cost: their allowed bodies, some copies
BODY = json.dumps({"history": []}).encode()
HEAD = b"POST /v1/recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


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
    starts = [b"", b"POST /v1/recommend HTTP/1.1\r\nHost: localhost\r\nX-", HEAD + b"Content-Length: 100000\r\n\r\n{"]
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


LINES = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"
IN_CHUNKS = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
NEVER_ENDING = {  # how it begins, and what then comes again and again
    "a path": (b"GET /", b"x" * 2**20),
    "a method": (b"", b"X" * 2**20),
    "a header": (LINES + b"X-Long: ", b"x" * 2**20),
    "the name of a header": (LINES, b"x" * 2**20),
    "headers": (LINES, b"X-Some: %s\r\n" % (b"x" * 1_000) * 1_000),
    "short headers": (LINES, b"a:\r\n" * 100_000),
    "empty lines": (b"", b"\r\n" * 2**19),
    "trailers": (IN_CHUNKS + b"0\r\n", b"X-Some: %s\r\n" % (b"x" * 1_000) * 1_000),
    "short trailers": (IN_CHUNKS + b"0\r\n", b"a:\r\n" * 100_000),
    "a trailer": (IN_CHUNKS + b"0\r\nX-Long: ", b"x" * 2**20),
    "trailers after a body": (IN_CHUNKS + b"1\r\n \r\n0\r\n", b"X-Some: %s\r\n" % (b"x" * 1_000) * 1_000),
    "the size of a chunk": (IN_CHUNKS, b"0" * 2**20),
    "what a chunk is called": (IN_CHUNKS + b"1;x=", b"x" * 2**20),
    "what chunks are called": (IN_CHUNKS, b"1;x=%s\r\n \r\n" % (b"x" * 4_000) * 250),
    "chunks of a byte": (IN_CHUNKS, b"1\r\n \r\n" * 200_000),
    "requests ahead": (b"", (HEAD + b"Content-Length: 2\r\n\r\n{}") * 10_000),
    "another protocol": (LINES + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n", b"x" * 2**20),
    "another version": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"x" * 2**20),
}
ENOUGH_BYTES = 64 * 2**20  # systems hold some, and a busy worker takes its time


def send_without_end(service: httpx.Client, start: bytes, piece: bytes) -> tuple[int, bytes]:
    """Send until the other end has enough; return how much went, and the answer."""
    with connected(service) as connection:
        sent, received = 0, b""
        with suppress(ConnectionError):
            connection.sendall(start)
            while sent < ENOUGH_BYTES:
                connection.sendall(piece)
                sent += len(piece)
        with suppress(ConnectionError):  # a reset may overtake the answer
            received = answer_of(connection)
        return sent, received


@pytest.mark.parametrize(("start", "piece"), NEVER_ENDING.values(), ids=list(NEVER_ENDING))
def test_what_has_no_end_is_refused_and_fills_no_memory(
    classifying_home: Home, service: httpx.Client, start: bytes, piece: bytes
) -> None:
    before = memory_of(classifying_home)
    with ThreadPoolExecutor(SENDERS) as threads:
        found = list(threads.map(lambda _: send_without_end(service, start, piece), range(SENDERS)))
    assert all(sent < ENOUGH_BYTES for sent, _ in found), "it reads on"
    for _, answer in found:
        lines = [line for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
        assert all(line.split()[1] in (b"200", b"400", b"403", b"413", b"422", b"431") for line in lines), lines
        assert b"text/plain" not in answer.replace(b"alive", b"") or b" 200 " in answer
    assert memory_of(classifying_home) - before < FLAT_BYTES
    assert service.get("/livez").status_code == 200


@pytest.mark.parametrize("trailing", [False, True], ids=["headers", "trailers"])
@pytest.mark.parametrize(("lines", "length"), [(300, 1), (70, 1_000), (1, 70_000)])
def test_headers_and_trailers_share_a_limit(service: httpx.Client, trailing: bool, lines: int, length: int) -> None:
    added = b"".join(b"X-%d: %s\r\n" % (number, b"x" * length) for number in range(lines))
    body = b"%x\r\n%s\r\n0\r\n" % (len(BODY), BODY)
    head = HEAD + b"Connection: close\r\nTransfer-Encoding: chunked\r\n"
    parts = [head, b"\r\n" + body, b"\r\n"]
    parts.insert(2 if trailing else 1, added)
    few = b"".join(
        part.replace(added, added[: added.find(b"\r\n") + 2] if lines > 1 else b"X: y\r\n") for part in parts
    )
    for sent, status in ((b"".join(parts), b"HTTP/1.1 431"), (few, b"HTTP/1.1 200")):
        with connected(service) as connection, suppress(ConnectionError):
            connection.sendall(sent)
            answer = answer_of(connection)
            assert answer.startswith(status), answer
            assert answer.count(b"HTTP/1.1") == 1
            assert (b"problem+json" in answer) == (status == b"HTTP/1.1 431")


def test_a_trailer_is_no_header(service: httpx.Client) -> None:
    asked = b"%x\r\n%s\r\n0\r\nX-Request-ID: from-a-trailer\r\nOrigin: https://evil.example\r\n\r\n" % (len(BODY), BODY)
    with connected(service) as connection:
        connection.sendall(HEAD + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + asked)
        answer = answer_of(connection)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"from-a-trailer" not in answer


def test_empty_lines_keep_no_connection_open(service: httpx.Client) -> None:
    closed = Event()
    with connected(service) as connection:
        connection.sendall(LINES + b"\r\n")
        connection.settimeout(TRICKLE_SECONDS)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline and not closed.is_set():
            try:
                if not connection.recv(65536):
                    closed.set()
            except TimeoutError:
                with suppress(ConnectionError):
                    connection.sendall(b"\r\n")
            except ConnectionError:
                closed.set()
    assert closed.is_set(), "the connection stays open"


def test_who_leaves_early_fills_no_log(classifying_home: Home, service: httpx.Client) -> None:
    log = log_file(classifying_home, int(service.base_url.port or 0))
    before = log.stat().st_size
    request = HEAD + f"Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY
    for number in range(LEAVERS):
        with connected(service) as connection:
            # while the first is answered, the second waits
            connection.sendall((request * 2, HEAD + b"Content-Length: 9\r\n\r\n{", b"no HTTP\r\n\r\n")[number % 3])
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # by a reset
            time.sleep(number % 7 / 1_000)
    assert service.get("/nothing").status_code == 404
    written = log.read_bytes()[before:]
    assert b"Traceback" not in written
    assert len(written) < LEAVERS * 100


def test_requests_that_follow_each_other_on_one_connection_are_answered(service: httpx.Client) -> None:
    request = HEAD + f"Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY
    last = request.replace(b"Host: localhost", b"Host: localhost\r\nConnection: close")
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


@pytest.mark.parametrize(
    "head",
    [
        b"GET /livez HTTP/1.1\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        b"GET http://localhost/livez HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET http://evil.example/livez HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
def test_a_request_names_one_host_and_a_path(service: httpx.Client, head: bytes) -> None:
    with connected(service) as connection:
        connection.sendall(head)
        answer = answer_of(connection)
    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.count(b"HTTP/1.1") == 1
    assert b"problem+json" in answer
