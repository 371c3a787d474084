"""Parts of ``infra/load/measure.py`` in which something changes while people ask: events, items, generations, time."""

import json
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from infra.load.client import Connection, Timings, closed, paced, prepared
from recsys.artifacts import read_json, staged_folder
from recsys.home import Home
from recsys.ranking.parts import SETTINGS
from recsys.store.generations import MANIFEST, commit_generation, current_id, read_generation
from recsys_client import Client

EVENTS_A_SECOND, EVENTS_A_REQUEST = 2_000, 100
WINDOW_SECONDS = 6.0
FRESH = 60  # events a repeat that are looked for in the next answer
UPLOADED = 5_000  # items of an upload, which then begins again with other texts
PROBES = 8  # items a repeat that are looked for during an upload
SWAPS = 3  # new generations a repeat
READS_A_SECOND = 20.0
PATIENCE_SECONDS = 60.0


def events(url: str, home: Home, users: list[str], repeats: int) -> dict[str, Any]:
    """Measure reads alone and beside 2,000 events a second; then how soon an answer reflects an event."""
    connections = _of_each_worker(url)
    items = [
        item["item_id"] for item in connections[0].call("POST", "/v1/recommend", {"user_id": "?", "k": 200})["items"]
    ]
    reads = [prepared("POST", "/v1/recommend", {"user_id": user}) for user in users]
    rows, number = [], 0
    for repeat in range(repeats):
        random = np.random.default_rng(repeat)
        count = int(WINDOW_SECONDS * EVENTS_A_SECOND / EVENTS_A_REQUEST)
        writes = []
        for _ in range(count):
            chosen = random.choice(items, EVENTS_A_REQUEST)
            batch = [
                {"user_id": f"new{random.integers(100_000)}", "item_id": item, "event_id": f"{repeat}-{number + n}"}
                for n, item in enumerate(chosen)
            ]
            number += EVENTS_A_REQUEST
            writes.append(prepared("POST", "/v1/events", {"events": batch}))
        window = reads[: int(WINDOW_SECONDS * READS_A_SECOND)]
        row = {"reads alone": paced(url, window, READS_A_SECOND).summary()}
        with _beside(lambda writes=writes: paced(url, writes, EVENTS_A_SECOND / EVENTS_A_REQUEST, 2)) as writing:
            row["reads beside events"] = paced(url, window, READS_A_SECOND).summary()
        row["events"] = writing.timings.summary() | {"events_a_second": EVENTS_A_SECOND}
        connections = _of_each_worker(url)
        row["reflected"] = _reflected(connections, [f"fresh-{repeat}-{n}" for n in range(FRESH)], users)
        rows.append(row)
    return {"repeats": rows, "workers_reached": len(connections)}


def _reflected(connections: list[Connection], fresh: list[str], users: list[str]) -> dict[str, float]:
    """Post an event through one worker, ask another until its answer knows it; return summary of the milliseconds."""
    timings = Timings()
    begin = time.perf_counter()
    for number, user in enumerate(fresh):
        writer, reader = connections[number % len(connections)], connections[(number + 1) % len(connections)]
        before = reader.call("POST", "/v1/recommend", {"user_id": users[number], "k": 1})["items"][0]["item_id"]
        event = {"user_id": users[number], "item_id": before, "event_id": user}
        started = time.perf_counter()
        writer.call("POST", "/v1/events", {"events": [event]})
        while any(
            item["item_id"] == before
            for item in reader.call("POST", "/v1/recommend", {"user_id": users[number], "k": 1})["items"]
        ):
            _check_patience(started)
        timings.milliseconds.append((time.perf_counter() - started) * 1_000)
    timings.seconds = time.perf_counter() - begin
    return timings.summary()


def items(url: str, home: Home, users: list[str], repeats: int) -> dict[str, Any]:
    """Measure how soon a new item is offered by every worker while others are uploaded without a pause."""
    connections, timings, number = _of_each_worker(url), Timings(), [0]
    stopping = threading.Event()

    def upload() -> Timings:
        connection, sent = Connection(url), Timings()
        started = time.perf_counter()
        while not stopping.is_set():
            number[0] += 1
            title = f"Uploaded {number[0]} lamp of glass and steel, number {number[0] * 7919 % 10_007}"
            before = time.perf_counter()
            connection.call("PUT", f"/v1/items/bulk-{number[0] % UPLOADED}", {"title": title, "category": "Lamp"})
            sent.milliseconds.append((time.perf_counter() - before) * 1_000)
        sent.seconds = time.perf_counter() - started
        return sent

    connections[0].call("PUT", "/v1/items/first", {"title": "The first one loads the encoder"})
    _until_offered(connections, "first", time.perf_counter())
    begin = time.perf_counter()
    with _beside(upload) as uploading:
        for probe in range(PROBES * repeats):
            started = time.perf_counter()
            title = f"A probe among the uploads, a {probe} of brass"
            connections[probe % len(connections)].call("PUT", f"/v1/items/probe-{probe}", {"title": title})
            _until_offered(connections, f"probe-{probe}", started)
            timings.milliseconds.append((time.perf_counter() - started) * 1_000)
            time.sleep(0.2)
        stopping.set()
    timings.seconds = time.perf_counter() - begin
    return {
        "recommendable": timings.summary(),
        "upload": uploading.timings.summary(),
        "uploaded": number[0],
        "workers_reached": len(connections),
    }


def _until_offered(connections: list[Connection], item_id: str, started: float) -> None:
    for connection in connections:
        while not connection.call("POST", "/v1/rank", {"history": [], "item_ids": [item_id]})["items"]:
            _check_patience(started)
            time.sleep(0.01)


def swap(url: str, home: Home, users: list[str], repeats: int) -> dict[str, Any]:
    """Measure reads while new generations are switched to, and how soon all workers answer from them."""
    connections = _of_each_worker(url)
    first = str(current_id(home))
    variants = [_variant(home, first, 0.1 * number) for number in range(1, SWAPS + 1)]
    reads = [prepared("POST", "/v1/recommend", {"user_id": user}) for user in users]
    rows = []
    for _ in range(repeats):
        window = reads[: int(WINDOW_SECONDS * READS_A_SECOND)]
        row: dict[str, Any] = {"steady": paced(url, window, READS_A_SECOND).summary()}
        connections = _of_each_worker(url)
        switched: list[dict[str, float]] = []
        done = threading.Event()

        def switch(
            done: threading.Event = done,
            switched: list[dict[str, float]] = switched,
            connections: list[Connection] = connections,
        ) -> Timings:
            for generation_id in [*variants, first]:
                started = time.perf_counter()
                with Client(url, timeout=120) as client:
                    client.promote(generation_id, force=True, reason="A load test.")
                moved = time.perf_counter()
                while any(_serving(connection) != generation_id for connection in connections):
                    _check_patience(started)
                    time.sleep(0.01)
                now = time.perf_counter()
                switched.append({"promote": moved - started, "all workers after": now - moved})
            done.set()
            return Timings([0.0], 0, 1.0)

        during = Timings()
        with _beside(switch):
            while not done.is_set():
                part = paced(url, reads[: int(2 * READS_A_SECOND)], READS_A_SECOND)
                during.milliseconds += part.milliseconds
                during.failed += part.failed
                during.seconds += part.seconds
        row["during"] = during.summary()
        row["switched"] = switched
        rows.append(row)
    return {"repeats": rows, "workers_reached": len(connections)}


def _serving(connection: Connection) -> str:
    answer = connection.call("POST", "/v1/recommend", {"history": [], "k": 1, "record": False})
    return str(answer["generation"])


def _variant(home: Home, generation_id: str, weight: float) -> str:
    """Commit a generation like another one but for a weight of its blend; return its id."""
    folder, manifest = read_generation(home, generation_id)
    with staged_folder(home.generations) as staging:
        shutil.copytree(folder, staging, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST))
        system = read_json(staging / SETTINGS)
        system["blend"]["weights"]["popularity"] = weight
        (staging / SETTINGS).write_text(json.dumps(system))
        return commit_generation(home, staging, replace(manifest, notes={}))


def memory(url: str, users: list[str], requests: int) -> dict[str, Any]:
    """Measure each worker's memory over very many requests of all kinds of users."""
    pids = workers(url)
    reads = [prepared("POST", "/v1/recommend", {"user_id": user}) for user in users]
    rows, done, step = [], 0, max(1_000, requests // 20)
    while True:
        rows.append({"requests": done} | {str(pid): _memory(pid) for pid in pids})
        print(rows[-1], flush=True)
        if done >= requests:
            return {"samples": rows}
        begin = done % len(reads)
        closed(url, (reads * (step // len(reads) + 2))[begin : begin + step], 8)
        done += step


def _memory(pid: int) -> dict[str, float]:
    """Return MiB of a process: resident, its share of what it shares, and its own alone."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    sizes = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines}
    own = sizes["Private_Clean"] + sizes["Private_Dirty"]
    return {"resident": round(sizes["Rss"], 1), "proportional": round(sizes["Pss"], 1), "own": round(own, 1)}


def workers(url: str) -> list[int]:
    """Return the process ids of the workers."""
    return sorted({connection.call("GET", "/anchor/worker")["pid"] for connection in _of_each_worker(url)})


def _of_each_worker(url: str, tries: int = 64) -> list[Connection]:
    """Return a connection to each worker that some tries reach."""
    found: dict[int, Connection] = {}
    for _ in range(tries):
        connection = Connection(url)
        pid = connection.call("GET", "/anchor/worker")["pid"]
        if pid in found:
            connection.close()
        else:
            found[pid] = connection
    return [found[pid] for pid in sorted(found)]


def _check_patience(started: float) -> None:
    if time.perf_counter() - started > PATIENCE_SECONDS:
        raise RuntimeError(f"It did not happen within {PATIENCE_SECONDS:.0f} s.")


class _beside:  # noqa: N801
    """Runs something in a thread for the length of a block; ``timings`` holds what it returned after the block."""

    timings: Timings

    def __init__(self, work: Callable[[], Timings]) -> None:
        self._thread = threading.Thread(target=self._run, args=(work,))

    def _run(self, work: Callable[[], Timings]) -> None:
        self.timings = work()

    def __enter__(self) -> "_beside":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()
