"""What a training has a cluster do: the same statistics and choices as this process makes alone."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from ray_nodes import Nodes
from synthetic import write_dataset

from recsys.config import ExpertsConfig
from recsys.distributed.cluster import ADDRESS, ClusterError, executor_at, sharing
from recsys.distributed.executor import Executor, InProcess
from recsys.distributed.ray_cluster import RayCluster
from recsys.evaluation.splits import Split, leave_one_out
from recsys.experts import blocks
from recsys.training import validation
from recsys.training.fit_experts import fit_content, fit_experts
from recsys.training.standalone import read_behaviour


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    """60 users, 80 items."""
    sequences, ids, _ = read_behaviour(*write_dataset(tmp_path_factory.mktemp("shop")))
    return leave_one_out(sequences, catalogue=len(ids))


@dataclass
class Watched:
    """Counts the shards that a cluster is given, by the name of their job."""

    given: dict[str, int]

    def at(self, address: str | None = None) -> AbstractContextManager[Executor]:
        return self._watching(executor_at(address))

    @contextmanager
    def _watching(self, connected: AbstractContextManager[Executor]) -> Iterator[Any]:
        with connected as executor:
            self.executor = executor
            yield self

    def map(self, job: Any, shards: Any, advance: Callable[[int], None], trains: bool = False) -> Iterator[Any]:
        assert isinstance(self.executor, RayCluster)
        name = type(job).__name__
        self.given[name] = self.given.get(name, 0) + len(shards)
        return self.executor.map(job, shards, advance, trains)


def test_experts_and_their_settings_are_the_same(nodes: Nodes, split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    config = ExpertsConfig(max_ease_items=None)
    features = np.random.default_rng(0).normal(size=(split.catalogue, 8)).astype(np.float32)
    monkeypatch.setattr("recsys.experts.sparse.ENTRIES_AT_ONCE", 400)

    def fitted() -> tuple[Any, Any, Any]:
        return *fit_experts(split.train, split.catalogue, config, split.validation), fit_content(
            features, split.validation
        )

    experts, chosen, content = fitted()
    watched = Watched({})
    for module in (blocks, validation):
        monkeypatch.setattr(module, "SHARED_FROM", 2)
        monkeypatch.setattr(module, "executor_at", watched.at)
    with sharing(nodes.address):
        together, choices, read = fitted()
    assert watched.given["BlocksJob"] > 4
    assert watched.given["JudgingJob"] == 3 * 6
    assert choices == chosen
    assert (read.decay, read.aversion) == (content.decay, content.aversion)
    assert together.keys() == experts.keys()
    for name, expert in experts.items():
        assert together[name].decay == expert.decay
        for part in ("data", "indices", "indptr"):
            np.testing.assert_array_equal(getattr(together[name].matrix, part), getattr(expert.matrix, part))


def test_a_cluster_is_shared_for_the_block_and_known_before_it(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ADDRESS, raising=False)
    with sharing(nodes.address), sharing(None), executor_at() as executor:
        assert isinstance(executor, RayCluster)
    with sharing(None), executor_at() as executor:
        assert isinstance(executor, InProcess)
    with pytest.raises(ClusterError, match="Nobody answers"), sharing("127.0.0.1:9"):
        raise AssertionError("the work has begun")
