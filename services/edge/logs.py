"""Logs as JSON lines, and a line about a request: always where it failed or was slow, else for a share of them.

No line holds a user's or an item's id, a key, a query or a body: of a path only the route's pattern is written.
"""

import logging
import logging.config
import random
import threading
import time
from dataclasses import dataclass
from typing import Any

from recsys.errors import SettingError
from services.edge.context import CURRENT, RequestContext
from services.edge.environment import numbers

SHARE = "RECSYS_LOG_REQUESTS"  # of the requests that neither failed nor were slow, 0 to 1
SLOW = "RECSYS_LOG_SLOW_MS"  # from how many milliseconds on a request is slow
# Of one worker, beside that share: what fails in masses must not fill a disk. The next line says how many are missing.
LINES_PER_SECOND = 20  # of each logger
TRACEBACKS_PER_SECOND = 1  # of each logger
_LOG = logging.getLogger("services.requests")


class PerSecond:
    """Counts what is let through in the current second, and what has not been since the last that was."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._second = 0
        self._taken = 0
        self._left_out = 0
        self._counting = threading.Lock()

    def take(self) -> int | None:
        """Return None for what is one too many, else how many were left out before it."""
        with self._counting:
            second = int(time.monotonic())
            if second != self._second:
                self._second, self._taken = second, 0
            if self._taken >= self._most:
                self._left_out += 1
                return None
            self._taken += 1
            left_out, self._left_out = self._left_out, 0
            return left_out


class AtMost(logging.Filter):
    """Drops what a logger writes beyond its lines and its tracebacks a second; requests are counted on their own."""

    def __init__(self) -> None:
        super().__init__()
        self._seconds: dict[tuple[str, bool], PerSecond] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Say on a record how many were left out before it; keep it, or leave it out."""
        if record.name == _LOG.name:
            return True
        traced = bool(record.exc_info)
        most = TRACEBACKS_PER_SECOND if traced else LINES_PER_SECOND
        left_out = self._seconds.setdefault((record.name, traced), PerSecond(most)).take()
        if left_out:
            record.left_out = left_out
        return left_out is not None


class WithRequest(logging.Filter):
    """Adds the id of the request during which a record was made, and its trace where there is one."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Complete a record; keep it."""
        context = CURRENT.get()
        if context is not None:
            record.request_id = context.request_id
            if context.span is not None:
                record.trace_id = format(context.span.get_span_context().trace_id, "032x")
        return True


def configure_logs() -> None:
    """Make every logger of this process write JSON lines to stdout; of most libraries warnings only."""
    logging.captureWarnings(True)
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "filters": {"request": {"()": WithRequest}, "at most": {"()": AtMost}},
            "formatters": {
                "json": {
                    "()": "pythonjsonlogger.json.JsonFormatter",
                    "fmt": ["time", "levelname", "name", "message"],
                    "rename_fields": {"levelname": "level", "name": "logger", "exc_info": "exception"},
                    "timestamp": "time",
                }
            },
            "handlers": {
                "stdout": {
                    "class": "logging.StreamHandler",
                    "stream": "ext://sys.stdout",
                    "formatter": "json",
                    "filters": ["at most", "request"],
                }
            },
            "root": {"level": "WARNING", "handlers": ["stdout"]},
            "loggers": {
                name: {"level": level, "handlers": [], "propagate": True}
                for name, level in (
                    ("services", "INFO"),
                    ("recsys", "INFO"),
                    ("bentoml", "WARNING"),
                    ("bentoml.serve", "INFO"),
                    ("uvicorn.error", "WARNING"),
                    ("circus", "WARNING"),
                )
            },
        }
    )


@dataclass(frozen=True)
class LogSettings:
    """Which requests get a line.

    Attributes:
        share: of those that neither failed nor were slow.
        slow_ms: from how many milliseconds on a request is slow.

    Raises:
        SettingError: the share is not of [0, 1], or the time is negative.
    """

    share: float = 0.0
    slow_ms: float = 500.0

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise SettingError(f"{SHARE} is {self.share}; a share is a number from 0 to 1.")
        if not self.slow_ms >= 0:
            raise SettingError(f"{SLOW} is {self.slow_ms}; milliseconds are 0 or more.")

    @classmethod
    def from_environment(cls) -> "LogSettings":
        """Return what the variables say.

        Raises:
            SettingError: they say no number, or one out of its range.
        """
        return cls(**numbers({"share": SHARE, "slow_ms": SLOW}))


class RequestLog:
    """Writes lines about requests, never more of them than a disk can bear; called from the event loop alone."""

    def __init__(self, settings: LogSettings) -> None:
        self._settings = settings
        self._lines = PerSecond(LINES_PER_SECOND)

    def write(self, context: RequestContext, method: str, route: str, status: int, seconds: float) -> None:
        """Write a line, if the request is one of those that get one."""
        slow = seconds * 1_000 >= self._settings.slow_ms
        left_out: int | None = 0
        if random.random() >= self._settings.share:
            if status < 400 and not slow:
                return
            left_out = self._lines.take()
            if left_out is None:
                return
        said: dict[str, Any] = {
            "method": method,
            "route": route,
            "status": status,
            "duration_ms": round(seconds * 1_000, 3),
            "stages_ms": {stage: round(part * 1_000, 3) for stage, part in context.timer.totals().items()},
        }
        if left_out:
            said["left_out"] = left_out
        if context.tenant:
            said["tenant"] = context.tenant
        level = logging.ERROR if status >= 500 else logging.WARNING if slow else logging.INFO
        _LOG.log(level, "%s %s %d", method, route, status, extra=said)
