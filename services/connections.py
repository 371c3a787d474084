"""Connections that cannot be held open by sending slowly: a request must be there, whole, within a deadline.

uvicorn ends connections that are idle between requests, but waits without end for the rest of one that has begun.
"""

import asyncio
from http import HTTPStatus
from typing import Any

from uvicorn import config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services.schemas.fields import PROBLEM_JSON, Problem

HEADERS_SECONDS = 10.0  # from the connection, or from a later request's first byte, to the end of its headers
BODY_SECONDS = 10.0  # from there to the end of the body
MAX_HEADER_BYTES = 64 * 2**10  # beside the first piece that is read, which the event loop bounds


class Connection(HttpToolsProtocol):
    """uvicorn's HTTP connection with a deadline for what is being received, and a bound on the size of headers."""

    _deadline: asyncio.TimerHandle | None = None
    _heading = False  # whether headers are awaited
    _header_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
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

    def on_message_complete(self) -> None:
        self._disarm()
        super().on_message_complete()

    def _await_headers(self) -> None:
        self._heading, self._header_bytes = True, 0
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
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            phrase = HTTPStatus(status).phrase
            content = Problem(title=phrase, status=status, detail=detail).model_dump_json().encode()
            head = (
                f"HTTP/1.1 {status} {phrase}\r\ncontent-type: {PROBLEM_JSON}\r\n"
                f"content-length: {len(content)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + content)
        self.transport.close()


def guard_connections() -> None:
    """Make uvicorn servers that are started in this process from now on use such connections."""
    protocols: dict[str, Any] = config.HTTP_PROTOCOLS
    protocols["auto"] = f"{__name__}:{Connection.__name__}"
