"""Faults under a running service: what can be answered still is, and it heals by itself."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

from recsys.home import Home
from services.serve import running

Eventually = Callable[[Callable[[], bool]], None]
WORKERS = 2


def numbers(url: str, name: str) -> list[float]:
    """Return the values of a metric, one for each of its labels."""
    families = text_string_to_metric_families(httpx.get(f"{url}/metrics", timeout=30).text)
    return [sample.value for family in families for sample in family.samples if sample.name == name]


def workers_of(home: Home) -> set[int]:
    """Return the processes that keep numbers of their own and live."""
    files = home.runs.glob("service-*/bentoml/prometheus_multiproc_dir/counter_*.db")
    return {pid for file in files if psutil.pid_exists(pid := int(file.stem.split("_")[1]))}


def test_a_killed_worker_comes_back_and_its_numbers_go(
    copy_of_home: Callable[[Path], Home], tmp_path: Path, eventually: Eventually
) -> None:
    home = copy_of_home(tmp_path / "killed")
    with running(home, workers=WORKERS) as url:
        eventually(lambda: numbers(url, "recsys_generation_workers") == [WORKERS])
        killed = min(workers_of(home))
        os.kill(killed, signal.SIGKILL)
        psutil.Process(killed).wait(30)
        for _ in range(20):  # each over a connection of its own
            answer = httpx.post(f"{url}/v1/recommend", json={"history": []}, timeout=30)
            assert answer.status_code == 200, answer.text
        eventually(lambda: len(workers_of(home)) == WORKERS)
        eventually(lambda: numbers(url, "recsys_generation_workers") == [WORKERS])
        put = httpx.put(f"{url}/v1/items/i001", json={"title": "Known to all who live"}, timeout=30)
        assert put.status_code == 200, put.text
        eventually(lambda: numbers(url, "recsys_live_items_version") == [put.json()["version"]])
