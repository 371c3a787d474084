"""A Prefect server that is away for a while: a run goes on, and what it has bound is there."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from processes import PATIENCE_SECONDS, end, wait_until_healthy
from synthetic import Dataset

from flows.deployment import ENVIRONMENT
from flows.server import CLIENT_SECRET, LEASES, closed, new_secret
from flows.slots import home_slot
from recsys.data.snapshot import list_snapshots
from recsys.home import Home
from services.serve import free_port

# Ingests, says so, and is told when to go on. What it then needs of the server is a look at itself, by a client that
# has met nobody yet, a subflow and its own end.
RUN = """
import asyncio
import sys
from uuid import UUID
from prefect.client.orchestration import get_client
from flows.ingest import ingest_tables
from flows.runs import flow, run_id
from flows.tidy import tidy
from flows.work import READING

async def look(own):
    async with get_client() as client:
        await client.read_flow_run(own)

@flow("interrupted", READING)
def interrupted(events, items, home):
    ingest_tables(events, items, home)
    print(run_id(), flush=True)
    sys.stdin.readline()
    asyncio.run(look(UUID(run_id())))
    tidy(home)

interrupted(*sys.argv[1:])
"""


class Server:
    """A server with a state that outlives it."""

    def __init__(self, folder: Path) -> None:
        self.port, self.secret, self.folder = free_port(), new_secret(), folder
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.environment = {**os.environ, **LEASES, **closed(self.secret, self.port), CLIENT_SECRET: self.secret}
        self.environment |= {"PREFECT_HOME": str(folder)}
        self.environment.pop("PREFECT_API_URL", None)

    def start(self) -> None:
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self.port)]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        wait_until_healthy(self.process, self.url, self.folder / "server.log")

    def ask(self, method: str, path: str, **given: Any) -> Any:
        user, _, password = self.secret.partition(":")
        answer = httpx.request(method, f"{self.url}{path}", auth=(user, password), timeout=PATIENCE_SECONDS, **given)
        return answer.raise_for_status().json()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "prefect").mkdir()
    server = Server(tmp_path / "prefect")
    server.start()
    try:
        yield server
    finally:
        end(server.process)


@pytest.fixture
def begin(server: Server, dataset: Dataset, tmp_path: Path) -> Callable[[], "subprocess.Popen[str]"]:
    """Starts the run with what a worker gives it."""

    def started() -> "subprocess.Popen[str]":
        shell = server.environment | ENVIRONMENT | {"PREFECT_API_URL": server.url}
        command = [sys.executable, "-c", RUN, dataset.events, dataset.items, str(tmp_path / "home")]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(command, env=shell, text=True, **pipes)

    return started


def test_a_run_outlives_a_server_that_is_away(
    server: Server, begin: Callable[[], "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    with begin() as run:
        assert run.stdin
        assert run.stdout
        run_id = run.stdout.readline().strip()
        end(server.process)
        with pytest.raises(httpx.ConnectError):
            server.ask("GET", f"/flow_runs/{run_id}")
        run.stdin.write("go on\n")
        run.stdin.flush()
        server.start()
        assert run.wait(PATIENCE_SECONDS) == 0
    assert server.ask("GET", f"/flow_runs/{run_id}")["state_type"] == "COMPLETED"
    home = Home(tmp_path / "home")
    assert len(list_snapshots(home)) == 1
    assert server.ask("GET", f"/v2/concurrency_limits/{home_slot(home)}")["active_slots"] == 0
