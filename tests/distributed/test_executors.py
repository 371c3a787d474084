"""Jobs done by this process and by a Ray cluster of two nodes: the same results, or a sentence why there are none."""

import socket
import sys
from pathlib import Path

import pytest
from ray_nodes import Nodes, Squares

from recsys.distributed import ray_cluster
from recsys.distributed.cluster import ADDRESS, ClusterError, executor_at
from recsys.distributed.executor import InProcess
from recsys.distributed.ray_cluster import RayCluster

NUMBERS = range(20)
WANTED = [number * number for number in NUMBERS]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "shared").write_text("seen by all")
    return tmp_path


def test_without_an_address_this_process_does_the_work(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ADDRESS, raising=False)
    told: list[int] = []
    with executor_at() as executor:
        assert isinstance(executor, InProcess)
        assert list(executor.map(Squares(place), NUMBERS, told.append)) == WANTED
    assert sum(told) == len(NUMBERS)


def test_a_cluster_gives_the_same_results_in_the_same_order(
    nodes: Nodes, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ADDRESS, nodes.address)
    told: list[int] = []
    with executor_at() as executor:
        assert isinstance(executor, RayCluster)
        assert list(executor.map(Squares(place), NUMBERS, told.append)) == WANTED
        assert list(executor.map(Squares(place), [], told.append)) == []
    assert sum(told) == len(NUMBERS)


def test_a_shard_that_ends_whoever_takes_it_is_given_up(nodes: Nodes, place: Path) -> None:
    with (
        executor_at(nodes.address) as executor,
        pytest.raises(ClusterError, match="3 workers ended over the same shard, 2"),
    ):
        list(executor.map(Squares(place, ends=2), NUMBERS[:4], print))


def test_what_the_work_raises_is_raised_as_it_is(nodes: Nodes, place: Path) -> None:
    with executor_at(nodes.address) as executor:
        with pytest.raises(KeyError, match="wrong"):
            list(executor.map(Squares(place, wrong=3), NUMBERS, print))
        assert list(executor.map(Squares(place), NUMBERS[:2], print)) == WANTED[:2]  # and the workers are free again


def test_nodes_that_are_not_made_alike_are_told(nodes: Nodes, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with executor_at(nodes.address) as executor:
        with monkeypatch.context() as patch:
            patch.setattr(ray_cluster, "version", lambda name: "0.0.1")
            with pytest.raises(ClusterError, match=r"has recsys \d.*, and this process 0\.0\.1\. Install the same"):
                list(executor.map(Squares(place), NUMBERS, print))
        monkeypatch.setattr(ray_cluster, "digest_file", lambda path: "0" * 64)
        with pytest.raises(ClusterError, match=r"sees another .*shared\. Nodes of a cluster share the home"):
            list(executor.map(Squares(place), NUMBERS, print))
        (place / "shared").unlink()
        with pytest.raises(ClusterError, match=r"does not see .*shared\. Nodes of a cluster share the home"):
            list(executor.map(Squares(place), NUMBERS, print))
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "__version__", "2.0.0")
    with pytest.raises(ClusterError, match=r"cannot be joined: Version mismatch"), executor_at(nodes.address):
        pass


@pytest.mark.parametrize("address", ["6379", "ray://127.0.0.1:10001", "auto", "host:port"])
def test_what_is_no_address_is_refused(address: str) -> None:
    pytest.importorskip("ray", reason="Ray is an extra: pip install 'recsys[ray]'")
    with pytest.raises(ClusterError, match="is no address of a Ray cluster"), executor_at(address):
        pass


def test_an_address_that_nobody_answers_is_told_at_once() -> None:
    pytest.importorskip("ray", reason="Ray is an extra: pip install 'recsys[ray]'")
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ClusterError, match=f"Nobody answers at {address}"), executor_at(address):
            pass


def test_without_the_extra_it_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ClusterError, match=r"install recsys\[ray\]"), executor_at("127.0.0.1:6379"):
        pass
