"""Tables read from where they lie: a file, a folder, a glob or an object-store URL; Parquet, CSV, TSV or NDJSON.

Every row carries its file and its number in that file, so that whatever is wrong with it can be found again.
Ids and titles are read as strings, ``007`` included; other CSV columns become numbers where every value is one.
"""

import csv
import glob
import gzip
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import polars as pl

from recsys.config import LimitsConfig
from recsys.data import columns
from recsys.data.download import downloaded
from recsys.data.limits import Budget, UnreadableError
from recsys.data.locations import HTTP, SourceError, Sources, UnreachableError, scheme_of, shown, without_credentials
from recsys.data.parsing import infer_type

__all__ = ["FILE", "ROW", "Kind", "Location", "SourceError", "has_form", "read_columns", "read_lines", "read_table"]

Kind = Literal["events", "items", "users"]
Location = str | Path | pl.DataFrame  # where a table is; a frame is a table that is read already

# Added to every row: the file, relative to the folder that was named, and the row in it, from 1 without the header.
FILE = "__file"
ROW = "__row"

REQUIRED = {
    "events": columns.REQUIRED_EVENT_COLUMNS,
    "items": columns.REQUIRED_ITEM_COLUMNS,
    "users": columns.REQUIRED_USER_COLUMNS,
}
_TEXT = {
    "events": (columns.USER_ID, columns.ITEM_ID, columns.EVENT_ID, columns.EVENT_TYPE),
    "items": (columns.ITEM_ID, columns.TITLE),
    "users": (columns.USER_ID,),
}
_MAPPINGS = {"events": "event_columns", "items": "item_columns", "users": "user_columns"}  # of IngestConfig
_SUFFIXES = {
    ".parquet": "Parquet",
    ".pq": "Parquet",
    ".csv": "CSV",
    ".csv.gz": "CSV",
    ".tsv": "TSV",
    ".tsv.gz": "TSV",
    ".ndjson": "NDJSON",
    ".ndjson.gz": "NDJSON",
    ".jsonl": "NDJSON",
    ".jsonl.gz": "NDJSON",
}
_KNOWN = ", ".join(_SUFFIXES)
_DEFAULT = LimitsConfig()
_INGEST_LIMITS = "limits of the ingest settings"


@dataclass(frozen=True)
class _Source:
    path: str  # what polars opens: a file, or an object-store URL that may stand for many
    name: str  # what messages call it: no credential
    form: str
    remote: bool = False


def read_table(
    location: Location,
    kind: Kind,
    mapping: Mapping[str, str] | None = None,
    limits: LimitsConfig = _DEFAULT,
    sources: Sources | None = None,
) -> pl.DataFrame:
    """Read all rows of a table, with the names of the contract and the columns ``FILE`` and ``ROW``.

    Args:
        location: a file, a folder (searched in depth, hidden files left out), a glob, or a URL (``s3://…``, ``gs://…``,
            ``az://…``, ``https://…``; without a suffix Parquet, in an object store a folder of it); or a frame.
        kind: which contract the columns must meet.
        mapping: contract name → name in the files. It wins over a column that already has the contract's name.
        limits: how large it may be.
        sources: what may be read; None: what RECSYS_SOURCES says.

    Raises:
        SourceError: it may not be read, is too large, or nothing is there, a file is empty, damaged or of another
            format, a column is missing or holds what no snapshot can keep.
    """
    budget = Budget(limits, _INGEST_LIMITS)
    if isinstance(location, pl.DataFrame):
        named = f"the frame of {kind}"
        budget.check(named, location)
        table = _conform(_numbered(location, named), _Source("", named, form="frame"), kind, mapping or {})
    else:
        named = shown(str(location))
        allowed = sources or Sources.from_environment()
        tables = [
            _conform(_read(source, budget), source, kind, mapping or {})
            for source in _found(str(location), kind, allowed, budget)
        ]
        table = _stack(tables, named)
    if table.is_empty():
        raise SourceError(f"{named} holds no rows of {kind}. Give a table with at least one.")
    return table


def read_columns(path: Path, limits: LimitsConfig = _DEFAULT, sources: Sources | None = None) -> pl.DataFrame:
    """Read one table with whatever columns it has; those of CSV and TSV files are strings.

    Raises:
        SourceError: the file may not be read, is too large, absent, empty, damaged or of another format.
    """
    real = (sources or Sources.from_environment()).file(path)
    if not path.is_file():
        raise SourceError(f"{shown(str(path))} does not exist, or is no file.")
    return _read(_Source(str(real), path.name, _form_of(path)), Budget(limits)).drop(FILE, ROW)


def read_lines(path: Path, limits: LimitsConfig = _DEFAULT, sources: Sources | None = None) -> list[str]:
    """Return the lines of a file of UTF-8.

    Raises:
        SourceError: it may not be read, is absent or too large.
        UnicodeDecodeError: it is not UTF-8.
    """
    real = (sources or Sources.from_environment()).file(path)
    if not path.is_file():
        raise SourceError(f"{shown(str(path))} does not exist, or is no file.")
    Budget(limits).admit_text(path.name, real)
    return real.read_text(encoding="utf-8").splitlines()


def has_form(path: Path) -> bool:
    """Return whether a file's suffix is that of a table."""
    return _form(path.name) is not None


def _found(location: str, kind: Kind, allowed: Sources, budget: Budget) -> Iterator[_Source]:
    """Yield the parts of a table; one that was fetched over HTTP is there until the next is asked for."""
    scheme = scheme_of(location)
    named = shown(location)
    if scheme in HTTP:
        with downloaded(location, allowed, budget.most) as file:
            yield _Source(str(file), named, _form(named) or "Parquet")
    elif scheme not in ("", "file"):
        allowed.url(location)
        yield _Source(location.strip(), named, _form(named) or "Parquet", remote=True)
    else:
        parts = urlsplit(location)
        if scheme and parts.netloc not in ("", "localhost"):
            raise SourceError(f"{named} names a file of another machine. Give file:///… or a path.")
        path = Path(unquote(parts.path) if scheme else location).expanduser()
        yield from _files(path, kind, allowed, budget)


def _files(path: Path, kind: Kind, allowed: Sources, budget: Budget) -> list[_Source]:
    named = shown(str(path))
    if glob.has_magic(str(path)) and not path.exists():
        root = Path(*itertools.takewhile(lambda part: not glob.has_magic(part), path.parts))
    else:
        root = path
    allowed.file(root)
    found: Iterable[Path]
    if path.is_file():
        return [_Source(str(allowed.file(path)), path.name, _form_of(path))]
    if path.is_dir():
        found = (file for file in path.rglob("*") if not _hidden(file.relative_to(path)))
    elif root != path:
        found = (Path(file) for file in glob.iglob(str(path), recursive=True))
    else:
        raise SourceError(f"{named} does not exist. Check the path of the {kind}.")
    files = []
    for file in found:
        if _form(file.name) and file.is_file():
            files.append(file)
            budget.count_files(named, len(files))
    if not files:
        raise SourceError(f"{named} holds no table of {kind}: no file there ends in {_KNOWN}.")
    return [
        _Source(str(allowed.file(file)), file.relative_to(root).as_posix(), _form_of(file)) for file in sorted(files)
    ]


def _form_of(path: Path) -> str:
    form = _form(path.name)
    if form is None:
        raise SourceError(f"{shown(str(path))} has no suffix known for a table; known are {_KNOWN}. Rename it.")
    return form


def _numbered(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    return frame.drop(FILE, ROW, strict=False).with_row_index(ROW, 1).with_columns(pl.lit(name).alias(FILE))


def _hidden(path: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.parts)


def _form(name: str) -> str | None:
    return next((form for suffix, form in _SUFFIXES.items() if name.lower().endswith(suffix)), None)


def _read(source: _Source, budget: Budget) -> pl.DataFrame:
    path, passing = Path(source.path), False
    if not source.remote and path.stat().st_size == 0:
        raise SourceError(f"{source.name} is empty (0 bytes). Write it again, or leave it out.")
    try:
        if source.remote:
            frame = budget.gather(source.name, _scan(source))
        else:
            budget.admit(source.name, path, source.form)
            frame = _scan(source).collect()
        failure = None
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, UnreadableError, OSError) as error:
        failure = str(error)
        passing = source.remote and isinstance(error, OSError) and not isinstance(error, FileNotFoundError)
    except ValueError as error:
        if isinstance(error, SourceError):
            raise
        failure = str(error)
    if failure is not None:  # raised here, so that no traceback shows a cause that repeats a URL
        raise (UnreachableError if passing else SourceError)(_unreadable(source, failure))
    if source.remote:
        # One scan may cover many files there: rows are counted from each file's first.
        first = pl.col(ROW).min().over(FILE)
        frame = frame.with_columns(pl.col(ROW) - first + 1, pl.col(FILE).str.split("/").list.last())
    else:
        file = source.name.rpartition("/")[2] if scheme_of(source.name) else source.name
        frame = frame.with_columns(pl.lit(file).alias(FILE))
    budget.check(source.name, frame.drop(FILE, ROW))
    return frame


def _scan(source: _Source) -> pl.LazyFrame:
    # The name of a local file stands for itself, brackets and all.
    path = source.path if source.remote else glob.escape(source.path)
    options: dict[str, Any] = {"row_index_name": ROW, "row_index_offset": 1, "include_file_paths": FILE}
    if source.form == "Parquet":
        return pl.scan_parquet(path, **options)
    if source.form == "NDJSON":
        return pl.scan_ndjson(path, infer_schema_length=None, **options)
    return pl.scan_csv(path, separator="\t" if source.form == "TSV" else ",", infer_schema=False, **options)


def _unreadable(source: _Source, failure: str) -> str:
    said = without_credentials(failure.replace(source.path, source.name), source.path)
    cause = said.strip().partition("\n")[0].rstrip(".")
    if source.form == "Parquet":
        advice = "It is truncated, damaged or no Parquet file, or it is not there. Write it again."
    else:
        advice = "Correct the file, or export it again as UTF-8."
        cause = (None if source.remote else _first_bad_line(source)) or cause
    return f"{source.name} cannot be read as {source.form}: {cause}. {advice}"


def _first_bad_line(source: _Source) -> str | None:
    """Look for the line that polars could not read; None where no line by itself is wrong."""
    opener: Any = gzip.open if source.name.endswith(".gz") else open
    try:
        with opener(source.path, "rb") as file:
            for number, line in enumerate(file, start=1):
                text = line.decode()
                if source.form == "NDJSON" and text.strip() and not isinstance(json.loads(text), dict):
                    return f"line {number} is no JSON object"
        if source.form != "NDJSON":
            with opener(source.path, "rt", encoding="utf-8", newline="") as file:
                reader = csv.reader(file, delimiter="\t" if source.form == "TSV" else ",")
                width = len(next(reader))
                for row in reader:
                    if len(row) > width:
                        return f"line {reader.line_num} has {len(row)} fields, the header {width}"
    except UnicodeDecodeError:
        return f"line {number} is not UTF-8"
    except json.JSONDecodeError as error:
        return f"line {number} is not valid JSON ({error})"
    except (OSError, EOFError, csv.Error):  # a broken .gz, say: polars' own words stand
        return None
    return None


def _conform(frame: pl.DataFrame, source: _Source, kind: Kind, mapping: Mapping[str, str]) -> pl.DataFrame:
    present = [name for name in frame.columns if name not in (FILE, ROW)]
    option = _MAPPINGS[kind]
    for name, origin in mapping.items():
        if origin not in present:
            raise SourceError(
                f"{source.name} has no column {origin!r}, which {option} names for {name!r}. "
                f"It has {', '.join(present)}. Correct {option}."
            )
    for name in REQUIRED[kind]:
        if name not in mapping and name not in present:
            raise SourceError(
                f"{source.name} has no column {name!r}. It has {', '.join(present)}. "
                f'Rename the column, or map it: {option}={{"{name}": "name in the file"}}.'
            )
    origins = {name: name for name in present if name not in mapping and name not in mapping.values()} | dict(mapping)
    series = [_kept(frame[origin].alias(name), source, kind) for name, origin in origins.items()]
    return pl.DataFrame([*series, frame[FILE], frame[ROW].cast(pl.UInt64)])


def _kept(values: pl.Series, source: _Source, kind: Kind) -> pl.Series:
    """Return a column as a snapshot can keep it."""
    inner = values.dtype
    while isinstance(inner, pl.List | pl.Array):
        inner = inner.inner  # type: ignore[assignment]
    text = values.name in _TEXT[kind]
    if inner in (pl.Struct, pl.Binary, pl.Object) or ((text or kind == "users") and inner != values.dtype):
        wanted = "text" if text else "scalars" if kind == "users" else "scalars or lists of scalars"
        raise SourceError(
            f"{source.name}, column {values.name!r} holds {values.dtype}; {wanted} can be kept. "
            "Flatten or convert it, or leave the column out."
        )
    if text:
        whole = values.dtype.is_float() and (values.drop_nulls() == values.drop_nulls().floor()).all()
        return values.cast(pl.Int64, strict=False).cast(pl.String) if whole else values.cast(pl.String)
    if values.dtype in (pl.Categorical, pl.Enum, pl.Null):
        return values.cast(pl.String)
    if values.dtype.is_decimal():
        return values.cast(pl.Float64)
    if source.form in ("CSV", "TSV") and values.name != columns.TIMESTAMP:
        return infer_type(values)
    return values


def _stack(frames: list[pl.DataFrame], named: str) -> pl.DataFrame:
    stamps = {frame.schema[columns.TIMESTAMP] for frame in frames if columns.TIMESTAMP in frame.columns}
    if len(stamps) > 1:  # numbers in one file, text in another: each value says for itself what it is
        frames = [frame.with_columns(pl.col(columns.TIMESTAMP).cast(pl.String)) for frame in frames]
    try:
        return pl.concat(frames, how="diagonal_relaxed")
    except pl.exceptions.PolarsError as error:
        message = f"The files of {named} do not fit together: {error}. Give each column one type."
        raise SourceError(message) from error
