"""Tables read from where they lie: a file, a folder, a glob or an object-store URL; Parquet, CSV, TSV or NDJSON.

Every row carries its file and its number in that file, so that whatever is wrong with it can be found again.
Ids and titles are read as strings, ``007`` included; other CSV columns become numbers where every value is one.
"""

import glob
import itertools
import json
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import polars as pl

from recsys.config import LimitsConfig
from recsys.data import columns
from recsys.data.delimited import first_wide_record, glob_free, how_written
from recsys.data.download import CONNECT_SECONDS, downloaded
from recsys.data.fetched import Fetched, fetch
from recsys.data.kept import TEXT, Kind, kept
from recsys.data.limits import SEPARATORS, Budget, UnreadableError, unpacked
from recsys.data.locations import HTTP, SourceError, Sources, UnreachableError, scheme_of, shown, without_credentials
from recsys.data.notation import PLAIN, Notation
from recsys.data.objects import scan_objects
from recsys.data.parsing import infer_type
from recsys.data.stacking import stacked
from recsys.remote.advice import advice

__all__ = ["FILE", "ROW", "Kind", "Location", "SourceError", "has_form", "read_columns", "read_lines", "read_table"]

Location = str | Path | pl.DataFrame  # where a table is; a frame is a table that is read already

# Added to every row: the file, relative to the folder that was named, and the row in it, from 1 without the header.
FILE = "__file"
ROW = "__row"

REQUIRED = {
    "events": columns.REQUIRED_EVENT_COLUMNS,
    "items": columns.REQUIRED_ITEM_COLUMNS,
    "users": columns.REQUIRED_USER_COLUMNS,
}
_TEXTS = {name for names in TEXT.values() for name in names}
_MAPPINGS = {"events": "event_columns", "items": "item_columns", "users": "user_columns"}  # of IngestConfig
_FORMS = {".csv": "CSV", ".tsv": "TSV", ".ndjson": "NDJSON", ".jsonl": "NDJSON", ".json": "JSON"}
_SUFFIXES = {".parquet": "Parquet", ".pq": "Parquet"} | {
    suffix + packing: form for suffix, form in _FORMS.items() for packing in ("", ".gz", ".zst")
}
_KNOWN = f"{', '.join(('.parquet', '.pq', *_FORMS))}, all but the first two also with .gz or .zst"
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
# Of each request to an object store, which has a part of a file at most: Polars alone would wait for ever.
PATIENCE: dict[str, Any] = {"connect_timeout": f"{CONNECT_SECONDS}s", "timeout": "300s"}
_DEFAULT = LimitsConfig()
INGEST_LIMITS = "limits of the ingest settings"


@dataclass(frozen=True)
class Source:
    """A part of a table that is read at once: a file, or what one URL of an object store stands for."""

    path: str  # what polars opens: a file, or an object-store URL that may stand for many
    name: str  # what messages call it: no credential
    form: str
    remote: bool = False
    partitions: tuple[tuple[str, str | None], ...] = ()  # column and value, as its folders are called
    brought: Fetched | None = None  # what keeps the file, where it was brought here


def read_table(
    location: Location,
    kind: Kind,
    mapping: Mapping[str, str] | None = None,
    limits: LimitsConfig = _DEFAULT,
    sources: Sources | None = None,
    notation: Notation = PLAIN,
) -> pl.DataFrame:
    """Read all rows of a table, with the names of the contract and the columns ``FILE`` and ``ROW``.

    Args:
        location: a file, a folder (searched in depth, hidden files left out), a glob, or a URL (``s3://…``, ``gs://…``,
            ``az://…``, ``https://…``; without a suffix Parquet, in an object store a folder of it); or a frame.
        kind: which contract the columns must meet.
        mapping: contract name → name in the files. It wins over a column that already has the contract's name.
        limits: how large it may be.
        sources: what may be read; None: what RECSYS_SOURCES says.
        notation: how times and numbers are written.

    Raises:
        SourceError: it may not be read, is too large, or nothing is there, a file is empty, damaged or of another
            format, a column is missing or holds what no snapshot can keep.
    """
    budget = Budget(limits, INGEST_LIMITS)
    if isinstance(location, pl.DataFrame):
        named = f"the frame of {kind}"
        refuse_patterns(named, location)
        budget.check(named, location)
        source = Source("", named, form="frame")
        table = conform(_numbered(location, named), source, kind, mapping or {}, notation)
    else:
        named = shown(str(location))
        if not named:  # not the working folder: a variable that a script has not set names nothing
            raise SourceError(f"The location of the {kind} is empty. Name a file, a folder or a URL.")
        allowed = sources or Sources.from_environment()
        with closing(found_at(str(location), kind, allowed, budget)) as found:
            tables = [conform(read_source(source, budget), source, kind, mapping or {}, notation) for source in found]
        table = stack(tables, named)
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
    return read_source(Source(str(real), path.name, _form_of(path)), Budget(limits)).drop(FILE, ROW)


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
    return real.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")


def has_form(path: Path) -> bool:
    """Return whether a file's suffix is that of a table."""
    return _form(path.name) is not None


def found_at(location: str, kind: Kind, allowed: Sources, budget: Budget) -> Generator[Source, None, None]:
    """Yield the parts of a table; one that was fetched over HTTP is there until the next is asked for."""
    scheme = scheme_of(location)
    named = shown(location)
    if scheme in HTTP:
        with downloaded(location, allowed, budget.most) as file:
            yield Source(str(file), named, _form(named) or "Parquet")
    elif scheme not in ("", "file"):
        allowed.url(location)
        yield from _stored(location.strip(), named, budget)
    else:
        parts = urlsplit(location)
        if scheme and parts.netloc not in ("", "localhost"):
            raise SourceError(f"{named} names a file of another machine. Give file:///… or a path.")
        path = Path(unquote(parts.path) if scheme else location).expanduser()
        yield from _files(path, kind, allowed, budget)


def _stored(location: str, named: str, budget: Budget) -> Iterator[Source]:
    """Yield the parts of a table in an object store: Parquet as it lies there, texts brought here first."""
    form = _form(named) or "Parquet"
    if form == "Parquet":
        yield Source(location, named, form, remote=True)
        return
    try:
        brought = fetch(location, named, PATIENCE, budget)
    except (pl.exceptions.PolarsError, OSError) as error:
        failure, passing = str(error), _may_pass(error)
    else:
        if not brought.files:
            raise SourceError(f"{named} is empty (0 bytes). Write it again, or leave it out.")
        for file, url in brought.files:
            path = PurePosixPath(url.partition("://")[2])
            yield Source(str(file), path.name, _form(path.name) or form, False, _partitions(path), brought)
        return
    source = Source(location, named, form, remote=True)
    raise (UnreachableError if passing else SourceError)(unreadable(source, failure, told=False))


def _files(path: Path, kind: Kind, allowed: Sources, budget: Budget) -> list[Source]:
    named = shown(str(path))
    if glob.has_magic(str(path)) and not path.exists():
        root = Path(*itertools.takewhile(lambda part: not glob.has_magic(part), path.parts))
    else:
        root = path
    allowed.file(root)
    found: Iterable[Path]
    if path.is_file():
        return [Source(str(allowed.file(path)), path.name, _form_of(path))]
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
    if len(files) > 1:  # Spark writes an empty file for each part without rows
        files = [file for file in files if file.stat().st_size or _form(file.name) == "Parquet"] or files
    if not files:
        raise SourceError(f"{named} holds no table of {kind}: no file there ends in {_KNOWN}.")
    parts = [(file, file.relative_to(root)) for file in sorted(files)]
    return [
        Source(str(allowed.file(file)), part.as_posix(), _form_of(file), partitions=_partitions(part))
        for file, part in parts
    ]


def _partitions(path: PurePath) -> tuple[tuple[str, str | None], ...]:
    """Return what folders such as ``day=2024-01-31`` say of their files, as Hive has it."""
    named = (part.partition("=") for part in path.parts[:-1])
    return tuple((unquote(name), None if value == _NO_VALUE else unquote(value)) for name, is_, value in named if is_)


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


def read_source(source: Source, budget: Budget) -> pl.DataFrame:
    """Return all rows of a source as they are written, with where they stand.

    Raises:
        SourceError: it is too large, absent, empty, damaged or of another form.
    """
    path, passing, told = Path(source.path), False, False
    refuse_empty(source)
    try:
        if source.remote:
            frame = budget.gather(source.name, scan_source(source))
        else:
            budget.admit(source.name, path, source.form)
            frame = scan_source(source).collect()
        failure = None
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, UnreadableError, OSError) as error:
        failure, told = str(error), isinstance(error, UnreadableError)
        passing = source.remote and _may_pass(error)
    except ValueError as error:
        if isinstance(error, SourceError):
            raise
        failure = str(error)
    if failure is not None:  # raised here, so that no traceback shows a cause that repeats a URL
        raise (UnreachableError if passing else SourceError)(unreadable(source, failure, told))
    refuse_patterns(source.name, frame)
    budget.check(source.name, frame.drop(FILE, ROW))
    return completed(frame, source)


def refuse_empty(source: Source) -> None:
    """Raise SourceError for a file without a byte."""
    if not source.remote and Path(source.path).stat().st_size == 0:
        raise SourceError(f"{source.name} is empty (0 bytes). Write it again, or leave it out.")


def _may_pass(error: BaseException) -> bool:
    """Tell whether an object store may answer the next time: no right comes by waiting."""
    return isinstance(error, OSError) and not isinstance(error, FileNotFoundError) and advice(str(error)) is None


def completed(frame: pl.DataFrame, source: Source, first: Mapping[str, int] | None = None) -> pl.DataFrame:
    """Return rows as they were read with where they stand, and without those that are none.

    ``first``: the number of each file's first row, where one scan covers many files and these are not all of its rows.
    """
    if source.remote:
        # One scan may cover many files there: rows are counted from each file's first.
        start = pl.col(ROW).min().over(FILE)
        if first is not None:
            start = pl.col(FILE).replace_strict(dict(first), default=1, return_dtype=frame.schema[ROW])
        frame = _with_partitions(frame.with_columns(pl.col(ROW) - start + 1))
        frame = frame.with_columns(pl.col(FILE).str.split("/").list.last())
    else:
        file = source.name.rpartition("/")[2] if scheme_of(source.name) else source.name
        frame = frame.with_columns(pl.lit(file).alias(FILE))
    frame = frame.with_columns(
        pl.lit(value, pl.String).alias(name) for name, value in source.partitions if name not in frame.columns
    )
    values = [name for name in frame.columns if name not in (FILE, ROW)]
    if source.form in SEPARATORS and len(values) > 1:  # a blank line is no row
        frame = frame.filter(pl.any_horizontal(frame[name].is_not_null() for name in values))
    return frame


def _with_partitions(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a table with what its files' folders in an object store say, as ``_files`` has it of local ones."""
    urls = frame[FILE].unique().to_list()
    told = {url: dict(_partitions(PurePosixPath(url.partition("://")[2]))) for url in urls}
    names = sorted({name for one in told.values() for name in one} - set(frame.columns))
    for name in names:
        values = frame[FILE].replace_strict({url: one.get(name) for url, one in told.items()}, return_dtype=pl.String)
        frame = frame.with_columns((values if name in _TEXTS else infer_type(values)).alias(name))
    return frame


def scan_source(source: Source) -> pl.LazyFrame:
    """Return all rows of a source, with ``FILE`` and ``ROW`` as Polars counts them, to be read when asked for.

    Raises:
        UnreadableError: it is none of its form.
    """
    options: dict[str, Any] = {"row_index_name": ROW, "row_index_offset": 1, "include_file_paths": FILE}
    path = source.path if source.remote else glob_free(Path(source.path))
    if source.remote:
        return pl.scan_parquet(path, storage_options=PATIENCE, hive_partitioning=False, **options)
    if source.form == "Parquet":
        return pl.scan_parquet(path, **options)
    if source.form in SEPARATORS:
        return how_written(Path(source.path), source.form).scan(**options)
    return scan_objects(Path(source.path), source.form, **options)


def unreadable(source: Source, failure: str, told: bool) -> str:
    """Return the sentence for people; ``told``: the failure is one already, and no line has to be looked for."""
    said = without_credentials(failure.replace(source.path, source.name), source.path)
    cause = said.strip().partition("\n")[0].rstrip(".")
    if source.remote and (known := advice(said)):
        return f"{source.name} cannot be read: {known}"
    if source.form == "Parquet":
        todo = "It is truncated, damaged or no Parquet file, or it is not there. Write it again."
    else:
        todo = "Correct the file, or export it again as UTF-8."
        cause = (None if source.remote or told else _first_bad_line(source)) or cause
    return f"{source.name} cannot be read as {source.form}: {cause}. {todo}"


def _first_bad_line(source: Source) -> str | None:
    """Look for the line that polars could not read; None where no line by itself is wrong."""
    path, number = Path(source.path), 0
    try:
        with unpacked(path) as file:
            for number, line in enumerate(file, start=1):
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                if source.form == "NDJSON" and text.strip() and not isinstance(json.loads(text), dict):
                    return f"line {number} is no JSON object"
        return first_wide_record(path, how_written(path, source.form)) if source.form in SEPARATORS else None
    except UnicodeDecodeError:
        return f"line {number} is not UTF-8"
    except json.JSONDecodeError as error:
        return f"line {number} is not valid JSON ({error})"
    except (OSError, EOFError, UnreadableError, pl.exceptions.PolarsError):  # a broken .gz, say: the words before stand
        return None


def conform(
    frame: pl.DataFrame, source: Source, kind: Kind, mapping: Mapping[str, str], notation: Notation = PLAIN
) -> pl.DataFrame:
    """Return rows with the names of the contract, each column as a snapshot can keep it; see ``kept``.

    Raises:
        SourceError: a column is missing, or holds what no snapshot can keep.
    """
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
            likely = next((one for one in present if _plain(one) == _plain(name)), "name in the file")
            raise SourceError(
                f"{source.name} has no column {name!r}. It has {', '.join(present)}. "
                f'Rename the column, or map it: {option}={{"{name}": "{likely}"}}.'
            )
    origins = {name: name for name in present if name not in mapping and name not in mapping.values()} | dict(mapping)
    place = Path(source.path), source.name, source.form
    series = [kept(frame[origin].alias(name), kind, *place, notation) for name, origin in origins.items()]
    told = {name for name, _ in source.partitions}
    series = [infer_type(one) if one.name in told and one.name not in TEXT[kind] else one for one in series]
    return pl.DataFrame([*series, frame[FILE], frame[ROW].cast(pl.UInt64)])


def refuse_patterns(named: str, frame: pl.DataFrame) -> None:
    """Raise SourceError for a column whose name stands for other columns wherever Polars is given it."""
    for name in frame.columns:
        if name == "*" or (name.startswith("^") and name.endswith("$")):
            raise SourceError(f"{named} has a column {name!r}, a name that stands for other columns. Rename it.")


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name)).lower()


def stack(frames: list[pl.DataFrame], named: str) -> pl.DataFrame:
    """Return the rows of all files of a table; see ``stacked``."""
    return stacked(frames, named, FILE)
