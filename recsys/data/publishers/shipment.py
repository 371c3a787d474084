"""The files of a data set where somebody has put them: found in a folder or an archive, looked at, and read."""

import shutil
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO

import polars as pl

from recsys.config import LimitsConfig
from recsys.data.delimited import glob_free, how_written
from recsys.data.limits import FLOOR, UnreadableError, unpacked
from recsys.data.locations import SourceError, Sources, shown
from recsys.data.publishers.publisher import Part, Publisher
from recsys.data.publishers.records import first_record, read_records

_PACKINGS = ("", ".gz", ".zst")
_WHOLE = "line"  # the one column of lines whose separator has more than one character
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Shipment:
    """Files by the parts of a data set.

    Attributes:
        publisher: whose they are.
        files: by part; those of one part by name.
        scratch: a folder for what is written on the way.
        limits: of one line.
    """

    publisher: Publisher
    files: Mapping[str, tuple[Path, ...]]
    scratch: Path
    limits: LimitsConfig
    _parts: dict[str, Part] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_parts", {part.name: part for part in self.publisher.parts})

    def has(self, name: str) -> bool:
        """Return whether there are files of a part."""
        return bool(self.files[name])

    def table(self, name: str) -> pl.LazyFrame:
        """Return the table of a part, all of its files one after the other; texts alone but for records.

        Raises:
            SourceError: a file is not written as its publisher writes it.
        """
        part = self._parts[name]
        if part.form == "records":
            return read_records(self.files[name], part, self.scratch / name, self.limits)
        tables = [self._lines(path, part) if part.form == "lines" else _csv(path) for path in self.files[name]]
        return pl.concat(tables, how="diagonal")

    def _lines(self, path: Path, part: Part) -> pl.LazyFrame:
        if part.encoding != "utf-8":
            path = _as_utf8(path, part.encoding, self.scratch)
        plain = len(part.separator) == 1
        table = pl.scan_csv(
            glob_free(path),
            has_header=False,
            separator=part.separator if plain else "\1",
            quote_char=None,
            infer_schema=False,
            new_columns=list(part.columns) if plain else [_WHOLE],
        )
        if plain:
            return table
        fields = pl.col(_WHOLE).str.strip_chars_end("\r").str.splitn(part.separator, len(part.columns))
        return table.select(fields.struct.rename_fields(list(part.columns))).unnest(_WHOLE)


@contextmanager
def opened(path: Path, publisher: Publisher, scratch: Path, sources: Sources, limits: LimitsConfig) -> Iterator[Path]:
    """Yield the folder that holds a data set's files: the one that is named, or one that an archive is unpacked to.

    Raises:
        SourceError: it may not be read, is absent, or no folder and no archive; unpacked it would be too large.
    """
    real, named = sources.file(path), shown(str(path))
    if path.is_dir():
        yield real
    elif not path.is_file():
        raise SourceError(f"{named} does not exist. Give the folder or the archive of {publisher.title}.")
    elif zipfile.is_zipfile(real) or tarfile.is_tarfile(real):
        folder = scratch / "unpacked"
        folder.mkdir()
        try:
            _unpack(real, named, folder, publisher, limits)
        except (OSError, EOFError, zipfile.BadZipFile, tarfile.TarError) as error:
            raise SourceError(f"{named} is damaged ({error}). Fetch it again from {publisher.page}.") from error
        yield folder
        shutil.rmtree(folder, ignore_errors=True)
    else:
        raise SourceError(
            f"{named} is no folder and no archive (.zip, .tar.gz). Give the one that holds {publisher.files}."
        )


def find(folder: Path, publisher: Publisher, sources: Sources) -> dict[str, tuple[Path, ...]]:
    """Return the files of each part below a folder, hidden ones left out.

    Raises:
        SourceError: one is absent or there twice, or is not what the publisher ships.
    """
    below = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith((".", "_"))]
    files = {part.name: tuple(path for path in below if _fits(path.name, part)) for part in publisher.parts}
    for part in publisher.parts:
        found = files[part.name]
        if not found and not part.optional:
            raise SourceError(f"there is no {part.file}, which {publisher.title} has.")
        if len(found) > 1 and not part.several:
            names = ", ".join(path.relative_to(folder).as_posix() for path in found)
            raise SourceError(f"{part.file} is there more than once: {names}. Give the folder that holds one.")
        for path in found:
            _check(sources.file(path), part, publisher)
    return files


def _check(path: Path, part: Part, publisher: Publisher) -> None:
    """Look at the beginning of a file."""
    if path.stat().st_size == 0:
        raise SourceError(f"{path.name} is empty (0 bytes). Fetch it again.")
    try:
        if part.form == "records":
            lacking = [name for name in part.needed if name not in first_record(path, part)]
        elif part.form == "lines":
            with unpacked(path) as file:
                line = file.readline().decode(part.encoding, "replace").rstrip("\r\n")
            count = line.count(part.separator) + 1
            if count != len(part.columns):
                told = f"{path.name} has {count} fields a line, and {publisher.title} {len(part.columns)}"
                raise SourceError(f"{told}: {', '.join(part.columns)}.")
            return
        else:
            there = _csv(path).collect_schema().names()
            lacking = [name for name in part.columns if name not in there]
    except (UnreadableError, pl.exceptions.PolarsError, OSError, EOFError) as error:
        raise SourceError(f"{path.name} cannot be read: {str(error).partition(chr(10))[0]}.") from None
    if lacking:
        raise SourceError(f"{path.name} has no {lacking[0]!r}, which {publisher.title} has there.")


def _csv(path: Path) -> pl.LazyFrame:
    try:
        return how_written(path, "CSV").scan()
    except UnreadableError as error:
        raise SourceError(f"{path.name} cannot be read: {error}.") from None


def _fits(name: str, part: Part) -> bool:
    plain = name.lower()
    for packing in _PACKINGS[1:]:
        plain = plain.removesuffix(packing)
    return fnmatchcase(plain, part.file.lower()) and not (part.but and fnmatchcase(plain, part.but.lower()))


def _as_utf8(path: Path, encoding: str, scratch: Path) -> Path:
    target = scratch / f"{path.name}.utf-8"
    with unpacked(path) as source, target.open("wb") as file:
        while block := source.read(_BLOCK):  # of a character a byte, so that blocks may end anywhere
            file.write(block.decode(encoding).encode())
    return target


def _unpack(archive: Path, named: str, folder: Path, publisher: Publisher, limits: LimitsConfig) -> None:
    """Write those members of an archive that are files of the data set, each below a folder with its folder's name."""
    most = max(FLOOR, int(limits.max_expansion * archive.stat().st_size))
    for place, (name, source) in enumerate(_members(archive)):
        inner = PurePosixPath(name)
        if any(_fits(inner.name, part) for part in publisher.parts):
            target = folder / f"{place} {inner.parent.name or 'archive'}" / inner.name
            target.parent.mkdir()
            most -= _copy(source, target, most, named)


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as content:
            for member in content.infolist():
                if not member.is_dir():
                    with content.open(member) as file:
                        yield member.filename, file
        return
    with tarfile.open(archive) as packed:
        for one in packed:
            source = packed.extractfile(one) if one.isfile() else None
            if source is not None:
                yield one.name, source


def _copy(source: IO[bytes], target: Path, most: int, named: str) -> int:
    written = 0
    with target.open("wb") as file:
        while block := source.read(_BLOCK):
            written += len(block)
            if written > most:
                raise SourceError(f"{named} is many times larger unpacked. Unpack it and give the folder.")
            file.write(block)
    return written
