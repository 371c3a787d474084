"""Tables in an object store: a server that speaks S3 over a folder, and `recsys ingest` that reads from it."""

import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from object_store import Store
from typer.testing import CliRunner

from flows.cli import app
from recsys.data.ingest import ingest
from recsys.data.locations import UnreachableError
from recsys.data.sources import SourceError, read_table
from recsys.home import Home
from recsys.remote.advice import advice


@pytest.fixture
def store(object_store: Store) -> Store:
    return object_store


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
