"""Flows and their stages: runs of Prefect's, or plain calls in a command that names no server for anybody to see them.

Such a command does not import Prefect either, which takes longer than most commands do. What a module's flows are is
decided as it is imported, once for the whole process.
"""

import functools
import inspect
import logging
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, cast

from flows.limits import limited
from flows.patience import patiently, trust_address
from flows.retries import JITTER, ONCE, Retries, mends
from flows.runtime import alone
from flows.work import LIGHT, Work
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

    def __init__(self, function: Callable[P, R], again: Retries = ONCE) -> None:
        self.fn: Callable[..., Any] = function
        self._again = again
        functools.update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return cast(R, self._again.call(self.fn, *args, **kwargs))


class Staged(Generic[P, R]):
    """A stage that is a task of Prefect's; an error that has a state of its own is raised again."""

    def __init__(self, function: Callable[P, R], seconds: float | None, **settings: Any) -> None:
        from prefect import Task

        from flows.states import stated_stage

        self.fn: Callable[..., Any] = function
        self._task = Task(stated_stage(limited(seconds)(function)), **settings)
        functools.update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        from prefect import State

        outcome: Any = self._task(*args, **kwargs)
        if isinstance(outcome, State):
            raise cast(Exception, outcome.result(raise_on_failure=False))
        return cast(R, outcome)


def flow(
    name: str,
    work: Work = LIGHT,
    about: Mapping[str, str] | None = None,
    again: Retries = ONCE,
    kind: type[Any] | None = None,
) -> Callable[[Callable[P, R]], Run[P, R]]:
    """Make a flow of a function that has a parameter ``home``, as ``prefect.flow`` does.

    Args:
        name: of the flow. A run's own name says on what, and when, too.
        work: what it has to itself while it runs, and for how long.
        about: the parameters that a run's name tells, and what it says where one is empty.
        again: how often the whole function is called again after a failure that may mend itself.
        kind: of Prefect's flow; None: one that knows nothing of tables.
    """
    if alone():
        return lambda function: Called(function, again)
    from flows.hooks import tidy_up
    from flows.located import PatientFlow
    from flows.naming import run_name
    from flows.slots import working
    from flows.states import stated

    def made(function: Callable[P, R]) -> Run[P, R]:
        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            trust_address()
            given = inspect.signature(function).bind(*args, **kwargs).arguments
            with working(work, given.get("home")):
                return again.call(function, *args, **kwargs)

        settings: dict[str, Any] = {end: [tidy_up] for end in ("on_failure", "on_crashed", "on_cancellation")}
        settings |= {"flow_run_name": run_name(name, about or {}), "timeout_seconds": work.seconds}
        settings |= {"version": version("recsys")}  # Prefect would make one of the file that ``run`` is in, this one
        orchestrated: Any = (kind or PatientFlow)(stated(run), name=name, **settings)
        orchestrated.work = work
        return cast(Any, orchestrated)

    return made


def stage(
    name: str, run_name: str | None = None, again: Retries = ONCE, seconds: float | None = None
) -> Callable[[Callable[P, R]], Run[P, R]]:
    """Make a task of a function, as ``prefect.task`` does, without its cache: what is done is found by its inputs.

    Args:
        name: of the task.
        run_name: of each run, with the arguments' names in braces.
        again: how often it is called again after a failure that may mend itself.
        seconds: after which it is taken for stuck and ended, as a failure that may mend itself; None: the flow's limit
            is its own.
    """
    if alone():
        return lambda function: Called(function, again)
    from prefect.cache_policies import NO_CACHE

    given: dict[str, Any] = {"name": name, "task_run_name": run_name, "cache_policy": NO_CACHE}
    if again.times:
        given |= {"retries": again.times, "retry_delay_seconds": again.waits, "retry_jitter_factor": JITTER}
        given |= {"retry_condition_fn": _may_mend}
    return lambda function: Staged(function, seconds, **given)


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
    """Return a report, artifacts of Prefect's, that is made only where somebody can look at it, and ends no run."""
    if alone():
        return lambda *args, **kwargs: None

    @functools.wraps(report)
    def shown(*args: P.args, **kwargs: P.kwargs) -> Any:
        from httpx import TransportError

        try:
            return patiently(report, *args, **kwargs)
        except TransportError as error:
            _LOG.warning("%s: the server does not answer, and nothing is shown: %s", report.__name__, error)

    return shown


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


def _may_mend(task: Any, run: Any, state: Any) -> bool:
    """As Prefect asks it of a failed task run."""
    failure = state.result(raise_on_failure=False)
    return not isinstance(failure, BaseException) or mends(failure)
