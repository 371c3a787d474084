"""States of runs: a refusal, bad data and a wrong setting have names, the reason in sight and no stack trace.

Parents and stages show them, too.
"""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import polars as pl
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterParentFlowRunId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import FlowRun
from prefect.flow_engine import flow_run_logger, run_flow
from processes import PATIENCE_SECONDS
from synthetic import SMALL, Dataset
from test_pipeline import hopeless_generation

from flows.ingest import ingest_tables
from flows.pipeline import pipeline
from flows.publish import publish_generation
from flows.states import name_of
from recsys.artifacts import ArtifactError, read_json, write_json
from recsys.config import to_dict
from recsys.data.quality import QualityError
from recsys.errors import RefusedError, SettingError
from recsys.home import Home
from recsys.models.optimisation import DivergedError
from recsys.selection.values import FilterError
from recsys.store.generations import ConflictError, current_id


def run(flow: Any, parameters: dict[str, Any]) -> tuple[FlowRun, Exception | None]:
    """Run a flow as a worker's process does; return the run and what it raised."""
    with get_client(sync_client=True) as client:
        made = client.create_flow_run(flow, parameters=parameters)
        raised: Exception | None = None
        try:
            run_flow(flow, flow_run=made, error_logger=flow_run_logger(made))
        except Exception as error:
            raised = error
        return client.read_flow_run(made.id), raised


def children(run_id: UUID) -> dict[str, FlowRun]:
    """Return the subflows of a run, by the names of their flows."""
    asked = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[run_id]))
    with get_client(sync_client=True) as client:
        return {client.read_flow(one.flow_id).name: one for one in client.read_flow_runs(flow_run_filter=asked)}


def artifacts(run_id: UUID) -> dict[str, str]:
    """Return what a run has left to look at, by key."""
    asked = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]))
    with get_client(sync_client=True) as client:
        return {str(one.key): str(one.data) for one in client.read_artifacts(artifact_filter=asked)}


def stages(run_id: UUID) -> dict[str, str]:
    """Return the states of a run's stages, by name; asked until all have ended, since the server hears of it later."""
    asked = FlowRunFilter(id=FlowRunFilterId(any_=[run_id]))
    end = time.monotonic() + PATIENCE_SECONDS
    with get_client(sync_client=True) as client:
        while True:
            found = client.read_task_runs(flow_run_filter=asked)
            if found and all(one.state is not None and one.state.is_final() for one in found):
                return {one.name.rpartition("-")[0]: str(one.state_name) for one in found}
            assert time.monotonic() < end, found


def logged(run_id: UUID) -> str:
    """Return what a run and its tasks have logged; asked until its last line is there."""
    from prefect.logging.handlers import APILogHandler

    APILogHandler().flush()
    asked = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run_id]))
    with get_client(sync_client=True) as client:
        return "\n".join(one.message for one in client.read_logs(asked))


@dataclass(frozen=True)
class Refused:
    """A pipeline whose training was found done, with a generation that the gate refused."""

    run: FlowRun
    raised: Exception | None
    children: dict[str, FlowRun]
    home: Home
    served: str
    worse: str


@pytest.fixture(scope="module")
def refused(home: Home, dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Refused:
    place = Home(Path(shutil.copytree(home.root, tmp_path_factory.mktemp("refused") / "home")))
    served, worse = str(current_id(place)), hopeless_generation(place)
    (record,) = place.runs.glob("train-*.json")
    write_json(record, read_json(record) | {"generation": worse})
    given = {"events": dataset.events, "items": dataset.items, "home": str(place.root), "model": to_dict(SMALL)}
    parent, raised = run(pipeline, given)
    return Refused(parent, raised, children(parent.id), place, served, worse)


def test_a_refusal_is_a_state_of_the_run_and_of_its_parent(refused: Refused) -> None:
    assert isinstance(refused.raised, RefusedError)
    assert refused.raised.generation_id == refused.worse
    for one in (refused.run, refused.children["publish"]):
        assert one.state is not None
        assert (one.state.type, one.state.name) == ("FAILED", "Refused")
        assert f"refused generation {refused.worse}" in str(one.state.message)
        assert "popularity" in str(one.state.message)
        assert "Refused" in logged(one.id)
        assert "Traceback" not in logged(one.id)
    assert current_id(refused.home) == refused.served


def test_what_was_found_done_says_so(refused: Refused) -> None:
    training = refused.children["train"].id
    assert artifacts(training)["found-done"].startswith(f"Found done: generation {refused.worse}.")
    assert f"Found done: generation {refused.worse}." in logged(training)


def test_lists_are_shown_beside_those_of_what_is_served(refused: Refused) -> None:
    samples = artifacts(refused.run.id)["sample-recommendations"]
    assert f"Before: the served generation {refused.served}" in samples
    assert samples.count("| before | | recommended | score | reasons |") == 3
    assert samples.count("| was 1 |") == 3  # both were trained alike


def test_bad_data_is_a_state_of_the_run(prefect_server: str, dataset: Dataset, tmp_path: Path) -> None:
    events = tmp_path / "events.csv"
    rows = pl.read_parquet(dataset.events).head(20).with_columns(timestamp=pl.lit("soon"))
    rows.write_csv(events)
    given = {"events": str(events), "items": dataset.items, "home": str(tmp_path / "home")}
    found, raised = run(ingest_tables, given)
    assert isinstance(raised, QualityError)
    assert found.state is not None
    assert (found.state.type, found.state.name) == ("FAILED", "BadData")
    assert "unparsable timestamp" in str(found.state.message)
    assert "20 of 20 rows are bad" in logged(found.id)
    assert "Traceback" not in logged(found.id)
    assert "NoneType" not in logged(found.id)  # as the trace of a state is printed
    assert stages(found.id) == {"write snapshot": "BadData"}


def test_a_wrong_setting_is_a_state_of_the_run(prefect_server: str, dataset: Dataset, tmp_path: Path) -> None:
    given = {"events": dataset.events, "items": "env:NOWHERE", "home": str(tmp_path / "home")}
    found, raised = run(ingest_tables, given)
    assert isinstance(raised, SettingError)
    assert found.state is not None
    assert (found.state.type, found.state.name) == ("FAILED", "BadSetting")
    assert "RECSYS_SOURCE_NOWHERE is not set" in str(found.state.message)
    assert "Traceback" not in logged(found.id)
    assert stages(found.id) == {"write snapshot": "BadSetting"}


def test_what_is_not_there_is_a_state_of_the_run(prefect_server: str, tmp_path: Path) -> None:
    found, raised = run(publish_generation, {"generation_id": "ffff", "home": str(tmp_path / "home")})
    assert isinstance(raised, ArtifactError)
    assert found.state_name == "BadArtifact"
    assert "'ffff' is no generation id" in str(found.state.message if found.state else None)
    assert "Traceback" not in logged(found.id)


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (ConflictError("Another one."), "Overtaken"),
        (FilterError("no field"), "BadSetting"),
        (DivergedError("Lower it."), "BadTraining"),
        (ValueError("a caller's mistake"), None),
    ],
)
def test_errors_have_the_name_of_the_nearest_kind(error: Exception, name: str | None) -> None:
    assert name_of(error) == name


def test_a_bug_keeps_its_stack_trace(prefect_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.ingest.write_snapshot", lambda *_: 1 // 0)
    given = {"events": "e.csv", "items": "i.csv", "home": str(tmp_path / "home")}
    found, raised = run(ingest_tables, given)
    assert isinstance(raised, ZeroDivisionError)
    assert found.state_name == "Failed"
    assert "Traceback" in logged(found.id)
