"""HTTP for load tests: prepared requests over kept connections, as little of our own time as Python allows.

``closed`` sends the next request when the answer is there: what one client, or so many, see. ``paced`` sends by a
schedule and counts from the scheduled moment, so that a stall also counts for those who had to wait behind it.
"""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import numpy as np

IDLE_SECONDS = 4.0  # uvicorn ends a connection that was idle for five


@dataclass
class Timings:
    """Milliseconds of the answers, how many were no success, and the seconds that all of it took."""

    milliseconds: list[float] = field(default_factory=list)
    failed: int = 0
    seconds: float = 0.0

    def percentile(self, share: float) -> float:
        return round(float(np.percentile(self.milliseconds, share)), 3)

    def summary(self) -> dict[str, float]:
        """Return count, failures, percentiles in ms and answers a second."""
        return {
            "count": len(self.milliseconds),
            "failed": self.failed,
            **{f"p{share}": self.percentile(share) for share in (50, 95, 99)},
            "max": round(max(self.milliseconds), 3),
            "per_second": round(len(self.milliseconds) / self.seconds, 1),
        }


class Connection:
    """One kept connection. Not for several threads at once."""

    def __init__(self, url: str) -> None:
        self._address = (urlsplit(url).hostname, urlsplit(url).port)
        self._socket, self._used = self._connect(), time.monotonic()

    def _connect(self) -> socket.socket:
        made = socket.create_connection(self._address, timeout=60)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def send(self, request: bytes) -> tuple[int, bytes]:
        """Send a prepared request; return status and body."""
        if time.monotonic() - self._used > IDLE_SECONDS:
            self._socket.close()
            self._socket = self._connect()
        self._socket.sendall(request)
        received = b""
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += self._read()
        head = received[:end].lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        body = received[end + 4 :]
        while len(body) < length:
            body += self._read()
        self._used = time.monotonic()
        return int(head[9:12]), body

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request and return the JSON of its answer.

        Raises:
            RuntimeError: it is no success.
        """
        status, content = self.send(prepared(method, path, body))
        if status >= 300:
            raise RuntimeError(f"{method} {path}: {status} {content[:300]!r}")
        return json.loads(content)

    def close(self) -> None:
        self._socket.close()

    def _read(self) -> bytes:
        piece = self._socket.recv(1 << 20)
        if not piece:
            raise ConnectionError("The server has closed the connection.")
        return piece


def prepared(method: str, path: str, body: Any = None) -> bytes:
    """Return a request as bytes."""
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(content)}\r\n\r\n".encode() + content


def closed(url: str, requests: Sequence[bytes], clients: int = 1) -> Timings:
    """Send all requests, each client its next one when it has its answer."""
    share = [requests[number::clients] for number in range(clients)]
    return _together(url, [lambda connection, own=own: _one_after_another(connection, own) for own in share])


def paced(url: str, requests: Sequence[bytes], per_second: float, clients: int = 1) -> Timings:
    """Send all requests at a rate, whatever the answers take; each counts from when it should have been sent."""
    begin = time.perf_counter() + 0.1
    due = [(begin + number / per_second, request) for number, request in enumerate(requests)]
    return _together(url, [lambda connection, own=due[n::clients]: _when_due(connection, own) for n in range(clients)])


def _one_after_another(connection: Connection, requests: Iterable[bytes]) -> Iterator[tuple[float, int]]:
    for request in requests:
        started = time.perf_counter()
        status, _ = connection.send(request)
        yield time.perf_counter() - started, status


def _when_due(connection: Connection, requests: Iterable[tuple[float, bytes]]) -> Iterator[tuple[float, int]]:
    for moment, request in requests:
        time.sleep(max(0.0, moment - time.perf_counter()))
        status, _ = connection.send(request)
        yield time.perf_counter() - moment, status


def _together(url: str, works: Sequence[Callable[[Connection], Iterator[tuple[float, int]]]]) -> Timings:
    """Run each work in a thread with a connection of its own; return all of their timings."""
    timings = Timings()

    def run(work: Callable[[Connection], Iterator[tuple[float, int]]]) -> None:
        connection = Connection(url)
        for seconds, status in work(connection):
            timings.milliseconds.append(seconds * 1_000)
            timings.failed += status >= 300
        connection.close()

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    timings.seconds = time.perf_counter() - started
    return timings
