"""The bar of a run: one among its artifacts, renewed now and then, with loss and time left; a run does without it."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from uuid import UUID

import pytest
from prefect import artifacts, flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import Artifact
from prefect.logging.handlers import APILogHandler
from prefect.runtime import flow_run

from flows import progress, run_progress
from flows.run_progress import KEY, RunProgress
from flows.states import stated
from recsys.callbacks import forget_loss, note_loss

STEPS = 1_000


class Clock:
    """Seconds that pass when they are told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    """The clock of every run that begins."""
    made = Clock()
    monkeypatch.setattr(progress, "RunProgress", lambda: RunProgress(made))
    yield made
    forget_loss()


def ran(function: Callable[[], None]) -> UUID:
    """Run a flow of a function, and return the id of its run."""
    found: list[str] = []

    def run() -> None:
        found.append(str(flow_run.id))
        function()

    with suppress(ValueError):
        flow(stated(run), name="progress")()
    return UUID(found[0])


def bars(run: UUID) -> list[Artifact]:
    asked = ArtifactFilter(key=ArtifactFilterKey(any_=[KEY]), flow_run_id=ArtifactFilterFlowRunId(any_=[run]))
    with get_client(sync_client=True) as client:
        return client.read_artifacts(artifact_filter=asked)


def logged(run: UUID) -> list[str]:
    APILogHandler().flush()
    asked = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run]))
    with get_client(sync_client=True) as client:
        return [one.message for one in client.read_logs(asked)]


def train(clock: Clock, seconds: float, steps: int = STEPS) -> None:
    """Report a stage of ``STEPS`` steps, as far as it comes."""
    note_loss(lambda: 2.5)
    for done in range(steps + 1):
        clock.now = seconds * done / STEPS
        progress.report("Train towers", done, STEPS)


def test_a_run_has_one_bar_renewed_now_and_then(
    prefect_server: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    renew = artifacts.update_progress_artifact

    def counted(bar: UUID, percent: float, description: str) -> Any:
        told.append(description)
        return renew(bar, percent, description=description)

    monkeypatch.setattr(artifacts, "update_progress_artifact", counted)
    run = ran(lambda: train(clock, 62.0))
    assert 2 < len(told) <= 62 / run_progress.BAR_SECONDS
    assert told[0] == "Train towers: 162 of 1,000, loss 2.5000, 52 s left"
    (bar,) = bars(run)
    assert (bar.data, bar.description) == (100.0, "Done.")
    lines = [line for line in logged(run) if line.startswith("Train towers")]
    assert len(lines) == 3  # its beginning, and one each half minute
    assert lines[1] == "Train towers: 484 of 1,000, loss 2.5000, 32 s left"


def test_a_run_that_fails_says_how_far_it_came(prefect_server: str, clock: Clock) -> None:
    def fails() -> None:
        train(clock, 20.0, STEPS // 2)
        raise ValueError("The disk is full.")

    (bar,) = bars(ran(fails))
    assert str(bar.description).startswith("Ended: The disk is full. It was at Train towers: ")
    assert 25 <= float(str(bar.data)) <= 50


def test_a_short_run_has_no_bar(prefect_server: str, clock: Clock) -> None:
    assert bars(ran(lambda: train(clock, 1.0))) == []


def test_a_server_that_takes_no_bar_keeps_no_run_from_its_work(
    prefect_server: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def refuse(*_: Any, **__: Any) -> None:
        asked.append(clock.now)
        raise OSError("nobody is there")

    monkeypatch.setattr(artifacts, "create_progress_artifact", refuse)
    run = ran(lambda: train(clock, 100.0))
    assert len(asked) == 2  # and not every five seconds
    assert any("nobody is there" in line for line in logged(run))


def test_nothing_is_told_outside_of_a_run(clock: Clock) -> None:
    train(clock, 100.0)
    assert progress._runs == {}
