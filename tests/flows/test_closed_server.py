"""Prefect's servers that we start and describe: no page in a browser and nobody without the secret plants anything."""

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from processes import PATIENCE_SECONDS, end, wait_until_healthy

from flows.server import CLIENT_SECRET, SERVER_SECRET, client_file, passing_secret
from recsys.home import Home
from services.serve import free_port

CLONE = Path(__file__).parents[2]
FOREIGN = {"Origin": "http://attacker.example", "Host": "attacker.example"}
VARIABLE = '{"name": "planted", "value": "1"}'
PASSING = """
import json, os, sys
from flows.runtime import prepare, server_starting
from recsys.home import Home
prepare(Home.from_environment())
with server_starting():
    pass
from prefect import flow
from prefect.server.api.server import SubprocessASGIServer

@flow
def hello():
    return "hello"

hello()
print(json.dumps({"url": SubprocessASGIServer().api_url, "secret": os.environ["PREFECT_API_AUTH_STRING"]}), flush=True)
sys.stdin.read()
"""


def environment(home: Path) -> dict[str, str]:
    """Somebody's shell that knows no server yet."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return kept | {
        "RECSYS_HOME": str(home),
        "PYTHONPATH": os.pathsep.join([str(CLONE), os.environ.get("PYTHONPATH", "")]),
    }


def ask(method: str, url: str, **kwargs: Any) -> httpx.Response:
    return httpx.request(method, url, timeout=PATIENCE_SECONDS, **kwargs)


def attack(url: str) -> None:
    """What a page of another origin can send, with and without asking first, and a form's bodies."""
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    preflight = ask("OPTIONS", f"{url}/variables/", headers={**FOREIGN, **asked})
    assert "access-control-allow-origin" not in preflight.headers
    assert not preflight.is_success
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/json"):
        for host in ({}, {"Host": "attacker.example"}):
            headers = {"Origin": FOREIGN["Origin"], "Content-Type": kind, **host}
            planted = ask("POST", f"{url}/variables/", content=VARIABLE, headers=headers)
            assert planted.status_code in (401, 403), planted.text
    for call in ("variables/filter", "flow_runs/filter", "block_documents/filter"):
        read = ask("POST", f"{url}/{call}", headers={"Origin": FOREIGN["Origin"]}, json={})
        assert read.status_code in (401, 403)
    assert ask("GET", f"{url}/variables/name/planted").status_code == 401
    foreign = ask("GET", f"{url}/health", headers={"Origin": FOREIGN["Origin"]})
    assert "access-control-allow-origin" not in foreign.headers


def login(secret: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(secret.encode()).decode()}"}


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """`recsys ui` as the page says, and the home it works on."""
    home, port = tmp_path_factory.mktemp("ui") / "a home?#1 %20", free_port()  # Prefect makes a URL of its path
    log = home.parent / "ui.log"
    command = [sys.executable, "-c", "from flows.cli import app; app()", "ui", "--port", str(port)]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=home.parent, env=environment(home), stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        wait_until_healthy(process, f"http://127.0.0.1:{port}/api", log)
        yield f"http://127.0.0.1:{port}", home
    finally:
        end(process)


def test_the_ui_of_the_page_takes_nothing_from_a_foreign_page(ui: tuple[str, Path]) -> None:
    url, home = ui
    attack(f"{url}/api")
    settings = ask("GET", f"{url}/ui-settings").json()
    assert (settings["auth"], settings["csrf_enabled"]) == ("BASIC", True)
    assert settings["api_url"] == f"{url}/api"  # and not that of another port
    secret = re.search(r"AUTH_STRING=(\S+)", (home / "prefect" / "client.env").read_text())
    assert secret
    variables = ask("POST", f"{url}/api/variables/filter", headers=login(secret[1]), json={})
    assert variables.status_code == 403  # the login alone is not enough: a token of the page's own origin is asked for
    assert ask("GET", f"{url}/api/variables/name/planted", headers=login(secret[1])).status_code == 404


def test_what_other_terminals_need_is_its_owners_and_stays(ui: tuple[str, Path]) -> None:
    _, home = ui
    file = home / "prefect" / "client.env"
    assert file.stat().st_mode & 0o077 == 0
    assert file.parent.stat().st_mode & 0o077 == 0
    assert (file.parent / "prefect.db").stat().st_mode & 0o077 == 0
    assert sorted(path.name for path in home.parent.iterdir()) == [home.name, "ui.log"]
    before = re.findall(r"AUTH_STRING=.*", file.read_text())
    again = client_file(Home(home), 4201).read_text()
    assert re.findall(r"AUTH_STRING=.*", again) == before
    assert "127.0.0.1:4201/api" in again
    client_file(Home(home), httpx.URL(ui[0]).port or 0)


def test_a_shell_that_has_read_the_file_makes_the_deployments(ui: tuple[str, Path]) -> None:
    """The block of flows/README.md, but for the worker."""
    url, home = ui
    script = f"""
        set -e
        source "{home}/prefect/client.env"
        {sys.executable} -c "from flows.cli import app; app()" deploy
    """

    def shell(lines: str) -> subprocess.CompletedProcess[str]:
        quiet: dict[str, Any] = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "check": False}
        return subprocess.run(["bash", "-c", lines], cwd=CLONE, env=environment(home), **quiet)

    done = shell(script)
    assert done.returncode == 0, done.stdout + done.stderr
    refused = shell(script.replace(f'source "{home}/prefect/client.env"', f"export PREFECT_API_URL={url}/api"))
    assert refused.returncode != 0
    assert "401" in refused.stdout + refused.stderr


def test_the_server_of_a_single_command_is_closed_while_it_runs(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PASSING], cwd=tmp_path, env=environment(tmp_path / "home"),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        told = json.loads(process.stdout.readline())
        attack(told["url"])
        listed = subprocess.run(["ps", "-A", "-ww", "-o", "args"], capture_output=True, text=True, check=True).stdout
        assert "prefect.server.api.server:create_app" in listed
        assert told["secret"] not in listed
        known = ask("GET", f"{told['url']}/variables/name/planted", headers=login(told["secret"]))
        assert known.status_code == 404
    finally:
        process.communicate("")
    assert (tmp_path / "home" / "prefect").stat().st_mode & 0o077 == 0


def test_a_server_started_by_hand_in_the_clone_calls_for_a_token(tmp_path: Path) -> None:
    """``prefect.toml`` is read by whatever Prefect is started there."""
    show = [sys.executable, "-m", "prefect", "config", "view", "--show-sources"]
    shell = environment(tmp_path) | {"PREFECT_HOME": str(tmp_path)}
    told = subprocess.run(show, cwd=CLONE, env=shell, capture_output=True, text=True, check=True).stdout
    assert "CSRF_PROTECTION_ENABLED='True'" in told
    assert "CORS_ALLOWED_ORIGINS='http://127.0.0.1:4200'" in told
    assert "ANALYTICS_ENABLED='False'" in told


def test_a_user_s_own_secret_is_shared_by_server_and_client(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (SERVER_SECRET, CLIENT_SECRET):
        found = passing_secret({name: "me:mine"})
        assert (found[SERVER_SECRET], found[CLIENT_SECRET]) == ("me:mine", "me:mine")
    assert passing_secret({})[CLIENT_SECRET] != passing_secret({})[CLIENT_SECRET]
