"""What is attacked: a service on this machine, its processes and its files, and how to send to it what no client would.

Only loopback is attacked, whoever gives the URL.
"""

import json
import os
import socket
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil

from services.edge.keyless import is_loopback

MIB = 2**20
TIMEOUT_SECONDS = 20.0
ONE, OTHER = "recommend", "other"  # two keys with the scope recommend
WRITE, ADMIN = "write", "admin"


class NotOursError(ValueError):
    """The URL leads to another machine."""


@dataclass(frozen=True)
class Target:
    """A service, and what is known of it.

    Attributes:
        url: where it answers; empty where only files or code are tried.
        keys: by what they are for; empty: it asks for none.
        home: the copy of a home that it serves, where there is one.
        pid: of the server's first process, where it is ours.
        log: where it writes.
        items: ids of the catalogue.
        people: what users of the snapshot did, item ids by user id, oldest first.
        titles: titles by item id.
    """

    url: str
    keys: Mapping[str, str] = field(default_factory=dict)
    home: Path | None = None
    pid: int | None = None
    log: Path | None = None
    items: Sequence[str] = ()
    people: Mapping[str, Sequence[str]] = field(default_factory=dict)
    titles: Mapping[str, str] = field(default_factory=dict)

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or 80

    @cached_property
    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=TIMEOUT_SECONDS, trust_env=False)

    def headers(self, key: str = ONE) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[key]}"} if self.keys else {}

    def ask(self, method: str, path: str, body: Any = None, key: str = ONE) -> httpx.Response:
        """Send a request as a client would."""
        return self.client.request(method, path, json=body, headers=self.headers(key))

    def told(self, path: str, key: str = ONE) -> dict[str, Any]:
        """Return what a GET answers, asked again while the service has too much to do.

        Raises:
            RuntimeError: it answers something else, or nothing else for a while.
        """
        deadline = time.monotonic() + 2 * TIMEOUT_SECONDS
        while (answer := self.ask("GET", path, key=key)).status_code != 200:
            if answer.status_code != 503 or time.monotonic() > deadline:
                raise RuntimeError(f"{path} answers {answer.status_code}")
            time.sleep(1)
        found: dict[str, Any] = answer.json()
        return found

    def wish(self, number: int = 0, **options: Any) -> dict[str, Any]:
        """Return the body of a request for a list: of a known user, or else of a history."""
        if self.people:
            return {"user_id": list(self.people)[number % len(self.people)], **options}
        return {"history": [self.items[number % len(self.items)]], **options}

    def crowd(self, count: int = 256, **options: Any) -> dict[str, Any]:
        """Return the body of a batch."""
        return {"users": [self.wish(number) for number in range(count)], **options}

    def prepared(self, method: str, path: str, body: Any = None, key: str = ONE) -> bytes:
        """Return a request as bytes."""
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        head = f"content-type: application/json\r\ncontent-length: {len(content)}"
        return self.head(method, path, head, key) + content

    def head(self, method: str, path: str, more: str, key: str = ONE) -> bytes:
        """Return the head of a request, with further header lines."""
        lines = [f"{method} {path} HTTP/1.1", f"host: {self.address[0]}:{self.address[1]}", more]
        lines += [f"{name}: {value}" for name, value in self.headers(key).items()]
        return ("\r\n".join(filter(None, lines)) + "\r\n\r\n").encode()

    def connect(self, buffer: int | None = None, seconds: float = TIMEOUT_SECONDS) -> socket.socket:
        """Return a connection; ``buffer`` bounds the bytes that wait to be read on our side."""
        made = socket.socket(socket.AF_INET6 if ":" in self.address[0] else socket.AF_INET)
        if buffer is not None:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        made.settimeout(seconds)
        made.connect(self.address)
        return made

    def exchange(self, sent: bytes, seconds: float = 3.0, most: int = 4 * MIB) -> bytes:
        """Send bytes on a connection of their own and return what comes back until it ends or is silent."""
        received = b""
        with self.connect(seconds=seconds) as connection, suppress(OSError):
            connection.sendall(sent)
            while len(received) < most and (part := connection.recv(65536)):
                received += part
        return received

    def reply(self, sent: bytes, seconds: float = TIMEOUT_SECONDS) -> tuple[int, bytes]:
        """Send a request on a connection of its own; return the status and the body of its answer, 0 without one."""
        with suppress(OSError), self.connect(seconds=seconds) as connection:
            connection.sendall(sent)
            head, *body = answer(connection)
            return int(head[9:12]), b"".join(body)
        return 0, b""

    def processes(self) -> list[psutil.Process]:
        """Return the processes of the server; none where it is not ours."""
        if self.pid is None:
            return []
        with suppress(psutil.NoSuchProcess):
            first = psutil.Process(self.pid)
            return [first, *first.children(recursive=True)]
        return []

    def memory(self) -> float:
        """Return the memory of all its processes, MiB; 0 where it is not ours."""
        return memory_of(self.processes())

    def work(self) -> float:
        """Return the seconds of processor that all its processes have used."""
        seconds = 0.0
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                seconds += sum(process.cpu_times()[:2])
        return seconds

    def quiet(self, seconds: float, share: float = 0.25) -> float:
        """Wait until the server hardly works, at most so many seconds; return how long that took."""
        started, before = time.monotonic(), self.work()
        while (passed := time.monotonic() - started) < seconds:
            time.sleep(0.5)
            now = self.work()
            if now - before < share * 0.5:
                return passed
            before = now
        return seconds

    def stored(self) -> int:
        """Return the bytes of what the home's databases hold; how large their files are says less."""
        total = 0
        for path in self.home.glob("*.db") if self.home else ():
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
                pages, free, size = (
                    database.execute(f"PRAGMA {name}").fetchone()[0]
                    for name in ("page_count", "freelist_count", "page_size")
                )
                total += (pages - free) * size
        return total

    def logged(self) -> int:
        """Return the bytes of its log."""
        return self.log.stat().st_size if self.log and self.log.exists() else 0


def answer(connection: socket.socket) -> Iterator[bytes]:
    """Yield the head of an answer, then the parts of its body.

    Raises:
        OSError: the connection ends before.
    """
    received = b""
    while (end := received.find(b"\r\n\r\n")) < 0:
        received += _part(connection)
    head = received[:end].lower()
    yield head
    left = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0) - len(received) + end + 4
    yield received[end + 4 :]
    while left > 0:
        part = _part(connection)
        left -= len(part)
        yield part


def memory_of(processes: Sequence[psutil.Process]) -> float:
    """Return the memory of some processes, MiB."""
    total = 0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total / MIB


def check_ours(url: str) -> str:
    """Return a URL without its path.

    Raises:
        NotOursError: it does not lead to loopback.
    """
    parts = urlsplit(url)
    host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname or ""
    if parts.scheme != "http" or not is_loopback(host):
        raise NotOursError(
            f"{url} is no service on this machine's loopback, as http://127.0.0.1:3000; nothing is sent."
        )
    return f"http://{f'[{host}]' if ':' in host else host}:{parts.port or 80}"


def size_of(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum((Path(root) / name).stat().st_size for root, _, names in os.walk(folder) for name in names)


def _part(connection: socket.socket) -> bytes:
    part = connection.recv(1 << 20)
    if not part:
        raise ConnectionError("The server has closed the connection.")
    return part
