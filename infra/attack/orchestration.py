"""Prefect's server, started as the operators' page says: what a page of another origin can make it do."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from infra.attack.attacks import Outcome, attack, judged, not_tried
from infra.attack.target import Target
from services.serve import free_port

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "flows" / "README.md"
EVIL = "http://evil.example"
STARTS_SECONDS = 100


def _command(text: str) -> list[str] | None:
    """Return the command that a page starts the server with."""
    found = re.search(r"^(recsys ui|prefect server start)\b", text, re.MULTILINE)
    if found is None:
        return None
    program = {"recsys": ["-c", "from flows.cli import app; app()"], "prefect": ["-m", "prefect"]}
    name, *arguments = found[1].split()
    return [sys.executable, *program[name], *arguments]


@contextmanager
def _server() -> Iterator[str | None]:
    command, port = _command(PAGE.read_text()), free_port()
    if command is None:
        yield None
        return
    with TemporaryDirectory() as place:
        state = {"PREFECT_HOME": f"{place}/prefect", "RECSYS_HOME": f"{place}/home", "DO_NOT_TRACK": "1"}
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")} | state
        with (Path(place) / "log").open("wb") as log:
            server = subprocess.Popen(
                [*command, "--port", str(port)],
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield f"http://127.0.0.1:{port}" if _listens(port) else None
        finally:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _listens(port: int) -> bool:
    deadline = time.monotonic() + STARTS_SECONDS
    while time.monotonic() < deadline:
        try:
            httpx.get(f"http://127.0.0.1:{port}/api/health", timeout=5, trust_env=False)
        except httpx.HTTPError:
            time.sleep(0.3)
        else:
            return True
    return False


@attack("server", seconds=150)
def a_page_that_plants(target: Target) -> Outcome:
    """No page of another origin changes anything in Prefect, or reads what is there."""
    with _server() as url:
        if url is None:
            return not_tried("Prefect's server did not come up as the page says")
        done = []
        with httpx.Client(base_url=url, timeout=20, trust_env=False) as client:
            for number, kind in enumerate(("application/json", "text/plain")):
                planted = f'{{"name": "attack_{number}", "value": "planted"}}'
                headers = {"Origin": EVIL, "Content-Type": kind, "Sec-Fetch-Site": "cross-site"}
                if client.post("/api/variables/", content=planted, headers=headers).is_success:
                    done.append(f"a variable planted as {kind}")
            asked = {"Origin": EVIL, "Access-Control-Request-Method": "POST"}
            asked["Access-Control-Request-Headers"] = "content-type"
            if client.options("/api/variables/", headers=asked).headers.get("access-control-allow-origin") in (
                "*",
                EVIL,
            ):
                done.append("every origin is let in")
            if client.post("/api/flow_runs/filter", json={}, headers={"Origin": EVIL}).is_success:
                done.append("runs and their parameters are read")
    return judged(not done, f"done: {', '.join(done) or 'nothing'}")
