"""Measure the service of a home beside its anchors: ``python infra/load/measure.py HOME --part requests --out FILE``.

Parts: ``requests`` (latency at one client, and answers a second under more), ``events`` (reads beside many events, and
how soon an answer reflects one), ``items`` (how soon a new item is offered during an upload), ``swap`` (generations
switched under load) and ``memory`` (over very many requests). Each repeats everything it compares, one after the other,
and adds its figures to the file, from which ``infra/load/report.py`` writes its table.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from infra.load import changes
from infra.load.client import Connection, Timings, closed, prepared
from recsys.artifacts import write_json
from recsys.data.snapshot import open_snapshot
from recsys.home import Home
from recsys.store.generations import current_id, read_generation
from services.serve import LOOPBACK, free_port, running

SERVICE = "infra.load.anchors:RecommenderService"
PACKAGES = ("bentoml", "fastapi", "lancedb", "numpy", "polars", "pydantic", "sqlalchemy", "torch", "uvicorn")
SATURATING = 16  # clients
RECALL = 0.95  # recall@10 that the bare search must have
NPROBES = (1, 2, 3, 5, 8, 12, 20, 30, 40, 60, 80, 120)
STAGES = 'recsys_stage_duration_seconds_sum{stage="'
SEARCHES, JUDGED = 50, 20  # users of one request to an anchor
COUNTS = {"recommend": 300, "filter": 150, "new filter": 60, "explain": 60, "batch of 256": 5, "similar": 100}


def main() -> None:
    """Measure one part and add it to the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("--part", choices=("requests", "events", "items", "swap", "memory"), default="requests")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--scale", type=float, default=1.0, help="of the numbers of requests")
    options = parser.parse_args()
    home = Home(options.home.absolute())
    _, manifest = read_generation(home, str(current_id(home)))
    snapshot = open_snapshot(home, manifest.snapshot, verify=False)
    users = np.random.default_rng(0).permutation(snapshot.user_ids()).tolist()
    document = json.loads(options.out.read_text()) if options.out.exists() else {}
    document |= {"home": home.root.name, "catalogue": snapshot.manifest.counts.items, "machine": _machine()}
    with running(home, workers=options.workers, service=SERVICE) as url:
        match options.part:
            case "requests":
                part = _requests(url, users, snapshot.item_ids(), options.repeats, options.scale)
            case "memory":
                part = changes.memory(url, users, int(200_000 * options.scale))
            case name:
                part = getattr(changes, name)(url, home, users, options.repeats)
    document[options.part] = part | {
        "command": f"python infra/load/measure.py {home.root.name} --part {options.part} --workers {options.workers} "
        f"--repeats {options.repeats} --scale {options.scale} --out {options.out.name}",
        "workers": options.workers,
        "load_average": os.getloadavg()[0],
    }
    write_json(options.out, document)
    print(json.dumps(part, indent=1))


def _requests(url: str, users: list[str], items: list[str], repeats: int, scale: float) -> dict[str, Any]:
    """Interleave the anchors and every kind of request; then all clients at once."""
    connection, taken = Connection(url), iter(_endless(users))
    rows: list[dict[str, Any]] = []
    nprobes, recall = _anchor(connection, users)
    pids = changes.workers(url)
    with _plain_server() as plain:
        for repeat in range(repeats + 1):  # the first one warms up
            count = int(COUNTS["recommend"] * scale)
            searches, before = Timings(), _cpu(pids)
            for _ in range(0, count, SEARCHES):
                asked = {"users": [next(taken) for _ in range(SEARCHES)], "nprobes": nprobes}
                searches.milliseconds += connection.call("POST", "/anchor/search", asked)["milliseconds"]
            searches.seconds = sum(searches.milliseconds) / 1_000
            row: dict[str, Any] = {"raw search": searches.summary() | {"cpu": _each(before, pids, searches)}}
            row["no-op"] = closed(plain, [prepared("POST", "/", {"user_id": "u00001", "k": 10})] * 1_000).summary()
            for name, path, bodies in _kinds(taken, items, repeat, scale):
                earlier, before = _stages(url), _cpu(pids)
                timings = closed(url, [prepared("POST", path, body) for body in bodies])
                row[name] = timings.summary() | {"cpu": _each(before, pids, timings)}
                spent = {stage: seconds - earlier.get(stage, 0.0) for stage, seconds in _stages(url).items()}
                row[name]["stages"] = {
                    stage: round(1_000 * seconds / len(bodies), 4) for stage, seconds in spent.items() if seconds
                }
            many = [prepared("POST", "/v1/recommend", {"user_id": next(taken)}) for _ in range(int(1_000 * scale))]
            row["saturated"] = closed(url, many, SATURATING).summary()
            if repeat:
                rows.append(row)
    return {"repeats": rows, "raw search": {"nprobes": nprobes, "recall@10": recall}}


def _cpu(pids: list[int]) -> float:
    """Return the seconds of processor time that some processes have used."""
    used = (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids)
    return sum(int(fields[11]) + int(fields[12]) for fields in used) / os.sysconf("SC_CLK_TCK")


def _each(before: float, pids: list[int], timings: Timings) -> float:
    """Return the milliseconds of processor time that the workers spent on each answer; others do not disturb it."""
    return round(1_000 * (_cpu(pids) - before) / len(timings.milliseconds), 2)


def _stages(url: str) -> dict[str, float]:
    """Return the seconds that all requests so far spent in each stage, as the service counts them."""
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    counted = (line.removeprefix(STAGES).split('"} ') for line in lines if line.startswith(STAGES))
    return {stage: float(seconds) for stage, seconds in counted}


def _anchor(connection: Connection, users: list[str]) -> tuple[int, float]:
    """Return the fewest probes with which the bare search finds the ten best well enough, and how well."""
    for nprobes in NPROBES:
        asked = {"nprobes": nprobes, "judge": True}
        shares = [
            connection.call("POST", "/anchor/search", asked | {"users": users[start : start + JUDGED]})["recall"]
            for start in range(0, 5 * JUDGED, JUDGED)
        ]
        if statistics.mean(shares) >= RECALL:
            break
    return nprobes, round(statistics.mean(shares), 4)


def _kinds(taken: Iterator[str], items: list[str], repeat: int, scale: float) -> Iterator[tuple[str, str, list[Any]]]:
    random = np.random.default_rng(repeat)
    many = {name: max(2, int(count * scale)) for name, count in COUNTS.items()}

    def priced(price: float) -> dict[str, Any]:
        fits = {"field": "price", "lte": price}
        return {"all": [{"field": "category", "eq": "Lamp"}, fits]} if price < 30 else fits

    known = [priced(float(price)) for price in np.linspace(10, 60, 20)]
    yield "recommend", "/v1/recommend", [{"user_id": next(taken)} for _ in range(many["recommend"])]
    yield (
        "filter",
        "/v1/recommend",
        [{"user_id": next(taken), "filter": known[number % len(known)]} for number in range(many["filter"])],
    )
    yield (
        "new filter",
        "/v1/recommend",
        [
            {"user_id": next(taken), "filter": priced(float(price))}
            for price in random.uniform(10, 60, many["new filter"])
        ],
    )
    yield "explain", "/v1/recommend", [{"user_id": next(taken), "explain": True} for _ in range(many["explain"])]
    yield (
        "batch of 256",
        "/v1/recommend/batch",
        [{"users": [{"user_id": next(taken)} for _ in range(256)]} for _ in range(many["batch of 256"])],
    )
    yield "similar", "/v1/similar", [{"item_id": item} for item in random.choice(items, many["similar"]).tolist()]


def _endless(users: list[str]) -> Iterator[str]:
    while True:
        yield from users


@contextmanager
def _plain_server() -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "infra.load.noop:app", "--port", str(port), "--no-access-log"]
    server = subprocess.Popen([*command, "--log-level", "error"], cwd=Path(__file__).parents[2])
    url = f"http://{LOOPBACK}:{port}"
    try:
        while True:
            try:
                httpx.post(url, json={})
                break
            except httpx.TransportError:
                if server.poll() is not None:
                    raise RuntimeError("The plain server did not start.") from None
        yield url
    finally:
        server.terminate()
        server.wait()


def _machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "python": sys.version.split()[0],
        "packages": {name: version(name) for name in PACKAGES},
    }


if __name__ == "__main__":
    main()
