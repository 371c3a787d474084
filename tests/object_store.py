"""An S3 server over a folder, a bucket a folder of it, that does what it is told to do wrong.

It has what recsys asks of a store: objects whole and in parts, conditions (``If-Match``, ``If-None-Match``), uploads in
parts, lists by pages, one and many deletions.
"""

import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

PAGE = 100  # keys of one answer
CUT, LOST = "cut", "lost"  # the answer ends in its middle; what was asked is done, and not answered
Fault = Callable[[str, str], "int | str | None"]  # of method and key: a status, one of the words, or none


class Store:
    """S3 over a folder.

    Attributes:
        folder: what it holds.
        fault: status and code of its answer to everything; None: it answers.
        faults: asked for each request; what it returns is done.
        asked: method and key of each request.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fault: tuple[int, str] | None = None
        self.faults: Fault = lambda method, key: None
        self.asked: list[tuple[str, str]] = []
        self._one = threading.RLock()
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_all(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                key = unquote(urlsplit(self.path).path).lstrip("/")
                store.asked.append((self.command, key))
                wrong = store.faults(self.command, key)
                if isinstance(wrong, int):
                    return self.answer(*_refused(wrong, "SlowDown"))
                with store._one:
                    answer = store.done(self.command, self.path, dict(self.headers.items()), body)
                if wrong == LOST:
                    self.close_connection = True
                    return self.connection.close()
                return self.answer(*answer, cut=wrong == CUT)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_all  # noqa: N815

            def answer(self, status: int, content: bytes, headers: dict[str, str], cut: bool = False) -> None:
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content[: len(content) // 2] if cut else content)
                    self.close_connection |= cut

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:  # a connection that a fault has closed
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.bucket = folder / f"raw-{self.server.server_port}"  # Polars keeps one client a bucket, wherever that is

    @property
    def environment(self) -> dict[str, str]:
        """What names it, and credentials that it takes."""
        settings = {"ENDPOINT_URL": self.url, "ALLOW_HTTP": "true", "REGION": "nowhere"}
        settings |= {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b"}
        return {f"AWS_{name}": value for name, value in settings.items()}

    def keys(self, prefix: str) -> list[str]:
        """Return the keys of the bucket that begin so, below it."""
        found = (path.relative_to(self.bucket).as_posix() for path in self.bucket.rglob("*") if path.is_file())
        return sorted(key for key in found if key.startswith(prefix))

    def done(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes, dict[str, str]]:
        """Do what a request asks; return status, body and headers of the answer."""
        asked = urlsplit(path)
        if self.fault is not None:
            return _refused(*self.fault)
        query, place = parse_qs(asked.query, keep_blank_values=True), self.folder / unquote(asked.path).lstrip("/")
        given = {name.lower(): value for name, value in headers.items()}
        if method in ("GET", "HEAD"):
            if "list-type" in query:
                return 200, self._list(place, query), {"Content-Type": "application/xml"}
            return _read(place, given.get("range"))
        if method == "PUT":
            if "partNumber" in query:
                return _put(place.with_name(f".{place.name}.{int(query['partNumber'][0]):05}"), body, {})
            return _put(place, body, given)
        if method == "DELETE":
            place.unlink(missing_ok=True)
            return 204, b"", {}
        if "uploads" in query:
            return 200, b"<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>", {}
        if "uploadId" in query:
            parts = sorted(place.parent.glob(f".{place.name}.*"))
            whole = b"".join(part.read_bytes() for part in parts)
            for part in parts:
                part.unlink()
            etag = _put(place, whole, given)[2]["ETag"]
            said = f"<CompleteMultipartUploadResult><ETag>{escape(etag)}</ETag></CompleteMultipartUploadResult>"
            return 200, said.encode(), {}
        gone = re.findall(r"<Key>(.*?)</Key>", body.decode())
        for key in gone:
            (place / key).unlink(missing_ok=True)
        said = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in gone)
        return 200, f"<DeleteResult>{said}</DeleteResult>".encode(), {"Content-Type": "application/xml"}

    def _list(self, bucket: Path, query: dict[str, list[str]]) -> bytes:
        prefix, after = query.get("prefix", [""])[0], query.get("continuation-token", [""])[0]
        keys = sorted(file.relative_to(bucket).as_posix() for file in bucket.rglob("*") if file.is_file())
        found = [key for key in keys if key.startswith(prefix) and key > after and not Path(key).name.startswith(".")]
        objects = ""
        for key in found[:PAGE]:
            state = (bucket / key).stat()
            modified = datetime.fromtimestamp(state.st_mtime, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            objects += (
                f"<Contents><Key>{escape(key)}</Key><LastModified>{modified}</LastModified>"
                f"<ETag>{escape(_etag(bucket / key))}</ETag><Size>{state.st_size}</Size>"
                "<StorageClass>STANDARD</StorageClass></Contents>"
            )
        more = len(found) > PAGE
        token = f"<NextContinuationToken>{escape(found[PAGE - 1])}</NextContinuationToken>" if more else ""
        cut = f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}"
        return f"<ListBucketResult>{cut}{objects}</ListBucketResult>".encode()


@contextmanager
def serving(folder: Path) -> Iterator[Store]:
    """Run a server for the length of a ``with`` block."""
    store = Store(folder)
    thread = threading.Thread(target=store.server.serve_forever, args=[0.01])
    thread.start()
    try:
        yield store
    finally:
        store.server.shutdown()
        store.server.server_close()
        thread.join()


def _etag(path: Path) -> str:
    return f'"{hashlib.sha256(path.read_bytes()).hexdigest()}"'


def _read(place: Path, span: str | None) -> tuple[int, bytes, dict[str, str]]:
    if not place.is_file():
        return _refused(404, "NoSuchKey")
    content = place.read_bytes()
    headers = {"ETag": _etag(place), "Last-Modified": formatdate(place.stat().st_mtime, usegmt=True)}
    if span is None or not content:
        return 200, content, headers
    first, _, last = span.removeprefix("bytes=").partition("-")
    start = int(first) if first else max(0, len(content) - int(last))
    end = int(last) + 1 if first and last else len(content)
    shown = f"bytes {start}-{min(end, len(content)) - 1}/{len(content)}"
    return 206, content[start:end], headers | {"Content-Range": shown}


def _put(place: Path, content: bytes, given: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
    there = _etag(place) if place.is_file() else None
    if "if-match" in given and there is None:
        return _refused(404, "NoSuchKey")
    if given.get("if-match", there) != there or (given.get("if-none-match") == "*" and there is not None):
        return _refused(412, "PreconditionFailed")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return 200, b"", {"ETag": _etag(place)}


def _refused(status: int, code: str) -> tuple[int, bytes, dict[str, str]]:
    said = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>"
    return status, said.encode(), {"Content-Type": "application/xml"}
