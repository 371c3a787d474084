"""How far a run is, for whoever looks at its page: a line in its log, and a bar among its artifacts.

A run has one bar, of the stage under way, with the loss and the time left below it. Both are renewed now and then, and
never by step: a training takes hundreds of those a second. What the server does not take keeps no run from its work.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from recsys.callbacks import forget_loss
from recsys.interactive.display import LINE_SECONDS, how_far

if TYPE_CHECKING:
    from uuid import UUID

KEY = "progress"
BAR_SECONDS = 5.0  # from one look of the bar to the next; a run that is shorter has none
PAUSE_SECONDS = 60.0  # after the server did not take it


class RunProgress:
    """How far one run is.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stage: str | None = None
        self._bar: UUID | None = None
        self._said = ""  # below the bar
        self._began = self._logged = self._percent = 0.0
        self._next = clock() + BAR_SECONDS
        self._first = 0  # parts that were done when the stage began: a killed training goes on

    def update(self, stage: str, done: int, total: int | None) -> None:
        """Tell that ``done`` of ``total`` parts of a stage are done; without a total it just runs."""
        now = self._clock()
        if stage != self._stage:
            self._leave()
            self._stage, self._first, self._began, self._logged = stage, done, now, now
            _log(stage)
        if now >= min(self._next, self._logged + LINE_SECONDS):
            said = f"{stage}: {how_far(done, total, now - self._began, self._first)}"
            if now >= self._logged + LINE_SECONDS:
                self._logged = now
                _log(said)
            if now >= self._next:
                self._percent = 100 * done / total if total else 0.0
                self._said = said
                self._show(said)
        if done == total:
            self._leave()

    def end(self, error: BaseException | None = None) -> None:
        """Say below the run's bar, if it has one, that it is done, or by what it was ended and how far it came."""
        if self._bar is not None:
            self._percent = 100.0 if error is None else self._percent
            self._show("Done." if error is None else f"Ended: {error} It was at {self._said}")

    def _leave(self) -> None:
        """Leave the stage under way, if there is one: its loss is not that of the next."""
        if self._stage is not None:
            forget_loss()
        self._stage = None

    def _show(self, said: str) -> None:
        from prefect.artifacts import create_progress_artifact, update_progress_artifact

        try:
            if self._bar is None:
                self._bar = cast("UUID", create_progress_artifact(self._percent, key=KEY, description=said))
            else:
                update_progress_artifact(self._bar, self._percent, description=said)
            self._next = self._clock() + BAR_SECONDS
        except Exception as error:  # whatever a server, or the way to it, may do
            self._next = self._clock() + PAUSE_SECONDS
            _log(f"The bar of this run could not be renewed: {error}")


def _log(text: str) -> None:
    from prefect import get_run_logger

    get_run_logger().info(text)
