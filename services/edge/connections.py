"""Connections that cannot be held open by sending slowly, nor fill memory: a request must be there, whole, in time.

uvicorn ends connections that are idle between requests, but waits without end for the rest of one that has begun, and
keeps headers, trailers and requests sent ahead however many there are. At the end it closes idle ones at once, also
under a request that is on its way; here that loses no request.
"""

import asyncio
import resource
from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar

from starlette.types import ASGIApp
from uvicorn import config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from recsys.errors import SettingError
from recsys_client.schemas.problems import PROBLEM_JSON, Code, Problem
from services.edge.environment import numbers
from services.edge.observer import abandon, new_id

HEADERS_SECONDS = 10.0  # from the connection, or from a later request's first byte, to the end of its headers
BODY_SECONDS = 8.0  # from there to the end of the body; less than what an answer may take
LAST_SECONDS = 1.0  # in which a connection that is idle when the server ends may bring one more request
KEEP_ALIVE, DEFAULT_KEEP_ALIVE = "RECSYS_KEEP_ALIVE_SECONDS", 5.0  # for which a connection may be idle
MAX_UNREAD_BYTES = 4 * 2**20  # of a body that comes after its answer: taken, so that an honest client reads the answer
MAX_HEADER_BYTES = 64 * 2**10  # of path, headers and trailers together
MAX_HEADER_LINES = 256
LINE_BYTES = 4  # of a header beside its name and value
CHUNK_BYTES = 32  # that a chunk of a body may take beside its content
MAX_CHUNKS = 16_384  # that may: what comes byte by byte costs its length many times over
TOO_LONG = (
    f"Path, headers and trailers are more than {MAX_HEADER_BYTES // 2**10} KiB or {MAX_HEADER_LINES} lines, or the "
    "pieces of the body are too small."
)
READ_SECONDS = 10.0  # in which whoever is sent an answer must take some of what waits to be sent
READ_BYTES = 64 * 2**10  # that is: so much, or all
MAX_CONNECTIONS = 2_000  # of a worker, where the system lets it have so many files open
OTHER_FILES = 200  # that a worker has open beside its connections
MAX_WAITING = 64  # requests sent ahead on one connection, before the first of them is answered


class _RefusedError(Exception):
    """The parser is to stop: what is being received has been refused."""


class Connection(HttpToolsProtocol):
    """uvicorn's HTTP connection with a deadline for what is being received, and bounds on all that is no body.

    The names and values that the parser tells are counted exactly, those of trailers among them. What it swallows by
    itself (a line without an end, extensions of chunks) is counted by the piece: all that is neither body nor, for
    each chunk, a line of ordinary length.
    """

    _deadline: asyncio.TimerHandle | None = None
    _heading = False  # whether headers are awaited
    _begun_here = False  # whether a request has begun in the piece at work, which may hold the end of another one
    _body_here = 0  # bytes of body in the piece at work
    _named_bytes = 0  # path, headers and trailers, as the parser has told them
    _header_lines = 0
    _other_bytes = 0  # of whole pieces: what is no body
    _chunks = 0
    _unread_bytes = 0
    _answering: RequestResponseCycle | None = None  # the latest request may wait behind it
    _ending = False  # after the request under way, or the next one
    _reading: asyncio.TimerHandle | None = None  # while more than a little waits to be sent
    _url_begun = False  # of the request that is being received; it may come in pieces
    _hosts = 0  # headers that name one
    # of this process, by when they began to wait for a request
    _idle: ClassVar[dict["Connection", None]] = {}

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.ws_protocol_class = None  # whoever asks for another protocol is answered in this one

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_headers()
        if len(self.connections) > most_connections():
            # it may well be the newest: all others are at work then
            next(iter(self._idle))._end(Code.OVERLOADED, "There are too many connections; this one waited longest.")

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self._stop_watching()
        self._idle.pop(self, None)
        self._forget_answer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._begun_here, self._body_here = False, 0
        super().data_received(data)
        if self.transport.is_closing():
            return
        if not self._begun_here:
            self._other_bytes += len(data) - self._body_here
            if self._other_bytes > MAX_HEADER_BYTES + CHUNK_BYTES * min(self._chunks, MAX_CHUNKS):
                self._end(Code.HEADERS_TOO_LARGE, TOO_LONG)
        if self._deadline is None and self._is_idle():
            # what was left of a body, or empty lines: uvicorn has forgotten its own timer over them
            self._deadline = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begun_here = True
        self._await_headers()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        if not self._url_begun and not url.startswith(b"/"):
            self._end(Code.BAD_REQUEST, "The request must name a path of this service, and nothing else.")
            raise _RefusedError
        self._url_begun = True
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_lines += 1
        self._count(len(name) + len(value) + LINE_BYTES)
        self._hosts += name.lower() == b"host"
        if self._heading:  # a trailer comes too late to say who asks, or for what
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._heading = False
        self._idle.pop(self, None)
        if self._hosts != 1 and self.parser.get_http_version() != "1.0":
            self._end(Code.BAD_REQUEST, f"There are {self._hosts} Host headers; a request has one.")
            raise _RefusedError
        self._arm(BODY_SECONDS)
        if len(self.pipeline) >= MAX_WAITING:
            self._close()
            raise _RefusedError
        super().on_headers_complete()
        if self._ending or self.parser.should_upgrade():
            self.cycle.keep_alive = False

    def on_chunk_header(self) -> None:
        self._chunks += 1

    def on_body(self, body: bytes) -> None:
        self._body_here += len(body)
        if self.cycle.response_complete:
            self._unread_bytes += len(body)
            if self._unread_bytes > MAX_UNREAD_BYTES:
                self._close()
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._disarm()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Called when an answer has been sent, or lies ready to be."""
        super().on_response_complete()
        if self._is_idle() and not self._heading and not self.transport.is_closing():
            self._idle[self] = None

    def pause_writing(self) -> None:
        """Called when more than a little waits to be sent."""
        super().pause_writing()
        self._watch_reading(0)

    def resume_writing(self) -> None:
        """Called when it was sent."""
        super().resume_writing()
        self._stop_watching()

    def timeout_keep_alive_handler(self) -> None:
        """Called where no other request comes."""
        self._close()

    def send_400_response(self, msg: str) -> None:
        """Called where the parser understands nothing more, or was made to stop."""
        self._end(Code.BAD_REQUEST, "This cannot be read as HTTP/1.1.")

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: anybody may ask for another protocol, as often as they like."""

    def shutdown(self) -> None:
        """Called when the server ends: the answer that is due is the last one."""
        self._ending = True
        if self._is_idle():
            self.loop.call_later(LAST_SECONDS, self._close_if_idle)
        else:
            self.cycle.keep_alive = False

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _close_if_idle(self) -> None:
        if self._is_idle():
            self.transport.close()

    def _await_headers(self) -> None:
        self._heading, self._url_begun, self._hosts = True, False, 0
        self._idle.pop(self, None)
        self._idle[self] = None
        self._named_bytes = self._header_lines = self._other_bytes = self._chunks = self._unread_bytes = 0
        self._arm(HEADERS_SECONDS)

    def _count(self, size: int) -> None:
        self._named_bytes += size
        if self._named_bytes > MAX_HEADER_BYTES or self._header_lines > MAX_HEADER_LINES:
            self._end(Code.HEADERS_TOO_LARGE, TOO_LONG)
            raise _RefusedError

    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._deadline = self.loop.call_later(seconds, self._end, Code.TOO_SLOW, "The request did not arrive in time.")

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _end(self, code: Code, detail: str) -> None:
        """Close the connection, with a reason where no answer is on its way over it."""
        if self.transport.is_closing():
            return
        answering = self._answering
        sending = answering is not None and answering.response_started and not answering.response_complete
        answered = not self._heading and self.cycle is not None and self.cycle.response_complete
        if not sending and not answered:
            request_id = new_id()  # that of the headers has not arrived, or its request is not begun
            problem = Problem.of(code, detail, request_id=request_id)
            content = problem.model_dump_json(exclude_none=True).encode()
            head = (
                f"HTTP/1.1 {problem.status} {problem.title}\r\ncontent-type: {PROBLEM_JSON}\r\n"
                f"x-request-id: {request_id}\r\ncontent-length: {len(content)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + content)
        self._close()

    def _close(self) -> None:
        self._disarm()
        self._forget_answer()
        self.transport.close()
        if self.transport.get_write_buffer_size():  # which closing waits for
            self._watch_reading(0)

    def _watch_reading(self, waiting: int) -> None:
        """Look from time to time whether what is sent is taken; give the connection up where it is not.

        Args:
            waiting: bytes that waited to be sent at the last look; 0: at the first.
        """
        now = self.transport.get_write_buffer_size()
        if waiting and now > max(0, waiting - READ_BYTES):
            self.transport.abort()
            return
        self._stop_watching()
        self._reading = self.loop.call_later(READ_SECONDS, self._watch_reading, now)

    def _stop_watching(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _forget_answer(self) -> None:
        """Let the answer under way be sent to nobody: uvicorn forgets to where a later request waits behind it."""
        if self._answering is not None and not self._answering.response_complete:
            abandon(self._answering.scope)
            self._answering.disconnected = True
            self._answering.message_event.set()


def keep_alive_seconds() -> int:
    """Return for how long a connection may be idle between two requests, as the environment says.

    Raises:
        SettingError: the variable is no number of seconds from 1 on.
    """
    seconds = numbers({"keep_alive": KEEP_ALIVE}).get("keep_alive", DEFAULT_KEEP_ALIVE)
    if not 1 <= seconds < float("inf"):
        raise SettingError(f"{KEEP_ALIVE} is {seconds:g}; it must be a number of seconds, 1 or more.")
    return int(seconds)


@cache
def most_connections() -> int:
    """Return how many connections this process may have; it asks the system for as many open files as it may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else max(1, min(MAX_CONNECTIONS, soft - OTHER_FILES))


def guard_connections(around: Callable[[ASGIApp], ASGIApp]) -> None:
    """Make uvicorn servers that are started in this process from now on use such connections.

    Args:
        around: puts a middleware around the whole application, outside of all that BentoML puts there.
    """

    keep_alive = keep_alive_seconds()

    class Guarded(Connection):
        def __init__(self, config: config.Config, *arguments: Any, **named: Any) -> None:
            super().__init__(config, *arguments, **named)
            self.timeout_keep_alive = keep_alive
            self.app = around(config.loaded_app)

    protocols: dict[str, Any] = config.HTTP_PROTOCOLS
    protocols["auto"] = Guarded
