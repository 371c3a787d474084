"""What a training has a cluster do: the same statistics, choices, trials, rankings and ids as this process alone."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from carried import Carried
from ray_nodes import Nodes, Squares
from synthetic import SMALL, write_dataset

from recsys.config import ExpertsConfig, ModelConfig, TowerConfig, TuneConfig
from recsys.data.snapshot import list_snapshots
from recsys.distributed import ray_cluster
from recsys.distributed.cluster import ADDRESS, ClusterError, executor_at, sharing
from recsys.distributed.executor import Executor, InProcess
from recsys.distributed.ray_cluster import Needs, RayCluster
from recsys.evaluation.splits import Split, leave_one_out
from recsys.experts import blocks
from recsys.experts.knn import fit_knn
from recsys.home import Home
from recsys.models.towers.whitening import Whitening
from recsys.publishing.training_run import train_generation
from recsys.store.generations import current_id
from recsys.training import baselines, measuring, trying, tuning, validation
from recsys.training.encoding import TextEncoding, frozen_encoding
from recsys.training.fit_experts import DECAYS, RIDGES, fit_content, fit_experts
from recsys.training.seeds import SeedsJob
from recsys.training.standalone import read_behaviour
from recsys.training.tuning import Trial, tune

SYSTEMS = ("recsys", "recsys.frozen-text", "knn", "ease-undecayed", "blend")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Split, list[str]]:
    """60 users, 80 items and their texts."""
    sequences, ids, texts = read_behaviour(*write_dataset(tmp_path_factory.mktemp("shop")))
    return leave_one_out(sequences, catalogue=len(ids)), texts


@pytest.fixture
def carried(monkeypatch: pytest.MonkeyPatch) -> Carried:
    """What takes all that a cluster would be given."""
    found = Carried()
    for module in (blocks, validation, tuning, baselines, measuring):
        monkeypatch.setattr(module, "executor_at", found.at)
    return found


def same_matrices(one: Any, other: Any) -> None:
    for part in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(one.matrix, part), getattr(other.matrix, part))


def test_a_generation_trained_by_a_cluster_has_the_id_of_one_that_was_trained_alone(
    nodes: Nodes, home: Home, tmp_path: Path
) -> None:
    (snapshot,) = list_snapshots(home)
    again = Home(tmp_path / "home").make()
    shutil.copytree(snapshot.path, again.snapshots / snapshot.id, dirs_exist_ok=True)
    told: list[str] = []
    with sharing(nodes.address):
        training = train_generation(again, snapshot.id, SMALL, progress=lambda stage, *_: told.append(stage))
    assert training.generation == current_id(home)
    assert len(SMALL.evaluation.protocols) == 2
    assert not any(stage.startswith(SMALL.evaluation.protocols) for stage in told)  # no protocol was measured here


def test_a_cluster_counts_what_this_process_does(
    nodes: Nodes, shop: tuple[Split, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    split, _ = shop
    monkeypatch.setattr("recsys.experts.sparse.ENTRIES_AT_ONCE", 400)
    alone = fit_knn(split.train, split.catalogue, 20, 0.9)
    monkeypatch.setattr(blocks, "SHARED_FROM", 2)
    asked: list[type] = []

    @contextmanager
    def noted() -> Iterator[Executor]:
        with executor_at() as executor:
            asked.append(type(executor))
            yield executor

    monkeypatch.setattr(blocks, "executor_at", noted)
    with sharing(nodes.address):
        together = fit_knn(split.train, split.catalogue, 20, 0.9)
    assert asked == [RayCluster]
    same_matrices(together, alone)


def test_a_cluster_is_shared_for_the_block_and_known_before_it(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ADDRESS, raising=False)
    with sharing(nodes.address), sharing(None), executor_at() as executor:
        assert isinstance(executor, RayCluster)
    with sharing(None), executor_at() as executor:
        assert isinstance(executor, InProcess)
    with pytest.raises(ClusterError, match="Nobody answers"), sharing("127.0.0.1:9"):
        raise AssertionError("the work has begun")


def test_a_training_that_no_node_is_large_enough_for_is_told(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster.Needs, "of_training", classmethod(lambda cls: cls(cpus=3)))
    with (
        executor_at(nodes.address) as executor,
        pytest.raises(ClusterError, match=r"has 3 processors, which a worker takes.*Set OMP_NUM_THREADS to fewer"),
    ):
        next(executor.map(Squares(Path(__file__).parent), [1], print, trains=True))


def test_a_worker_that_trains_has_what_this_process_has() -> None:
    needs = Needs.of_training()
    assert needs.cpus == needs.threads == torch.get_num_threads()
    assert needs.gpus == torch.cuda.is_available()
    assert Needs(4, 1).places({"CPU": 9.0, "GPU": 1.0}) == 1
    assert Needs(4, 0).places({"CPU": 9.0}) == 2
    assert Needs(4, 1).places({"CPU": 9.0}) == 0


def test_experts_and_their_settings_are_carried(
    shop: tuple[Split, list[str]], carried: Carried, monkeypatch: pytest.MonkeyPatch
) -> None:
    split, _ = shop
    features = np.random.default_rng(0).normal(size=(split.catalogue, 8)).astype(np.float32)

    def fitted() -> tuple[Any, Any, Any]:
        experts, chosen = fit_experts(split.train, split.catalogue, ExpertsConfig(), split.validation)
        return experts, chosen, fit_content(features, split.validation)

    experts, chosen, content = fitted()
    assert not carried.shards
    monkeypatch.setattr("recsys.experts.sparse.ENTRIES_AT_ONCE", 400)
    for module in (blocks, validation):
        monkeypatch.setattr(module, "SHARED_FROM", 2)
    together, choices, read = fitted()
    assert len(carried.shards["BlocksJob"]) > 4
    assert len(carried.shards["JudgingJob"]) == (2 + len(RIDGES) + 1) * len(DECAYS)
    assert choices == chosen
    assert (read.decay, read.aversion) == (content.decay, content.aversion)
    for name, expert in experts.items():
        same_matrices(together[name], expert)


@pytest.fixture
def quick(shop: tuple[Split, list[str]], monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Trial]]:
    """Searches in which nothing is trained: how good an epoch is follows from the settings."""
    split, texts = shop
    vectors = np.random.default_rng(0).normal(size=(split.catalogue, 4)).astype(np.float32)
    frozen = TextEncoding(vectors, vectors, Whitening.fit(vectors))

    def train(
        features: Any, train: Any, catalogue: int, config: TowerConfig, seed: int, validate: Any, **_: Any
    ) -> None:
        for epoch in range(4):
            validate(epoch / 10 - abs((config.dropout or 0) - 0.3) - config.learning_rate)

    monkeypatch.setattr(trying, "train_towers", train)
    monkeypatch.setattr(trying, "tower_validation", lambda *_: float)
    monkeypatch.setattr(trying, "adapted_encoding", lambda *_, **__: (frozen, None, []))

    def search(storage: Path, at_once: int | None, each: Any = None) -> list[Trial]:
        wanted = TuneConfig(trials=11, startup_trials=3, warmup_epochs=1, at_once=at_once)
        return tune(split.train, split.validation, texts, frozen, ModelConfig(), wanted, storage, each=each)

    return search


def test_trials_that_know_nothing_of_one_another_are_carried(
    quick: Callable[..., list[Trial]], carried: Carried, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = quick(tmp_path / "one.db", None)
    assert [one.number for one in carried.shards["TrialsJob"]] == [0, 1, 2]  # the others are drawn one by one
    together_by_fours = quick(tmp_path / "four.db", 4)
    assert [one.number for one in carried.shards["TrialsJob"]][3:] == list(range(11))
    monkeypatch.setattr(tuning, "executor_at", lambda: nullcontext(InProcess()))
    assert quick(tmp_path / "alone.db", None) == together
    assert quick(tmp_path / "four-alone.db", 4) == together_by_fours
    assert together_by_fours[:3] == together[:3]
    assert together_by_fours != together
    assert {one.state for one in together} == {"complete", "pruned"}

    def end(trial: Trial, _: int) -> None:
        if trial.number == 4:
            raise KeyboardInterrupt

    with suppress(KeyboardInterrupt):  # in the midst of those that are asked for together
        quick(tmp_path / "killed.db", 4, end)
    assert quick(tmp_path / "killed.db", 4) == together_by_fours


def test_seeds_and_systems_are_carried(shop: tuple[Split, list[str]], carried: Carried) -> None:
    split, texts = shop
    config = replace(SMALL, adapter=replace(SMALL.adapter, rounds=1), tower=replace(SMALL.tower, epochs=1))
    job = SeedsJob(split, texts, frozen_encoding(texts, config), config, SYSTEMS, None, None, None, print)
    (alone,) = Carried().map(job, [config.seed], lambda _: None, trains=True)
    assert carried.shards["SystemsJob"] == [name for name in SYSTEMS if name != "blend"]
    with job.opened() as work:
        here = work(config.seed, lambda _: None)
    assert alone.trained is not None
    assert here.trained is not None
    np.testing.assert_array_equal(alone.trained.encoding.vectors, here.trained.encoding.vectors)
    assert [ranking.name for ranking in alone.rankings] == list(SYSTEMS)
    for one, other in zip(alone.rankings, here.rankings, strict=True):
        np.testing.assert_array_equal(one.ranks, other.ranks)
        np.testing.assert_array_equal(one.scores, other.scores)
