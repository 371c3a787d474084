"""The OpenAPI document and the service say the same, whatever is sent: Schemathesis with all of its checks."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from recsys.home import Home
from recsys.store.generations import current_id, read_generation
from services.edge.keys import create_key
from services.serve import log_file, running

CONFIGURATION = Path(__file__).parent / "schemathesis.toml"
EXAMPLES = 5  # by route, beside those that cover the document systematically


def test_whatever_is_sent_the_service_does_as_it_is_described(
    copy_of_home: Callable[[Path], Home], classifying_home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    home = copy_of_home(tmp_path / "home")
    shutil.copytree(classifying_home.adapters, home.adapters, dirs_exist_ok=True)
    _, token = create_key(home, "contract", ["admin"])
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIGURATION), "--no-color", "run"]
    options = ["--max-examples", str(EXAMPLES), "--seed", "1", "--workers", "1"]
    headers = {"Authorization": f"Bearer {token}"}
    served = str(current_id(home))
    given = {"RECSYS_GENERATION": served, "RECSYS_ADAPTER": read_generation(home, served)[1].adapter}
    with (
        running(home, service="patient_service:RecommenderService") as url,
        httpx.Client(base_url=url, headers=headers, timeout=30) as client,
    ):
        operations = sum(len(methods) for methods in client.get("/docs.json").json()["paths"].values())
        found = subprocess.run(
            [*command, f"{url}/docs.json", *options],
            cwd=tmp_path,
            env=os.environ | given | {"RECSYS_KEY": token},
            capture_output=True,
            text=True,
            check=False,
        )
        log = log_file(home, int(url.rpartition(":")[2])).read_text()
    assert found.returncode == 0, found.stdout + found.stderr + log[-3_000:]
    assert re.search(rf"Tested: +{operations}\b", found.stdout), found.stdout
    assert "Missing test data" not in found.stdout, found.stdout
    assert "Traceback" not in log, log
