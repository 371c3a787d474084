"""How far long work is, for whoever looks on: a bar for the stage under way, a line for each that took its time.

Where nobody looks on, and in a log file, there is a line every half minute: how far, at what loss, how much longer.
"""

import importlib.util
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from recsys.callbacks import StageProgress, forget_loss, noted_loss
from recsys.evaluation.plain import visible

NOTABLE_SECONDS = 2.0  # a stage that took longer leaves a line
LINE_SECONDS = 30.0  # from one line to the next of a stage under way


class Display:
    """One bar for the stage under way, or lines about it, and a line for each that took noticeable time.

    Args:
        console: where bars and lines go.
        log: a file that lines are added to, each with its time, whatever the console is.
        clock: seconds that only grow.
    """

    def __init__(self, console: Console, log: Path | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._log, self._clock = console, log, clock
        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
        self._bars = Progress(*columns, TimeElapsedColumn(), console=console, transient=True, refresh_per_second=5)
        # rich draws bars in a notebook by ipywidgets, and warns where they are missing
        widgets = console.is_jupyter and importlib.util.find_spec("ipywidgets") is not None
        self._moving = console.is_terminal or widgets
        self._stage: str | None = None
        self._started = self._told = 0.0
        self._first = 0  # parts that were done when the stage began: a killed training goes on
        if log is not None:
            log.open("a").close()  # before the work: a file that cannot be written is known at once

    def update(self, stage: str, done: int, total: int | None) -> None:
        """Show how far a stage is; without a total it just runs, and at its total it ends."""
        if stage != self._stage:
            self.finish()
            self._stage, self._first = stage, done
            self._started = self._told = self._clock()
            if self._moving:
                self._bars.start()
            self._bar = self._bars.add_task(stage, total=total)
        self._bars.update(self._bar, completed=done, total=total)
        now = self._clock()
        if done == total:
            self.finish()
        elif now - self._told >= LINE_SECONDS:
            self._told = now
            self._line(f"{stage}: {how_far(done, total, now - self._started, self._first)}")

    def finish(self) -> None:
        """End the stage under way."""
        if self._stage is None:
            return
        if self._moving:
            self._bars.stop()
        self._bars.remove_task(self._bar)
        forget_loss()
        seconds = self._clock() - self._started
        if seconds >= NOTABLE_SECONDS:
            told = Text.assemble(("✓", "green"), f" {visible(self._stage)} ", (f"{seconds:.0f} s", "dim"))
            self._console.print(told, highlight=False)
            self._write(f"{self._stage}: done in {seconds:.0f} s")
        self._stage = None

    def _line(self, text: str) -> None:
        if not self._moving:
            self._console.print(text, highlight=False, markup=False)
        self._write(text)

    def _write(self, text: str) -> None:
        if self._log is not None:
            with self._log.open("a", encoding="utf-8") as file:
                file.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {text}\n")


def how_far(done: int, total: int | None, seconds: float, first: int = 0) -> str:
    """Say how far a stage is, at what loss where it has one, and how much longer it takes at the rate so far.

    Args:
        done: its parts that are done.
        total: how many there are; None: it has no parts.
        seconds: since it began.
        first: parts that were done when it began.
    """
    if total is None:
        return f"{seconds:.0f} s"
    loss, since = noted_loss(), done - first
    said = [f"{done:,} of {total:,}"]
    said += [f"loss {loss:.4f}"] if loss is not None else []
    said += [f"{_span(seconds / since * (total - done))} left"] if since else []
    return ", ".join(said)


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


@contextmanager
def reporting(progress: bool | StageProgress) -> Iterator[StageProgress | None]:
    """Yield what work reports to, for the length of the block, and keep what libraries warn of themselves off it.

    Args:
        progress: a callback with stage, done and total; True: bars in a terminal or a notebook; False: nothing.
    """
    with warnings.catch_warnings(), ExitStack() as stack:
        warnings.filterwarnings("ignore", ".is_gradient_checkpointing. is deprecated", FutureWarning)  # transformers
        if callable(progress):
            yield progress
        else:
            console = Console(stderr=True)
            if not progress or not (console.is_terminal or console.is_jupyter):
                yield None
            else:
                display = Display(console)
                stack.callback(display.finish)
                yield display.update
