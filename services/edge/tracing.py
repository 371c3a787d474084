"""OpenTelemetry traces: a span for a request and one for each of its stages, off unless the environment asks for them.

The standard variables ask: ``OTEL_EXPORTER_OTLP_ENDPOINT`` (or ``…_TRACES_ENDPOINT``), or ``OTEL_TRACES_EXPORTER``; the
SDK reads all others by itself. The stages' spans are made when the request has ended, from the ends of its timer.
"""

import os
import time
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from starlette.types import Scope

from recsys import __version__
from recsys.errors import RecsysError
from services.edge.context import RequestContext

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span

MAX_STAGES = 64  # spans of one request; a batch of 256 people ends more stages than anybody reads
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
OTLP = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}


class TracingError(RecsysError):
    """Traces are asked for and cannot be sent. The message says what to do."""


def wanted_exporters(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return the names under which the exporters that the variables ask for are registered; none: tracing is off."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return []
    named = environment.get("OTEL_TRACES_EXPORTER", "")
    if not named.strip():
        named = "otlp" if any(environment.get(endpoint) for endpoint in ENDPOINTS) else ""
    protocol = (
        environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
        or environment.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        or "http/protobuf"
    )
    names = [name.strip() for name in named.split(",")]
    return [OTLP.get(protocol, protocol) if name == "otlp" else name for name in names if name not in ("", "none")]


def check_tracing() -> None:
    """Check that the exporters which the environment asks for are installed.

    Raises:
        TracingError: one is not.
    """
    for name in wanted_exporters():
        _registered(name)


def _registered(name: str) -> Any:
    found = list(entry_points(group="opentelemetry_traces_exporter", name=name))
    if not found:
        raise TracingError(
            f"Traces are asked for by OTEL_… variables, but there is no exporter {name!r} here. Run `pip install "
            "'recsys[otlp]'` for otlp over HTTP, or set OTEL_TRACES_EXPORTER=none."
        )
    return found[0]


class Tracing:
    """Makes the spans of requests and hands them to exporters in the background."""

    def __init__(self, exporters: "list[SpanExporter]") -> None:
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        own = Resource.create({"service.name": "recsys", "service.version": __version__})
        self._provider = TracerProvider(resource=own.merge(OTELResourceDetector().detect()))
        for exporter in exporters:
            self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("recsys", __version__)
        self._propagator = TraceContextTextMapPropagator()

    @classmethod
    def from_environment(cls) -> "Tracing | None":
        """Return what the variables ask for, or None.

        Raises:
            TracingError: an exporter is not installed.
        """
        names = wanted_exporters()
        return cls([_registered(name).load()() for name in names]) if names else None

    def begin(self, scope: Scope, request_id: str) -> "Span":
        """Start the span of a request, below the caller's where it sent a ``traceparent``."""
        from opentelemetry.trace import SpanKind

        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        return self._tracer.start_span(
            scope["method"],
            self._propagator.extract(headers),
            SpanKind.SERVER,
            {
                "http.request.method": scope["method"],
                "url.scheme": scope["scheme"],
                "network.protocol.version": scope["http_version"],
                "recsys.request_id": request_id,
            },
        )

    def end(self, context: RequestContext, method: str, route: str, status: int) -> None:
        """Make the spans of the stages and end the request's."""
        from opentelemetry.trace import Status, StatusCode, set_span_in_context

        span, timer = context.span, context.timer
        if span is None:
            return
        span.update_name(f"{method} {route}")
        span.set_attributes({"http.route": route, "http.response.status_code": status})
        if status >= 500:
            span.set_attribute("error.type", str(status))
            span.set_status(Status(StatusCode.ERROR))
        parent = set_span_in_context(span)
        # the timer reads a clock that never jumps; spans stand on the one on the wall
        to_wall = time.time_ns() - int(time.perf_counter() * 1e9)
        begun = timer.started
        for stage, ended in timer.ends[:MAX_STAGES]:
            child = self._tracer.start_span(stage, parent, start_time=to_wall + int(begun * 1e9))
            child.end(to_wall + int(ended * 1e9))
            begun = ended
        if len(timer.ends) > MAX_STAGES:
            span.set_attribute("recsys.stages_left_out", len(timer.ends) - MAX_STAGES)
        span.end()

    def close(self) -> None:
        """Send what waits, and stop."""
        self._provider.shutdown()
