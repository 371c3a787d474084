"""A Ray cluster of two nodes on this machine, and jobs that tests give it."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from recsys.distributed.executor import Advance, Executor, Job, Work

STORE_BYTES = 100_000_000
HEAD = 2  # of 127.0.0: Ray takes 127.0.0.1 for one that others cannot reach, and looks for another
FOLDERS = (
    *(Path(__file__).parents[place] for place in (0, 1, 2)),
    Path(__file__).parents[2] / "services/python-client",
)


@contextmanager
def two_nodes(folder: Path) -> Iterator["Nodes"]:
    """Start a head without processors and two nodes with one each; all end with the block.

    Args:
        folder: for what Ray writes, with a short path: its sockets lie there.
    """
    ray = pytest.importorskip("ray", reason="Ray is an extra: pip install 'recsys[ray]'")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, [*FOLDERS, *filter(None, sys.path)])))
        patch.setenv("RAY_TMPDIR", str(folder))
        patch.setenv("RAY_worker_niceness", "0")  # of 15, workers would wait for whatever else the machine does
        cluster = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 0,
                "object_store_memory": STORE_BYTES,
                "include_dashboard": False,
                "_system_config": {"health_check_initial_delay_ms": 0, "health_check_period_ms": 1_000},
                "node_ip_address": f"127.0.0.{HEAD}",
            },
        )
        try:
            nodes = Nodes(cluster)
            nodes.add()
            nodes.add()
            cluster.wait_for_nodes()
            yield nodes
        finally:
            ray.shutdown()
            cluster.shutdown()


class Nodes:
    """The cluster."""

    def __init__(self, cluster: Any) -> None:
        self.address: str = cluster.address
        self._cluster = cluster
        self._nodes: dict[str, Any] = {}
        self._started = 0

    def remove(self, name: str) -> None:
        """Kill all processes of a node."""
        self._cluster.remove_node(self._nodes.pop(name), allow_graceful=False)

    def add(self) -> None:
        """Start another node."""
        self._started += 1
        address = f"127.0.0.{HEAD + self._started}"
        node = self._cluster.add_node(num_cpus=1, node_ip_address=address, object_store_memory=STORE_BYTES)
        self._nodes[node.node_id] = node


@dataclass(frozen=True)
class Squares:
    """Squares of numbers; over one a worker ends, with another something is wrong."""

    place: Path
    wrong: int | None = None
    ends: int | None = None

    def files(self) -> Sequence[Path]:
        return [self.place / "shared"]

    @contextmanager
    def opened(self) -> Iterator[Work[int, int]]:
        def work(number: int, advance: Advance) -> int:
            if number == self.ends:
                os._exit(1)
            if number == self.wrong:
                raise KeyError("wrong")
            advance(1)
            return number * number

        yield work


@dataclass(frozen=True)
class Holding:
    """An executor whose worker, at one shard, says on which node it is and waits to be ended; the next one goes on.

    Attributes:
        executor: a cluster.
        place: a folder with two pipes, ``told`` and ``never``.
        shard: which.
    """

    executor: Executor
    place: Path
    shard: int

    def map(self, job: Job[Any, Any], shards: Sequence[Any], advance: Advance) -> Iterator[Any]:
        return self.executor.map(_Held(job, self.place, self.shard), shards, advance)


@dataclass(frozen=True)
class _Held:
    job: Job[Any, Any]
    place: Path
    shard: int

    def files(self) -> Sequence[Path]:
        return self.job.files()

    @contextmanager
    def opened(self) -> Iterator[Work[Any, Any]]:
        def work(shard: Any, advance: Advance) -> Any:
            if shard == self.shard:
                _hold(self.place)
            return inner(shard, advance)

        with self.job.opened() as inner:
            yield work


def _hold(place: Path) -> None:
    import ray

    try:
        (place / "held").touch(exist_ok=False)
    except FileExistsError:
        return
    with (place / "told").open("w") as pipe:
        pipe.write(ray.get_runtime_context().get_node_id())
    with (place / "never").open() as pipe:
        pipe.read()
