"""MovieLens 100K: both sources give the same tables, the cache holds, failures say what to do."""

import io
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import polars as pl
import pytest

from recsys.data import movielens as source
from recsys.data.movielens import (
    FetchError,
    fetch_movielens_100k,
    fetch_movielens_100k_users,
    read_grouplens,
    read_grouplens_users,
    read_recbole,
    read_recbole_users,
)

GENRES = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *("Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
RATINGS = "196\t2\t3\t881250949\n186\t1\t4\t891717742\n"
FILMS = [
    ("1", "Toy Story (1995)", "Animation Children's Comedy"),
    ("2", "Usual Suspects, The (1995)", "Crime Thriller"),
    ("267", "unknown", "unknown"),
    ("543", "Misérables, Les (1995)", "Drama Musical"),
    ("844", "Star Maker, The (Uomo delle stelle, L') (1995)", "Drama"),
    ("1412", "Land Before Time III: The Time of the Great Giving (1995) (V)", "Animation Children's"),
]
RECBOLE_FILMS = (
    "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    "1\tToy Story\t1995\tAnimation Children's Comedy\n"
    "2\tUsual Suspects, The\t1995\tCrime Thriller\n"
    "267\tunkonwn\tunkonwn\tunknown\n"
    "543\tMisérables, Les\t1995\tDrama Musical\n"
    "844\tStar Maker, The (Uomo delle stelle, L')\t1995\tDrama\n"
    "1412\tLand Before Time III: The Time of the Great Giving (1995)\tV\tAnimation Children's\n"
)


def _zip(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, value in files.items():
            archive.writestr(name, value)
    return content.getvalue()


def _grouplens(ratings: str, films: list[tuple[str, str, str]]) -> bytes:
    lines = []
    for item_id, title, genres in films:
        flags = "|".join(str(int(name in genres.split(" "))) for name in GENRES)
        lines.append(f"{item_id}|{title}|01-Jan-1995||http://example.org/|{flags}\n")
    return _zip({"ml-100k/u.data": ratings.encode(), "ml-100k/u.item": "".join(lines).encode("latin-1")})


def _recbole(ratings: str, films: str) -> bytes:
    folder = "recbole/dataset_example/ml-100k/ml-100k"
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    return _zip({f"{folder}.inter": (header + ratings).encode(), f"{folder}.item": films.encode()})


def test_both_formats_give_the_same_tables() -> None:
    events, items = read_grouplens(_grouplens(RATINGS, FILMS))
    other_events, other_items = read_recbole(_recbole(RATINGS, RECBOLE_FILMS))
    assert events.equals(other_events)
    assert items.equals(other_items)
    assert events.select("user_id", "item_id", "event_type", "value").rows() == [
        ("186", "1", "rating", 4.0),
        ("196", "2", "rating", 3.0),
    ]
    assert events["timestamp"].dt.epoch("s").to_list() == [891717742, 881250949]
    assert {row[0]: row[1:] for row in items.rows()} == {
        "1": ("Toy Story", 1995, ["Animation", "Children's", "Comedy"]),
        "2": ("The Usual Suspects", 1995, ["Crime", "Thriller"]),
        "267": ("Unknown", None, []),
        "543": ("Les Misérables", 1995, ["Drama", "Musical"]),
        "844": ("The Star Maker (L'Uomo delle stelle)", 1995, ["Drama"]),
        "1412": ("Land Before Time III: The Time of the Great Giving", 1995, ["Animation", "Children's"]),
    }


def test_the_real_thing(movielens: tuple[Path, Path]) -> None:
    events, items = (pl.read_parquet(path) for path in movielens)
    assert (events.height, events["user_id"].n_unique(), items.height) == (100_000, 943, 1682)
    assert set(events["item_id"]) == set(items["item_id"])
    assert source.ratings_sha256(events) == source.RATINGS_SHA256
    assert source.ratings_sha256(events.with_columns(value=pl.lit(3.0))) != source.RATINGS_SHA256
    assert items["title"].str.strip_chars().str.len_chars().min() > 0
    assert items.filter(pl.col("title").str.contains(r", (The|A|An)$")).is_empty()
    assert items.filter(pl.col("year").is_null())["item_id"].to_list() == ["267"]
    assert items["year"].drop_nulls().is_between(1922, 1998).all()
    assert set(items["genres"].explode().drop_nulls()) == set(GENRES) - {"unknown"}


def test_both_formats_give_the_same_users() -> None:
    lines = [("10", "53", "M", "lawyer", "90703"), ("2", "53", "F", "other", "02139")]
    packed = _zip({"ml-100k/u.user": "\n".join("|".join(line) for line in lines).encode()})
    header = "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token"
    text = "\n".join([header, *("\t".join(line) for line in lines)])
    wheel = _zip({"recbole/dataset_example/ml-100k/ml-100k.user": text.encode()})
    (users,), (others,) = read_grouplens_users(packed), read_recbole_users(wheel)
    assert users.equals(others)
    assert users.columns == ["user_id", "age", "sex", "occupation", "zip"]
    assert users.rows() == [("10", 53, "M", "lawyer", "90703"), ("2", 53, "F", "other", "02139")]


@pytest.mark.usefixtures("no_network")
def test_users_are_fetched_apart_from_events_and_items(movielens_users: Path, tmp_path: Path) -> None:
    users = pl.read_parquet(movielens_users)
    assert users.height == 943
    assert source.users_sha256(users) == source.USERS_SHA256
    assert source.users_sha256(users.with_columns(age=pl.lit(30))) != source.USERS_SHA256
    lines = ["|".join(map(str, row)) for row in users.rows()]
    (tmp_path / "ml-100k.zip").write_bytes(_zip({"ml-100k/u.user": "\n".join(lines).encode()}))
    assert pl.read_parquet(fetch_movielens_100k_users(tmp_path)).equals(users)
    (tmp_path / "ml-100k.zip").unlink()
    assert fetch_movielens_100k_users(tmp_path).is_file()  # the cache lasts
    with pytest.raises(FetchError):
        fetch_movielens_100k_users(tmp_path / "other")


@pytest.fixture
def answer() -> Iterator[Callable[[bytes], str]]:
    """Serve some bytes over HTTP and return their URL."""
    servers = []

    def serve(content: bytes) -> str:
        class Archive(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Archive)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}/ml-100k.zip"

    yield serve
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def archive(movielens: tuple[Path, Path]) -> bytes:
    """MovieLens 100K, packed as GroupLens packs it."""
    events, items = (pl.read_parquet(path) for path in movielens)
    rows = events.select("user_id", "item_id", pl.col("value").cast(pl.Int64), pl.col("timestamp").dt.epoch("s"))
    films = [
        (item_id, f"{title} ({year})" if year else "unknown", " ".join(genres))
        for item_id, title, year, genres in items.rows()
    ]
    return _grouplens(rows.write_csv(separator="\t", include_header=False), films)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "GROUPLENS_URL", "http://127.0.0.1:1/ml-100k.zip")
    monkeypatch.setattr(source, "WHEEL", "recbole==0.0.0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")


@pytest.mark.usefixtures("no_network")
def test_grouplens_alone_is_enough_and_the_cache_lasts(
    tmp_path: Path,
    archive: bytes,
    movielens: tuple[Path, Path],
    answer: Callable[[bytes], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(source, "GROUPLENS_URL", answer(archive))
    paths = fetch_movielens_100k(tmp_path)
    for path, expected in zip(paths, movielens, strict=True):
        assert pl.read_parquet(path).equals(pl.read_parquet(expected))

    monkeypatch.setattr(source, "GROUPLENS_URL", "http://127.0.0.1:1/ml-100k.zip")
    written = [path.stat().st_mtime_ns for path in paths]
    assert fetch_movielens_100k(tmp_path) == paths
    assert [path.stat().st_mtime_ns for path in paths] == written

    paths[1].write_bytes(paths[1].read_bytes()[:-9])
    with pytest.raises(FetchError):  # the damage was seen: it wanted to fetch again
        fetch_movielens_100k(tmp_path)
    (tmp_path / "ml-100k.zip").write_bytes(archive)
    assert fetch_movielens_100k(tmp_path) == paths
    assert pl.read_parquet(paths[1]).height == 1682


@pytest.mark.usefixtures("no_network")
def test_a_failure_tells_what_every_source_answered(tmp_path: Path) -> None:
    with pytest.raises(FetchError) as failure:
        fetch_movielens_100k(tmp_path / "cache")
    message = str(failure.value)
    assert "127.0.0.1:1/ml-100k.zip cannot be fetched (ConnectError)" in message
    assert "the package recbole==0.0.0: ERROR: No matching distribution" in message
    assert f"put it at {tmp_path / 'cache' / 'ml-100k.zip'}" in message
    assert not list(tmp_path.rglob("*.parquet"))


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"<html>please log in</html>", "not a zip file"),
        (_grouplens(RATINGS, FILMS), "not the ratings of MovieLens 100K"),
        (_zip({"ml-100k/README": b""}), "u.data"),
    ],
)
def test_other_content_is_refused(
    tmp_path: Path,
    answer: Callable[[bytes], str],
    monkeypatch: pytest.MonkeyPatch,
    content: bytes,
    complaint: str,
) -> None:
    monkeypatch.setattr(source, "GROUPLENS_URL", answer(content))
    with pytest.raises(FetchError, match=complaint):
        fetch_movielens_100k(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_network")
def test_too_large_an_answer_is_not_read_to_its_end(
    tmp_path: Path, answer: Callable[[bytes], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "MAX_ARCHIVE_BYTES", 10)
    monkeypatch.setattr(source, "GROUPLENS_URL", answer(b"x" * 11))
    with pytest.raises(FetchError, match="larger than 10 bytes"):
        fetch_movielens_100k(tmp_path)


def test_a_changed_wheel_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "GROUPLENS_URL", "http://127.0.0.1:1/ml-100k.zip")
    monkeypatch.setattr(source, "WHEEL_SHA256", "0" * 64)
    with pytest.raises(FetchError, match="the wheel's sha256 is 9c9948202011"):
        fetch_movielens_100k(tmp_path)


def test_an_archive_that_unpacks_to_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_ARCHIVE_BYTES", 1_000_000)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as content:
        content.writestr("ml-100k/u.data", bytes(2_000_000))
    for read, archive in ((read_grouplens, packed.getvalue()), (read_recbole, _recbole("1" * 2_000_000, ""))):
        with pytest.raises(ValueError, match="is larger than 1,000,000 bytes"):
            read(archive)
