"""Everything that a Prefect server must know of us, made by one command and as often as one likes: `recsys deploy`.

The deployments are those of ``prefect.yaml``. Workers take their code from the folder that was deployed, from a git
repository, or have it installed, as in an image.
"""

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.exceptions import ObjectNotFound
from prefect.workers.process import ProcessWorker

from flows.automations import HEARTBEAT_SECONDS, PREFIX, automations, put
from flows.forms import close_forms
from flows.slots import home_slot
from recsys.errors import SettingError
from recsys.home import Home
from recsys.tenants import list_tenants, tenant_home

FILE = "prefect.yaml"
POOL = "recsys"
# Queue → priority: who looks or switches is not kept waiting by who trains. A worker is told which queues it serves.
QUEUES = {"light": 1, "cpu": 2, "gpu": 3}
# Of every run that a worker starts. A request is repeated for four minutes: a server may be away for two.
ENVIRONMENT = {
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
    "PREFECT_CLIENT_MAX_RETRIES": "7",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "flows,recsys",
    "DO_NOT_TRACK": "1",
}


@dataclass(frozen=True)
class Deployed:
    """What there is on the server now, by name."""

    pool: str
    queues: list[str]
    deployments: list[str]
    limits: list[str]
    automations: list[str]


@dataclass(frozen=True)
class Code:
    """Where a worker finds the code.

    Attributes:
        repository: URL of a git repository; None: see ``installed``.
        branch: of it; None: its own default.
        installed: it is installed where the worker runs; else it is in the folder that is deployed.
    """

    repository: str | None = None
    branch: str | None = None
    installed: bool = False

    def steps(self, folder: Path) -> list[dict[str, Any]]:
        """Return Prefect's steps in front of a run."""
        if self.repository:
            clone = {"repository": self.repository} | ({"branch": self.branch} if self.branch else {})
            return [{"prefect.deployments.steps.git_clone": clone}]
        if self.installed:
            return []
        return [{"prefect.deployments.steps.set_working_directory": {"directory": str(folder)}}]

    def entrypoint(self, named: str) -> str:
        """Return where a flow is, given as file:function: of what is installed its module is known, and no file."""
        return named.replace(".py:", ".").replace("/", ".") if self.installed else named


def deploy(home: Home, folder: Path, code: Code, notify: str | None = None) -> Deployed:
    """Make pool, queues, deployments, limits and automations, or bring those that there are up to date.

    Args:
        home: whose limit is made, and that of each of its tenants, so that they can be seen before the first run.
        folder: a clone of the repository; ``prefect.yaml`` is read there.
        code: where workers find the code.
        notify: the block that tells people, as TYPE/NAME; None: it stays as it is.

    Raises:
        SettingError: there is no ``prefect.yaml``, Prefect could not deploy it, or there is no such block.
    """
    path = folder / FILE
    if not path.is_file():
        raise SettingError(f"There is no {FILE} in {folder}. Run this in a clone of the repository.")
    described = yaml.safe_load(path.read_text())
    with get_client(sync_client=True) as client:
        block = _block(client, notify) if notify else None
        _make_pool(client)
        _make_queues(client)
        make_deployments(described, folder, code)
        named = {one["name"]: one for one in described["deployments"]}
        ids = {name: client.read_deployment_by_name(f"{_flow(one)}/{name}").id for name, one in named.items()}
        close_forms(client, ids.values())
        limits = [home_slot(one) for one in (home, *(tenant_home(home, name) for name in list_tenants(home)))]
        for limit in limits:
            client.upsert_global_concurrency_limit_by_name(limit, limit=1)
        wanted = list(automations(ids["tidy"], ids["daily"], block))
        for automation in wanted:
            put(client, automation)
    names = [automation.name.removeprefix(PREFIX) for automation in wanted]
    return Deployed(POOL, list(QUEUES), list(named), limits, names)


def _make_pool(client: SyncPrefectClient) -> None:
    """Make the pool of processes. What somebody has changed in its template stays, but for the variables of ours."""
    try:
        template = client.read_work_pool(POOL).base_job_template
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        client.create_work_pool(WorkPoolCreate(name=POOL, type=ProcessWorker.type, base_job_template=template))
    variables = template["variables"]["properties"]["env"]
    variables["default"] = (variables.get("default") or {}) | ENVIRONMENT
    client.update_work_pool(POOL, WorkPoolUpdate(base_job_template=template))


def _make_queues(client: SyncPrefectClient) -> None:
    for name, priority in QUEUES.items():
        try:
            found = client.read_work_queue_by_name(name, POOL)
        except ObjectNotFound:
            found = client.create_work_queue(name, work_pool_name=POOL)
        client.update_work_queue(found.id, priority=priority)


def make_deployments(described: dict[str, Any], folder: Path, code: Code) -> None:
    """Let Prefect deploy what ``prefect.yaml`` describes, with the steps of the code that was chosen."""
    deployments = [one | {"entrypoint": code.entrypoint(one["entrypoint"])} for one in described["deployments"]]
    described = {"name": described["name"], "pull": code.steps(folder), "deployments": deployments}
    with tempfile.NamedTemporaryFile("w", prefix="recsys-", suffix=".yaml") as file:
        yaml.safe_dump(described, file)
        file.flush()
        command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", file.name]
        path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
        shell: dict[str, Any] = {"cwd": folder, "env": os.environ | {"PYTHONPATH": path}, "stdin": subprocess.DEVNULL}
        done = subprocess.run(command, capture_output=True, text=True, check=False, **shell)
    if done.returncode:
        raise SettingError(f"Prefect could not deploy {FILE}:\n{(done.stderr or done.stdout).strip()}")


def _block(client: SyncPrefectClient, name: str) -> Any:
    kind, _, document = name.partition("/")
    try:
        return client.read_block_document_by_name(document, kind).id
    except ObjectNotFound:
        raise SettingError(
            f"There is no block {name}. Make one that sends notifications in the UI, under Blocks, and give TYPE/NAME, "
            "such as slack-webhook/ops."
        ) from None


def _flow(deployment: dict[str, Any]) -> str:
    """Return the name of a deployment's flow, which is its own but for the daily run of everything."""
    name = deployment["name"]
    return "pipeline" if name == "daily" else str(name)
