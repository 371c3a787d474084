"""MovieLens 100K in contract form: fetched once, checked, kept in a cache, never part of this project.

GroupLens's own archive comes first; where it cannot be reached, the ``recbole`` package carries the same ratings.
Both give the same tables: events are ratings, items have a title, a year and a list of genres, users an age, a sex, an
occupation and a zip code.
"""

import hashlib
import io
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import polars as pl

from recsys.artifacts import (
    ArtifactError,
    commit_folder,
    digest,
    digest_file,
    digest_folder,
    read_json,
    staged_folder,
    write_json,
)
from recsys.data import columns
from recsys.data.download import downloaded
from recsys.data.locations import Sources
from recsys.data.parsing import parse_timestamps
from recsys.errors import DataError

GROUPLENS_URL = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
WHEEL = "recbole==1.2.1"
WHEEL_SHA256 = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"
# Of the ratings themselves, so that both sources are held to the same 100,000 rows.
RATINGS_SHA256 = "0fccc4b62e2f6aa246014ac7b8946c15ccb82269dc40eaae7d45d81a5fb44e1a"
USERS_SHA256 = "78625e47f964f9f4e46f233d6eb780e89139b316d3175cf8e0690696fa01af8b"
DOWNLOAD_SECONDS = 300
MAX_ARCHIVE_BYTES = 50_000_000

_FOLDER, _USERS_FOLDER = "movielens-100k", "movielens-100k-users"
_DIGESTS = "digests.json"
_WHEEL_FOLDER = "recbole/dataset_example/ml-100k/"
# The flags of GroupLens's item file, in their order there.
GENRES = (
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
)
_ARTICLE = re.compile(r"([^()]+), (The|A|An|La|Le|Les|L'|Il|O|El|Los|Das|Der|Die|Det)(?=$| \(|\))")
_YEAR = re.compile(r"\((\d{4})\)")


Read = Callable[[bytes], tuple[pl.DataFrame, ...]]


class FetchError(DataError):
    """MovieLens could not be had from any source. The message says what each answered, and what to do."""

    passing = True


def fetch_movielens_100k(cache: Path) -> tuple[Path, Path]:
    """Return the Parquet files of events (100,000) and items (1,682), fetched on the first call.

    A file ``ml-100k.zip`` that somebody put into ``cache`` is used before the network is asked.

    Raises:
        FetchError: no source answered with the right ratings.
    """
    events, items = _fetched(
        cache / _FOLDER, ("events.parquet", "items.parquet"), read_grouplens, read_recbole, _verify
    )
    return events, items


def fetch_movielens_100k_users(cache: Path) -> Path:
    """Return the Parquet file of the 943 users: age, sex, occupation and zip code; fetched on the first call.

    Raises:
        FetchError: no source answered with the right users.
    """
    (users,) = _fetched(
        cache / _USERS_FOLDER, ("users.parquet",), read_grouplens_users, read_recbole_users, _verify_users
    )
    return users


def read_grouplens(archive: bytes) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return events and items from the content of GroupLens's ``ml-100k.zip``."""
    with zipfile.ZipFile(io.BytesIO(archive)) as content:
        ratings = _member(content, "ml-100k/u.data").decode("ascii")
        films = _member(content, "ml-100k/u.item").decode("latin-1")
    events = [line.split("\t") for line in ratings.splitlines() if line]
    items = []
    for line in films.split("\n"):
        if line:
            item_id, title, _, _, _, *flags = line.rstrip("\r").split("|")
            items.append((item_id, title, [name for name, flag in zip(GENRES, flags, strict=True) if flag == "1"]))
    return _events(events), _items(items)


def read_recbole(wheel: bytes) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return events and items from the content of the ``recbole`` wheel."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as content:
        ratings = _member(content, f"{_WHEEL_FOLDER}ml-100k.inter").decode("utf-8")
        films = _member(content, f"{_WHEEL_FOLDER}ml-100k.item").decode("utf-8")
    events = [line.split("\t") for line in ratings.splitlines()[1:] if line]
    items = []
    for line in films.split("\n")[1:]:
        if line:
            item_id, title, year, genres = line.rstrip("\r").split("\t")
            items.append((item_id, f"{title} ({year})", genres.split(" ")))
    return _events(events), _items(items)


def read_grouplens_users(archive: bytes) -> tuple[pl.DataFrame]:
    """Return the users from the content of GroupLens's ``ml-100k.zip``."""
    with zipfile.ZipFile(io.BytesIO(archive)) as content:
        users = _member(content, "ml-100k/u.user").decode("ascii")
    return (_users([line.split("|") for line in users.splitlines() if line]),)


def read_recbole_users(wheel: bytes) -> tuple[pl.DataFrame]:
    """Return the users from the content of the ``recbole`` wheel."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as content:
        users = _member(content, f"{_WHEEL_FOLDER}ml-100k.user").decode("utf-8")
    return (_users([line.split("\t") for line in users.splitlines()[1:] if line]),)


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """Return a file of an archive; what a directory says of its size is not believed."""
    with archive.open(name) as file:
        return _bounded(file.read(MAX_ARCHIVE_BYTES + 1), name)


def _bounded(content: bytes, name: str) -> bytes:
    if len(content) > MAX_ARCHIVE_BYTES:
        raise ValueError(f"{name} is larger than {MAX_ARCHIVE_BYTES:,} bytes")
    return content


def _events(rows: list[list[str]]) -> pl.DataFrame:
    """Build events from user, item, rating and Unix seconds."""
    users, items, ratings, times = zip(*rows, strict=True)
    frame = pl.DataFrame(
        {
            columns.USER_ID: users,
            columns.ITEM_ID: items,
            columns.TIMESTAMP: parse_timestamps(pl.Series(times)),
            columns.EVENT_TYPE: ["rating"] * len(users),
            columns.VALUE: pl.Series(ratings).cast(pl.Float64),
        }
    )
    return frame.sort(columns.USER_ID, columns.TIMESTAMP, columns.ITEM_ID)


def _items(rows: list[tuple[str, str, list[str]]]) -> pl.DataFrame:
    """Build items from an id, a title with the year in brackets, and genres."""
    frame = pl.DataFrame(
        {
            columns.ITEM_ID: [item_id for item_id, _, _ in rows],
            columns.TITLE: [film_title(title) for _, title, _ in rows],
            "year": pl.Series([film_year(title) for _, title, _ in rows], dtype=pl.Int64),
            "genres": [sorted(name for name in genres if name and name != "unknown") for _, _, genres in rows],
        },
        schema_overrides={"genres": pl.List(pl.String)},
    )
    return frame.sort(columns.ITEM_ID)


def _users(rows: list[list[str]]) -> pl.DataFrame:
    """Build users from an id, an age, a sex, an occupation and a zip code."""
    user_ids, ages, sexes, occupations, zips = zip(*rows, strict=True)
    frame = pl.DataFrame(
        {
            columns.USER_ID: user_ids,
            "age": pl.Series(ages).cast(pl.Int64),
            "sex": sexes,
            "occupation": occupations,
            "zip": zips,
        }
    )
    return frame.sort(columns.USER_ID)


def film_year(raw: str) -> int | None:
    """Return the year in brackets behind a title; None: there is none."""
    found = _YEAR.findall(raw)
    return int(found[-1]) if found else None


def film_title(raw: str) -> str:
    """Return a title as people say it: without the year, the article in front."""
    title = " ".join(re.sub(r"\((\d{4}|V|unkonwn)\)", "", raw).split())
    title = _ARTICLE.sub(r"\2 \1", title).replace("L' ", "L'")
    return "Unknown" if title in ("unknown", "unkonwn") else title


def _fetched(
    folder: Path, names: tuple[str, ...], grouplens: Read, recbole: Read, verify: Callable[..., None]
) -> list[Path]:
    """Return the files of some tables in a folder of the cache, fetched where they are missing or damaged."""
    if not _intact(folder, names):
        shutil.rmtree(folder, ignore_errors=True)
        tables = _fetch(folder.parent, grouplens, recbole, verify)
        with staged_folder(folder.parent) as staging:
            for name, table in zip(names, tables, strict=True):
                table.write_parquet(staging / name)
            write_json(staging / _DIGESTS, digest_folder(staging))
            commit_folder(staging, folder)
    return [folder / name for name in names]


def _intact(folder: Path, names: tuple[str, ...]) -> bool:
    try:
        digests = read_json(folder / _DIGESTS)
        return all(digest_file(folder / name) == digests[name] for name in names)
    except (ArtifactError, OSError, KeyError, TypeError):
        return False


def _fetch(cache: Path, grouplens: Read, recbole: Read, verify: Callable[..., None]) -> tuple[pl.DataFrame, ...]:
    by_hand = cache / "ml-100k.zip"
    sources: list[tuple[str, Callable[[], tuple[pl.DataFrame, ...]]]] = [
        (GROUPLENS_URL, lambda: grouplens(_download(GROUPLENS_URL))),
        (f"the package {WHEEL}", lambda: recbole(_download_wheel())),
    ]
    if by_hand.exists():
        sources.insert(0, (str(by_hand), lambda: grouplens(_read(by_hand))))
    answers = []
    for name, read in sources:
        try:
            tables = read()
            verify(*tables)
            return tables
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, subprocess.SubprocessError) as error:
            answers.append(f"  {name}: {str(error) or type(error).__name__}")
    told = "\n".join(answers)
    raise FetchError(
        f"MovieLens 100K could not be fetched:\n{told}\nCheck the network, or download {GROUPLENS_URL} elsewhere "
        f"and put it at {by_hand}."
    )


def _verify(events: pl.DataFrame, items: pl.DataFrame) -> None:
    found = ratings_sha256(events)
    if found != RATINGS_SHA256:
        raise ValueError(f"these are not the ratings of MovieLens 100K (sha256 {found}, not {RATINGS_SHA256})")
    if set(items[columns.ITEM_ID]) != {str(number) for number in range(1, 1683)}:
        raise ValueError("these are not the 1,682 films of MovieLens 100K")


def _verify_users(users: pl.DataFrame) -> None:
    found = users_sha256(users)
    if found != USERS_SHA256:
        raise ValueError(f"these are not the users of MovieLens 100K (sha256 {found}, not {USERS_SHA256})")


def users_sha256(users: pl.DataFrame) -> str:
    """Return the SHA-256 of the lines ``user,age,sex,occupation,zip``, sorted by the user's number."""
    rows = users.select(pl.col(columns.USER_ID).cast(pl.Int64), "age", "sex", "occupation", "zip").sort(columns.USER_ID)
    return hashlib.sha256(rows.write_csv(include_header=False).encode()).hexdigest()


def ratings_sha256(events: pl.DataFrame) -> str:
    """Return the SHA-256 of the sorted lines ``user,item,rating,Unix seconds``, all whole numbers."""
    rows = events.select(
        pl.col(columns.USER_ID).cast(pl.Int64),
        pl.col(columns.ITEM_ID).cast(pl.Int64),
        pl.col(columns.VALUE).cast(pl.Int64),
        pl.col(columns.TIMESTAMP).dt.epoch("s"),
    ).sort(pl.all())
    return hashlib.sha256(rows.write_csv(include_header=False).encode()).hexdigest()


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return _bounded(file.read(MAX_ARCHIVE_BYTES + 1), str(path))


def _download(url: str) -> bytes:
    with downloaded(url, Sources.of(url), MAX_ARCHIVE_BYTES, DOWNLOAD_SECONDS) as file:
        return file.read_bytes()


def _download_wheel() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
        command += ["--disable-pip-version-check", "--dest", folder, WHEEL]
        done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS, check=False)
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            raise OSError(lines[-1] if lines else f"pip download ended with {done.returncode}")
        content = wheels[0].read_bytes()
    if digest(content) != WHEEL_SHA256:
        raise ValueError(f"the wheel's sha256 is {digest(content)}, not {WHEEL_SHA256}")
    return content
