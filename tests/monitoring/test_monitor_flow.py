"""`recsys monitor` and its flow: exit codes, what a run leaves, whom it tells, and what it starts."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deliveries import Files
from prefect import flow
from prefect.client.base import PrefectHttpxSyncClient
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from processes import PATIENCE_SECONDS
from typer.testing import CliRunner

from flows.cli import app
from flows.monitor import monitor_served
from flows.server import CLIENT_SECRET
from recsys.data import columns
from recsys.errors import SettingError

CLONE = Path(__file__).parents[2]
LIGHT = """
import sys
from flows.cli import app
try:
    app(sys.argv[1:])
finally:
    print(*sorted({"prefect", "torch", "transformers", "lancedb"} & set(sys.modules)), file=sys.stderr)
"""


@flow(name="a training in the place of a long one")
def quick_training(home: str | None = None) -> None:
    """Is never run: a run that waits is all that is looked for."""


@pytest.fixture
def turned(files: Files) -> str:
    """A file of events in which what was chosen least is chosen most in the last week."""
    ids = files.events[columns.ITEM_ID].value_counts().sort("count", columns.ITEM_ID)[columns.ITEM_ID].to_list()
    swapped = pl.col(columns.ITEM_ID).replace(dict(zip(ids, reversed(ids), strict=True)))
    last = pl.col(columns.TIMESTAMP) >= pl.lit(files.until).str.to_datetime("%Y-%m-%dT%H:%M:%S%z").dt.offset_by("-7d")
    return files.write(files.events.with_columns(pl.when(last).then(swapped).otherwise(columns.ITEM_ID)))


@pytest.fixture
def api(prefect_server: str) -> Iterator[Any]:
    login = tuple(os.environ[CLIENT_SECRET].split(":"))
    with PrefectHttpxSyncClient(base_url=prefect_server, auth=login, timeout=120, enable_csrf_support=True) as client:
        yield client


def test_the_command_loads_neither_prefect_nor_torch_and_says_the_same_twice(
    files: Files, turned: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PREFECT_API_URL", "PREFECT_HOME"):
        monkeypatch.delenv(name, raising=False)
    options = ["--events", turned, "--until", files.until, "--home", str(files.home.root), "--json"]
    found = []
    for more, code in (((), 0), (("--strict",), 3)):
        command = [sys.executable, "-c", LIGHT, "monitor", *options, *more]
        done = subprocess.run(command, cwd=files.home.root, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        assert done.stderr.splitlines()[-1] == ""
        found.append(json.loads(done.stdout))
    assert found[0] == found[1]
    assert found[0]["level"] == "alarm"
    assert found[0]["training_helps"]
    assert Path(found[0]["board"]).read_bytes().startswith(b"\x89PNG")
    assert json.loads(Path(found[0]["report"]).read_text())["checks"] == found[0]["checks"]


def test_a_run_leaves_a_board_and_tells_of_an_alarm(files: Files, turned: str, api: Any) -> None:
    found = monitor_served(turned, None, str(files.home.root), until=files.until)
    asked = ArtifactFilter(key=ArtifactFilterKey(any_=["drift-board", "drift"]))
    with get_client(sync_client=True) as client:
        own = [one for one in client.read_artifacts(artifact_filter=asked) if found["snapshot"] in str(one.description)]
    assert {one.key for one in own} == {"drift-board", "drift"}
    resource = f"recsys.home.{files.home.root}"
    body = {"filter": {"event": {"name": ["recsys.drifted"]}, "resource": {"id": [resource]}}}
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (told := api.post("/events/filter", json=body).raise_for_status().json()["events"]):
        assert time.monotonic() < deadline, "no such event"
    assert told[0]["resource"]["recsys.training"] == "helps"
    payload = told[0]["payload"]
    assert payload["snapshot"] == found["snapshot"]
    assert payload["home"] == str(files.home.root)
    assert len(payload["findings"]) == len(payload["severities"]) > 0
    assert "alarm" in payload["severities"]
    assert any(finding.startswith("popularity: ") for finding in payload["findings"])


def test_a_training_is_started_once_where_one_helps(files: Files, turned: str, api: Any) -> None:
    with get_client(sync_client=True) as client:
        client.create_deployment(client.create_flow(quick_training), "drifted")
    name = f"{quick_training.name}/drifted"
    home = str(files.home.root)
    first = monitor_served(turned, None, home, until=files.until, retrain=name)
    again = monitor_served(turned, None, home, until=files.until, retrain=name)
    assert first["training"] == again["training"]
    run = api.get(f"/flow_runs/{first['training']}").raise_for_status().json()
    assert run["parameters"] == {"home": home}
    half = files.write(pl.read_parquet(turned).filter(pl.int_range(pl.len()) % 2 == 0))
    assert "training" not in monitor_served(half, None, home, until=files.until, retrain=name)
    with pytest.raises(SettingError, match="no-such/deployment cannot be run"):
        monitor_served(turned, None, home, until=files.until, retrain="no-such/deployment")


def test_a_time_that_is_none_is_refused(files: Files, prefect_server: str) -> None:
    result = CliRunner().invoke(app, ["monitor", "--until", "yesterday", "--home", str(files.home.root)])
    assert result.exit_code == 1
    assert "until is 'yesterday'; it takes a time such as" in result.output
    for until, said in (
        ("0001-01-01", "from 1970 on"),
        ("9999-12-31T23:59-12:00", "it takes a time such as"),
        ("1990-01-01", "has learnt from events up to"),
    ):
        result = CliRunner().invoke(app, ["monitor", "--until", until, "--home", str(files.home.root)])
        assert (result.exit_code, said in result.output) == (1, True), result.output
