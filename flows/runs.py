"""Flows and their stages: runs of Prefect's, or plain calls in a command that names no server for anybody to see them.

Such a command does not import Prefect either, which takes longer than most commands do. What a module's flows are is
decided as it is imported, once for the whole process.
"""

import functools
import logging
import time
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, cast

from flows.runtime import alone
from recsys.callbacks import RunStage

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
_LOG = logging.getLogger(__name__)


class Run(Protocol[P, R_co]):
    """A flow or a stage.

    Attributes:
        fn: the function behind it.
    """

    fn: Callable[..., Any]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...


class Called(Generic[P, R]):
    """A flow or a stage that is called and nothing else, again after a failure as a task would be."""

    def __init__(self, function: Callable[P, R], retries: int = 0, retry_delay_seconds: float = 0) -> None:
        self.fn: Callable[..., Any] = function
        self._retries, self._delay = retries, retry_delay_seconds
        functools.update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        for _ in range(self._retries):
            try:
                return cast(R, self.fn(*args, **kwargs))
            except Exception as error:
                _LOG.warning("%s failed and is tried again in %g s: %s", self.fn.__name__, self._delay, error)
                time.sleep(self._delay)
        return cast(R, self.fn(*args, **kwargs))


def flow(name: str) -> Callable[[Callable[P, R]], Run[P, R]]:
    """Make a flow of a function, as ``prefect.flow`` does."""
    if alone():
        return Called
    from prefect import Flow

    from flows.states import stated

    return lambda function: cast(Any, Flow(stated(function), name=name))


def stage(
    name: str, run_name: str | None = None, retries: int = 0, retry_delay_seconds: float = 0
) -> Callable[[Callable[P, R]], Run[P, R]]:
    """Make a task of a function, as ``prefect.task`` does, without its cache: what is done is found by its inputs.

    Args:
        name: of the task.
        run_name: of each run, with the arguments' names in braces.
        retries: after a failure.
        retry_delay_seconds: before each.
    """
    again: dict[str, Any] = {"retries": retries, "retry_delay_seconds": retry_delay_seconds}
    if alone():
        return lambda function: Called(function, **again)
    from prefect import Task
    from prefect.cache_policies import NO_CACHE

    given = {"name": name, "task_run_name": run_name, "cache_policy": NO_CACHE, **again}
    return lambda function: cast(Any, Task(function, **given))


def as_tasks(*tasks: Run[..., Any]) -> RunStage:
    """Return what runs each stage of the library as the task that was made of it."""
    by_stage = {one.fn: one for one in tasks}

    def run(stage: Any, /, *args: Any, **kwargs: Any) -> Any:
        return by_stage[stage](*args, **kwargs)

    return run


def run_id() -> str | None:
    """Return the id of the flow run under way, None where there is none."""
    if alone():
        return None
    from prefect.runtime import flow_run

    return cast("str | None", flow_run.id)


def for_the_ui(report: Callable[P, Any]) -> Callable[P, Any]:
    """Return a report, artifacts of Prefect's, that is made only where somebody can look at it."""
    return (lambda *args, **kwargs: None) if alone() else report


@for_the_ui
def show_table(rows: list[dict[str, Any]], key: str, description: str) -> None:
    from prefect.artifacts import create_table_artifact

    create_table_artifact(rows, key=key, description=description)


@for_the_ui
def show_markdown(text: str, key: str, description: str) -> None:
    from prefect.artifacts import create_markdown_artifact

    create_markdown_artifact(text, key=key, description=description)


@for_the_ui
def show_image(url: str, key: str, description: str) -> None:
    from prefect.artifacts import create_image_artifact

    create_image_artifact(url, key=key, description=description)
