"""What is being done and how far it is: a bar on the terminal, a line in the run's log under a worker.

``report`` is the callback that every stage of the library takes. Whoever calls a flow decides what becomes of it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from rich.console import Console

from recsys.interactive.display import Display

_display: ContextVar[Display | None] = ContextVar("display", default=None)
_logged: ContextVar[str | None] = ContextVar("logged", default=None)


@contextmanager
def shown(console: Console, log: Path | None = None) -> Iterator[None]:
    """Show on a console, and write into a log, what is reported within the block."""
    display = Display(console, log)
    token = _display.set(display)
    try:
        yield
    finally:
        _display.reset(token)
        display.finish()


def report(stage: str, done: int, total: int | None) -> None:
    """Tell that ``done`` of ``total`` parts of a stage are done; call it within a flow or a task."""
    display = _display.get()
    if display is not None:
        display.update(stage, done, total)
    elif _logged.get() != stage:
        from prefect import get_run_logger  # here, because Prefect reads its settings when it is imported

        _logged.set(stage)
        get_run_logger().info(stage)


@contextmanager
def step(stage: str) -> Iterator[None]:
    """Report a stage of unknown length for the length of the block."""
    report(stage, 0, None)
    yield
    display = _display.get()
    if display is not None:
        display.finish()
