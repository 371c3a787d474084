"""The service as a Bento: built from what is installed, it answers from an empty folder by what it carries."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from processes import end, wait_until_ready

from recsys.home import Home
from recsys.store.generations import current_id
from services.serve import free_port
from services.worker.loading import OFF, TEXTS

NAME = "recommender_service"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """BentoML's store of the children of a test."""
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    return tmp_path / "bentoml"


def bento(home: Home, *words: str) -> dict[str, Any]:
    """Run ``recsys bento`` in a process of its own, as BentoML keeps its store for as long as one lives."""
    command = [sys.executable, "-c", "from flows.cli import app; app()", "bento", *words, "--home", str(home.root)]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    return json.loads(done.stdout) | {"code": done.returncode}


def bentoml(*words: str) -> str:
    command = [sys.executable, "-m", "bentoml", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_bento_with_a_generation_answers_from_an_empty_folder(store: Path, home: Home, tmp_path: Path) -> None:
    served = str(current_id(home))
    built = bento(home)
    tag = built["tag"]
    assert built == {"tag": tag, "generation": served, "found": False, "code": 0}
    assert tag.startswith(f"{NAME}:{served}-")
    assert bento(home, served) == built | {"found": True}
    assert [one["tag"] for one in json.loads(bentoml("list", "--output", "json"))] == [tag]
    assert [one["tag"] for one in json.loads(bentoml("models", "list", "--output", "json"))] == [
        f"recsys_generation:{served}"
    ]
    image = store / "bentos" / NAME / tag.partition(":")[2] / "env"
    assert "ENV BENTOML_HOST=$BENTOML_HOST" in (image / "docker" / "Dockerfile").read_text()
    needed = (image / "python" / "requirements.txt").read_text().splitlines()
    assert {line.partition("==")[0] for line in needed} >= {"torch", "bentoml", "lancedb", "psycopg"}
    assert not any(line.startswith(("pytest", "ruff", "recsys")) or "+" in line for line in needed)

    empty, other = tmp_path / "empty", tmp_path / "home"
    empty.mkdir()
    environment = os.environ | {"RECSYS_HOME": str(other), TEXTS: OFF}
    port = free_port()
    command = [sys.executable, "-m", "bentoml", "serve", tag, "--port", str(port)]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(command, env=environment, cwd=empty, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(server, f"{url}/readyz", tmp_path / "log")
        answer = httpx.post(f"{url}/v1/recommend", json={"user_id": "u1", "k": 3}, timeout=60).json()
        switches = httpx.get(f"{url}/v1/promotions").json()["promotions"]
    finally:
        end(server)
    assert (answer["generation"], len(answer["items"])) == (served, 3)
    assert [(one["action"], one["by"], one["previous"]) for one in switches] == [("publish", "bento", None)]
    assert list(empty.iterdir()) == []


def test_a_bare_bento_carries_nothing(store: Path, home: Home) -> None:
    built = bento(home, "--bare")
    assert (built["generation"], built["tag"].startswith(f"{NAME}:bare-")) == (None, True)
    assert json.loads(bentoml("models", "list", "--output", "json")) == []
    assert bento(home, "--bare", "0" * 16)["error"] == "--bare carries no generation. Leave one of the two out."


def test_without_a_generation_there_is_none_to_carry(store: Path, tmp_path: Path) -> None:
    said = bento(Home(tmp_path / "nothing"))
    assert (said["code"], said["error"].startswith("There is no generation in ")) == (1, True)
    assert not list(store.glob("bentos/*"))
