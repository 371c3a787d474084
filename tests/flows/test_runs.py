"""A command that names no server needs no Prefect; whatever names one, in Prefect's own ways, is believed."""

import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.client.schemas.sorting import FlowRunSort
from prefect.runtime import flow_run
from synthetic import Dataset

from flows import runtime
from flows.ingest import ingest_tables
from flows.naming import run_name
from flows.retries import Retries
from flows.runs import Called

COMMAND = """
import sys
from flows.cli import app
try:
    app(sys.argv[1:])
finally:
    print("prefect" in sys.modules, "flows.ingest" in sys.modules)
"""


@pytest.mark.parametrize(
    ("variable", "file", "content", "alone"),
    [
        (None, None, "", True),
        ("PREFECT_API_URL", None, "", False),
        ("PREFECT_HOME", None, "", False),  # whose profile may name one
        (None, "prefect.toml", '[server.api]\nhost = "127.0.0.1"', True),
        (None, "prefect.toml", '[api]\nurl = "http://127.0.0.1:9/api"', False),
        (None, "pyproject.toml", "[tool.ruff]\nline-length = 120", True),
        (None, "pyproject.toml", '[tool.prefect.api]\nurl = "http://127.0.0.1:9/api"', False),
        (None, "pyproject.toml", "no TOML [", True),
        (None, "pyproject.toml", 'tool = "box"', True),
        (None, ".env", "PREFECT_API_URL=http://127.0.0.1:9/api", False),
    ],
)
def test_a_server_may_be_named_as_prefect_lets_it(
    variable: str | None, file: str | None, content: str, alone: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PREFECT_API_URL", "PREFECT_HOME", "PREFECT_PROFILES_PATH"):
        monkeypatch.delenv(name, raising=False)
    if variable:
        monkeypatch.setenv(variable, "something")
    if file:
        (tmp_path / file).write_text(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runtime, "_alone", False)  # as it is in this process, and is again
    runtime.begin_command()
    assert runtime.alone() is alone


def test_a_command_without_a_server_imports_no_prefect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PREFECT_API_URL", "PREFECT_HOME"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "items.csv").write_text("item_id,title\ni,A film\n")
    (tmp_path / "events.csv").write_text("user_id,item_id,timestamp\nu,i,2024-01-01T00:00:00Z\n")
    command = [sys.executable, "-c", COMMAND, "ingest", "--events", "events.csv", "--items", "items.csv"]
    done = subprocess.run([*command, "--home", "home"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.endswith("False True\n"), done.stderr
    assert len(list((tmp_path / "home" / "snapshots").iterdir())) == 1


def test_a_stage_is_called_again_after_a_failure_and_its_last_one_is_told() -> None:
    calls: list[int] = []

    def fails(times: int) -> int:
        calls.append(times)
        if len(calls) <= times:
            raise OSError(f"failure {len(calls)}")
        return len(calls)

    assert Called(fails, Retries(2))(2) == 3
    calls.clear()
    with pytest.raises(OSError, match="failure 3"):
        Called(fails, Retries(2))(9)


def test_a_run_s_name_says_what_on_what_and_when(prefect_server: str, dataset: Dataset, tmp_path: Path) -> None:
    ingest_tables(dataset.events, dataset.items, str(tmp_path / "home"))
    with get_client(sync_client=True) as client:
        of_it = FlowFilter(name=FlowFilterName(any_=["ingest"]))
        found = client.read_flow_runs(flow_filter=of_it, sort=FlowRunSort.START_TIME_DESC, limit=20)
    own = next(run for run in found if run.parameters["home"] == str(tmp_path / "home"))
    assert re.fullmatch(r"ingest events\.parquet · 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d", own.name)


def test_a_run_s_name_is_one_line_of_what_can_be_seen() -> None:
    started = datetime(2026, 3, 1, 4, 5, 6, tzinfo=UTC)
    named = run_name("rollback", {"to": ""})
    for given, said in (("a\nb\x00[red]", "a[U+000A]b[U+0000][red]"), ("raw/\u202eevents.csv/", "[U+202E]events.csv")):
        with patch.dict(vars(flow_run), parameters={"to": given}, scheduled_start_time=started):
            assert named() == f"rollback {said} · 2026-03-01 04:05:06"


@pytest.mark.parametrize("name", ["ingest", "publish", "rollback", "monitor", "batch", "prune", "tidy"])
def test_a_light_flow_starts_without_what_it_needs_later(name: str, prefect_server: str) -> None:
    listed = "print(*sorted({'torch', 'transformers', 'peft', 'lancedb', 'scipy', 'matplotlib'} & {*sys.modules}))"
    command = [sys.executable, "-W", "ignore", "-c", f"import sys, flows.{name}; {listed}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "\n", done.stdout
