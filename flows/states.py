"""States with names of their own, for what is no crash: the gate has refused, or the data is not good enough.

A run ends in such a state with the reason in sight and no stack trace, in its page and its logs; its parent does, too.
Whoever calls the flow from Python gets the error itself.
"""

import functools
import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

from flows import progress
from recsys.errors import DataError, RecsysError, RefusedError

P = ParamSpec("P")
R = TypeVar("R")

NAMES: dict[type[RecsysError], str] = {RefusedError: "Refused", DataError: "BadData"}
_LOGGERS = ("prefect.flow_runs", "prefect.task_runs", "prefect.engine")  # which tell a run's errors
_AGAIN = "Engine execution exited"  # tells once more what the state has told


def stated(function: Callable[P, R]) -> Callable[P, R]:
    """Return what Prefect makes a flow of: an error with a name becomes the state of that name, and holds the error."""
    from prefect import State
    from prefect.client.schemas import StateType

    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if without_trace not in logger.filters:
            logger.addFilter(without_trace)

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            outcome = function(*args, **kwargs)
        except Exception as error:
            progress.ended(error)
            name = name_of(error)
            if name is None:
                raise
            # Prefect raises the error that a returned state holds, for whoever has called the flow.
            return cast(R, State(type=StateType.FAILED, name=name, message=str(error), data=error))
        progress.ended()
        return outcome

    return run


def name_of(error: BaseException) -> str | None:
    """Return the name of the state that an error becomes, or None where it has none."""
    return next((name for kind, name in NAMES.items() if isinstance(error, kind)), None)


def without_trace(record: logging.LogRecord) -> bool:
    """Take the stack trace off a record of an error with a name, and let pass what the state does not tell itself."""
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    if error is None or name_of(error) is None:
        return True
    record.exc_info = record.exc_text = None
    return not str(record.msg).startswith(_AGAIN)
