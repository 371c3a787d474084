"""Tables that somebody gives: what their place tells others, where they lead, and how large they become."""

import gzip
import threading
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

from infra.attack.attacks import Outcome, attack, held, hurt, judged
from infra.attack.bounds import memory_of
from infra.attack.target import MIB, Target

SIGNATURE = "attack-signature-3f9c01"
ROWS = 10_000_000


@contextmanager
def _server(status: int, location: str | None = None) -> Iterator[tuple[str, list[str]]]:
    """Run a server on loopback; yield its URL and the paths that were asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()


def _read(location: str) -> str:
    """Read a table; return all that a failure says, to whoever keeps its traceback."""
    from recsys.data.sources import read_table

    try:
        read_table(location, "events")
    except Exception as error:
        return "".join(traceback.format_exception(error))
    return ""


@attack("code", seconds=90)
def a_signed_url(target: Target) -> Outcome:
    """The signature of a URL is in no message and no traceback."""
    told = []
    with _server(403) as (url, _):
        for name in ("a.parquet", "a.csv", "a.ndjson", "folder/"):
            if SIGNATURE in _read(f"{url}/{name}?X-Amz-Signature={SIGNATURE}"):
                told.append(name)
    return judged(not told, f"told of {', '.join(told) or 'none'} of 4 signed URLs")


@attack("code", seconds=60)
def an_inner_address(target: Target) -> Outcome:
    """Plain http and inner addresses are not read for whoever fills in a form."""
    with _server(200) as (url, asked):
        _read(f"{url}/latest/meta-data.csv")
        _read(f"{url.replace('127.0.0.1', 'localhost')}/latest/meta-data.parquet")
    return judged(not asked, f"{len(asked)} requests came to a server on loopback")


@attack("code", seconds=60)
def a_redirect_inwards(target: Target) -> Outcome:
    """A server that is read cannot send the reader on to another."""
    with _server(200) as (inner, asked), _server(302, f"{inner}/secret.csv") as (outer, first):
        _read(f"{outer}/table.csv")
        _read(f"{outer}/table.parquet")
    return judged(not asked, f"{len(first)} requests to the first, {len(asked)} to where it sent them")


def _grown(path: Path) -> Outcome:
    """Read a bomb in this process, which the harness ends when it grows too much."""
    import psutil

    from recsys.errors import RecsysError

    me = psutil.Process()
    size, before = path.stat().st_size / MIB, memory_of([me])
    try:
        from recsys.data.sources import read_table

        read_table(path, "events")
    except RecsysError as error:
        said = str(error).replace(str(path.parent), "…")[:120]
        return held(f"{size:.1f} MiB refused at {memory_of([me]) - before:+.0f} MiB: {said}")
    return hurt(f"{size:.1f} MiB became {memory_of([me]) - before:,.0f} MiB")


@attack("code", seconds=90)
def a_parquet_bomb(target: Target) -> Outcome:
    """A small Parquet file of very many rows is refused before it is read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    piece = pa.table(
        {name: pa.array(["same"] * 1_000_000).dictionary_encode() for name in ("user_id", "item_id", "timestamp")}
    )
    with TemporaryDirectory() as place:
        path = Path(place) / "events.parquet"
        with pq.ParquetWriter(path, piece.schema, compression="zstd") as writer:
            for _ in range(ROWS // 1_000_000):
                writer.write_table(piece)
        del piece
        return _grown(path)


@attack("code", seconds=90)
def a_gzip_bomb(target: Target) -> Outcome:
    """A small compressed file that unpacks to very much is refused before it is."""
    return _packed("events.csv.gz", b"user_id,item_id,timestamp\n", [b"1,1,1\n" * 1_000_000] * 40)


@attack("code", seconds=60)
def a_line_without_end(target: Target) -> Outcome:
    """A line of a hundred megabytes is refused."""
    return _packed("events.ndjson.gz", b'{"user_id": "a", "item_id": "', [b"x" * MIB] * 100, b'", "timestamp": 1}\n')


def _packed(name: str, begin: bytes, pieces: Iterable[bytes], end: bytes = b"") -> Outcome:
    with TemporaryDirectory() as place:
        path = Path(place) / name
        with gzip.open(path, "wb", compresslevel=1) as file:
            for piece in (begin, *pieces, end):
                file.write(piece)
        return _grown(path)
