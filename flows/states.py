"""States with names of their own, for what is no crash: the gate has refused, the data is not good enough, a setting
is none, what is stored is missing or broken.

A run and its stage end in such a state with the reason in sight and no stack trace, in their page and their logs; the
parent does, too. Whoever calls the flow from Python gets the error itself.
"""

import functools
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from flows import progress
from recsys.artifacts import ArtifactError
from recsys.errors import DataError, RecsysError, RefusedError, RequestError, SettingError, TrainingError
from recsys.store.generations import ConflictError

if TYPE_CHECKING:
    from prefect import State

P = ParamSpec("P")
R = TypeVar("R")

NAMES: dict[type[RecsysError], str] = {  # the first that fits
    RefusedError: "Refused",
    ConflictError: "Overtaken",
    ArtifactError: "BadArtifact",
    DataError: "BadData",
    SettingError: "BadSetting",
    RequestError: "BadSetting",
    TrainingError: "BadTraining",
}
_LOGGERS = ("prefect.flow_runs", "prefect.task_runs", "prefect.engine")  # which tell a run's errors
_AGAIN = ("Engine execution exited", "Task run failed with state")  # tell once more what the state has told


def stated(function: Callable[P, R]) -> Callable[P, R]:
    """Return what Prefect makes a flow of: an error with a name becomes the state of that name, and holds the error."""
    _let_pass_no_trace()

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            outcome = function(*args, **kwargs)
        except Exception as error:
            progress.ended(error)
            # Prefect raises the error that a returned state holds, for whoever has called the flow.
            return cast(R, _state(error))
        progress.ended()
        return outcome

    return run


def stated_stage(function: Callable[P, R]) -> Callable[P, R]:
    """Return what Prefect makes a task of, likewise; whoever calls it gets such a state and raises its error."""
    _let_pass_no_trace()

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            return cast(R, _state(error))

    return run


def _state(error: Exception) -> "State[Any]":
    """Return the state that an error becomes; one without a name is raised."""
    from prefect import State
    from prefect.client.schemas import StateType

    name = name_of(error)
    if name is None:
        raise error
    return State(type=StateType.FAILED, name=name, message=str(error), data=error)


def name_of(error: BaseException) -> str | None:
    """Return the name of the state that an error becomes, or None where it has none."""
    return next((name for kind, name in NAMES.items() if isinstance(error, kind)), None)


def _let_pass_no_trace() -> None:
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if without_trace not in logger.filters:
            logger.addFilter(without_trace)


def without_trace(record: logging.LogRecord) -> bool:
    """Take the stack trace off a record of an error with a name, and let pass what the state does not tell itself."""
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    again = str(record.msg).startswith(_AGAIN)
    if error is None:  # of a state that was returned there is no error under way
        return not (again and record.exc_info)
    if name_of(error) is None:
        return True
    record.exc_info = record.exc_text = None
    return not again
