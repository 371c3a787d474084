"""The deployment of ``prefect.yaml`` on a real server with a real worker, run through the API and by a schedule."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect.client.base import PrefectHttpxSyncClient
from prefect.exceptions import ParameterTypeError
from processes import PATIENCE_SECONDS, end
from synthetic import SMALL, Dataset

from flows.pipeline import pipeline
from flows.server import CLIENT_SECRET
from recsys.config import to_dict
from recsys.home import Home
from recsys.store.generations import current_id, read_generation

CLONE = Path(__file__).parents[2]
LEAD_SECONDS = 20  # in which the scheduler, which looks every second, sees a schedule before its first date
FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
Run = dict[str, Any]


@pytest.fixture(scope="module")
def api(prefect_server: str) -> Iterator[httpx.Client]:
    # A server whose database is busy answers 503, and Prefect's own client asks again.
    login = tuple(os.environ[CLIENT_SECRET].split(":"))
    with PrefectHttpxSyncClient(base_url=prefect_server, auth=login, timeout=120, enable_csrf_support=True) as client:
        yield client


@pytest.fixture(scope="module")
def deployment(api: httpx.Client) -> dict[str, Any]:
    """The pipeline, deployed from the clone by the commands of flows/README.md."""
    prefect(["work-pool", "create", "recsys", "--type", "process"])
    prefect(["deploy", "--all"])
    found: dict[str, Any] = api.get("/deployments/name/pipeline/daily").raise_for_status().json()
    return found


@pytest.fixture(scope="module")
def worker(api: httpx.Client, deployment: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A worker of the pool, and the home it works on; the daily schedule is paused, whatever hour it is."""
    for schedule in deployment["schedules"]:
        paused = api.patch(f"/deployments/{deployment['id']}/schedules/{schedule['id']}", json={"active": False})
        paused.raise_for_status()
    folder = tmp_path_factory.mktemp("worker")
    home = Home(folder / "home")
    with pytest.MonkeyPatch.context() as patch, (folder / "worker.log").open("wb") as log:
        patch.setenv("RECSYS_HOME", str(home.root))
        patch.setenv("PREFECT_WORKER_QUERY_SECONDS", "1")
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "recsys"]
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield home
    finally:
        end(process)


@pytest.fixture(scope="module")
def changed(dataset: Dataset) -> dict[str, Any]:
    """Parameters other than the deployment's own."""
    return {"events": dataset.events, "items": dataset.items, "model": to_dict(SMALL) | {"seed": 1}}


def prefect(arguments: list[str]) -> None:
    """Run a command of Prefect in the clone, as somebody would."""
    command = [sys.executable, "-m", "prefect", *arguments]
    done = subprocess.run(command, cwd=CLONE, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def wait_for_run(api: httpx.Client, deployment: dict[str, Any], wanted: Callable[[Run], bool]) -> Run:
    """Wait until the deployment has a run as wanted, and return it."""
    body = {"deployments": {"id": {"any_": [deployment["id"]]}}}
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        runs: list[Run] = api.post("/flow_runs/filter", json=body).raise_for_status().json()
        for run in runs:
            if wanted(run):
                return run
        time.sleep(0.5)
    raise AssertionError(f"No such run after {PATIENCE_SECONDS} s; there are {[run['state'] for run in runs]}")


def test_the_parameters_are_a_form(deployment: dict[str, Any]) -> None:
    schema = deployment["parameter_openapi_schema"]
    assert {"events", "items", "users", "home", "ingest", "model", "publish", "force", "reason"} == set(
        schema["properties"]
    )
    roles = schema["definitions"]["SignalConfig"]["properties"]["role"]
    assert roles["enum"] == ["target", "positive", "negative", "seen", "ignored"]
    assert "learning_rate" in schema["definitions"]["AdapterConfig"]["properties"]
    assert "rank" in schema["definitions"]["LoraConfig"]["properties"]
    assert schema["definitions"]["EvaluationConfig"]["properties"]["protocols"]["items"]["enum"] == [
        "leave-one-out",
        "temporal",
        "cold-items",
    ]


def test_a_run_with_a_setting_that_does_not_exist_is_refused(api: httpx.Client, deployment: dict[str, Any]) -> None:
    body = {"parameters": {"model": {"adapter": {"rank": 4}}}}  # where it stood once: ignored, it would mislead
    with pytest.raises(httpx.HTTPStatusError, match="'rank' was unexpected"):
        api.post(f"/deployments/{deployment['id']}/create_flow_run", json=body).raise_for_status()
    with pytest.raises(ParameterTypeError, match=r"model\.adapter\.rank"):
        pipeline.validate_parameters(body["parameters"])


@pytest.mark.parametrize("location", ["https://host/e.csv?sig=x", "https://u:p@host/e.csv", "s3://u:p@bucket/e.csv"])
def test_a_form_with_a_credential_is_refused_before_it_is_kept(
    api: httpx.Client, deployment: dict[str, Any], location: str
) -> None:
    body = {"parameters": {"events": location, "items": "items.csv"}}
    with pytest.raises(httpx.HTTPStatusError, match="409"):
        api.post(f"/deployments/{deployment['id']}/create_flow_run", json=body).raise_for_status()
    runs = api.post("/flow_runs/filter", json={}).raise_for_status().json()
    assert location not in [run["parameters"].get("events") for run in runs]
    described = json.dumps(deployment["parameter_openapi_schema"]["properties"]["events"])
    assert "secret:NAME" in described


def test_the_daily_schedule_creates_runs(api: httpx.Client, deployment: dict[str, Any]) -> None:
    run = wait_for_run(api, deployment, lambda run: run["auto_scheduled"])
    assert run["state_type"] == "SCHEDULED"
    assert run["expected_start_time"][11:16] == "03:00"
    assert run["parameters"]["publish"] is True


def test_a_run_with_changed_parameters_serves_another_generation(
    api: httpx.Client, deployment: dict[str, Any], worker: Home, changed: dict[str, Any]
) -> None:
    created = api.post(f"/deployments/{deployment['id']}/create_flow_run", json={"parameters": changed})
    run_id = created.raise_for_status().json()["id"]
    run = wait_for_run(api, deployment, lambda run: run["id"] == run_id and run["state_type"] in FINAL)
    assert run["state_type"] == "COMPLETED", run["state"]["message"]
    _, manifest = read_generation(worker, str(current_id(worker)), verify=True)
    assert manifest.config.seed == 1


def test_a_schedule_starts_a_run(
    api: httpx.Client, deployment: dict[str, Any], worker: Home, changed: dict[str, Any]
) -> None:
    first = datetime.now(UTC) + timedelta(seconds=LEAD_SECONDS)
    schedule = {"interval": timedelta(hours=1).total_seconds(), "anchor_date": first.isoformat()}
    body = [{"active": True, "schedule": schedule, "parameters": changed}]
    api.post(f"/deployments/{deployment['id']}/schedules", json=body).raise_for_status()
    run = wait_for_run(api, deployment, lambda run: run["auto_scheduled"] and run["state_type"] in FINAL)
    assert run["state_type"] == "COMPLETED", run["state"]["message"]
    assert run["parameters"]["events"] == changed["events"]
    assert current_id(worker) is not None
