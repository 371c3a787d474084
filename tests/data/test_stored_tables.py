"""Tables in an object store: a server that speaks S3 over a folder, and `recsys ingest` that reads from it."""

import gzip
import json
import threading
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import polars as pl
import pytest
from typer.testing import CliRunner

from flows.cli import app
from recsys.artifacts import digest
from recsys.data.ingest import ingest
from recsys.data.locations import UnreachableError
from recsys.data.sources import SourceError, read_table
from recsys.home import Home
from recsys.remote.advice import advice


class Store:
    """S3 over a folder, a bucket a folder of it: objects, parts of them, and lists.

    Attributes:
        folder: what it holds.
        fault: status and code of its answer to everything; None: it answers.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fault: tuple[int, str] | None = None
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.answer(*store.found(self.path, self.headers.get("Range")))

            def do_HEAD(self) -> None:
                self.do_GET()

            def answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.bucket = folder / f"raw-{self.server.server_port}"  # Polars keeps one client a bucket, wherever that is

    def found(self, path: str, span: str | None) -> tuple[int, bytes, dict[str, str]]:
        """Return status, body and headers of an answer."""
        asked = urlsplit(path)
        if self.fault is not None:
            return _refused(*self.fault)
        query, place = parse_qs(asked.query, keep_blank_values=True), self.folder / unquote(asked.path).lstrip("/")
        if "list-type" in query:
            return 200, self._list(place, query.get("prefix", [""])[0]), {"Content-Type": "application/xml"}
        if not place.is_file():
            return _refused(404, "NoSuchKey")
        content = place.read_bytes()
        headers = {"ETag": f'"{digest(content)}"', "Last-Modified": formatdate(place.stat().st_mtime, usegmt=True)}
        if span is None or not content:
            return 200, content, headers
        first, _, last = span.removeprefix("bytes=").partition("-")
        start = int(first) if first else max(0, len(content) - int(last))
        end = int(last) + 1 if first and last else len(content)
        shown = f"bytes {start}-{min(end, len(content)) - 1}/{len(content)}"
        return 206, content[start:end], headers | {"Content-Range": shown}

    def _list(self, bucket: Path, prefix: str) -> bytes:
        keys = sorted(file.relative_to(bucket).as_posix() for file in bucket.rglob("*") if file.is_file())
        objects = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>2024-01-01T00:00:00Z</LastModified><ETag>1</ETag>"
            f"<Size>{(bucket / key).stat().st_size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
            for key in keys
            if key.startswith(prefix)
        )
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{objects}</ListBucketResult>".encode()


def _refused(status: int, code: str) -> tuple[int, bytes, dict[str, str]]:
    said = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>"
    return status, said.encode(), {"Content-Type": "application/xml"}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    store = Store(tmp_path / "store")
    settings = {"ENDPOINT_URL": store.url, "ALLOW_HTTP": "true", "REGION": "nowhere"}
    settings |= {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b"}
    for name, value in settings.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    thread = threading.Thread(target=store.server.serve_forever, args=[0.01])
    thread.start()
    yield store
    store.server.shutdown()
    store.server.server_close()
    thread.join()


@pytest.fixture
def raw(store: Store) -> Path:
    """A bucket: events by day as Parquet and as CSV with semicolons, and items as other programs write them."""
    raw = store.bucket
    events = pl.DataFrame(
        {
            "user_id": [f"u{n % 10}" for n in range(200)],
            "item_id": [f"{n % 20:03}" for n in range(200)],
            "timestamp": [f"2024-01-0{n % 2 + 1} 10:{n // 60:02}:{n % 60:02}" for n in range(200)],
        }
    )
    for day in (1, 2):
        part = events.filter(pl.col("timestamp").str.starts_with(f"2024-01-0{day}"))
        for form in ("parquet", "csv"):
            (raw / form / f"day=2024-01-0{day}").mkdir(parents=True)
        part.write_parquet(raw / "parquet" / f"day=2024-01-0{day}" / "part.parquet")
        part.write_csv(raw / "csv" / f"day=2024-01-0{day}" / "part.csv", separator=";")
    rows = [f'{n:03};TV {n}" wide, "flat";3,{n:02};NULL' for n in range(19)] + ['019;"Two\nlines";3,5;x']
    (raw / "items.csv").write_text("\n".join(["item_id;title;price;brand", *rows]))
    (raw / "items.csv.gz").write_bytes(gzip.compress((raw / "items.csv").read_bytes()))
    described = pl.read_csv(raw / "items.csv", separator=";", quote_char=None, truncate_ragged_lines=True).head(19)
    (raw / "items.ndjson").write_text("\n".join(map(json.dumps, described.select("item_id", "title").to_dicts())))
    return raw


@pytest.mark.parametrize("events", ["parquet/", "parquet/**/*.parquet", "parquet/day=*/part.parquet", "csv/**/*.csv"])
@pytest.mark.parametrize("items", ["items.csv", "items.csv.gz"])
def test_a_bucket_is_read_as_its_folder_is(tmp_path: Path, raw: Path, events: str, items: str) -> None:
    stored = ingest(f"s3://{raw.name}/{events}", f"s3://{raw.name}/{items}", Home(tmp_path / "home"))
    local = ingest(f"{raw}/{events}", raw / items, Home(tmp_path / "home"))
    assert stored.id == local.id
    assert sorted(stored.events()["day"].unique()) == ["2024-01-01", "2024-01-02"]
    assert stored.items()["title"].to_list()[-2:] == ['TV 18" wide, "flat"', "Two\nlines"]
    assert stored.items()["price"].to_list()[-2:] == [3.18, 3.5]


def test_the_command_reads_from_a_bucket(prefect_server: str, tmp_path: Path, raw: Path) -> None:
    tables = [
        "--events",
        f"s3://{raw.name}/parquet/",
        "--items",
        f"s3://{raw.name}/items.csv",
        "--home",
        str(tmp_path / "home"),
    ]
    done = CliRunner().invoke(app, ["ingest", *tables, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["counts"] == {"events": 200, "items": 20, "quarantined": 0, "users": 10}


@pytest.mark.parametrize("name", ["items.csv", "parquet/day=2024-01-01/part.parquet"])
@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ((400, "ExpiredToken"), "The credentials have expired. Renew them"),
        ((403, "InvalidAccessKeyId"), "The credentials are none that the store knows"),
        ((403, "AccessDenied"), "The credentials may not read it, or there are none"),
        ((404, "NoSuchBucket"), "There is no such bucket"),
    ],
)
def test_what_the_store_refuses_is_told(raw: Path, store: Store, name: str, fault: tuple[int, str], told: str) -> None:
    store.fault = fault
    with pytest.raises(SourceError, match=told) as refused:
        read_table(f"s3://{raw.name}/{name}", "events")
    assert not isinstance(refused.value, UnreachableError)  # no right comes by waiting


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("none.csv", None, "There is no such file"),
        ("none.parquet", None, "There is no such file"),
        ("i.csv", b"", r"i\.csv is empty \(0 bytes\)"),
        ("i.csv", "item_id,title\n1,Caf\u00e9\n".encode("latin-1"), "cannot be read as CSV: invalid utf8"),
        ("i.csv", b'item_id,title\n1,"open\n', "line 2: a quotation mark opens and never closes"),
        ("i.ndjson", b'{"item_id": 1}\nno\n', "line 2 is not valid JSON"),
    ],
)
def test_what_cannot_be_read_there_says_why(raw: Path, name: str, content: Any, told: str) -> None:
    if content is not None:
        (raw / name).write_bytes(content)
    with pytest.raises(SourceError, match=told):
        read_table(f"s3://{raw.name}/{name}", "items")


def test_words_that_nobody_knows_have_no_advice() -> None:
    assert advice("Connection reset by peer") is None
    assert str(advice("Error performing PUT http://169.254.169.254/latest/api/token")).startswith("There are no cred")
