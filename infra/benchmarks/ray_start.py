"""What a Ray cluster costs before it pays: two nodes of one processor each on this machine, beside this process alone.

    python infra/benchmarks/ray_start.py HOME --out infra/results/ray.json [--users 1000] [--texts 4096] [--rounds 3]

Needs ``pip install 'recsys[ray]'``, root on Linux with the controller ``cpuacct`` of cgroups, and a home that
``infra/load/homes.py`` has made or a training has published. The same work is done alone and by the cluster, by turns,
first of two shards with next to nothing in them: what the cluster takes longer over these is its start, of both workers
and of all that Ray does beside them. Two machines then win from ``rate × start`` on, with the rate of one: each does
half of both. All seconds are of the processor, since the clock of a machine that does other work says little.
``tables.py`` makes the table.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # as each worker has
sys.path.insert(0, str(Path(__file__).parents[2]))

import polars as pl
import torch

from recsys.artifacts import write_json
from recsys.config import LoraConfig
from recsys.data.snapshot import open_snapshot
from recsys.distributed.cluster import executor_at
from recsys.distributed.executor import Executor, InProcess
from recsys.home import Home
from recsys.models.devices import device_name
from recsys.serving.answers import ListRequest
from recsys.serving.batch.lists import write_lists
from recsys.store.generations import current_id, read_generation
from recsys.texts import tables
from recsys.texts.vectors import TextVectors

GROUP = Path("/sys/fs/cgroup/cpuacct/recsys-ray")
HOUSE = Path(__file__).parents[2]
HEAD = "127.0.0.2"  # Ray takes 127.0.0.1 for one that others cannot reach, and looks for another
STORE_BYTES = 100_000_000
SHARDS = 2


def main() -> None:
    """Measure and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--users", type=int, default=1_000)
    parser.add_argument("--texts", type=int, default=4_096)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    home = Home(options.home.absolute())
    GROUP.mkdir(exist_ok=True)
    (GROUP / "cgroup.procs").write_text(str(os.getpid()))  # and whatever this process starts
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as place, nodes(Path(place)) as address:
        started = time.monotonic()
        with executor_at(address) as cluster:
            joined = time.monotonic() - started
            work = {"users": (partial(lists, home), options.users), "texts": (partial(vectors, home), options.texts)}
            found = [measure(name, run, many, cluster, options.rounds) for name, (run, many) in work.items()]
    import ray

    environment = {"device": device_name(), "ray": ray.__version__, "load": os.getloadavg()}
    write_json(options.out, {"task": "ray", "environment": environment, "joined": joined, "work": found})


@contextmanager
def nodes(place: Path) -> Iterator[str]:
    """Start a head without processors and two nodes; yield the address."""
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HOUSE), str(HOUSE / "services" / "python-client")])
    os.environ["RAY_TMPDIR"] = str(place)
    os.environ |= {"RAY_worker_niceness": "0"}  # of 15, workers would wait for whatever else the machine does
    from ray.cluster_utils import Cluster

    about = {"object_store_memory": STORE_BYTES, "include_dashboard": False, "node_ip_address": HEAD}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **about})
    try:
        for _ in range(SHARDS):
            cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES, node_ip_address=HEAD)
        cluster.wait_for_nodes()
        yield cluster.address
    finally:
        cluster.shutdown()


def measure(name: str, run: Any, many: int, cluster: Executor, rounds: int) -> dict[str, Any]:
    """Return seconds of the processor for few and many, alone and by the cluster, and from where on it pays."""
    seconds: dict[str, list[float]] = {"few alone": [], "few": [], "many alone": [], "many": []}
    for _ in range(rounds):
        for key, taken in seconds.items():
            alone = key.endswith("alone")
            spent = time.process_time if alone else processor_seconds
            started = spent()
            run(SHARDS if key.startswith("few") else many, InProcess() if alone else cluster)
            taken.append(spent() - started)
    middle = {key: statistics.median(taken) for key, taken in seconds.items()}
    start = middle["few"] - middle["few alone"]
    rate = (many - SHARDS) / (middle["many alone"] - middle["few alone"])
    found = {
        "what": name,
        "many": many,
        "cpu_seconds": seconds,
        "start": start,
        "rate": rate,
        "pays_from": rate * start,
    }
    print(found, flush=True)
    return found


def processor_seconds() -> float:
    """Return what all processes of the group have used, those that have ended among them."""
    return int((GROUP / "cpuacct.usage").read_text()) / 1e9


def lists(home: Home, users: int, executor: Executor) -> None:
    """Write the lists of some users, in as many files as there are nodes."""
    generation = str(current_id(home))
    ids = open_snapshot(home, read_generation(home, generation)[1].snapshot).user_ids()[:users]
    with tempfile.TemporaryDirectory(prefix="lists-") as folder:
        block = -(-len(ids) // SHARDS)
        write_lists(home, Path(folder), generation, ListRequest(fields=()), ids, block, executor=executor)


def vectors(home: Home, texts: int, executor: Executor) -> None:
    """Encode some texts by the default base, in as many parts as there are nodes."""
    tables.PART_ROWS = -(-texts // SHARDS)
    named = pl.DataFrame({"id": [f"t{row}" for row in range(texts)]})
    table = named.with_columns(text=pl.format("An item of a catalogue, of some length, number {}", "id"))
    with tempfile.TemporaryDirectory(prefix="texts-") as folder:
        encoder = TextVectors.of_base(home, LoraConfig().base, 64)
        tables.embed_table(table, encoder, Path(folder, "out.parquet"), executor=executor)


if __name__ == "__main__":
    main()
