"""Compose's profile `full` without Docker: ``python infra/topology/run.py --out infra/results/topology.json``.

Every process that compose.yaml starts is started here with the variables and the command that it has there, in its
order, each when those that it waits for are healthy by its own check; volumes are folders, addresses ports of loopback.
Then the day: a shop's tables lie in the store, the daily deployment is triggered, and what it publishes is asked for;
events are posted and looked for in PostgreSQL; Prometheus is asked what it scrapes and what fires.
Stands in for what is not installed here: moto for the store. Grafana is left out. Needs Debian's packages postgresql,
prometheus and prometheus-alertmanager (``--programs`` names a folder, where they are only unpacked), and moto[server].
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).parents[2]))

from infra.topology.composed import House
from infra.topology.day import events_in_postgres, live_day, watched

HEALTHY_SECONDS, END_SECONDS = 600, 60
LEFT_OUT = ("grafana",)
ONCE = ("deploy", "bucket")
_BIN = Path(sys.executable).parent


class Running:
    """The processes of a house, by service, and what was seen of them."""

    def __init__(self, house: House, programs: list[Path]) -> None:
        self.house = house
        self.path = os.pathsep.join([str(_BIN), *map(str, programs), os.environ["PATH"]])
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.seen: dict[str, dict[str, Any]] = {}
        self.key = ""  # of the service, once it is made

    def variables(self, name: str) -> dict[str, str]:
        """Return what a service's process has: its own variables, and where this machine's programs and code are."""
        found = self.house.environment(name) | {"PATH": self.path}
        return found | {"PYTHONPATH": os.environ["PYTHONPATH"]} if "PYTHONPATH" in os.environ else found

    def run(self, name: str, command: list[str], **more: Any) -> subprocess.CompletedProcess[str]:
        """Run a command to its end as `docker compose run NAME …` would.

        Raises:
            RuntimeError: it failed; the message has its last words.
        """
        given: dict[str, Any] = {"env": self.variables(name), "cwd": Path(__file__).parents[2]} | more
        done = subprocess.run(command, capture_output=True, text=True, check=False, **given)
        if done.returncode:
            raise RuntimeError(f"{name}: {' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done

    def start(self, name: str) -> None:
        """Start a service, or run it to its end, and wait until it is healthy."""
        begun = time.monotonic()
        if name in ONCE:
            self.run(name, self.house.command(name))
        else:
            command = self.postgres() if name == "postgres" else self.program(name)
            user = {"user": "postgres"} if name == "postgres" and os.geteuid() == 0 else {}
            log = (self.house.work / f"{name}.log").open("wb")
            self.processes[name] = subprocess.Popen(
                command, env=self.variables(name), cwd=self.house.temporary(name), stdout=log, stderr=log, **user
            )
            self.wait(name)
        self.seen[name] = {"healthy_after_s": round(time.monotonic() - begun, 1)}
        print(f"{name}: {self.seen[name]}", flush=True)

    def wait(self, name: str) -> None:
        """Wait until a service's own check finds it healthy.

        Raises:
            RuntimeError: it has ended, or is not healthy in time; the message has the end of its log.
        """
        check = self.house.health(name)
        if name == "store" and check:  # moto's server has no check of SeaweedFS's
            check = [*check[:-1], f"{self.house.url('store')}/moto-api/"]
        deadline = time.monotonic() + HEALTHY_SECONDS
        while subprocess.run(check or ["true"], env=self.variables(name), capture_output=True, check=False).returncode:
            if self.processes[name].poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{name} is not healthy:\n{(self.house.work / f'{name}.log').read_text()[-3000:]}")
            time.sleep(0.2)

    def program(self, name: str) -> list[str]:
        """Return a service's command with the program that stands for its image here."""
        command = self.house.command(name)
        port = str(self.house.ports.get(name, 0))
        match name:
            case "store":
                return ["moto_server", "--host", "127.0.0.1", "--port", port]
            case "prometheus":
                return ["prometheus", *command]
            case "alertmanager":
                return ["prometheus-alertmanager", *self.older(command)]
            case _:
                return command

    def older(self, command: list[str]) -> list[str]:
        """Let Debian's Alertmanager 0.25 read the address, which newer ones take from the file that is named."""
        config = next(Path(word.partition("=")[2]) for word in command if word.startswith("--config.file="))
        address = (self.house.work / "infra" / "secrets" / "alert-webhook").read_text().strip()
        config.write_text(config.read_text().replace("url_file: /run/secrets/alert-webhook", f"url: {address}"))
        return command

    def postgres(self) -> list[str]:
        """Do as the image at its first start: make the cluster, run our script; return the server's command."""
        variables, house = self.variables("postgres"), self.house
        folder = house.folder("postgres", "/var/lib/postgresql/data")
        scripts = house.folder("postgres", "/docker-entrypoint-initdb.d")
        assert folder is not None
        assert scripts is not None
        password = house.temporary("postgres") / "password"
        password.write_text(variables["POSTGRES_PASSWORD"])
        user: dict[str, Any] = {"user": "postgres"} if os.geteuid() == 0 else {}
        if user:
            for path in (folder, password, house.temporary("postgres")):
                shutil.chown(path, "postgres")
            for path in (house.work, *folder.parents):
                if path.is_relative_to(house.work):
                    path.chmod(0o755)
        given = variables["POSTGRES_INITDB_ARGS"].split()
        made = [
            "initdb",
            f"--pgdata={folder}",
            "--username=postgres",
            f"--pwfile={password}",
            "--encoding=UTF8",
            *given,
        ]
        place = {"cwd": house.temporary("postgres")} | user
        self.run("postgres", made, **place)
        options = f"-c listen_addresses=127.0.0.1 -p {house.ports['postgres']} -k {house.temporary('postgres')}"
        log = house.temporary("postgres") / "first.log"
        control = ["pg_ctl", "-w", f"--pgdata={folder}", f"--log={log}"]
        self.run("postgres", [*control, "start", f"--options={options}"], **place)
        socket = {"PGHOST": str(house.temporary("postgres")), "PGPORT": str(house.ports["postgres"])}
        first = variables | socket | {"PGPASSWORD": variables["POSTGRES_PASSWORD"]}
        for script in sorted(scripts.glob("*.sh")):
            self.run("postgres", ["sh", str(script)], env=first)
        self.run("postgres", [*control, "stop"], **place)
        return ["postgres", "-D", str(folder), *options.split()]

    def stop(self) -> None:
        """End all, the last one first, as Docker would: SIGTERM, and after a while the end."""
        for name, process in reversed(self.processes.items()):
            begun = time.monotonic()
            process.terminate()
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            ended = {"exit_code": process.returncode, "ended_after_s": round(time.monotonic() - begun, 1)}
            self.seen.setdefault(name, {}).update(ended)


@contextmanager
def running(house: House, programs: list[Path]) -> Iterator[Running]:
    """Run all of a house for the length of a block."""
    found = Running(house, programs)
    try:
        for name in (one for one in house.order() if one not in LEFT_OUT):
            if name == "service":  # it listens beyond its own network, so it wants a key first
                key = ["recsys", "keys", "create", "--name", "topology", "--scope", "admin", "--json"]
                found.key = json.loads(found.run("service", key).stdout)["key"]
            found.start(name)
        yield found
    finally:
        found.stop()


def elsewhere(found: Running) -> dict[str, Any]:
    """Return what a machine that has never seen the home finds there: its cache is empty."""
    variables = found.variables("service")
    variables["RECSYS_CACHE"] = str(found.house.work / "elsewhere")
    listed = found.run("service", ["recsys", "generations", "--json"], env=variables).stdout
    served = [one["id"] for one in json.loads(listed)["generations"] if one["current"]]
    return {"home": variables["RECSYS_HOME"], "served": served}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--programs", type=Path, action="append", default=[], help="a folder with programs; repeatable")
    chosen = parser.parse_args()
    servers = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parts[-2]))
    with ExitStack() as stack:
        work = Path(tempfile.mkdtemp(prefix="recsys-topology-"))
        stack.callback(shutil.rmtree, work, ignore_errors=True)
        house = House(work)
        begun = time.monotonic()
        with running(house, [*chosen.programs, *servers[-1:]]) as found:
            up = round(time.monotonic() - begun, 1)
            keyed = {"authorization": f"Bearer {found.key}"}
            with httpx.Client(base_url=house.url("service"), headers=keyed, timeout=60) as service:
                day = live_day(found.variables("worker-train"), service)
            day["elsewhere"] = elsewhere(found)
            day["postgres"] = events_in_postgres(found.variables("service"), found.variables("prefect"))
            day["watched"] = watched(house)
        document = {"task": "topology", "up_after_s": up, "services": found.seen, "day": day}
    chosen.out.write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
