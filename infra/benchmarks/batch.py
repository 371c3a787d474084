"""Lists for many users: how many a second `recsys batch` writes, beside the HTTP batch route of the same generation.

    python infra/benchmarks/batch.py HOME … --out infra/results/batch.json [--users 2000] [--rounds 3]

A home is one that a training has published, or that ``infra/load/homes.py`` has made of any size; nothing is left in it
but its database. Both ways make the same lists, by turns, each of the first users of the snapshot. Counted are users
for a second of processor time, which beside other work says more than the clock; of the route, the service's alone.
Lists of both are compared: item by item, in order.
``tables.py`` makes the table.
"""

import argparse
import os
import statistics
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a core's worth, read as numpy is first imported
sys.path.insert(0, str(Path(__file__).parents[2]))

import httpx
import polars as pl
import torch

from recsys.artifacts import write_json
from recsys.data.columns import ITEM_ID, USER_ID
from recsys.data.snapshot import open_snapshot
from recsys.home import Home
from recsys.models.devices import device_name
from recsys.ranking.stages import EndStage
from recsys.serving.answers import ListRequest
from recsys.serving.batch.lists import write_lists
from recsys.serving.batch.shards import MOST_AT_ONCE
from recsys.serving.recommender import Recommender
from recsys.store.generations import current_id, read_generation
from services.serve import running

ASKED_AT_ONCE = 64  # users: more would take longer than the route may, of a large catalogue on a busy machine
TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure each home and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("homes", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--users", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    measured = [measure(Home(place.absolute()), options.users, options.rounds) for place in options.homes]
    write_json(options.out, {"task": "lists", "environment": {"device": device_name()}, "homes": measured})


def measure(home: Home, most: int, rounds: int) -> dict[str, Any]:
    """Return users a second of both ways, and where the processor's time goes."""
    generation = str(current_id(home))
    snapshot = open_snapshot(home, read_generation(home, generation)[1].snapshot)
    users = snapshot.user_ids()[:most]
    spent: dict[str, list[float]] = {"files": [], "http": []}
    lists: dict[str, dict[str, list[str]]] = {}
    with running(home, texts=False) as url, httpx.Client(base_url=url, timeout=600) as client:
        for _ in range(rounds):
            seconds, lists["files"] = _files(home, generation, users)
            spent["files"].append(seconds)
            seconds, lists["http"] = _http(client, users)
            spent["http"].append(seconds)
    rates = {name: len(users) / statistics.median(seconds) for name, seconds in spent.items()}
    sizes = {"users": len(users), "items": len(snapshot.item_ids())}
    same = sum(lists["files"].get(user, []) == lists["http"][user] for user in users) / len(users)
    print(sizes, rates, {"same": same})
    stages = _stages(home, generation, users)
    return {**sizes, "rounds": rounds, "users_a_second": rates, "same": same, "stages": stages}


def _files(home: Home, generation: str, users: list[str]) -> tuple[float, dict[str, list[str]]]:
    """Return the seconds of processor time of lists as files, told from when the generation is open and warm, and them.

    What is read once for all users, before the first of them is answered, does not count.
    """
    told: list[tuple[int, float]] = []

    def progress(done: int, _: int) -> None:
        told.append((done, time.process_time()))

    with TemporaryDirectory(prefix="batch-") as folder:
        write_lists(home, Path(folder), generation, ListRequest(fields=()), users, progress=progress)
        ended = time.process_time()
        found = pl.read_parquet(f"{folder}/part-*.parquet", columns=[USER_ID, ITEM_ID])
    lists = dict(found.group_by(USER_ID).agg(ITEM_ID).iter_rows())
    first, began = told[0]
    return (ended - began) * len(users) / (len(users) - first), lists


def _http(client: httpx.Client, users: list[str]) -> tuple[float, dict[str, list[str]]]:
    """Return the seconds of processor time that the service takes for the same lists, and them."""
    before, lists = _of_children(), {}
    for start in range(0, len(users), ASKED_AT_ONCE):
        asked = [{"user_id": user} for user in users[start : start + ASKED_AT_ONCE]]
        answer = client.post("/v1/recommend/batch", json={"users": asked, "fields": [], "record": False})
        for one in answer.raise_for_status().json()["answers"]:
            lists[one["user_id"]] = [item["item_id"] for item in one["items"]]
    return _of_children() - before, lists


def _of_children() -> float:
    """Return the processor time that all processes below this one have taken, in seconds."""
    parents, times = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # ended meanwhile
            continue
        process = int(path.parent.name)
        parents[process], times[process] = int(fields[1]), sum(map(int, fields[11:13])) / TICKS
    below = {os.getpid()}
    for _ in parents:
        more = {process for process, parent in parents.items() if parent in below} - below
        if not more:
            break
        below |= more
    return sum(times[process] for process in below - {os.getpid()})


def _stages(home: Home, generation: str, users: list[str]) -> dict[str, float]:
    """Return the share of processor time of each stage of an answer."""
    recommender = Recommender.open(home, generation)
    recommender.scoring.source.prepare_for_many()
    histories = [recommender.past(user) for user in users]
    spent: dict[str, float] = {}
    lap = [time.process_time()]

    def end_stage(name: str) -> None:
        now = time.process_time()
        spent[name] = spent.get(name, 0.0) + now - lap[0]
        lap[0] = now

    measured: EndStage = end_stage
    for start in range(0, len(users), MOST_AT_ONCE):
        lap[0] = time.process_time()
        request = ListRequest(fields=(), now=int(time.time()))
        recommender.recommend_many(histories[start : start + MOST_AT_ONCE], request, measured)
    total = sum(spent.values())
    return {name: seconds / total for name, seconds in sorted(spent.items(), key=lambda one: -one[1])}


if __name__ == "__main__":
    main()
