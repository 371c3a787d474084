"""How large a table is once it is read, told before it is: a small file may stand for more than memory holds.

Parquet says it in its footer; CSV and NDJSON are looked through as a stream. What is estimated is what Polars holds:
16 bytes a text, 8 a number, whatever stands on disk.
"""

import csv
import gzip
import io
import math
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import polars as pl

from recsys.config import LimitsConfig
from recsys.data.locations import SourceError

SEPARATORS = {"CSV": ",", "TSV": "\t"}
FLOOR = 256 << 20  # bytes that may be held whatever a file's size
MAX_DEPTH = 64  # of JSON: Polars ends the process, or takes minutes, over much more
_BLOCK = 1 << 20
_CELL, _NUMBER, _ROW = 16, 8, 24  # bytes: a text, a number, and the file and the number that every row carries
_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x78\x01": "zlib",
    b"\x78\x9c": "zlib",
    b"\x78\xda": "zlib",
}
_CGROUP = Path("/sys/fs/cgroup/memory.max")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}\n"))
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_KEY = re.compile(rb'"(?:[^"\\]++|\\.)*+"(?=\s*:)', re.DOTALL)
_SPACED_COLON = re.compile(rb'"\s+:')


class Budget:
    """What one table may take: every file, and every frame that was read, is counted against it.

    Args:
        limits: the settings.
        setting: what messages call them; None where they cannot be set.
        in_parts: a table need not be held whole, so that memory is no limit, unless one is set.
    """

    def __init__(self, limits: LimitsConfig, setting: str | None = None, in_parts: bool = False) -> None:
        self.limits = limits
        self.most = limits.max_bytes or machine_memory() // 2
        self._whole = math.inf if in_parts and limits.max_bytes is None else self.most
        self._setting = setting
        self._stored = 0
        self._held = 0

    def count_files(self, name: str, files: int) -> None:
        """Raise SourceError where a folder or glob holds too many files."""
        if files > self.limits.max_files:
            self._refuse(f"{name} holds more than {self.limits.max_files:,} files", "max_files", "Join them")

    def count_columns(self, name: str, columns: int) -> None:
        """Raise SourceError where a table has too many columns."""
        if columns > self.limits.max_columns:
            self._refuse(f"{name} has more than {self.limits.max_columns:,} columns", "max_columns", "Leave some out")

    def admit(self, name: str, path: Path, form: str) -> None:
        """Look at a file before it is read, and count it.

        Raises:
            SourceError: this table would be too large in memory, or the file is none of its form.
        """
        stored = path.stat().st_size
        if stored > self._whole:
            self._too_large(name, stored)
        held = self._parquet(name, path) if form == "Parquet" else self._text(name, path, form)
        self._stored += stored
        self._held += held
        if self._held > self._whole:
            self._too_large(name, self._held)
        self._check_ratio(name, self._held, self._stored)

    def check(self, name: str, frame: pl.DataFrame) -> None:
        """Look at what was read: texts that Parquet holds once and a frame many times count each time.

        Raises:
            SourceError: written out, its values are too large.
        """
        unfolded = sum(_unfolded(column) for column in frame.iter_columns())
        if unfolded > self.most:
            self._too_large(name, unfolded)
        if self._stored:
            self._check_ratio(name, unfolded, self._stored)

    def admit_size(self, name: str, size: int) -> None:
        """Raise SourceError where so many bytes are too many."""
        if size > self.most:
            self._too_large(name, size)

    def admit_text(self, name: str, path: Path) -> None:
        """Look at the size of a file that is not a table, as ``admit`` does."""
        self.admit_size(name, path.stat().st_size)

    def gather(self, name: str, table: pl.LazyFrame) -> pl.DataFrame:
        """Read what has no size to look at first, in parts, and stop where it is too large."""
        self.count_columns(name, len(table.collect_schema()))
        parts, held = [], 0
        for part in table.collect_batches():
            held += max(int(part.estimated_size()), sum(_unfolded(column) for column in part.iter_columns()))
            if held > self.most:
                self._too_large(name, held)
            parts.append(part)
        return pl.concat(parts) if parts else table.head(0).collect()

    def _check_ratio(self, name: str, held: int, stored: int) -> None:
        if held > max(FLOOR, self.limits.max_expansion * stored):
            times = f"{held // max(stored, 1):,} times its size on disk, {_mib(held)} in memory"
            self._refuse(f"{name} would take {times}", "max_expansion", "Write it again with fewer rows or columns")

    def _too_large(self, name: str, held: int) -> None:
        known = f"{name} would take {_mib(held)} or more in memory; {_mib(self.most)} are allowed"
        self._refuse(known, "max_bytes", "Split it")

    def _refuse(self, what: str, limit: str, advice: str) -> None:
        raised = f", or raise {limit} in {self._setting}, if it is right" if self._setting else ""
        raise SourceError(f"{what}. {advice}{raised}.")

    def _parquet(self, name: str, path: Path) -> int:
        from pyarrow.lib import ArrowException  # here: it takes long to import, and other forms do without
        from pyarrow.parquet import ParquetFile

        try:
            with ParquetFile(path) as file:
                footer = file.metadata
        except (ArrowException, OSError) as error:
            raise UnreadableError(str(error)) from error
        self.count_columns(name, footer.num_columns)
        held = footer.num_rows * _ROW
        for group in range(footer.num_row_groups):
            row_group = footer.row_group(group)
            for number in range(row_group.num_columns):
                column = row_group.column(number)
                width = _CELL if "BYTE_ARRAY" in column.physical_type else _NUMBER
                held += max(column.total_uncompressed_size, column.num_values * width)
        return held

    def _text(self, name: str, path: Path, form: str) -> int:
        packed = _packing(name, path) is not None
        stored, total, lines, width = path.stat().st_size, 0, 0, 0
        keys: set[bytes] = set()
        try:
            with unpacked(path, name) as file:
                for block in self._lines(name, file):
                    total += len(block)
                    if packed and total > max(FLOOR, self.limits.max_expansion * stored):
                        self._check_ratio(name, total, stored)
                    if total > self._whole:
                        self._too_large(name, total)
                    if form in ("NDJSON", "JSON"):
                        check_depth(name, block)
                        _learn_keys(block, keys)
                        width = len(keys)
                    elif not lines:
                        width = _fields(block, SEPARATORS[form].encode(), self.limits.max_columns)
                    self.count_columns(name, width)
                    lines += block.count(b"\n") + 1
        except (EOFError, zlib.error, OSError) as error:
            raise UnreadableError(str(error)) from error
        return total + lines * (width * _CELL + _ROW)

    def _lines(self, name: str, file: IO[bytes]) -> Iterator[bytes]:
        """Yield blocks of whole lines."""
        rest = bytearray()
        while block := file.read(_BLOCK):
            end = block.rfind(b"\n") + 1
            if end:
                yield bytes(rest) + block[:end]
                rest = bytearray(block[end:])
            else:
                rest += block
            if len(rest) > self.limits.max_row_bytes:
                most = f"{self.limits.max_row_bytes:,} bytes"
                self._refuse(f"{name} has a line of more than {most}", "max_row_bytes", "Part it into lines")
        if rest:
            yield bytes(rest)


class UnreadableError(Exception):
    """A file is not what its suffix says. The message is another library's, for a sentence of the caller's."""


def machine_memory() -> int:
    """Return the bytes of memory that this process may hope for: the machine's, or its container's."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        return min(memory, int(_CGROUP.read_text()))
    except (OSError, ValueError):  # no container, or one without a limit
        return memory


def unpacked(path: Path, name: str | None = None) -> IO[bytes]:
    """Open a file, unpacked by its first bytes, as Polars does, whatever its name says.

    Raises:
        SourceError: it is packed otherwise than by gzip or zstd; ``name`` is what the message calls it.
    """
    packing = _packing(name or path.name, path)
    if packing == "gzip":
        return cast(IO[bytes], gzip.open(path))
    if packing == "zstd":
        from pyarrow import CompressedInputStream, OSFile  # here: it takes long to import, and few files are so packed

        return io.BufferedReader(CompressedInputStream(OSFile(str(path)), "zstd"))
    return path.open("rb")


def _packing(name: str, path: Path) -> str | None:
    """Return how a file is packed, by its first bytes."""
    with path.open("rb") as file:
        start = file.read(4)
    kind = next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), None)
    if kind not in (None, "gzip", "zstd"):
        raise SourceError(f"{name} is compressed with {kind}; gzip and zstd are read. Unpack it, or use one of them.")
    return kind


def _fields(block: bytes, separator: bytes, enough: int) -> int:
    header = block.partition(b"\n")[0]
    if header.count(separator) < enough:
        return header.count(separator) + 1  # names with a separator in quotes count once too often
    try:
        return len(next(csv.reader([header.decode("utf-8", "replace")], delimiter=separator.decode())))
    except csv.Error:
        return header.count(separator) + 1


def check_depth(name: str, block: bytes) -> None:
    """Raise SourceError where a line of JSON is nested deeper than ``MAX_DEPTH``."""
    for line in block.translate(None, _NO_BRACKETS).split(b"\n"):
        if len(line) > MAX_DEPTH:  # brackets within texts count up to here
            break
    else:
        return
    for line in block.split(b"\n"):
        depth = 0
        for bracket in _STRING.sub(b"", line).translate(None, _NO_BRACKETS):
            depth += 1 if bracket in b"[{" else -1
            if depth > MAX_DEPTH:
                raise SourceError(f"{name} has JSON nested deeper than {MAX_DEPTH} levels. Flatten it.")


def _learn_keys(block: bytes, keys: set[bytes]) -> None:
    """Add the keys of a block of NDJSON; those of nested objects count as well."""
    plain = not _SPACED_COLON.search(block) and not any(b"\\" in key for key in keys)
    # Counting is fast, and machines write the same keys on every line.
    if not plain or block.count(b'":') != sum(block.count(key + b":") for key in keys):
        keys.update(_KEY.findall(block))


def _unfolded(values: pl.Series) -> int:
    """Return how many bytes a column takes where every value stands for itself."""
    while isinstance(values.dtype, pl.List | pl.Array):
        values = values.explode()
    if isinstance(values.dtype, pl.Categorical | pl.Enum):
        values = values.cast(pl.String)
    if values.dtype == pl.String:
        return int(values.str.len_bytes().cast(pl.UInt64).sum() or 0) + len(values) * _CELL
    if values.dtype == pl.Binary:
        return int(values.bin.size().cast(pl.UInt64).sum() or 0) + len(values) * _CELL
    return int(values.estimated_size())


def _mib(count: int) -> str:
    return f"{count >> 20:,} MiB"
