"""ASGI middleware around the whole server: a request's id, and its numbers, log line and trace when it has ended."""

import re
import secrets
import time
from collections.abc import Callable, Iterable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.edge.context import CURRENT, SERIALISE, RequestContext
from services.edge.logs import LogSettings, RequestLog
from services.edge.metrics import Metrics
from services.edge.tracing import Tracing

CONTEXT = "recsys.context"  # in a request's scope: its context, for its connection
REQUEST_ID = b"x-request-id"
# What a caller's id may be, so that it can stand in logs and headers as it is; any other is replaced.
ACCEPTED = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
PROBES = ("/livez", "/readyz")  # no log line each
UNCOUNTED = (*PROBES, "/metrics")  # among those in flight, by whose number replicas are added


def request_id(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the id that a caller gave its request, or a new one."""
    for name, value in headers:
        if name == REQUEST_ID:
            return value.decode() if ACCEPTED.fullmatch(value) else new_id()
    return new_id()


def new_id() -> str:
    """Return an id that no other request has."""
    return secrets.token_hex(16)


def abandon(scope: Any) -> None:
    """Say that nobody waits for the answer to a request any more."""
    context = scope.get(CONTEXT)
    if context is not None:
        context.abandoned = True


class Observer:
    """What becomes of a worker's requests: numbers, log lines, traces."""

    def __init__(self, metrics: Metrics, log: RequestLog, tracing: Tracing | None) -> None:
        self.tracing = tracing
        self._log = log
        self._metrics = metrics

    @classmethod
    def from_environment(cls, metrics: Metrics) -> "Observer":
        """Return one that logs and traces as the environment says.

        Raises:
            SettingError: a variable of the log is not what it must be.
            TracingError: traces are asked for and cannot be sent.
        """
        return cls(metrics, RequestLog(LogSettings.from_environment()), Tracing.from_environment())

    def begin(self, scope: Scope) -> RequestContext:
        """Return the context of a request that has arrived."""
        context = RequestContext(request_id(scope["headers"]))
        if scope["path"] not in UNCOUNTED:
            self._metrics.in_flight.inc()
        if self.tracing is not None:
            context.span = self.tracing.begin(scope, context.request_id)
        return context

    def end(self, context: RequestContext, scope: Scope, status: int) -> None:
        """Count, log and trace a request whose answer has been sent, under its route's pattern.

        Never under its path, which a caller may invent, or which holds an id.
        """
        if scope["path"] not in UNCOUNTED:
            self._metrics.in_flight.dec()
        if context.timer.ends and status < 400:
            context.timer.end_stage(SERIALISE)  # first of all: the stages are parts of the whole
        seconds = time.perf_counter() - context.timer.started
        path, found = scope["path"], scope.get("route")
        probe = path in PROBES
        route = getattr(found, "path_format", "") or "other"
        metrics = self._metrics.of(context.tenant) if context.tenant else self._metrics
        metrics.requests.labels(route, status).observe(seconds)
        for stage, part in context.timer.totals().items():
            metrics.stage(stage).observe(part)
        if not probe:
            self._log.write(context, scope["method"], route, status, seconds)
        if self.tracing is not None:
            self.tracing.end(context, scope["method"], route, status)

    def close(self) -> None:
        """Send what waits."""
        if self.tracing is not None:
            self.tracing.close()


class Observed:
    """ASGI middleware that lets an observer see requests; it stands around BentoML's own, whose errors get ids too."""

    def __init__(self, app: ASGIApp, observer: Callable[[], Observer]) -> None:
        self.app = app
        self.observer = observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        observer = self.observer()
        context = observer.begin(scope)
        CURRENT.set(context)
        scope[CONTEXT] = context
        header = (REQUEST_ID, context.request_id.encode())
        status = 500  # unless a response begins

        async def send_noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), header]}
            await send(message)

        try:
            await self.app(scope, receive, send_noting)
        finally:
            observer.end(context, scope, status)
