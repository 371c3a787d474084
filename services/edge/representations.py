"""How an answer is sent: packed where that pays and is asked for, and not at all to whoever has it already.

What is read (GET) has an ETag, so that asking again with ``If-None-Match`` costs a 304 without a body. Large answers
are packed with gzip for whoever accepts it. Small ones, which fit into a packet or two, gain nothing by it. Packing
takes a processor for milliseconds, so what is not little is packed in a thread, one at a time, and the event loop goes
on: zlib lets other threads run.
"""

import hashlib
import zlib
from typing import Any

from anyio import CapacityLimiter, to_thread
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LEAST_BYTES = 4_096  # below which nothing is packed
LITTLE_BYTES = 32 * 2**10  # below which packing takes no longer than handing it to a thread
LEVEL = 1  # of gzip; 6 takes two and a half times as long for a sixth less
GZIP_WINDOW = 31  # of zlib: 15 bits of window, and gzip's head and end
PACKED_TYPES = ("application/json", "application/problem+json", "text/", "image/svg+xml")
ETAG_CHARACTERS = 32
NOT_MODIFIED = {"description": "If-None-Match names the ETag of what would be sent."}
_KEPT = ("etag", "cache-control", "vary", "content-security-policy", "referrer-policy", "x-content-type-options")


class Representations:
    """ASGI middleware around the application; answers in one piece, as all here are, pass through it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._one = CapacityLimiter(1)
        self._constant: dict[str, bytes] = {}  # packed, by the ETag that a route has given

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        asked, start = Headers(scope=scope), None

        async def send_packed(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            if start is not None:
                head, start = start, None
                body = message.get("body", b"")
                if not message.get("more_body") and head["status"] == 200:
                    body = await self._represented(head, body, scope["method"], asked)
                    message = {**message, "body": body}
                await send(head)
            await send(message)

        await self.app(scope, receive, send_packed)

    async def _represented(self, head: Message, body: bytes, method: str, asked: Headers) -> bytes:
        """Return the body as it is sent, and change the head accordingly."""
        headers = MutableHeaders(raw=head["headers"])
        constant = headers.get("etag")
        if method == "GET" and headers.get("content-type", "").startswith("application/json"):
            headers.setdefault("etag", etag_of(body))
            headers.setdefault("cache-control", "no-cache")
        packs = len(body) >= LEAST_BYTES and headers.get("content-type", "").startswith(PACKED_TYPES)
        if packs:
            headers.add_vary_header("Accept-Encoding")
        if method == "GET" and is_known(asked.get("if-none-match"), headers.get("etag")):
            head["status"] = 304
            head["headers"] = [(name, value) for name, value in headers.raw if name.decode() in _KEPT]
            return b""
        if packs and accepts_gzip(asked.get("accept-encoding", "")):
            body = self._constant.get(constant or "") or await self._packed(body)
            if constant is not None:  # a file, of which there are few
                self._constant[constant] = body
            headers["content-encoding"] = "gzip"
            headers["content-length"] = str(len(body))
            if "etag" in headers:  # the same by meaning, not by bytes
                headers["etag"] = f"W/{headers['etag'].removeprefix('W/')}"
        head["headers"] = headers.raw
        return body

    async def _packed(self, body: bytes) -> bytes:
        if len(body) < LITTLE_BYTES:
            return packed(body)
        return await to_thread.run_sync(packed, body, limiter=self._one)


def packed(body: bytes) -> bytes:
    """Return a body as gzip; equal bodies are equal packed."""
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, GZIP_WINDOW)
    return packer.compress(body) + packer.flush()


def etag_of(body: bytes) -> str:
    """Return a body's strong validator."""
    return f'"{hashlib.sha256(body).hexdigest()[:ETAG_CHARACTERS]}"'


def is_known(if_none_match: str | None, etag: str | None) -> bool:
    """Tell whether a caller has what an ETag names, by RFC 9110's weak comparison."""
    if if_none_match is None or etag is None:
        return False
    named = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in named or etag.removeprefix("W/") in named


def accepts_gzip(accept_encoding: str) -> bool:
    """Tell whether a caller takes gzip (RFC 9110, section 12.5.3); one that names no coding gets none."""
    weights = {}
    for entry in accept_encoding.lower().split(","):
        coding, *parameters = (part.strip() for part in entry.split(";"))
        weights[coding] = next((part.removeprefix("q=") for part in parameters if part.startswith("q=")), "1")
    wanted = weights.get("gzip", weights.get("x-gzip", weights.get("*", "0")))
    try:
        return float(wanted) > 0
    except ValueError:
        return False


def describe_validators(document: dict[str, Any]) -> None:
    """Add to an OpenAPI document that what is read as JSON may be answered by 304."""
    for operations in document["paths"].values():
        read = operations.get("get")
        if read is not None and "application/json" in read["responses"]["200"].get("content", {}):
            read["responses"]["304"] = dict(NOT_MODIFIED)
