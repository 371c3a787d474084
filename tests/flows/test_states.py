"""States of runs: a refusal and bad data have names, the reason in sight and no stack trace; parents show them too."""

import shutil
from pathlib import Path
from typing import Any
from uuid import UUID

import polars as pl
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId, LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import FlowRun
from prefect.flow_engine import flow_run_logger, run_flow
from synthetic import SMALL, Dataset
from test_pipeline import hopeless_generation

from flows.ingest import ingest_tables
from flows.pipeline import pipeline
from recsys.artifacts import read_json, write_json
from recsys.config import to_dict
from recsys.data.quality import QualityError
from recsys.errors import RefusedError
from recsys.home import Home
from recsys.store.generations import current_id


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


def children(run_id: UUID) -> list[FlowRun]:
    """Return the subflows of a run."""
    asked = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[run_id]))
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(flow_run_filter=asked)


def logged(run_id: UUID) -> str:
    """Return what a run and its tasks have logged; asked until its last line is there."""
    from prefect.logging.handlers import APILogHandler

    APILogHandler().flush()
    asked = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run_id]))
    with get_client(sync_client=True) as client:
        return "\n".join(one.message for one in client.read_logs(asked))


def test_a_refusal_is_a_state_of_the_run_and_of_its_parent(home: Home, dataset: Dataset, tmp_path: Path) -> None:
    place = Home(Path(shutil.copytree(home.root, tmp_path / "home")))
    served, worse = current_id(place), hopeless_generation(place)
    (record,) = place.runs.glob("train-*.json")  # the training is found done, with another outcome
    write_json(record, read_json(record) | {"generation": worse})
    given = {"events": dataset.events, "items": dataset.items, "home": str(place.root), "model": to_dict(SMALL)}
    parent, raised = run(pipeline, given)
    assert isinstance(raised, RefusedError)
    assert raised.generation_id == worse
    (child,) = [one for one in children(parent.id) if one.state_name == "Refused"]
    for one in (parent, child):
        assert one.state is not None
        assert (one.state.type, one.state.name) == ("FAILED", "Refused")
        assert f"refused generation {worse}" in str(one.state.message)
        assert "popularity" in str(one.state.message)
        assert "Traceback" not in logged(one.id)
        assert "Refused" in logged(one.id)
    assert current_id(place) == served


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


def test_a_bug_keeps_its_stack_trace(prefect_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.ingest.write_snapshot", lambda *_: 1 // 0)
    given = {"events": "e.csv", "items": "i.csv", "home": str(tmp_path / "home")}
    found, raised = run(ingest_tables, given)
    assert isinstance(raised, ZeroDivisionError)
    assert found.state_name == "Failed"
    assert "Traceback" in logged(found.id)
