"""Flows and their stages as Prefect knows them; a command without a server calls them, and starts none to be seen by.

Where settings name a server, and where somebody else than a command calls a flow, each call is a run of Prefect's.
"""

import functools
import time
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from prefect import Flow, Task, artifacts
from prefect.cache_policies import NO_CACHE

from flows.runtime import alone

P = ParamSpec("P")
R = TypeVar("R")


class CalledFlow(Flow[P, R]):
    """A flow whose function is called where nobody would see its run."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.fn(*args, **kwargs) if alone() else super().__call__(*args, **kwargs)


class Stage(Task[P, R]):
    """A task whose function is called where nobody would see its run, again after a failure as the task would be."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not alone():
            return super().__call__(*args, **kwargs)
        for _ in range(self.retries):
            try:
                return self.fn(*args, **kwargs)
            except Exception:
                time.sleep(self.retry_delay_seconds)  # type: ignore[arg-type]  # a number wherever a stage has retries
        return self.fn(*args, **kwargs)


def flow(name: str) -> Callable[[Callable[P, R]], CalledFlow[P, R]]:
    """Make a flow of a function, as ``prefect.flow`` does."""
    return lambda function: CalledFlow(function, name=name)


def stage(
    name: str, run_name: str | None = None, retries: int = 0, retry_delay_seconds: float = 0
) -> Callable[[Callable[P, R]], Stage[P, R]]:
    """Make a task of a function, as ``prefect.task`` does, without its cache: what is done is found by its inputs.

    Args:
        name: of the task.
        run_name: of each run, with the arguments' names in braces.
        retries: after a failure.
        retry_delay_seconds: before each.
    """
    return lambda function: Stage(
        function,
        name=name,
        task_run_name=run_name,
        retries=retries,
        retry_delay_seconds=retry_delay_seconds,
        cache_policy=NO_CACHE,
    )


def for_the_ui(report: Callable[P, Any]) -> Callable[P, None]:
    """Return a report, an artifact of Prefect's, that is made only where somebody can look at it."""

    @functools.wraps(report)
    def made(*args: P.args, **kwargs: P.kwargs) -> None:
        if not alone():
            report(*args, **kwargs)

    return made


show_table = for_the_ui(artifacts.create_table_artifact)
show_image = for_the_ui(artifacts.create_image_artifact)
