"""How far long work is, for whoever looks on: a bar for the stage under way, a line for each that took its time."""

import importlib.util
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from recsys.callbacks import StageProgress

NOTABLE_SECONDS = 2.0  # a stage that took longer leaves a line


class Display:
    """One bar for the stage under way, and a line for each that took noticeable time."""

    def __init__(self, console: Console) -> None:
        self._console = console
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self._bars = Progress(*columns, TimeElapsedColumn(), console=console, transient=True, refresh_per_second=5)
        # rich draws bars in a notebook by ipywidgets, and warns where they are missing
        widgets = console.is_jupyter and importlib.util.find_spec("ipywidgets") is not None
        self._moving = console.is_terminal or widgets
        self._stage: str | None = None
        self._started = 0.0

    def update(self, stage: str, done: int, total: int | None) -> None:
        """Show how far a stage is; without a total it just runs, and at its total it ends."""
        if stage != self._stage:
            self.finish()
            self._stage, self._started = stage, time.monotonic()
            if self._moving:
                self._bars.start()
            self._bar = self._bars.add_task(stage, total=total)
        self._bars.update(self._bar, completed=done, total=total)
        if done == total:
            self.finish()

    def finish(self) -> None:
        """End the stage under way."""
        if self._stage is None:
            return
        if self._moving:
            self._bars.stop()
        self._bars.remove_task(self._bar)
        seconds = time.monotonic() - self._started
        if seconds >= NOTABLE_SECONDS:
            self._console.print(f"[green]✓[/] {self._stage} [dim]{seconds:.0f} s[/]", highlight=False)
        self._stage = None


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
