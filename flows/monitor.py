"""The flow beside what is served: does what comes in still look like what was trained on?

Its finding is an artifact, an event for automations and, where somebody names a deployment for it, a new training.
"""

import base64
import json
from typing import TYPE_CHECKING, Any

from flows import progress
from flows.events import DRIFTED, TRAINING_HELPS, tell
from flows.forms import Deployment, Folder, Moment
from flows.locations import TableLocation, located_flow, resolved
from flows.moments import moment
from flows.runs import for_the_ui, show_image, show_table
from flows.runtime import alone, open_home
from recsys.artifacts import write_atomic
from recsys.config import MonitorConfig
from recsys.errors import SettingError
from recsys.home import Home

if TYPE_CHECKING:
    from recsys.monitoring.monitor import Report  # Polars and SciPy, which a form has no use for

_DEFAULT = MonitorConfig()


@located_flow("monitor", about={"events": ""})
def monitor_served(
    events: TableLocation | None = None,
    items: TableLocation | None = None,
    home: Folder | None = None,
    config: MonitorConfig = _DEFAULT,
    until: Moment | None = None,
    retrain: Deployment | None = None,
) -> dict[str, Any]:
    """Compare what came in with what the served generation was trained on, and return the report as JSON values.

    Args:
        events: raw events that the next ingest would be given: a file, a folder, a glob or a URL; empty: live events.
        items: raw items likewise; empty: the catalogue with what was put live.
        home: the folder of all state; empty: RECSYS_HOME of whoever runs this.
        config: how long windows are, and how much of a change is an alarm.
        until: look as of this time, such as 2026-03-01T00:00Z; empty: now.
        retrain: the deployment to run where a training helps, such as pipeline/daily, at most once a day that is looked
            at; empty: none, which leaves it to automations.

    Raises:
        ArtifactError: there is no snapshot to compare with, or what is served is broken.
        DataError, SettingError: a table cannot be read, or a setting is none.
    """
    from recsys.monitoring import reading
    from recsys.monitoring.monitor import monitor

    if retrain and alone():
        raise SettingError(f"No server is named that could run {retrain}. Set PREFECT_API_URL, or leave retrain out.")
    end = moment(until, "until") if until else None
    place = open_home(home)
    with progress.step("Read what came in"):
        subject = reading.subject(place)
        raw_events, raw_items = (resolved(location) if location else None for location in (events, items))
        watched = reading.read(place, subject, config, raw_events, raw_items, end)
        if subject.generation is not None:
            watched = reading.with_vectors(place, subject.generation, watched, config)
    with progress.step("Compare"):
        report = monitor(watched, config)
    generation = subject.generation.id if subject.generation else None
    found = {"snapshot": subject.snapshot.id, "generation": generation, **report.to_dict()}
    found |= _kept(place, subject.snapshot.id, report, found)
    if report.level == "alarm":
        labels = TRAINING_HELPS if report.training_helps else {}
        tell(DRIFTED, place, _payload(subject.snapshot.id, report), labels)
    if retrain and report.training_helps:
        key = f"monitor {place.root} {subject.snapshot.id} {report.end.isoformat()}"
        found["training"] = _start(retrain, {} if home is None else {"home": home}, key)
    return found


def _kept(home: Home, snapshot_id: str, report: "Report", found: dict[str, Any]) -> dict[str, str]:
    """Write picture and report below the home's runs, show them in the UI, and return where they lie."""
    from recsys.monitoring.board import board, rates, rows

    days = f"{report.begin:%Y-%m-%d} to {report.end:%Y-%m-%d}"
    title = f"{report.level}: {report.events:,} events of {days} beside snapshot {snapshot_id}"
    drawing = board(report, title)
    name = f"monitor-{snapshot_id}-{report.end:%Y-%m-%d}"
    paths = {"board": home.runs / f"{name}.png", "report": home.runs / f"{name}.json"}
    write_atomic(paths["board"], drawing)
    write_atomic(paths["report"], json.dumps(found, ensure_ascii=False, allow_nan=False, indent=2).encode())
    _show(drawing, rows(report), rates(report), title)
    return {kind: str(path) for kind, path in paths.items()}


@for_the_ui
def _show(drawing: bytes, table: list[dict[str, str]], brought: list[dict[str, str]], title: str) -> None:
    show_image(f"data:image/png;base64,{base64.b64encode(drawing).decode()}", key="drift-board", description=title)
    show_table(table, key="drift", description=title)
    if brought:
        show_table(brought, key="rates", description=f"What answers have brought. {title}")


def _payload(snapshot_id: str, report: "Report") -> dict[str, Any]:
    return {
        "snapshot": snapshot_id,
        "findings": [f"{check.name}: {check.sentence}" for check in report.findings],
        "severities": [check.level for check in report.findings],
        "training_helps": report.training_helps,
    }


def _start(deployment: str, parameters: dict[str, Any], key: str) -> str:
    """Run a deployment and return the id of its run; with the same key no second one is started.

    Raises:
        SettingError: there is no such deployment.
    """
    from prefect.deployments import run_deployment
    from prefect.exceptions import ObjectNotFound

    try:
        run: Any = run_deployment(deployment, parameters=parameters, timeout=0, as_subflow=False, idempotency_key=key)
    except (ObjectNotFound, ValueError) as error:
        message = f"retrain: {deployment} cannot be run: {error}. `prefect deployment ls` lists what can."
        raise SettingError(message) from None
    return str(run.id)
