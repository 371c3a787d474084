"""Connections that cannot be held open by sending slowly: a request must be there, whole, within a deadline.

uvicorn ends connections that are idle between requests, but waits without end for the rest of one that has begun. At
the end it closes idle ones at once, also under a request that is on its way, and BentoML's supervisor goes on taking
connections that nobody will answer; here neither loses a request.
"""

import asyncio
import ctypes
import selectors
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from circus.arbiter import Arbiter
from starlette.types import ASGIApp
from uvicorn import config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from recsys_client.schemas.fields import PROBLEM_JSON, Problem
from services.edge.observer import abandon, new_id

HEADERS_SECONDS = 10.0  # from the connection, or from a later request's first byte, to the end of its headers
BODY_SECONDS = 8.0  # from there to the end of the body; less than what an answer may take
LAST_SECONDS = 1.0  # in which a connection that is idle when the server ends may bring one more request
ACCEPT_POLL_SECONDS = 0.001
SO_ATTACH_FILTER, BPF_RETURN = 26, 0x06  # of Linux, which Python does not name
MAX_UNREAD_BYTES = 4 * 2**20  # of a body that comes after its answer: taken, so that an honest client reads the answer
MAX_HEADER_BYTES = 64 * 2**10  # beside the first piece that is read, which the event loop bounds


class Connection(HttpToolsProtocol):
    """uvicorn's HTTP connection with a deadline for what is being received, and a bound on the size of headers."""

    _deadline: asyncio.TimerHandle | None = None
    _heading = False  # whether headers are awaited
    _header_bytes = 0
    _unread_bytes = 0
    _ending = False  # after the request under way, or the next one

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        if self.cycle is not None and not self.cycle.response_complete:
            abandon(self.cycle.scope)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        later = self._heading and self._header_bytes > 0  # a first piece may hold the end of the request before
        super().data_received(data)
        self._header_bytes += len(data) if later else 1
        if self._heading and self._header_bytes > MAX_HEADER_BYTES and not self.transport.is_closing():
            self._end(431, f"The headers are longer than {MAX_HEADER_BYTES // 2**10} KiB.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._await_headers()

    def on_headers_complete(self) -> None:
        self._heading = False
        self._arm(BODY_SECONDS)
        super().on_headers_complete()
        if self._ending:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        if self.cycle.response_complete:
            self._unread_bytes += len(body)
            if self._unread_bytes > MAX_UNREAD_BYTES:
                self.transport.close()
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._disarm()
        super().on_message_complete()

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
        self._heading, self._header_bytes, self._unread_bytes = True, 0, 0
        self._arm(HEADERS_SECONDS)

    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._deadline = self.loop.call_later(seconds, self._end, 408, "The request did not arrive in time.")

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _end(self, status: int, detail: str) -> None:
        """Close the connection, with a reason where no answer is on its way over it."""
        self._disarm()
        if self.transport.is_closing():
            return
        begun = self.cycle is not None and self.cycle.response_started
        if not begun or (self._heading and self.cycle.response_complete):
            phrase = HTTPStatus(status).phrase
            request_id = new_id()  # that of the headers has not arrived, or its request is not begun
            problem = Problem(title=phrase, status=status, detail=detail, request_id=request_id)
            content = problem.model_dump_json().encode()
            head = (
                f"HTTP/1.1 {status} {phrase}\r\ncontent-type: {PROBLEM_JSON}\r\nx-request-id: {request_id}\r\n"
                f"content-length: {len(content)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + content)
        self.transport.close()


def guard_connections(around: Callable[[ASGIApp], ASGIApp]) -> None:
    """Make uvicorn servers that are started in this process from now on use such connections.

    In BentoML's supervisor, which holds the sockets that its workers listen on: refuse connections before workers end.

    Args:
        around: puts a middleware around the whole application, outside of all that BentoML puts there.
    """

    class Guarded(Connection):
        def __init__(self, config: config.Config, *arguments: Any, **named: Any) -> None:
            super().__init__(config, *arguments, **named)
            self.app = around(config.loaded_app)

    protocols: dict[str, Any] = config.HTTP_PROTOCOLS
    protocols["auto"] = Guarded
    Arbiter.stop = _stop_listening(Arbiter.stop)


def _stop_listening(stop: Any) -> Any:
    def stop_listening_first(arbiter: Arbiter) -> Any:
        for listener in arbiter.sockets.values():
            with suppress(OSError):  # it does not listen, or the system has no such filter
                _take_no_more(listener)
            _let_workers_accept(listener)
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RD)
        return stop(arbiter)

    return stop_listening_first


def _take_no_more(listener: socket.socket) -> None:
    """Let the system drop whatever else comes for a listener; what waits to be accepted stays.

    Nobody connects then between the last look at what waits and the end of listening. A packet filter does it
    (Linux, ``SO_ATTACH_FILTER``): a program of the one instruction "keep 0 bytes".

    Raises:
        OSError: the system has no such filter.
    """
    instruction = ctypes.create_string_buffer(struct.pack("HBBI", BPF_RETURN, 0, 0, 0))
    program = struct.pack("HP", 1, ctypes.addressof(instruction))
    listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


def _let_workers_accept(listener: socket.socket) -> None:
    """Wait until no connection waits to be accepted: the system resets those that still do when listening ends."""
    deadline = time.monotonic() + LAST_SECONDS
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        while selector.select(0) and time.monotonic() < deadline:
            time.sleep(ACCEPT_POLL_SECONDS)
