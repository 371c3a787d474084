"""Rows put aside by a number, in memory up to a size and on disk beyond it, until all of a number are asked for."""

import io
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from recsys.data.segments.room import Room

MOST_HELD = 64 << 20  # bytes of rows in memory
_BLOCK_ROWS = 100_000  # written in one go, which takes their size again
_NUMBER = "__number"
_OLDEST = pl.CompatLevel.oldest()  # texts one after the other: views would write what they share each time


@dataclass(frozen=True)
class _Block:
    """Where some rows lie in a file."""

    path: Path
    start: int
    length: int


class Spill:
    """Rows by number.

    Args:
        room: where files are written, if any must be.
        name: of their folder.
        most_held: bytes of rows in memory.
    """

    def __init__(self, room: Room, name: str, most_held: int | None = None) -> None:
        self._room = room
        self._name = name
        self._most = MOST_HELD if most_held is None else most_held
        self._parts: dict[int, list[pl.DataFrame]] = defaultdict(list)
        self._blocks: dict[int, list[_Block]] = defaultdict(list)
        self._held = self._files = 0
        self.rows: dict[int, int] = defaultdict(int)

    def add(self, rows: pl.DataFrame, numbers: pl.Series) -> None:
        """Put rows aside, each by its number."""
        if rows.is_empty():
            return
        if numbers.min() == numbers.max():
            self._put(int(numbers[0]), rows)
        else:
            for (number,), part in (
                rows.with_columns(numbers.alias(_NUMBER))
                .partition_by(_NUMBER, as_dict=True, include_key=False, maintain_order=True)
                .items()
            ):
                self._put(int(number), part)
        self._held += int(rows.estimated_size())
        if self._held > self._most:
            self.flush()

    def _put(self, number: int, rows: pl.DataFrame) -> None:
        self._parts[number].append(rows)
        self.rows[number] += rows.height

    def flush(self) -> None:
        """Write all that is in memory to one file, by number."""
        if not self._parts:
            return
        path = self._room.folder(self._name) / f"{self._files:06}"
        self._files += 1
        with path.open("wb") as file:
            for number in sorted(self._parts):
                parts, together = self._parts.pop(number), []
                for place, part in enumerate(parts, start=1):
                    together.append(part)
                    if place == len(parts) or sum(one.height for one in together) >= _BLOCK_ROWS:
                        start = file.tell()
                        block = io.BytesIO()
                        whole = pl.concat(together, how="diagonal_relaxed")
                        whole.write_ipc_stream(block, compat_level=_OLDEST)
                        file.write(block.getbuffer())
                        self._blocks[number].append(_Block(path, start, file.tell() - start))
                        together = []
        self._held = 0

    def read(self, number: int) -> Iterator[pl.DataFrame]:
        """Yield the rows of a number, in parts."""
        for block in self._blocks.get(number, []):
            with block.path.open("rb") as file:
                file.seek(block.start)
                yield pl.read_ipc_stream(io.BytesIO(file.read(block.length)))
        yield from self._parts.get(number, [])

    def take(self, number: int) -> Iterator[pl.DataFrame]:
        """Yield the rows of a number, in parts, and forget them."""
        yield from self.read(number)
        for kept in (self._parts, self._blocks, self.rows):
            kept.pop(number, None)

    def coarsen(self, bits: int) -> None:
        """Put together what only the last bits of its numbers part."""
        for number in sorted(one for one in self.rows if one >> bits != one):  # each into one that has gone
            self._parts[number >> bits] += self._parts.pop(number, [])
            self._blocks[number >> bits] += self._blocks.pop(number, [])
            self.rows[number >> bits] += self.rows.pop(number)
