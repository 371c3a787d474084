"""Commands, flows and the service open no connection beyond this machine: nothing reports on its use."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from processes import PATIENCE_SECONDS
from synthetic import Dataset

from recsys import telemetry
from recsys.home import Home
from services.serve import running

# Hears what Python's own sockets do in a process and in all its children, and refuses what leaves the machine.
GUARD = """
import os, sys

def guard(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
    elif event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if host in (None, "", "localhost", "::1", "0.0.0.0", "::") or host.startswith("127."):
        return
    with open(os.environ["HEARD"], "a") as heard:
        heard.write(f"{host} {event} {sys.argv}\\n")
    raise OSError(f"{event} of {host} is refused here")

sys.addaudithook(guard)
"""
RECSYS = "from flows.cli import app; app()"
# Some reporters are silent where these tell of a test machine; people's have none of them.
TEST_MACHINES = ("CI", "GITHUB_ACTIONS", "GITLAB_CI", "BUILDKITE", "TF_BUILD", "JENKINS_URL")


@pytest.fixture
def heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """What processes started from here on asked of other machines; as in a person's shell, no switch is set."""
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard" / "sitecustomize.py").write_text(GUARD)
    record = tmp_path / "heard.txt"
    monkeypatch.setenv("HEARD", str(record))
    monkeypatch.setenv("HOME", str(tmp_path))  # no consent and no earlier use is stored there
    clone = str(Path(telemetry.__file__).parents[1])
    path = [str(tmp_path / "guard"), clone, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, path)))
    for name in (*telemetry.SWITCHES, *TEST_MACHINES, "PREFECT_API_URL", "PREFECT_HOME", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    return lambda: record.read_text() if record.exists() else ""


def test_the_guard_hears_children(heard: Callable[[], str]) -> None:
    ask = "import socket, subprocess, sys; socket.getaddrinfo('reports.example', 443)"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {ask!r}])"
    subprocess.run([sys.executable, "-c", child], capture_output=True, check=True, timeout=PATIENCE_SECONDS)
    assert heard().startswith("reports.example ")


def test_what_a_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in telemetry.SWITCHES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "true")
    monkeypatch.setenv("BENTOML_DO_NOT_TRACK", "1")
    telemetry.switch_off()
    set_here = {name: os.environ[name] for name in telemetry.SWITCHES}
    assert set_here == telemetry.SWITCHES | {"PREFECT_SERVER_ANALYTICS_ENABLED": "true"}


@pytest.mark.parametrize("package", ["recsys", "flows", "services", "flows.ingest", "services.serve", "services.api"])
def test_every_way_in_turns_the_switches_first(package: str) -> None:
    tell = (
        "import importlib.abc, os, sys\n"
        "class Tell(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name in ('prefect', 'bentoml', 'huggingface_hub', 'transformers', 'torch'):\n"
        "            assert os.environ['BENTOML_DO_NOT_TRACK'], name\n"
        "            assert os.environ['OMP_WAIT_POLICY'] == 'passive', name\n"
        "sys.meta_path.insert(0, Tell())\n"
        f"import {package}, json\n"
        "print(json.dumps(dict(os.environ)))\n"
    )
    bare = {name: value for name, value in os.environ.items() if name not in (*telemetry.SWITCHES, "OMP_WAIT_POLICY")}
    done = subprocess.run([sys.executable, "-c", tell], env=bare, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert telemetry.SWITCHES.items() <= json.loads(done.stdout).items()


def test_a_first_use_of_the_flows_in_a_terminal_is_reported_to_nobody(
    heard: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    ours, theirs = pty.openpty()
    try:
        # what is queued is sent as the process ends
        using = "import flows.ingest; from prefect._internal.analytics.service import AnalyticsService as S; "
        using += "S.instance().wait_for_analytics_check(5) if S.instance()._started else None"
        subprocess.run(
            [sys.executable, "-c", using], stdin=theirs, stdout=theirs, stderr=theirs, timeout=PATIENCE_SECONDS
        )
    finally:
        os.close(theirs)
        os.close(ours)
    assert heard() == ""


def test_a_flow_run_by_a_command_asks_nobody(heard: Callable[[], str], dataset: Dataset, tmp_path: Path) -> None:
    command = [sys.executable, "-c", RECSYS, "ingest", "--events", dataset.events, "--items", dataset.items]
    run = [*command, "--home", str(tmp_path / "home"), "--json"]
    done = subprocess.run(run, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert done.returncode == 0, done.stderr
    assert heard() == ""


def test_the_service_and_its_encoder_ask_nobody(
    heard: Callable[[], str], home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Home(tmp_path / "home")
    for folder in ("snapshots", "adapters", "generations", "lance"):
        (place.root / folder).parent.mkdir(exist_ok=True)
        subprocess.run(["cp", "-r", str(home.root / folder), str(place.root / folder)], check=True)
    command = [sys.executable, "-c", RECSYS, "export", "--form", "openvino", "--out", str(tmp_path / "encoder")]
    subprocess.run([*command, "--home", str(place.root)], capture_output=True, check=True, timeout=PATIENCE_SECONDS)
    assert heard() == ""
    with running(place) as url:
        httpx.post(f"{url}/v1/search", json={"query": "a film", "k": 3}, timeout=60).raise_for_status()
    assert heard() == ""
