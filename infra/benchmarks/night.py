"""A night of an operator, recorded: a real Prefect server, a worker and a service, and what each run of it does.

    python infra/benchmarks/night.py --out infra/results/night.json [--pictures FOLDER] [--work FOLDER]

A made-up shop's events arrive day by day in a folder. The schedule starts the daily run, which serves a first
generation; the next day's is judged beside it. Then people begin to want what nobody wanted: `monitor` finds it, and
the automation starts the training by itself. A person trains by settings of a quick look, which the gate refuses, and
by others, goes back, and cleans up. All the while the service is asked without a pause, and every answer counts.
The commands are those of ``flows/README.md``. With ``--pictures``, playwright and Chromium, the pages that an operator
would look at are photographed. ``tables.py`` makes the table.
"""

import argparse
import base64
import dataclasses
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any

import httpx
import polars as pl
from prefect.client.base import PrefectHttpxSyncClient

from recsys.artifacts import write_json
from recsys.config import AdapterConfig, EvaluationConfig, ExpertsConfig, ModelConfig, TowerConfig, to_dict
from recsys.data import columns
from recsys.home import Home
from recsys.models.devices import device_name
from recsys.simulation.config import SimulationConfig
from recsys.simulation.world import World
from recsys.store.generations import current_id
from recsys.store.pointer import list_promotions
from services.serve import free_port, running

CLONE = Path(__file__).parents[2]
DAYS = 150
SHOP = SimulationConfig(users=900, items=400, events=36_000, days=DAYS)
MODEL = ModelConfig(adapter=AdapterConfig(rounds=4), tower=TowerConfig(epochs=4))
OTHER = dataclasses.replace(MODEL, seed=1)
# For a quick look and left in the form: nothing is learnt, and the weights of the blend are chosen on one user.
BROKEN = ModelConfig(
    adapter=AdapterConfig(rounds=1, learning_rate=0.0),
    tower=TowerConfig(epochs=1, learning_rate=0.0),
    experts=ExpertsConfig(rule_window=1, neighbours=1, history_decay=0.01, max_ease_items=0, max_lexical_items=0),
    evaluation=EvaluationConfig(max_validation_users=1),
)
FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
LEAD_SECONDS = 20  # in which the scheduler sees a schedule before its first date
PATIENCE_SECONDS = 3_600


class Shop:
    """A folder in which the events of a made-up shop arrive, and the file of its items."""

    def __init__(self, folder: Path) -> None:
        today = datetime.combine(datetime.now(UTC).date(), datetime.min.time(), UTC)
        world = World(dataclasses.replace(SHOP, start=f"{today - timedelta(days=DAYS):%Y-%m-%d}"))
        self.users, self.folder, self.items = world.users(), folder / "events", folder / "items.parquet"
        self.folder.mkdir(parents=True)
        world.catalogue.table().write_parquet(self.items)
        self._events = world.events(self.users).sort(columns.TIMESTAMP, columns.USER_ID, columns.ITEM_ID)
        self._end = today

    def arrive(self, first: int | None, last: int, wishes_turn: bool = False) -> int:
        """Let the events of some days arrive as a file, and return how many there are.

        Args:
            first: so many days ago is the oldest; None: the shop's first.
            last: so many days ago is the newest.
            wishes_turn: what was chosen least before is chosen most, and the other way round.
        """
        time_of = pl.col(columns.TIMESTAMP)
        until = time_of < self._end - timedelta(days=last)
        since = pl.lit(True) if first is None else time_of >= self._end - timedelta(days=first)
        events = self._events.filter(since & until)
        if wishes_turn:
            counts = self._events.filter(~since & until)[columns.ITEM_ID].value_counts()
            ranked = counts.sort("count", columns.ITEM_ID)[columns.ITEM_ID].to_list()
            turned = dict(zip(ranked, reversed(ranked), strict=True))
            events = events.with_columns(pl.col(columns.ITEM_ID).replace(turned))
        events.write_parquet(self.folder / f"{last:03}-days-ago.parquet")
        return len(events)


class Asking:
    """Somebody who asks the service for lists without a pause, and counts how it answers."""

    def __init__(self, url: str, users: list[str]) -> None:
        self.url, self._users = url, users
        self._ended = Event()
        self._thread = Thread(target=self._ask, daemon=True)
        self.answers: dict[str, int] = {}  # by generation
        self.errors: list[str] = []
        self.slowest = 0.0  # seconds

    def __enter__(self) -> "Asking":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _ask(self) -> None:
        with httpx.Client(base_url=self.url, timeout=30) as client:
            number = 0
            while not self._ended.wait(0.05):
                user = self._users[number % len(self._users)]
                number += 1
                began = time.monotonic()
                try:
                    answer = client.post("/v1/recommend", json={"user_id": user, "k": 10}).raise_for_status().json()
                except httpx.HTTPError as error:
                    self.errors.append(f"{datetime.now(UTC):%H:%M:%S} {error}")
                    continue
                self.slowest = max(self.slowest, time.monotonic() - began)
                if len(answer["items"]) != 10:
                    self.errors.append(f"{user} was given {len(answer['items'])} items")
                self.answers[answer["generation"]] = self.answers.get(answer["generation"], 0) + 1


class Night:
    """A server, a worker, what they have run, and what was served after each run."""

    def __init__(self, home: Home, api: httpx.Client, login: str) -> None:
        self.home, self.api, self.login = home, api, login
        self.steps: list[dict[str, Any]] = []

    def deployment(self, name: str) -> dict[str, Any]:
        """Return a deployment, by FLOW/NAME."""
        found: dict[str, Any] = self.api.get(f"/deployments/name/{name}").raise_for_status().json()
        return found

    def start(self, name: str, parameters: dict[str, Any]) -> str:
        """Run a deployment as the button of its page does, and return the run's id."""
        path = f"/deployments/{self.deployment(name)['id']}/create_flow_run"
        return str(self.api.post(path, json={"parameters": parameters}).raise_for_status().json()["id"])

    def run(self, what: str, name: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """Run a deployment, wait for its end, and write down what came of it."""
        run_id = self.start(name, parameters)
        return self.ended(what, name, lambda run: run["id"] == run_id)

    def ended(self, what: str, name: str, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait for the end of a run of a deployment, and write down what came of it.

        Raises:
            TimeoutError: it has not ended in an hour.
        """
        body = {"deployments": {"id": {"any_": [self.deployment(name)["id"]]}}, "sort": "START_TIME_DESC"}
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            runs = self.api.post("/flow_runs/filter", json=body).raise_for_status().json()
            for run in runs:
                if run["state_type"] in FINAL and wanted(run):
                    return self._write(what, run)
            time.sleep(1)
        raise TimeoutError(f"No run of {name} has ended within {PATIENCE_SECONDS} s.")

    def _write(self, what: str, run: dict[str, Any]) -> dict[str, Any]:
        under = {"flow_runs": {"parent_flow_run_id": {"any_": [run["id"]]}}, "sort": "START_TIME_ASC"}
        stages = self.api.post("/flow_runs/filter", json=under).raise_for_status().json()
        of_them = {"artifacts": {"flow_run_id": {"any_": [run["id"], *(one["id"] for one in stages)]}}}
        artifacts = self.api.post("/artifacts/filter", json=of_them).raise_for_status().json()
        step = {
            "at": run["start_time"],
            "what": what,
            "run": run["name"],
            "run_id": run["id"],
            "state": run["state_name"],
            "message": run["state"]["message"] or "",
            "waited": run["estimated_start_time_delta"],
            "seconds": run["total_run_time"],
            "stages": [{"run": one["name"], "state": one["state_name"]} for one in stages],
            "artifacts": sorted({one["key"] for one in artifacts if one["key"]}),
            "served": current_id(self.home),
        }
        self.steps.append(step)
        print(f"{what}: {step['run']}: {step['state']} {step['message'][:300]}; serves {step['served']}", flush=True)
        return step

    def made(self) -> str:
        """Return the generation that was made last."""
        found = [one for one in self.home.generations.iterdir() if (one / "manifest.json").exists()]
        return max(found, key=lambda one: (one / "manifest.json").stat().st_mtime_ns).name


def command(*arguments: str) -> list[str]:
    """Return the call of a `recsys` command by this Python."""
    return [sys.executable, "-c", "from flows.cli import app; app()", *arguments]


@contextmanager
def process(log: Path, call: list[str], environment: dict[str, str], cwd: Path = CLONE) -> Iterator[None]:
    """Let a program run for the length of the block."""
    with log.open("wb") as file:
        given: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": file, "stderr": file, "cwd": cwd}
        child = subprocess.Popen(call, env=environment, **given)
    try:
        yield
    finally:
        child.terminate()
        try:
            child.wait(60)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@contextmanager
def operated(home: Home, work: Path, port: int) -> Iterator[Night]:
    """Start server and worker, deploy, and yield the night on them, as ``flows/README.md`` has it."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment = clean | {"RECSYS_HOME": str(home.root), "PYTHONPATH": os.environ.get("PYTHONPATH", str(CLONE))}
    with ExitStack() as stack:
        stack.enter_context(process(work / "ui.log", command("ui", "--port", str(port)), environment))
        api = f"http://127.0.0.1:{port}/api"
        _until(lambda: httpx.get(f"{api}/health", timeout=5).is_success)
        for line in (home.prefect / "client.env").read_text().splitlines():
            name, _, value = line.removeprefix("export ").partition("=")
            environment[name] = shlex.split(value)[0]
        subprocess.run(command("deploy"), cwd=CLONE, env=environment, check=True)
        worker = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "recsys"]
        worker_environment = environment | {"PREFECT_WORKER_QUERY_SECONDS": "2"}
        stack.enter_context(process(work / "worker.log", worker, worker_environment, work))
        login = environment["PREFECT_API_AUTH_STRING"]
        given: dict[str, Any] = {"auth": tuple(login.split(":")), "timeout": 120, "enable_csrf_support": True}
        yield Night(home, stack.enter_context(PrefectHttpxSyncClient(base_url=api, **given)), login)


def _until(done: Callable[[], bool], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if done():
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise TimeoutError("What was waited for has not come.")


def shown(night: Night, shop: Shop, stack: ExitStack) -> Asking:
    """Run the story from the first daily run to the clean-up, and return who has asked meanwhile."""
    daily = night.deployment("pipeline/daily")
    sources = {"events": str(shop.folder), "items": str(shop.items)}
    # As under Deployments → daily → Edit: what the schedule and the automation run it with.
    parameters = daily["parameters"] | sources | {"model": to_dict(MODEL)}
    night.api.patch(f"/deployments/{daily['id']}", json={"parameters": parameters}).raise_for_status()

    shop.arrive(None, 9)
    first = datetime.now(UTC) + timedelta(seconds=LEAD_SECONDS)
    schedule = {"active": True, "schedule": {"interval": 86_400, "anchor_date": first.isoformat()}}
    path = f"/deployments/{daily['id']}/schedules"
    slug = night.api.post(path, json=[schedule]).raise_for_status().json()[0]["id"]
    night.ended("the schedule starts the first daily run", "pipeline/daily", lambda run: run["auto_scheduled"])
    night.api.patch(f"{path}/{slug}", json={"active": False}).raise_for_status()
    url = stack.enter_context(running(night.home, texts=False))
    asking = stack.enter_context(Asking(url, shop.users))

    shop.arrive(9, 8)
    night.run("the day after", "pipeline/daily", {})
    night.run("nothing has changed since", "monitor/monitor", sources)
    shop.arrive(8, 0, wishes_turn=True)
    night.run("what nobody wanted is wanted most", "monitor/monitor", sources)
    night.ended("the automation trains on it", "pipeline/daily", _by_an_automation)

    snapshot = _newest(night.home)
    quick = {"snapshot_id": snapshot, "config": to_dict(BROKEN)}
    night.run("somebody trains by settings for a quick look", "train/train", quick)
    night.run("and would have it served", "publish/publish", {"generation_id": night.made()})
    night.run("another seed", "train/train", {"snapshot_id": snapshot, "config": to_dict(OTHER)})
    night.run("is served", "publish/publish", {"generation_id": night.made(), "reason": "Another seed, as agreed."})
    night.run("and gone back from", "rollback/rollback", {"reason": "The shop's owner asked for the one before."})
    night.run("what nobody needs goes", "prune/prune", {"keep": 2, "min_age_hours": 0})
    return asking


def _newest(home: Home) -> str:
    """Return the id of the newest snapshot."""
    return max(home.snapshots.glob("*/manifest.json"), key=lambda one: one.stat().st_mtime_ns).parent.name


def _by_an_automation(run: dict[str, Any]) -> bool:
    return (run["created_by"] or {}).get("type") == "AUTOMATION"


def photographed(night: Night, port: int, url: str, folder: Path) -> None:
    """Photograph what an operator would look at: each run of the night, its artifacts, and the service's page."""
    from playwright.sync_api import sync_playwright

    folder.mkdir(parents=True, exist_ok=True)
    site = f"http://127.0.0.1:{port}"
    secret = base64.b64encode(night.login.encode()).decode()
    pages = {f"run-{number:02}": f"{site}/runs/flow-run/{step['run_id']}" for number, step in enumerate(night.steps, 1)}
    artifacts = night.api.post("/artifacts/latest/filter", json={"limit": 100}).raise_for_status().json()
    pages |= {f"artifact-{one['key']}": f"{site}/artifacts/artifact/{one['latest_id']}" for one in artifacts}
    pages |= {name: f"{site}/{name}" for name in ("runs", "deployments", "automations", "artifacts", "events")}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        page = browser.new_page(viewport={"width": 1400, "height": 1600})
        page.goto(site)
        page.evaluate("secret => localStorage.setItem('prefect-password', secret)", secret)
        for name, address in (pages | {"service": url}).items():
            page.goto(address, wait_until="networkidle")
            page.screenshot(path=folder / f"{name}.png")
        browser.close()


def main() -> None:
    """Live through the night and write down what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pictures", type=Path, help="where photographs of the pages go; none are taken without")
    parser.add_argument("--work", type=Path, help="where home, files and logs lie, and stay; else they go at the end")
    given = parser.parse_args()
    with ExitStack() as stack:
        work = given.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        work.mkdir(parents=True, exist_ok=True)
        home, port = Home((work / "home").absolute()).make(), free_port()
        shop = Shop(work / "shop")
        night = stack.enter_context(operated(home, work, port))
        with ExitStack() as service:
            asking = shown(night, shop, service)
            write_json(given.out, document(night, asking))
            if given.pictures:
                photographed(night, port, asking.url, given.pictures)


def document(night: Night, asking: Asking) -> dict[str, Any]:
    """Return the result file's content."""
    return {
        "task": "night",
        "command": "python infra/benchmarks/night.py --out infra/results/night.json",
        "processor": device_name(),
        "shop": {"users": SHOP.users, "items": SHOP.items, "events": SHOP.events, "days": SHOP.days},
        "steps": night.steps,
        "promotions": [one.to_dict() for one in reversed(list_promotions(night.home))],
        "asked": {"answers": asking.answers, "errors": asking.errors, "slowest_seconds": round(asking.slowest, 3)},
    }


if __name__ == "__main__":
    main()
