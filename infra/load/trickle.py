"""How much 500 connections that trickle delay everybody else: ``python infra/load/trickle.py HOME``.

One client asks for recommendations, by turns alone and beside the sockets, each of which sends a byte from time to time
and is replaced when the service ends it. Prints one JSON object: ``trickle_p99_ratio`` is the median over the rounds of
the p99 beside them, divided by the p99 alone.
"""

import argparse
import json
import multiprocessing
import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np

from recsys.data.snapshot import open_snapshot
from recsys.home import Home
from recsys.store.generations import current_id, read_generation
from services.serve import running

HEAD = b"POST /v1/recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
STARTS = (HEAD, HEAD + b"Content-Length: 100000\r\n\r\n")  # half of them trickle headers, half a body
BYTE_SECONDS = 1.0  # between two bytes of one socket
WARM_UP = 200  # requests


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("--sockets", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=1_000, help="in each half of a round")
    options = parser.parse_args()
    home = Home(options.home.absolute())
    _, manifest = read_generation(home, str(current_id(home)))
    users = open_snapshot(home, manifest.snapshot, verify=False).user_ids()
    rounds = []
    with running(home) as url, httpx.Client(base_url=url, timeout=60) as client:
        _ask(client, users, WARM_UP)
        for number in range(options.rounds):
            row = {}
            for half in ("alone", "beside")[:: 1 if number % 2 else -1]:  # what slowly changes hits both alike
                with _trickling(url, options.sockets if half == "beside" else 0):
                    row[half] = _ask(client, users, options.requests)
            rounds.append(row)
    ratio = statistics.median(row["beside"]["p99"] / row["alone"]["p99"] for row in rounds)
    print(json.dumps({"trickle_p99_ratio": round(ratio, 3), "sockets": options.sockets, "rounds": rounds}))


def _ask(client: httpx.Client, users: list[str], count: int) -> dict[str, float]:
    """Return p50 and p99, in ms, of so many answers, one after the other."""
    milliseconds = []
    for number in range(count):
        body = {"user_id": users[number % len(users)], "record": False}
        started = time.perf_counter()
        client.post("/v1/recommend", json=body).raise_for_status()
        milliseconds.append((time.perf_counter() - started) * 1_000)
    return {f"p{share}": round(float(np.percentile(milliseconds, share)), 3) for share in (50, 99)}


@contextmanager
def _trickling(url: str, sockets: int) -> Iterator[None]:
    """Hold so many connections open, each sending a byte a second, for the length of a ``with`` block."""
    context = multiprocessing.get_context("spawn")  # a process of its own: a thread would slow down the client
    stop, opened = context.Event(), context.Event()
    process = context.Process(target=_trickle, args=(url, sockets, stop, opened))
    process.start()
    opened.wait()
    try:
        yield
    finally:
        stop.set()
        process.join()


def _trickle(url: str, sockets: int, stop: Event, opened: Event) -> None:
    senders = [_begin(url, number) for number in range(sockets)]
    opened.set()
    turn = 0
    while not stop.wait(BYTE_SECONDS / max(1, sockets)):
        if not senders:
            continue
        number = turn % sockets
        try:
            senders[number].send(b"x")
        except OSError:  # the service has ended it
            senders[number].close()
            senders[number] = _begin(url, number)
        turn += 1
    for sender in senders:
        sender.close()


def _begin(url: str, number: int) -> socket.socket:
    address = urlsplit(url)
    sender = socket.create_connection((address.hostname or "", address.port or 0), timeout=60)
    sender.sendall(STARTS[number % len(STARTS)])
    return sender


if __name__ == "__main__":
    main()
