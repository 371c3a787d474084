"""Tables read from where they lie: a file, a folder, a glob or an object-store URL; Parquet, CSV, TSV or NDJSON.

Every row carries its file and its number in that file, so that whatever is wrong with it can be found again.
Ids and titles are read as strings, ``007`` included; other CSV columns become numbers where every value is one.
"""

import csv
import glob
import gzip
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import polars as pl

from recsys.data import columns
from recsys.data.parsing import infer_type
from recsys.errors import DataError

Kind = Literal["events", "items"]
Location = str | Path | pl.DataFrame  # where a table is; a frame is a table that is read already

# Added to every row: the file, relative to the folder that was named, and the row in it, from 1 without the header.
FILE = "__file"
ROW = "__row"

REQUIRED = {"events": columns.REQUIRED_EVENT_COLUMNS, "items": columns.REQUIRED_ITEM_COLUMNS}
_TEXT = {
    "events": (columns.USER_ID, columns.ITEM_ID, columns.EVENT_ID, columns.EVENT_TYPE),
    "items": (columns.ITEM_ID, columns.TITLE),
}
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


class SourceError(DataError):
    """A table cannot be read. The message names the file and the column, and says what to do."""


@dataclass(frozen=True)
class _Source:
    path: str  # what polars opens: a file, or a URL that may stand for many
    name: str  # what messages call it
    form: str
    remote: bool = False


def read_table(location: Location, kind: Kind, mapping: Mapping[str, str] | None = None) -> pl.DataFrame:
    """Read all rows of a table, with the names of the contract and the columns ``FILE`` and ``ROW``.

    Args:
        location: a file, a folder (searched in depth, hidden files left out), a glob, or a URL that polars can open
            (``s3://…``, ``gs://…``, ``az://…``, ``https://…``; without a suffix a folder of Parquet); or a frame.
        kind: which contract the columns must meet.
        mapping: contract name → name in the files. It wins over a column that already has the contract's name.

    Raises:
        SourceError: nothing is there, a file is empty, damaged or of another format, a column is missing or holds
            what no snapshot can keep.
    """
    if isinstance(location, pl.DataFrame):
        named = f"the frame of {kind}"
        table = _conform(_numbered(location, named), _Source("", named, form="frame"), kind, mapping or {})
    else:
        named, sources = str(location), _find(str(location), kind)
        table = _stack([_conform(_read(source), source, kind, mapping or {}) for source in sources], location)
    if table.is_empty():
        raise SourceError(f"{named} holds no rows of {kind}. Give a table with at least one.")
    return table


def read_columns(path: Path) -> pl.DataFrame:
    """Read one table with whatever columns it has; those of CSV and TSV files are strings.

    Raises:
        SourceError: the file is absent, empty, damaged or of another format.
    """
    if not path.is_file():
        raise SourceError(f"{path} does not exist, or is no file.")
    form = _form(path.name)
    if form is None:
        raise SourceError(f"{path} has no suffix known for a table; known are {', '.join(_SUFFIXES)}. Rename it.")
    return _read(_Source(str(path), path.name, form)).drop(FILE, ROW)


def _find(location: str, kind: Kind) -> list[_Source]:
    scheme = urlsplit(location).scheme if "://" in location else ""
    if scheme and scheme != "file":
        name = location.partition("?")[0]  # the rest of a URL may hold a signature, which no message should repeat
        return [_Source(location, name, _form(name) or "Parquet", remote=True)]
    path = Path(unquote(urlsplit(location).path) if scheme else location).expanduser()
    if path.is_file():
        form = _form(path.name)
        if form is None:
            raise SourceError(f"{path} has no suffix known for a table; known are {', '.join(_SUFFIXES)}. Rename it.")
        return [_Source(str(path), path.name, form)]
    if path.is_dir():
        root, found = path, [file for file in path.rglob("*") if not _hidden(file.relative_to(path))]
    elif glob.has_magic(str(path)):
        root = Path(*itertools.takewhile(lambda part: not glob.has_magic(part), path.parts))
        found = [Path(file) for file in glob.glob(str(path), recursive=True)]
    else:
        raise SourceError(f"{path} does not exist. Check the path of the {kind}.")
    files = sorted(file for file in found if file.is_file() and _form(file.name))
    if not files:
        raise SourceError(f"{path} holds no table of {kind}: no file there ends in {', '.join(_SUFFIXES)}.")
    return [_Source(str(file), file.relative_to(root).as_posix(), str(_form(file.name))) for file in files]


def _numbered(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    return frame.drop(FILE, ROW, strict=False).with_row_index(ROW, 1).with_columns(pl.lit(name).alias(FILE))


def _hidden(path: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.parts)


def _form(name: str) -> str | None:
    return next((form for suffix, form in _SUFFIXES.items() if name.lower().endswith(suffix)), None)


def _read(source: _Source) -> pl.DataFrame:
    if not source.remote and Path(source.path).stat().st_size == 0:
        raise SourceError(f"{source.name} is empty (0 bytes). Write it again, or leave it out.")
    # The name of a local file stands for itself, brackets and all.
    path = source.path if source.remote else glob.escape(source.path)
    options: dict[str, Any] = {"row_index_name": ROW, "row_index_offset": 1, "include_file_paths": FILE}
    try:
        if source.form == "Parquet":
            frame = pl.scan_parquet(path, **options).collect()
        elif source.form == "NDJSON":
            frame = pl.scan_ndjson(path, infer_schema_length=None, **options).collect()
        else:
            separator = "\t" if source.form == "TSV" else ","
            frame = pl.scan_csv(path, separator=separator, infer_schema=False, **options).collect()
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise SourceError(_unreadable(source, error)) from error
    if not source.remote:
        return frame.with_columns(pl.lit(source.name).alias(FILE))
    # One scan may cover many files there: rows are counted from each file's first.
    return frame.with_columns(pl.col(ROW) - pl.col(ROW).min().over(FILE) + 1, pl.col(FILE).str.split("/").list.last())


def _unreadable(source: _Source, error: Exception) -> str:
    cause = str(error).strip().partition("\n")[0]
    if source.form == "Parquet":
        advice = "It is truncated, damaged or no Parquet file, or it is not there. Write it again."
    else:
        advice = "Correct the file, or export it again as UTF-8."
        cause = (None if source.remote else _first_bad_line(source)) or cause
    return f"{source.name} cannot be read as {source.form}: {cause}. {advice}"


def _first_bad_line(source: _Source) -> str | None:
    """Look for the line that polars could not read; None where no line by itself is wrong."""
    opener: Any = gzip.open if source.path.endswith(".gz") else open
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
    option = "event_columns" if kind == "events" else "item_columns"
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
    if inner in (pl.Struct, pl.Binary, pl.Object) or (text and inner != values.dtype):
        wanted = "text" if text else "scalars or lists of scalars"
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


def _stack(frames: list[pl.DataFrame], location: str | Path) -> pl.DataFrame:
    stamps = {frame.schema[columns.TIMESTAMP] for frame in frames if columns.TIMESTAMP in frame.columns}
    if len(stamps) > 1:  # numbers in one file, text in another: each value says for itself what it is
        frames = [frame.with_columns(pl.col(columns.TIMESTAMP).cast(pl.String)) for frame in frames]
    try:
        return pl.concat(frames, how="diagonal_relaxed")
    except pl.exceptions.PolarsError as error:
        message = f"The files of {location} do not fit together: {error}. Give each column one type."
        raise SourceError(message) from error
