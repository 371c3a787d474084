"""The deployment of ``prefect.yaml`` on a real server with a real worker, run through the API and by a schedule."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.base import PrefectHttpxSyncClient
from prefect.client.orchestration import get_client
from prefect.exceptions import ParameterTypeError
from prefect.flows import load_flow_from_entrypoint
from processes import PATIENCE_SECONDS, end
from synthetic import SMALL, Dataset

from flows.automations import PREFIX
from flows.deployment import QUEUES, Code, deploy, make_deployments
from flows.pipeline import pipeline
from flows.server import CLIENT_SECRET
from flows.slots import home_slot
from recsys.config import to_dict
from recsys.errors import SettingError
from recsys.home import Home
from recsys.store.generations import current_id, read_generation
from recsys.tenants import create_tenant

CLONE = Path(__file__).parents[2]
LEAD_SECONDS = 20  # in which the scheduler, which looks every second, sees a schedule before its first date
FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
Run = dict[str, Any]


@dataclass(frozen=True)
class Working:
    """A worker's process, and the home it works on."""

    home: Home
    process: subprocess.Popen[bytes]

    def run_process(self) -> int:
        """Return the id of the process of the run that it has started."""
        listed = subprocess.run(
            ["ps", "-A", "-ww", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True
        )
        rows = [line.split(maxsplit=2) for line in listed.stdout.splitlines()]
        found = [int(pid) for pid, parent, args in rows if parent == str(self.process.pid) and "prefect.engine" in args]
        assert len(found) == 1
        return found[0]


@pytest.fixture(scope="module")
def api(prefect_server: str) -> Iterator[httpx.Client]:
    # A server whose database is busy answers 503, and Prefect's own client asks again.
    login = tuple(os.environ[CLIENT_SECRET].split(":"))
    with PrefectHttpxSyncClient(base_url=prefect_server, auth=login, timeout=120, enable_csrf_support=True) as client:
        yield client


@pytest.fixture(scope="module")
def deployed(api: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `recsys deploy` made from the clone, as flows/README.md has it."""
    command = [sys.executable, "-c", "from flows.cli import app; app()", "deploy", "--json"]
    given: dict[str, Any] = {"cwd": CLONE, "stdin": subprocess.DEVNULL, "capture_output": True, "text": True}
    home = str(tmp_path_factory.mktemp("deployed"))
    done = subprocess.run([*command, "--home", home], **given, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def deployment(api: httpx.Client, deployed: dict[str, Any]) -> dict[str, Any]:
    """The pipeline's."""
    found: dict[str, Any] = api.get("/deployments/name/pipeline/daily").raise_for_status().json()
    return found


@pytest.fixture(scope="module")
def worker(
    api: httpx.Client, deployment: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Working]:
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
        yield Working(home, process)
    finally:
        end(process)


@pytest.fixture(scope="module")
def changed(dataset: Dataset) -> dict[str, Any]:
    """Parameters other than the deployment's own."""
    return {"events": dataset.events, "items": dataset.items, "model": to_dict(SMALL) | {"seed": 1}}


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


def test_each_deployment_goes_where_its_flow_has_what_it_needs(api: httpx.Client, deployed: dict[str, Any]) -> None:
    assert {*deployed["deployments"]} >= {
        *("daily", "ingest", "train", "evaluate", "publish", "rollback", "pretrain", "tune", "classify", "teach"),
        *("monitor", "batch", "prune", "tidy", "ingest-dataset"),
    }
    described = yaml.safe_load((CLONE / "prefect.yaml").read_text())["deployments"]
    for one in described:
        flow = load_flow_from_entrypoint(str(CLONE / one["entrypoint"]))
        found = api.get(f"/deployments/name/{flow.name}/{one['name']}").raise_for_status().json()
        assert (found["work_pool_name"], found["work_queue_name"]) == ("recsys", flow.work.queue)
        assert found["tags"] == ["recsys", flow.work.queue]
        assert found["parameter_openapi_schema"]["additionalProperties"] is False
    pool = api.get("/work_pools/recsys").raise_for_status().json()
    variables = pool["base_job_template"]["variables"]["properties"]["env"]["default"]
    assert variables["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"
    queues = api.post("/work_pools/recsys/queues/filter", json={}).raise_for_status().json()
    assert {one["name"]: one["priority"] for one in queues if one["name"] != "default"} == QUEUES


def test_deploying_again_keeps_what_somebody_has_changed(
    deployed: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("flows.deployment.make_deployments", lambda *_: None)  # Prefect's own
    with get_client(sync_client=True) as client:
        before = {one.name: one for one in client.read_automations() if one.name.startswith(PREFIX)}
        assert {name.removeprefix(PREFIX) for name in before} == {*deployed["automations"]}
        told = before[f"{PREFIX}tell of what has failed"]
        assert [action.type for action in told.actions] == ["do-nothing"]
        assert "recsys deploy --notify" in told.description
        assert all(one.description for one in before.values())
        block = CustomWebhookNotificationBlock(name="hook", url="http://127.0.0.1:9/hook")
        block.save("ops", overwrite=True)
        tenant = create_tenant(Home(tmp_path), "acme")
        for notify in ("custom-webhook/ops", None):
            limits = deploy(Home(tmp_path).make(), CLONE, Code(), notify).limits
            assert limits == [home_slot(Home(tmp_path)), home_slot(tenant)]  # a tenant waits for no other
            assert [client.read_global_concurrency_limit_by_name(name).limit for name in limits] == [1, 1]
            after = {one.name: one for one in client.read_automations() if one.name.startswith(PREFIX)}
            assert {name: one.id for name, one in after.items()} == {name: one.id for name, one in before.items()}
            assert [action.type for action in after[told.name].actions] == ["send-notification"]
    with pytest.raises(SettingError, match="There is no block custom-webhook/none"):
        deploy(Home(tmp_path), CLONE, Code(), "custom-webhook/none")
    with pytest.raises(SettingError, match=r"There is no prefect\.yaml"):
        deploy(Home(tmp_path), tmp_path, Code())


def test_the_parameters_are_a_form(deployment: dict[str, Any]) -> None:
    schema = deployment["parameter_openapi_schema"]
    assert {*schema["properties"]} == {
        *("events", "items", "users", "home", "ingest", "live", "model", "publish", "gate", "force", "reason"),
        *("ray", "bento"),
    }
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
    api: httpx.Client, deployment: dict[str, Any], worker: Working, changed: dict[str, Any]
) -> None:
    created = api.post(f"/deployments/{deployment['id']}/create_flow_run", json={"parameters": changed})
    run_id = created.raise_for_status().json()["id"]
    run = wait_for_run(api, deployment, lambda run: run["id"] == run_id and run["state_type"] in FINAL)
    assert run["state_type"] == "COMPLETED", run["state"]["message"]
    _, manifest = read_generation(worker.home, str(current_id(worker.home)), verify=True)
    assert manifest.config.seed == 1


def test_a_killed_run_is_closed_with_its_subflows(
    api: httpx.Client, deployment: dict[str, Any], worker: Working, changed: dict[str, Any]
) -> None:
    """The next test's run works on the same home: nobody holds it then."""
    parameters = changed | {"model": changed["model"] | {"seed": 2}}
    created = api.post(f"/deployments/{deployment['id']}/create_flow_run", json={"parameters": parameters})
    run_id = created.raise_for_status().json()["id"]

    def training(run: Run) -> bool:
        return run["id"] == run_id and any(
            state == "RUNNING" for name, state in subflows(api, run_id) if "train" in name
        )

    wait_for_run(api, deployment, training)
    os.kill(worker.run_process(), signal.SIGKILL)

    def closed(run: Run) -> bool:
        return run["id"] == run_id and {run["state_type"], subflows(api, run_id)[-1][1]} == {"CRASHED"}

    run = wait_for_run(api, deployment, closed)
    assert {state for _, state in subflows(api, run["id"])} <= {"COMPLETED", "CRASHED"}  # what had ended stays so


def subflows(api: httpx.Client, run_id: str) -> list[tuple[str, str]]:
    """Return name and state of each subflow, in the order in which they began."""
    body = {"flow_runs": {"parent_flow_run_id": {"any_": [run_id]}}, "sort": "START_TIME_ASC"}
    found = api.post("/flow_runs/filter", json=body).raise_for_status().json()
    return [(one["name"], one["state_type"]) for one in found]


def test_a_schedule_starts_a_run(
    api: httpx.Client, deployment: dict[str, Any], worker: Working, changed: dict[str, Any]
) -> None:
    first = datetime.now(UTC) + timedelta(seconds=LEAD_SECONDS)
    schedule = {"interval": timedelta(hours=1).total_seconds(), "anchor_date": first.isoformat()}
    body = [{"active": True, "schedule": schedule, "parameters": changed}]
    api.post(f"/deployments/{deployment['id']}/schedules", json=body).raise_for_status()
    run = wait_for_run(api, deployment, lambda run: run["auto_scheduled"] and run["state_type"] in FINAL)
    assert run["state_type"] == "COMPLETED", run["state"]["message"]
    assert run["parameters"]["events"] == changed["events"]
    assert current_id(worker.home) is not None


def test_a_worker_takes_its_code_from_a_git_repository(api: httpx.Client, worker: Working, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    for part in ("flows", "recsys", "services"):
        shutil.copytree(CLONE / part, repository / part, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
    module = repository / "flows" / "tidy.py"
    marked = 'def tidied(home: Home) -> Tidied:\n    (home.root / "code").write_text(__file__)\n'
    module.write_text(module.read_text().replace("def tidied(home: Home) -> Tidied:\n", marked))
    identity = ["-c", "user.name=t", "-c", "user.email=t@localhost"]
    for arguments in (
        ["init", "--quiet", "--initial-branch=main"],
        ["add", "."],
        [*identity, "commit", "--quiet", "-m", "c"],
    ):
        subprocess.run(["git", *arguments], cwd=repository, check=True)
    described = yaml.safe_load((CLONE / "prefect.yaml").read_text())
    tidy = next(one for one in described["deployments"] if one["name"] == "tidy")
    described["deployments"] = [tidy | {"name": "from-git", "schedules": []}]
    make_deployments(described, CLONE, Code(repository=str(repository), branch="main"))
    deployment = api.get("/deployments/name/tidy/from-git").raise_for_status().json()
    created = api.post(f"/deployments/{deployment['id']}/create_flow_run", json={}).raise_for_status().json()
    run = wait_for_run(api, deployment, lambda run: run["id"] == created["id"] and run["state_type"] in FINAL)
    assert run["state_type"] == "COMPLETED", run["state"]["message"]
    code = Path((worker.home.root / "code").read_text())
    assert code.parts[-3:] == ("repository-main", "flows", "tidy.py")


def test_code_that_is_installed_is_fetched_from_nowhere() -> None:
    assert Code(installed=True).steps(CLONE) == []
    assert Code().steps(CLONE) == [{"prefect.deployments.steps.set_working_directory": {"directory": str(CLONE)}}]
