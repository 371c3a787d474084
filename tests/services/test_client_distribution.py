"""The client is a distribution of its own: it works without what the service is made of, and its page's code runs.

The environment holds what its ``pyproject.toml`` names and what that requires; the service is the real one.
"""

import importlib
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from bare_environment import link_packages, required, run_python
from packaging.requirements import Requirement

import recsys
import recsys_client

CLONE = Path(__file__).parents[2]
CLIENT = CLONE / "services" / "python-client"
EXAMPLES = re.findall(r"^```python\n(.*?)^```", (CLIENT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
ABSENT = ("torch", "transformers", "numpy", "polars", "lancedb", "sqlalchemy", "fastapi", "starlette", "bentoml",
          "prefect", "recsys", "flows", "services")  # fmt: skip
PROGRAM = """
import asyncio, importlib.util, json, sys
from recsys_client import AsyncClient, Client, NotFound

url, user, item, other, *absent = sys.argv[1:]
assert not (found := [name for name in absent if importlib.util.find_spec(name)]), found


def ids(answer):
    return [item.item_id for item in answer.items]


def in_sync(writer):
    with Client(url, timeout=30) as client:
        try:
            client.similar("nothing")
        except NotFound as refused:
            error = refused
        stored = client.add_events([{"user_id": writer, "item_id": item}, {"user_id": writer, "item_id": other}])
        return {
            "recommend": ids(client.recommend(user_id=user, k=5)),
            "similar": ids(client.similar(item, k=5)),
            "search": ids(client.search("a film", k=5)),
            "accepted": stored.accepted,
            "history": [event.item_id for event in client.user(writer).history],
            "error": [error.status, error.detail],
        }


async def in_async(writer):
    async with AsyncClient(url, timeout=30) as client:
        try:
            await client.similar("nothing")
        except NotFound as refused:
            error = refused
        stored = await client.add_events([{"user_id": writer, "item_id": item}, {"user_id": writer, "item_id": other}])
        return {
            "recommend": ids(await client.recommend(user_id=user, k=5)),
            "similar": ids(await client.similar(item, k=5)),
            "search": ids(await client.search("a film", k=5)),
            "accepted": stored.accepted,
            "history": [event.item_id for event in (await client.user(writer)).history],
            "error": [error.status, error.detail],
        }


print(json.dumps([in_sync("bare-sync"), asyncio.run(in_async("bare-async"))]))
"""


def project(folder: Path) -> dict[str, Any]:
    """Return what a distribution says of itself."""
    found: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    return found


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Runs Python where the client and what it names are installed, warnings being errors; returns what it prints."""
    place = tmp_path_factory.mktemp("bare")
    link_packages(required(Requirement(line).name for line in project(CLIENT)["dependencies"]), place)
    (place / "recsys_client").symlink_to(CLIENT / "recsys_client")

    def run(*arguments: str) -> str:
        return run_python(place, "-W", "error", *arguments)

    return run


def test_the_client_works_without_the_rest_of_the_house(
    bare: Callable[..., str], service: httpx.Client, known_user: str, catalogue: list[str]
) -> None:
    item, other = catalogue[:2]
    outcomes = json.loads(bare("-c", PROGRAM, str(service.base_url), known_user, item, other, *ABSENT))

    def ids(route: str, **body: Any) -> list[str]:
        answer = service.post(f"/v1/{route}", json={**body, "k": 5}).raise_for_status().json()
        return [item["item_id"] for item in answer["items"]]

    problem = service.post("/v1/similar", json={"item_id": "nothing"}).json()
    expected = {
        "recommend": ids("recommend", user_id=known_user),
        "similar": ids("similar", item_id=item),
        "search": ids("search", query="a film"),
        "accepted": 2,
        "history": [item, other],
        "error": [404, problem["detail"]],
    }
    assert outcomes == [expected, expected]
    assert all(expected.values())


@pytest.mark.parametrize("example", EXAMPLES, ids=["sync", "async"])
def test_what_its_page_shows_runs(bare: Callable[..., str], service: httpx.Client, example: str) -> None:
    assert "http://localhost:3000" in example
    printed = bare("-c", example.replace("http://localhost:3000", str(service.base_url))).splitlines()
    assert len(printed) == 5
    assert all(re.match(r"-?\d+\.\d\d \S", line) for line in printed)


def test_the_import_loads_nothing_of_the_service_where_that_is_installed() -> None:
    listing = "import sys, recsys_client; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True).stdout.split()
    assert "httpx" in loaded
    assert not set(ABSENT) & set(loaded)


def test_the_service_needs_the_client_of_its_own_version() -> None:
    client, house = project(CLIENT), project(CLONE)
    assert client["version"] == recsys.__version__
    assert house["dynamic"] == ["version"]  # of recsys, which says it once
    assert f"{client['name']}=={client['version']}" in house["dependencies"]
    assert (client["requires-python"], client["license"]) == (house["requires-python"], house["license"])


def test_the_old_name_works_and_says_the_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "services.client", raising=False)
    with pytest.warns(DeprecationWarning, match="recsys_client"):
        old = importlib.import_module("services.client")
    assert all(getattr(old, name) is getattr(recsys_client, name) for name in recsys_client.__all__)
    assert old.Person is recsys_client.UserOrHistory
