"""LanceDB's index of vectors, read whole, so that many searches share one pass over it and find what each finds alone.

LanceDB asks each query for itself and multiplies a number at a time. Here a part of the index is multiplied with all
queries that read it at once. What an index holds is read from its two files (Lance's file format 2, its protobuf
messages ``IVF`` and ``Tensor``), and which rows lie in which part from LanceDB's own answers. These have every row's
distance from some query, and all that was read is compared with them: of an index of another make nothing is read, and
LanceDB is asked as ever.
"""

import json
import logging
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.store.index import UnreadableError

_FOOTER, _PLACE = struct.Struct("<QQQIIHH4s"), struct.Struct("<QQ")
_MAGIC = b"LANC"
_LENGTHS, _CENTRES, _NUMBERS = 3, 4, 3  # fields of an IVF, of an IVF, of a Tensor
_SCHEMA, _METADATA, _KEY, _VALUE = 1, 5, 1, 2  # of a file's description, of a schema, and of what a map holds
_LEVELS, _MIDDLE = 255, 128  # of 8 bits a number
_ASKED = 64  # parts that LanceDB is asked for at once
_CHUNK = 16_384  # rows whose codes are made at once
_NEAR = 1e-4  # share of the longest distance: LanceDB adds up in float32
_LOG = logging.getLogger(__name__)

Ask = Callable[[NDArray[np.float32], int, int], list[tuple[NDArray[np.int64], NDArray[np.float32]]]]


class IndexFormatError(ValueError):
    """The files of an index, or LanceDB's answers from it, are not of the make that is read here."""


@dataclass(frozen=True, eq=False)
class IndexParts:
    """All that an index compares queries with.

    Attributes:
        centres: (parts, dimensions) float32; a query reads the parts whose centres have the largest products with it.
        starts: (parts + 1,) where each part begins among the rows.
        rows: (items,) of the catalogue, part by part.
        codes: (items, dimensions) int8, in the same order: their vectors, each number cut off to one of 256 steps.
    """

    centres: NDArray[np.float32]
    starts: NDArray[np.int64]
    rows: NDArray[np.int64]
    codes: NDArray[np.int8]

    def nearest(self, queries: NDArray[np.float32], count: int, probes: int) -> list[NDArray[np.int64]]:
        """Return the rows that LanceDB finds nearest to each query, in no order.

        Between rows whose products differ by no more than float32 rounds off, the last place may go to either, as it
        may where LanceDB runs on a processor of another kind.

        Args:
            queries: (rows, dimensions).
            count: rows for each query; fewer only where its parts hold fewer.
            probes: parts that are read for each.
        """
        read = _largest(queries @ self.centres.T, probes)
        found: list[list[NDArray[np.float32]]] = [[] for _ in queries]
        for part in np.flatnonzero(read.any(axis=0)):
            readers = np.flatnonzero(read[:, part])
            codes = self.codes[self.starts[part] : self.starts[part + 1]].astype(np.float32)
            for reader, products in zip(readers.tolist(), queries[readers] @ codes.T, strict=True):
                found[reader].append(products)
        return [self._best(np.concatenate(own), parts, count) for own, parts in zip(found, read, strict=True)]

    def _best(self, products: NDArray[np.float32], read: NDArray[np.bool_], count: int) -> NDArray[np.int64]:
        """Return the rows with the largest products of those in the parts that a query has read."""
        if len(products) <= count:
            places = np.arange(len(products))
        else:
            places = np.argpartition(products, len(products) - count)[-count:]
        parts = np.flatnonzero(read)
        ends = np.cumsum(np.diff(self.starts)[parts])
        own = np.searchsorted(ends, places, side="right")
        return self.rows[self.starts[parts + 1][own] - ends[own] + places]


def read_parts(folder: Path, vectors: NDArray[np.float32], ask: Ask) -> IndexParts | None:
    """Read the index of a table; None where it is of another make.

    Args:
        folder: the table's.
        vectors: (items, dimensions), of all its rows.
        ask: returns LanceDB's rows and distances for queries, a number of rows and one of probes.
    """
    try:
        return _read(folder, vectors, ask)
    except (OSError, struct.error, LookupError, ValueError, UnreadableError) as error:
        _LOG.warning(
            "%s is not of a make that can be read whole (%r). LanceDB is asked, query by query.", folder, error
        )
        return None


def _read(folder: Path, vectors: NDArray[np.float32], ask: Ask) -> IndexParts:
    places = [path.parent for path in folder.glob("_indices/*/auxiliary.idx")]
    if len(places) != 1:
        raise IndexFormatError(f"{len(places)} indexes of vectors")
    inverted = dict(_fields(_buffers(places[0] / "index.idx")[1]))
    numbers = dict(_fields(inverted[_CENTRES]))[_NUMBERS]
    centres = np.frombuffer(numbers, dtype="<f4").reshape(-1, vectors.shape[1])
    description, stored = _buffers(places[0] / "auxiliary.idx")
    sizes = np.array(_varints(dict(_fields(stored))[_LENGTHS]), dtype=np.int64)
    about = _metadata(description)
    if about["distance_type"] != "dot" or len(sizes) != len(centres) or sizes.sum() != len(vectors):
        raise IndexFormatError(f"{about['distance_type']}, {len(sizes)} parts of {sizes.sum()} rows")
    bounds = json.loads(json.loads(about["storage_metadata"])[0])["bounds"]
    low, step = bounds["start"], (bounds["end"] - bounds["start"]) / _LEVELS
    codes = np.empty(vectors.shape, dtype=np.int8)
    for start in range(0, len(vectors), _CHUNK):
        steps = np.clip((vectors[start : start + _CHUNK] - np.float64(low)) / step, 0, _LEVELS)
        codes[start : start + _CHUNK] = steps.astype(np.int16) - _MIDDLE
    rows = _members(centres, sizes, vectors, codes, (low + _MIDDLE * step, step), ask)
    return IndexParts(centres, np.concatenate([[0], np.cumsum(sizes)]), rows, codes[rows])


def _members(
    centres: NDArray[np.float32],
    sizes: NDArray[np.int64],
    vectors: NDArray[np.float32],
    codes: NDArray[np.int8],
    scale: tuple[float, float],
    ask: Ask,
) -> NDArray[np.int64]:
    """Return the rows of all parts, part by part: each part answers with all of its rows whoever is of it.

    ``scale``: what the code 0 stands for, and a step.

    Raises:
        IndexFormatError: a part has other rows than its file says, or a distance is not that of its codes.
    """
    middle, step = scale
    part_of = np.full(len(vectors), -1, dtype=np.int64)
    while len(left := np.flatnonzero(part_of < 0)):
        some = left[:: -(-len(left) // (4 * len(centres)))]
        _, first = np.unique(np.argmax(vectors[some] @ centres.T, axis=1), return_index=True)
        for start in range(0, len(first), _ASKED):
            asked = some[first[start : start + _ASKED]]
            queries = vectors[asked]
            parts = np.argmax(queries @ centres.T, axis=1)
            for query, part, (rows, distances) in zip(
                queries, parts, ask(queries, int(sizes.max()) + 1, 1), strict=True
            ):
                if len(rows) != sizes[part] or (part_of[rows] >= 0).any():
                    raise IndexFormatError(f"part {part} holds {len(rows)} rows, not {sizes[part]}")
                own = 1 - (step * (codes[rows].astype(np.float32) @ query) + np.float32(middle) * query.sum())
                if not np.allclose(own, distances, rtol=0, atol=_NEAR * float(np.abs(distances).max())):
                    raise IndexFormatError(f"other distances in part {part}")
                part_of[rows] = part
        if not (part_of[left] >= 0).any():
            raise IndexFormatError("rows that lie in no part")
    return np.argsort(part_of, kind="stable")


def _largest(scores: NDArray[np.float32], count: int) -> NDArray[np.bool_]:
    """Return which ``count`` numbers of each row are its largest, (rows, columns)."""
    if count >= scores.shape[1]:
        return np.ones(scores.shape, dtype=bool)
    chosen = np.zeros(scores.shape, dtype=bool)
    np.put_along_axis(chosen, np.argpartition(-scores, count - 1, axis=1)[:, :count], True, axis=1)
    return chosen


def _buffers(path: Path) -> list[bytes]:
    """Return the global buffers of a Lance file: what describes it, and what its writer has added."""
    with path.open("rb") as file:
        end = file.seek(0, 2)
        file.seek(end - _FOOTER.size)
        _, _, listed, count, _, _, _, magic = _FOOTER.unpack(file.read())
        if magic != _MAGIC:
            raise IndexFormatError(f"{path.name} is no Lance file")
        file.seek(listed)
        places = list(_PLACE.iter_unpack(file.read(count * _PLACE.size)))
        return [file.read(size) for start, size in places if file.seek(start) == start]


def _metadata(description: bytes) -> dict[str, str]:
    """Return what the schema in a file's description says beside its fields."""
    schema = dict(_fields(description))[_SCHEMA]
    entries = (dict(_fields(value)) for field, value in _fields(schema) if field == _METADATA)
    return {entry[_KEY].decode(): entry[_VALUE].decode() for entry in entries}


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield number and content of each field of a protobuf message; a number's content is left out."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        if key & 7 == 0:
            _, place = _varint(message, place)
            continue
        size, place = _varint(message, place) if key & 7 == 2 else ({1: 8, 5: 4}[key & 7], place)
        yield key >> 3, message[place : place + size]
        place += size


def _varints(packed: bytes) -> list[int]:
    place, numbers = 0, []
    while place < len(packed):
        number, place = _varint(packed, place)
        numbers.append(number)
    return numbers


def _varint(message: bytes, place: int) -> tuple[int, int]:
    """Return a number that is written 7 bits a byte, the least first, and where it ends."""
    number = shift = 0
    while True:
        byte = message[place]
        number |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return number, place
