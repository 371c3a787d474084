"""The service as a Bento: built from what is installed, it answers from an empty folder by what it carries."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import httpx
import pytest
from bare_environment import link_packages, run_python
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from processes import end, wait_until_ready

from recsys.home import Home
from recsys.store.generations import current_id
from services import bento as built_by_us
from services.requirements import LEFT_OUT, requirements
from services.serve import free_port
from services.worker.loading import OFF, TEXTS

NAME = "recommender_service"
CLONE = Path(__file__).parents[2]
PUBLISH = """
import sys
from flows.publish import publish_generation
publish_generation(sys.argv[1], sys.argv[2], bento=True)
"""
# Everything that the service's code imports anywhere, and the rooms that it answers from, whole.
IMPORT = """
import ast, importlib, pathlib, pkgutil
import services.recommender, recsys_client
for path in pathlib.Path(services.__path__[0]).rglob("*.py"):
    for one in ast.walk(ast.parse(path.read_text())):
        if isinstance(one, ast.ImportFrom) and one.module.startswith("recsys."):
            importlib.import_module(one.module)
for room in ("services", "recsys.serving", "recsys.ranking", "recsys.texts", "recsys.models.encoder"):
    for module in pkgutil.walk_packages(importlib.import_module(room).__path__, f"{room}."):
        if "python-client" not in module.name:
            importlib.import_module(module.name)
import openvino, peft
print(services.recommender.RecommenderService.name, recsys_client.__file__)
"""


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


def shown_bentos() -> list[str]:
    """Return what the artifacts that tell of Bentos say."""
    with get_client(sync_client=True) as client:
        named = ArtifactFilter(key=ArtifactFilterKey(any_=["bento"]))
        return [str(one.data) for one in client.read_artifacts(artifact_filter=named)]


def test_a_published_bento_with_a_generation_answers_from_an_empty_folder(
    store: Path, home: Home, tmp_path: Path
) -> None:
    served = str(current_id(home))
    subprocess.run([sys.executable, "-c", PUBLISH, served, str(home.root)], cwd=CLONE, check=True)
    built = bento(home)
    tag = built["tag"]
    assert built == {"tag": tag, "generation": served, "found": True, "code": 0}
    assert any(f"`{tag}` carries generation {served}" in said for said in shown_bentos())
    assert tag.startswith(f"{NAME}:{served}-")
    assert bento(home, served) == built
    assert [one["tag"] for one in json.loads(bentoml("list", "--output", "json"))] == [tag]
    assert [one["tag"] for one in json.loads(bentoml("models", "list", "--output", "json"))] == [
        f"recsys_generation:{served}"
    ]
    image = store / "bentos" / NAME / tag.partition(":")[2] / "env"
    assert "ENV BENTOML_HOST=$BENTOML_HOST" in (image / "docker" / "Dockerfile").read_text()
    needed = (image / "python" / "requirements.txt").read_text().splitlines()
    assert {line.partition("==")[0] for line in needed} >= {"torch", "bentoml", "lancedb", "psycopg"}
    assert not any(line.startswith(("pytest", "ruff", "recsys")) or "+" in line for line in needed)
    assert LEFT_OUT.isdisjoint(line.partition("==")[0] for line in needed)

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


def test_bentoml_build_in_a_clone_makes_what_the_command_makes(store: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    listed = [
        "git",
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "recsys",
        "services",
        "pyproject.toml",
        "infra",
    ]
    done = subprocess.run(listed, cwd=CLONE, capture_output=True, text=True, check=True)
    for name in done.stdout.split():
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(CLONE / name, clone / name)
    subprocess.run([sys.executable, "-m", "bentoml", "build", "--version", "clone"], cwd=clone, check=True)
    made = store / "bentos" / NAME / "clone"
    needed = (made / "env" / "python" / "requirements.txt").read_text().splitlines()
    assert {line.partition(";")[0].strip() for line in needed} >= set(requirements())
    build = tomllib.loads((CLONE / "pyproject.toml").read_text())["tool"]["bentoml"]["build"]
    ours = built_by_us._settings(None)
    assert {name: build[name] for name in ("service", "name", "envs", "labels")} == {
        name: ours[name] for name in ("service", "name", "envs", "labels")
    }

    environment = tmp_path / "environment"
    environment.mkdir()
    link_packages([line.partition("==")[0] for line in requirements()], environment)
    said = run_python(environment, "-c", f"import sys; sys.path.insert(0, {str(made / 'src')!r})\n{IMPORT}")
    name, client = said.splitlines()[-1].split()
    assert name == "RecommenderService"
    assert client.startswith(str(made / "src"))
