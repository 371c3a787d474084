"""A command that names no server needs no Prefect; whatever names one, in Prefect's own ways, is believed."""

import subprocess
import sys
from pathlib import Path

import pytest

from flows import runtime
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
