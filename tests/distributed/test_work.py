"""Lists for many, evaluations and vectors of tables by a cluster: the bytes that this process makes alone."""

import os
import threading
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from ray_nodes import Holding, Nodes

from infra.load import homes
from recsys.artifacts import digest_folder
from recsys.config import LoraConfig
from recsys.data.snapshot import open_snapshot
from recsys.distributed.cluster import executor_at
from recsys.distributed.executor import InProcess
from recsys.evaluation import full_ranking
from recsys.evaluation.full_ranking import evaluate
from recsys.evaluation.splits import Targets
from recsys.home import Home
from recsys.ranking.system import System
from recsys.serving.answers import ListRequest
from recsys.serving.batch.lists import write_lists
from recsys.store.generations import current_id, read_generation
from recsys.texts import tables
from recsys.texts.tables import embed_table
from recsys.texts.vectors import TextVectors

NOW = 1_790_000_000


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """300 users and 2,000 items; nothing is trained."""
    made = Home(tmp_path_factory.mktemp("shards") / "home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(homes, "USERS", 300)
        homes.make_home(made, 2_000, encode=False, seed=0)
    return made


def test_lists_are_the_same_where_a_node_is_lost_on_the_way(nodes: Nodes, home: Home, tmp_path: Path) -> None:
    generation = str(current_id(home))
    for name in ("told", "never"):
        os.mkfifo(tmp_path / name)

    def remove() -> None:
        with (tmp_path / "told").open() as pipe:
            nodes.remove(pipe.read())

    def lists(folder: str, executor: Holding | InProcess) -> tuple[dict[str, str], list[int]]:
        told: list[int] = []
        write_lists(
            home, tmp_path / folder, generation, ListRequest(fields=()), block_size=40, now=NOW,
            progress=lambda done, all_: told.append(done), executor=executor,
        )  # fmt: skip
        return digest_folder(tmp_path / folder), told

    alone, told = lists("alone", InProcess())
    assert (len(alone), told[-1]) == (9, 300)
    removing = threading.Thread(target=remove)
    removing.start()
    with executor_at(nodes.address) as executor:
        together, told = lists("together", Holding(executor, tmp_path, 3))
    removing.join()
    nodes.add()
    assert together == alone
    assert told[-1] == 300
    assert (tmp_path / "held").exists()


def test_an_evaluation_is_the_same(nodes: Nodes, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, manifest = read_generation(home, str(current_id(home)))
    system, histories = System.load(folder), open_snapshot(home, manifest.snapshot).sequences()
    last = histories.offsets[1:] - 1
    targets = Targets(
        np.arange(300, dtype=np.int32), histories.slice(histories.offsets[:-1], last), histories.items[last]
    )
    alone = evaluate("recsys", system, targets, k=5, batch=16)
    monkeypatch.setattr(full_ranking, "SCORES_A_SHARD", 100 * 2_000)
    shards: list[int] = []
    with executor_at(nodes.address) as cluster:
        monkeypatch.setattr(full_ranking, "executor_at", lambda: nullcontext(cluster))
        together = evaluate("recsys", system, targets, k=5, batch=16, progress=lambda done, all_: shards.append(done))
    assert shards == [1, *sorted(shards[1:])]
    assert len(shards) == 1 + 4  # of 96 rows each, at most
    for name in ("items", "scores", "ranks"):
        np.testing.assert_array_equal(getattr(together, name), getattr(alone, name))


def test_vectors_are_the_same(nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "PART_ROWS", 8)
    texts = [f"text number {row}" + " and more" * (row % 5) for row in range(30)]
    table = pl.DataFrame({"id": [f"t{row}" for row in range(30)], "text": texts})
    encoder = TextVectors.of_base(Home(tmp_path / "home"), LoraConfig().base, 32)
    alone = embed_table(table, encoder, tmp_path / "alone.parquet")
    with executor_at(nodes.address) as executor:
        together = embed_table(table, encoder, tmp_path / "together.parquet", executor=executor)
    assert together == alone
    assert (tmp_path / "together.parquet").read_bytes() == (tmp_path / "alone.parquet").read_bytes()
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]
