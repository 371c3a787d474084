"""Locations that runs are given: a credential reaches the reader and never Prefect's database."""

import json
import sqlite3
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jsonschema
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prefect.blocks.system import Secret
from prefect.settings import PREFECT_HOME
from synthetic import Dataset
from test_cli import run

from flows.classify import train_text_classifier
from flows.ingest import ingest_tables, write_snapshot
from flows.locations import PATTERN, check, named, resolved
from flows.pipeline import pipeline
from recsys.data.locations import DEFAULT, VARIABLE, SourceError, holds_credential
from recsys.data.snapshot import open_snapshot
from recsys.errors import SettingError
from recsys.home import Home

SIGNATURE = "X-Amz-Signature=c0ffee5ec2e7"
WORD = "c0ffee5ec2e7"


@pytest.fixture
def web(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The data set's events over HTTP, for whoever has the signature; the beginning of its URL."""
    rows = pl.read_parquet(dataset.events)
    bad = rows.head(2).with_columns(item_id=pl.lit("nowhere"))
    content = pl.concat([rows, bad]).write_ndjson().encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            signed = self.path == f"/events.ndjson?{SIGNATURE}"
            self.send_response(200 if signed else 403)
            self.end_headers()
            self.wfile.write(content if signed else b"")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/"
    monkeypatch.setenv(VARIABLE, f"{DEFAULT} {url}")
    yield url
    server.shutdown()
    server.server_close()
    thread.join()


def kept() -> bytes:
    """All that Prefect has written: its database, with what is not in its file yet."""
    folder = Path(PREFECT_HOME.value())
    with sqlite3.connect(f"file:{folder / 'prefect.db'}?mode=ro", uri=True) as database:
        lines = "\n".join(database.iterdump())
    database.close()
    return lines.encode() + b"".join(path.read_bytes() for path in folder.rglob("*.log"))


def snapshot_of(home: Path, snapshot_id: str) -> bytes:
    snapshot = open_snapshot(Home(home), snapshot_id)
    assert set(snapshot.quarantine()["file"]) == {"events.ndjson"}
    return b"".join(path.read_bytes() for path in snapshot.path.rglob("*") if path.is_file())


def test_a_named_url_is_read_and_kept_nowhere(
    prefect_server: str, dataset: Dataset, web: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_SOURCE_THE_EVENTS", f"{web}events.ndjson?{SIGNATURE}")
    snapshot_id = ingest_tables("env:the-events", dataset.items, str(tmp_path))
    assert WORD.encode() not in snapshot_of(tmp_path, snapshot_id)
    Secret(value=f"{web}events.ndjson?{SIGNATURE}").save("the-events", overwrite=True, _sync=True)
    assert ingest_tables("secret:the-events", dataset.items, str(tmp_path)) == snapshot_id
    assert WORD.encode() not in kept()  # the block is encrypted
    assert b"env:the-events" in kept()


def test_the_command_line_takes_a_signed_url_and_keeps_it_nowhere(
    prefect_server: str, dataset: Dataset, web: str, tmp_path: Path
) -> None:
    events = f"{web}events.ndjson?{SIGNATURE}"
    done = run("ingest", "--events", events, "--items", dataset.items, "--home", tmp_path)
    assert WORD not in json.dumps(done)
    assert WORD.encode() not in snapshot_of(tmp_path, done["snapshot"])
    assert run("validate", "--events", events, "--items", dataset.items, "--home", tmp_path)["accepted"]
    wrong = f"{web}other.ndjson?{SIGNATURE}"
    for command in ("ingest", "validate"):
        error = run(command, "--events", wrong, "--items", dataset.items, "--home", tmp_path, code=1)["error"]
        assert f"{web}other.ndjson answers with 403" in error
        assert WORD not in error
    assert WORD.encode() not in kept()


def test_a_failed_run_leaves_no_credential_in_state_and_logs(
    prefect_server: str, dataset: Dataset, web: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.ingest.write_remote_snapshot", write_snapshot)  # which is not tried again
    for location in (
        f"{web}absent.ndjson?{SIGNATURE}",
        f"http://u:{WORD}@127.0.0.1:9/e.csv",
        f"s3://u:{WORD}@bucket/e",
    ):
        monkeypatch.setenv("RECSYS_SOURCE_E", location)
        with pytest.raises(SourceError):
            ingest_tables("env:E", dataset.items, str(tmp_path))
    assert WORD.encode() not in kept()


def test_a_flow_that_is_given_a_credential_says_how_else_and_keeps_nothing(prefect_server: str, tmp_path: Path) -> None:
    url = f"https://files.example/e.csv?{SIGNATURE}"
    for call in (
        lambda: pipeline(url, url, str(tmp_path)),
        lambda: ingest_tables(f"https://u:{WORD}@files.example/e.csv", "i.csv", str(tmp_path)),
        lambda: train_text_classifier(train="t.csv", dev=url, home=str(tmp_path)),
    ):
        with pytest.raises(SettingError, match=r"secret:NAME.*RECSYS_SOURCE_NAME.*env:NAME") as told:
            call()
        assert WORD not in str(told.value)
    assert WORD.encode() not in kept()


def test_names_that_stand_for_nothing(prefect_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", WORD)
    for location, message in (
        ("env:AWS_SECRET_ACCESS_KEY", "RECSYS_SOURCE_AWS_SECRET_ACCESS_KEY is not set"),
        ("env:../x", "takes letters"),
        ("secret:nobody", "no block of type Secret"),
        ("secret:", "takes letters"),
    ):
        with pytest.raises(SettingError, match=message):
            resolved(location)
    assert named("s3://bucket/e.parquet", "events") == "s3://bucket/e.parquet"


@given(st.text(alphabet="ab:/?#@=. "))
@example("https://u:p@host/e.csv")
@example("https://host/e.csv?sig=x")
@example("az://box/e.csv?sig=x")
@example("s3://bucket/part-?.parquet")
@example("abfss://box@account/e.parquet")
@example("/data/a@b#c.csv")
@example("env:NAME")
@example("https:/host/e.csv?sig=x")
@example("https://u:1/x@host/e.csv")
def test_what_a_form_takes_holds_no_credential(location: str) -> None:
    try:
        jsonschema.validate(location, {"type": "string", "pattern": PATTERN})
    except jsonschema.ValidationError:
        return
    check(location)  # what is let through is what a flow takes


@pytest.mark.parametrize(
    "location",
    [
        "e.csv", "/data/a@b#c.csv", "s3://bucket/part-?.parquet", "abfss://box@account/e.parquet", "env:NAME",
        "https://host:8443/a/e.csv", "https://host/@scope/e.csv", "s3://b/T10:00/e.csv", "hf://datasets/e.csv",
        "file:///data/e.csv", "C:/data/e.csv", "gs://b/y=1/*.csv",
    ],
)  # fmt: skip
def test_a_form_takes_plain_locations(location: str) -> None:
    jsonschema.validate(location, {"type": "string", "pattern": PATTERN})
    assert not holds_credential(location)
