"""A day of the house: tables in the store, the daily run, what it publishes, events of people, and who watches."""

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg

from infra.topology.composed import House
from recsys.config import AdapterConfig, ModelConfig, TowerConfig, to_dict
from recsys.data import columns
from recsys.simulation.config import SimulationConfig
from recsys.simulation.world import World

BUCKET = "recsys"
DAYS = 90
SHOP = SimulationConfig(users=600, items=200, events=16_000, days=DAYS)
MODEL = ModelConfig(adapter=AdapterConfig(rounds=2), tower=TowerConfig(epochs=4))
PATIENCE_SECONDS = 1_800
SCRAPES_SECONDS = 60  # in which Prometheus has looked, and rules that wait for a minute would fire
# Asks Prefect's server as any client of it does, with the variables of a worker.
TRIGGER = """
import json, sys
from prefect.deployments import run_deployment
name, parameters = json.load(sys.stdin)
run = run_deployment(name, parameters=parameters, timeout=float(sys.argv[1]), poll_interval=1)
print(json.dumps({"state": run.state.type.value, "message": run.state.message}))
"""


def stored_tables(variables: dict[str, str]) -> dict[str, str]:
    """Write a made-up shop's tables into the store; return their URLs by the pipeline's parameters."""
    start = datetime.now(UTC).date() - timedelta(days=DAYS)
    world = World(dataclasses.replace(SHOP, start=f"{start:%Y-%m-%d}"))
    users = world.users()
    tables = {
        "items": world.catalogue.table(),
        "events": world.events(users).sort(columns.TIMESTAMP, columns.USER_ID, columns.ITEM_ID),
    }
    access = {name.lower(): variables[name] for name in variables if name.startswith("AWS_")}
    urls = {name: f"s3://{BUCKET}/raw/{name}.parquet" for name in tables}
    for name, table in tables.items():
        table.write_parquet(urls[name], storage_options=access)
    return urls


def run_deployment(name: str, parameters: dict[str, Any], variables: dict[str, str]) -> dict[str, Any]:
    """Trigger a deployment as an operator would, and wait for its end.

    Raises:
        RuntimeError: it did not complete.
    """
    begun = time.monotonic()
    command = [sys.executable, "-c", TRIGGER, str(PATIENCE_SECONDS)]
    given = json.dumps([name, parameters])
    done = subprocess.run(command, env=variables, input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} could not be triggered:\n{done.stderr[-3000:]}")
    ended: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if ended["state"] != "COMPLETED":
        raise RuntimeError(f"{name} ended as {ended}.")
    return {"state": ended["state"], "seconds": round(time.monotonic() - begun)}


def live_day(variables: dict[str, str], service: httpx.Client) -> dict[str, Any]:
    """Let the daily run publish, ask the service, and post events; return what was seen.

    Args:
        variables: of a worker.
        service: a client with a key.
    """
    before = service.get("/readyz").status_code
    tables = stored_tables(variables)
    daily = run_deployment("pipeline/daily", {**tables, "model": to_dict(MODEL)}, variables)
    _until(lambda: service.get("/readyz").is_success)
    ready = service.get("/readyz").json()
    answer = service.post("/v1/recommend", json={"user_id": "u1", "k": 5}).raise_for_status().json()
    events = [
        {
            "user_id": "topology",
            "item_id": item["item_id"],
            "event_id": f"topology-{number}",
            "rec_id": answer["rec_id"],
        }
        for number, item in enumerate(answer["items"])
    ]
    posted = [service.post("/v1/events", json={"events": events}).raise_for_status().json() for _ in range(2)]
    again = service.post("/v1/recommend", json={"user_id": "topology", "k": 5}).raise_for_status().json()
    offered = {item["item_id"] for item in again["items"]}
    return {
        "readyz_before": before,
        "daily": daily,
        "tidy": run_deployment("tidy/tidy", {}, variables),
        "generation": ready["generation"],
        "answered_by": answer["generation"],
        "items": len(answer["items"]),
        "accepted": [one["accepted"] for one in posted],
        "duplicates": [one["duplicates"] for one in posted],
        "offered_again": sorted(offered & {event["item_id"] for event in events}),
        "without_a_key": httpx.post(service.base_url.join("/v1/recommend"), json={"user_id": "u1"}).status_code,
    }


def events_in_postgres(service: dict[str, str], prefect: dict[str, str]) -> dict[str, Any]:
    """Look into both databases as their owners; neither may look into the other's.

    Args:
        service: the service's variables.
        prefect: those of Prefect's server.
    """
    events = service["RECSYS_DATABASE_URL"].replace("+psycopg", "")
    server = prefect["PREFECT_SERVER_DATABASE_CONNECTION_URL"].replace("+asyncpg", "")
    with psycopg.connect(events) as connection:
        stored = connection.execute("SELECT count(*) FROM events WHERE user_id = 'topology'").fetchone()
    with psycopg.connect(server) as connection:
        runs = connection.execute("SELECT count(*) FROM flow_run WHERE state_type = 'COMPLETED'").fetchone()
    refused = []
    for owner, other in ((events, "prefect"), (server, "events")):
        try:
            psycopg.connect(f"{owner.rpartition('/')[0]}/{other}").close()
        except psycopg.OperationalError as error:
            refused.append(str(error).strip().rpartition("FATAL:  ")[2].splitlines()[0])
    return {"events": stored and stored[0], "completed_runs": runs and runs[0], "refused": refused}


def watched(house: House) -> dict[str, Any]:
    """Return what Prometheus scrapes and what fires, after it has looked a few times, and who would be told."""
    time.sleep(SCRAPES_SECONDS)

    def asked(name: str, path: str) -> Any:
        return httpx.get(f"{house.url(name)}{path}", timeout=30).raise_for_status().json()

    targets = asked("prometheus", "/api/v1/targets")["data"]["activeTargets"]
    counted = asked("prometheus", "/api/v1/query?query=sum(recsys_request_duration_seconds_count)")["data"]["result"]
    return {
        "targets": {one["labels"]["job"]: one["health"] for one in targets},
        "requests": int(float(counted[0]["value"][1])),
        "firing": [
            one["labels"]["alertname"]
            for one in asked("prometheus", "/api/v1/alerts")["data"]["alerts"]
            if one["state"] == "firing"
        ],
        "alertmanagers": len(asked("prometheus", "/api/v1/alertmanagers")["data"]["activeAlertmanagers"]),
        "told": len(asked("alertmanager", "/api/v2/alerts")),
    }


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError("What was published is not served.")
        time.sleep(0.2)
