"""What is being done and how far it is: a bar on the terminal, a line in the run's log under a worker.

``report`` is the callback that every stage of the library takes. Whoever calls a flow decides what becomes of it.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

NOTABLE_SECONDS = 2.0  # a stage that took longer leaves a line


class Display:
    """One bar for the stage under way, and a line for each that took noticeable time."""

    def __init__(self, console: Console) -> None:
        self._console = console
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self._bars = Progress(*columns, TimeElapsedColumn(), console=console, transient=True, refresh_per_second=5)
        self._stage: str | None = None
        self._started = 0.0

    def update(self, stage: str, done: int, total: int | None) -> None:
        """Show how far a stage is; without a total it just runs."""
        if stage != self._stage:
            self.finish()
            self._stage, self._started = stage, time.monotonic()
            if self._console.is_terminal:
                self._bars.start()
            self._bar = self._bars.add_task(stage, total=total)
        self._bars.update(self._bar, completed=done, total=total)

    def finish(self) -> None:
        """End the stage under way."""
        if self._stage is None:
            return
        if self._console.is_terminal:
            self._bars.stop()
        self._bars.remove_task(self._bar)
        seconds = time.monotonic() - self._started
        if seconds >= NOTABLE_SECONDS:
            self._console.print(f"[green]✓[/] {self._stage} [dim]{seconds:.0f} s[/]", highlight=False)
        self._stage = None


_display: ContextVar[Display | None] = ContextVar("display", default=None)
_logged: ContextVar[str | None] = ContextVar("logged", default=None)


@contextmanager
def shown(console: Console) -> Iterator[None]:
    """Show on a console what is reported within the block."""
    display = Display(console)
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
