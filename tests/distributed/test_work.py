"""Lists for many and vectors of tables, made by a cluster: the bytes that this process makes alone."""

import os
import threading
from pathlib import Path

import polars as pl
import pytest
from ray_nodes import Holding, Nodes

from infra.load import homes
from recsys.artifacts import digest_folder
from recsys.config import LoraConfig
from recsys.distributed.cluster import executor_at
from recsys.distributed.executor import InProcess
from recsys.home import Home
from recsys.serving.answers import ListRequest
from recsys.serving.batch.lists import write_lists
from recsys.texts import tables
from recsys.texts.tables import embed_table
from recsys.texts.vectors import TextVectors

NOW = 1_790_000_000


def test_lists_are_the_same_where_a_node_is_lost_on_the_way(
    nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(homes, "USERS", 300)
    home = Home(tmp_path / "home")
    generation = homes.make_home(home, 2_000, encode=False, seed=0)
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
