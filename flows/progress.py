"""What is being done and how far it is: a bar on the terminal, and a bar and lines on the run's page.

``report`` is the callback that every stage of the library takes. Whoever calls a flow decides what becomes of it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from flows.run_progress import RunProgress
from flows.runtime import alone
from recsys.interactive.display import Display

if TYPE_CHECKING:
    from uuid import UUID

_display: ContextVar[Display | None] = ContextVar("display", default=None)
_runs: "dict[UUID, RunProgress]" = {}  # those under way in this process, by id: stages have contexts of their own


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
    run = _run()
    if run is not None:
        _runs.setdefault(run, RunProgress()).update(stage, done, total)
    display = _display.get()
    if display is not None:
        display.update(stage, done, total)


def ended(error: BaseException | None = None) -> None:
    """Tell that the flow under way has ended, by an error or done."""
    run = _run()
    shown = None if run is None else _runs.pop(run, None)
    if shown is not None:
        shown.end(error)


def _run() -> "UUID | None":
    """Return the id of the flow run under way, as quickly as each step of a training asks; None: there is none."""
    if alone():
        return None
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    return context.flow_run.id if context and context.flow_run else None


@contextmanager
def step(stage: str) -> Iterator[None]:
    """Report a stage of unknown length for the length of the block."""
    report(stage, 0, None)
    yield
    display = _display.get()
    if display is not None:
        display.finish()
