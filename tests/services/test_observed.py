"""What operators see of a request: its id, its line in the log, its trace; and what must never be seen there."""

import json
import logging
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from threading import Condition, Event, Thread

import anyio
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from processes import PATIENCE_SECONDS

from recsys.home import Home
from services.edge import logs
from services.edge.context import RequestContext
from services.edge.logs import LINES_PER_SECOND, TRACEBACKS_PER_SECOND, AtMost, LogSettings, RequestLog
from services.edge.metrics import Exposition
from services.edge.observer import ACCEPTED, REQUEST_ID, request_id
from services.edge.tracing import wanted_exporters
from services.serve import ServeError, free_port, log_file, running, start

SECRETS = {
    "user": "nobody-may-read-this-user",
    "item": "nor-this-item",
    "key": "rsk_nor-this-key",
    "text": "nor these words",
}
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@dataclass
class Collector:
    """Receives OTLP over HTTP, as an OpenTelemetry collector does."""

    spans: list[Span] = field(default_factory=list)
    services: set[str] = field(default_factory=set)
    changed: Condition = field(default_factory=Condition)

    def take(self, body: bytes) -> None:
        sent = ExportTraceServiceRequest.FromString(body)
        with self.changed:
            for resource in sent.resource_spans:
                attributes = {one.key: one.value.string_value for one in resource.resource.attributes}
                self.services.add(attributes["service.name"])
                for scope in resource.scope_spans:
                    self.spans.extend(scope.spans)
            self.changed.notify_all()

    def request(self, asked: str) -> tuple[Span, list[Span]]:
        """Wait for the trace of a request; return its span and those of its stages."""

        def found() -> list[Span]:
            return [span for span in self.spans if attributes_of(span).get("recsys.request_id") == asked]

        with self.changed:
            assert self.changed.wait_for(found, PATIENCE_SECONDS), "its span never came"
            (span,) = found()
            return span, [one for one in self.spans if one.parent_span_id == span.span_id]


def attributes_of(span: Span) -> dict[str, str]:
    return {one.key: one.value.string_value or str(one.value.int_value) for one in span.attributes}


@pytest.fixture(scope="module")
def collector() -> Iterator[tuple[Collector, str]]:
    collected = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            collected.take(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield collected, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@dataclass(frozen=True)
class Watched:
    """A service that logs and traces every request."""

    client: httpx.Client
    collector: Collector
    log: Path
    eventually: Callable[[Callable[[], bool]], None]

    def line(self, asked: str) -> dict:
        """Return the line of the log about a request, which is written when its answer is on the way already."""
        self.eventually(lambda: bool(self._lines(asked)))
        (found,) = self._lines(asked)
        return found

    def _lines(self, asked: str) -> list[dict]:
        """Return whole lines alone: one that is being written right now has no end yet."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return [one for one in lines if one.get("request_id") == asked and one["logger"] == "services.requests"]


@pytest.fixture(scope="module")
def watched(
    copy_of_home: Callable[[Path], Home],
    collector: tuple[Collector, str],
    tmp_path_factory: pytest.TempPathFactory,
    eventually: Callable[[Callable[[], bool]], None],
) -> Iterator[Watched]:
    home, port = copy_of_home(tmp_path_factory.mktemp("watched")), free_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_LOG_REQUESTS", "1")
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector[1])
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        with running(home, port) as url, httpx.Client(base_url=url, timeout=60) as client:
            yield Watched(client, collector[0], log_file(home, port), eventually)


def test_every_response_bears_the_callers_id(watched: Watched) -> None:
    wanted = {"/v1/generations": 200, "/v1/items/none": 404, "/invented": 404, "/livez": 200, "/metrics": 200}
    for path, status in wanted.items():
        answer = watched.client.get(path, headers={"X-Request-ID": f"mine{path}"})
        assert (answer.status_code, answer.headers["X-Request-ID"]) == (status, f"mine{path}")
        if status >= 400:
            assert answer.json()["request_id"] == f"mine{path}"
    for body, status in ((b"{}", 422), (b"{", 400), (b"x" * (5 << 20), 413)):
        headers = {"X-Request-ID": "mine", "Content-Type": "application/json"}
        answer = watched.client.post("/v1/recommend", content=body, headers=headers)
        assert (answer.status_code, answer.headers["X-Request-ID"]) == (status, "mine")


@given(st.lists(st.tuples(st.sampled_from([REQUEST_ID, b"other"]), st.binary(max_size=200))))
def test_an_id_can_stand_in_a_header_and_a_line_whatever_was_sent(headers: list[tuple[bytes, bytes]]) -> None:
    found = request_id(headers)
    assert ACCEPTED.fullmatch(found.encode())
    assert found.isprintable()
    assert request_id([]) != request_id([])


def test_the_log_tells_of_a_request_and_nothing_of_a_person(watched: Watched) -> None:
    headers = {"X-Request-ID": "told", "Authorization": f"Bearer {SECRETS['key']}"}
    body = {"user_id": SECRETS["user"], "exclude_ids": [SECRETS["item"]]}
    assert watched.client.post("/v1/recommend", json=body, headers=headers).status_code == 200
    for method, path in (("GET", f"users/{SECRETS['user']}"), ("GET", f"items/{SECRETS['item']}"), ("POST", "search")):
        watched.client.request(method, f"/v1/{path}", json={"query": SECRETS["text"], "wrong": SECRETS["text"]})
    line = watched.line("told")
    assert {key: line[key] for key in ("level", "method", "route", "status", "message")} == {
        "level": "INFO",
        "method": "POST",
        "route": "/v1/recommend",
        "status": 200,
        "message": "POST /v1/recommend 200",
    }
    assert line["duration_ms"] + 0.1 >= sum(line["stages_ms"].values()) > 0  # all of them are rounded
    assert {"parse", "queue", "history", "search", "fields", "serialise"} <= set(line["stages_ms"])
    assert line["time"].endswith("+00:00")
    metrics, log = watched.client.get("/metrics").text, watched.log.read_text()
    for secret in SECRETS.values():
        assert secret not in log
        assert secret not in metrics
        assert not any(secret in str(span) for span in watched.collector.spans)


def test_a_request_is_a_span_below_its_callers_and_above_its_stages(watched: Watched) -> None:
    headers = {"X-Request-ID": "traced", "traceparent": f"00-{TRACE}-{PARENT}-01"}
    assert watched.client.post("/v1/recommend", json={"history": ["i001"]}, headers=headers).status_code == 200
    span, stages = watched.collector.request("traced")
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert (span.name, span.kind) == ("POST /v1/recommend", Span.SPAN_KIND_SERVER)
    said = attributes_of(span)
    assert (said["http.route"], said["http.response.status_code"]) == ("/v1/recommend", "200")
    names = {stage.name for stage in stages}
    assert {"parse", "queue", "history", "tower", "search", "ranker", "rules", "serialise"} <= names
    stages.sort(key=lambda one: one.start_time_unix_nano)
    for before, after in pairwise(stages):
        assert before.start_time_unix_nano <= before.end_time_unix_nano <= after.start_time_unix_nano + 1_000
    # two clocks meet here, and between looking at one and at the other a busy machine does something else
    assert abs(span.start_time_unix_nano - stages[0].start_time_unix_nano) < 60 * 10**9
    assert watched.line("traced")["trace_id"] == TRACE
    assert watched.collector.services == {"recsys"}


def test_who_sends_no_trace_gets_one_of_his_own(watched: Watched) -> None:
    watched.client.get("/v1/generations", headers={"X-Request-ID": "alone", "traceparent": "00-nonsense"})
    span, _ = watched.collector.request("alone")
    assert span.parent_span_id == b""
    assert span.trace_id.hex() not in (TRACE, "0" * 32)


@pytest.mark.parametrize(
    ("environment", "exporters"),
    [
        ({}, []),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, ["otlp_proto_http"]),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x"}, ["otlp_proto_http"]),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "TRUE"}, []),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_TRACES_EXPORTER": "none"}, []),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, ["otlp_proto_grpc"]),
        ({"OTEL_TRACES_EXPORTER": "otlp, console"}, ["otlp_proto_http", "console"]),
    ],
)
def test_the_standard_variables_turn_traces_on(environment: dict[str, str], exporters: list[str]) -> None:
    assert wanted_exporters(environment) == exporters


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin", "recsys\\[otlp\\]"),
        ("RECSYS_LOG_REQUESTS", "2", "RECSYS_LOG_REQUESTS is 2.0"),
        ("RECSYS_LOG_SLOW_MS", "-1", "RECSYS_LOG_SLOW_MS is -1"),
        ("RECSYS_LOG_SLOW_MS", "fast", "RECSYS_LOG_SLOW_MS is 'fast'"),
        ("RECSYS_KEEP_ALIVE_SECONDS", "0", "RECSYS_KEEP_ALIVE_SECONDS is 0"),
        ("RECSYS_KEEP_ALIVE_SECONDS", "nan", "RECSYS_KEEP_ALIVE_SECONDS is nan"),
    ],
)
def test_a_wrong_variable_is_said_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ServeError, match=said):
        start(Home(tmp_path), free_port())


def written(caplog: pytest.LogCaptureFixture, log: RequestLog, status: int, seconds: float, times: int = 1) -> int:
    """Return how many lines a log writes about some requests."""
    caplog.clear()
    with caplog.at_level(logging.INFO, "services.requests"):
        for _ in range(times):
            log.write(RequestContext("id"), "GET", "/v1/shadow", status, seconds)
    return len(caplog.records)


def test_errors_and_slow_requests_are_written_and_others_by_their_share(caplog: pytest.LogCaptureFixture) -> None:
    quiet, all_of_them = RequestLog(LogSettings(slow_ms=100)), RequestLog(LogSettings(share=1))
    assert written(caplog, quiet, 200, 0.099) == 0
    assert written(caplog, quiet, 200, 0.1) == 1
    assert caplog.records[0].levelname == "WARNING"
    assert written(caplog, quiet, 404, 0.0) == 1
    assert written(caplog, quiet, 503, 0.0) == 1
    assert caplog.records[0].levelname == "ERROR"
    assert written(caplog, all_of_them, 200, 0.0, times=100) == 100


def test_errors_in_masses_are_counted_instead_of_written(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(logs.time, "monotonic", lambda: now)
    log = RequestLog(LogSettings())
    assert written(caplog, log, 503, 0.0, times=LINES_PER_SECOND + 7) == LINES_PER_SECOND
    now = 101.0
    assert written(caplog, log, 503, 0.0) == 1
    assert caplog.records[0].left_out == 7


def test_what_fails_in_masses_fills_no_log_whoever_writes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1.0
    monkeypatch.setattr(logs.time, "monotonic", lambda: now)
    at_most = AtMost()

    def written(logger: str, traced: bool = False, records: int = 1_000) -> list[int]:
        """Write records; return what those that are let through say is missing before them."""
        fault = (RuntimeError, RuntimeError("x"), None) if traced else None
        made = [logging.LogRecord(logger, logging.ERROR, "", 0, "it failed", None, fault) for _ in range(records)]
        return [getattr(record, "left_out", 0) for record in made if at_most.filter(record)]

    assert written("uvicorn.error", traced=True) == [0] * TRACEBACKS_PER_SECOND
    assert written("uvicorn.error") == [0] * LINES_PER_SECOND  # which hides no line,
    assert written("services.worker.current") == [0] * LINES_PER_SECOND  # nor one of others
    assert written("services.requests") == [0] * 1_000  # counted on its own
    now = 2.0
    assert written("uvicorn.error", traced=True, records=2) == [1_000 - TRACEBACKS_PER_SECOND]
    assert written("uvicorn.error", records=3) == [1_000 - LINES_PER_SECOND, 0, 0]


def test_numbers_are_made_once_for_all_who_ask_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    go_on = Event()

    def exposition() -> tuple[bytes, str]:
        made.append(len(made))
        assert go_on.wait(60)
        return str(made[-1]).encode(), "text/plain"

    monkeypatch.setattr("services.edge.metrics.exposition", exposition)

    async def main() -> list[bytes]:
        numbers, found = Exposition(), []

        async def ask() -> None:
            found.append((await numbers.read())[0])

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            while not made:
                await anyio.sleep(0.001)
            for _ in range(100):  # while the first is made: what they get must be newer
                group.start_soon(ask)
            await anyio.sleep(0)
            go_on.set()
        return found

    assert anyio.run(main) == [b"0", *[b"1"] * 100]


def test_the_logs_of_a_process_are_so_bounded() -> None:
    fails = "from services.edge.logs import configure_logs\nimport logging\nconfigure_logs()\n"
    fails += "for _ in range(20_000):\n    try:\n        1 / 0\n    except ArithmeticError:\n"
    fails += "        logging.getLogger('uvicorn.error').exception('it failed')\n"
    done = subprocess.run([sys.executable, "-c", fails], capture_output=True, text=True, check=True)
    written = [json.loads(line) for line in done.stdout.splitlines()]
    assert 1 <= len(written) < 1_000
    assert "ZeroDivisionError" in written[0]["exception"]


def test_a_request_is_in_flight_until_it_is_answered_and_probes_never_are(watched: Watched) -> None:
    def in_flight() -> float:
        lines = watched.client.get("/metrics").text.splitlines()
        (found,) = [line.split()[1] for line in lines if line.startswith("recsys_requests_in_flight ")]
        return float(found)

    watched.eventually(lambda: in_flight() == 0)  # of the numbers that ask for it among them
    body = json.dumps({"history": ["i000"], "k": 1}).encode()
    headers = f"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    url = watched.client.base_url
    with socket.create_connection((url.host, url.port or 80), timeout=PATIENCE_SECONDS) as connection:
        connection.sendall(f"POST /v1/recommend HTTP/1.1\r\n{headers}\r\n\r\n".encode())
        watched.eventually(lambda: in_flight() == 1)
        connection.sendall(body)
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
    watched.eventually(lambda: in_flight() == 0)
