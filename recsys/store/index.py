"""The items' vectors and texts in LanceDB: one table for each set of them, named by the hash of ids, vectors and texts.

The name binds an index to the encoder that made it: other weights give another table, also where the dimensions agree.
A generation names a table and one version of it, which a tag protects from clean-up.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
from lancedb.index import FTS, IvfSq
from numpy.typing import NDArray

from recsys.artifacts import ArtifactError, canonical_json, digest
from recsys.columns import ITEM_ID

VECTOR = "vector"
ROW = "row"
TEXT = "text"
APPROXIMATE_FROM = 20_000  # items; below it an exact product in memory is faster than any index
TAG = "served"


class UnreadableError(Exception):
    """LanceDB fails to read a table that was opened. The message has its reason."""


@dataclass(frozen=True)
class IndexReference:
    """Where a generation's vectors are: table, version, shape, and the hash of ids, vectors and texts."""

    table: str
    version: int
    rows: int
    dimensions: int
    digest: str

    def to_dict(self) -> dict[str, Any]:
        """Return the reference as JSON values."""
        return asdict(self)


def build_index(
    folder: Path, item_ids: Sequence[str], vectors: NDArray[np.float32], texts: Sequence[str]
) -> IndexReference:
    """Write vectors and texts into LanceDB: indexed for the dot product where there are many, and by words.

    Args:
        folder: the LanceDB folder.
        item_ids: (items,), in the order of the rows.
        vectors: (items, dimensions) float32, finite, no row all zero.
        texts: (items,), what the encoder read.

    Raises:
        FloatingPointError: a vector is zero or not finite.
    """
    _check_vectors(item_ids, vectors)
    content = content_digest(item_ids, vectors, texts)
    name = f"items-{content[:16]}"
    connection = lancedb.connect(folder)
    dimensions = vectors.shape[1]
    if name in _table_names(connection):
        try:
            return _reference(connection, name, item_ids, dimensions, content)
        except ArtifactError:
            connection.drop_table(name)  # a crashed writer left a part of it
    flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).ravel())
    data = pa.table(
        {
            ITEM_ID: pa.array(list(item_ids), pa.string()),
            ROW: pa.array(np.arange(len(item_ids)), pa.int64()),
            VECTOR: pa.FixedSizeListArray.from_arrays(flat, dimensions),
            TEXT: pa.array(list(texts), pa.string()),
        }
    )
    table = connection.create_table(name, data)
    if len(item_ids) >= APPROXIMATE_FROM:
        table.create_index(VECTOR, config=IvfSq(distance_type="dot"))
    table.create_index(TEXT, config=FTS())
    table.tags.create(TAG, table.version)
    return _reference(connection, name, item_ids, dimensions, content)


def open_index(folder: Path, reference: IndexReference) -> lancedb.table.Table:
    """Open the very version that a generation names.

    Raises:
        ArtifactError: the table or the version is gone, or its columns or its shape are others.
    """
    connection = lancedb.connect(folder)
    if reference.table not in _table_names(connection):
        raise ArtifactError(f"The LanceDB table {reference.table} is missing below {folder}. Train and publish again.")
    table = connection.open_table(reference.table)
    try:
        table.checkout(reference.version)
    except (ValueError, RuntimeError, OSError) as error:
        raise ArtifactError(f"{reference.table} has no version {reference.version}: {error}. Publish again.") from error
    if TEXT not in table.schema.names:
        raise ArtifactError(f"{reference.table} holds no texts; an older version wrote it. Train and publish again.")
    dimensions = table.schema.field(VECTOR).type.list_size
    found = (table.count_rows(), dimensions)
    if found != (reference.rows, reference.dimensions):
        raise ArtifactError(
            f"{reference.table} holds {found[0]} × {found[1]} numbers, the generation was made with "
            f"{reference.rows} × {reference.dimensions}. Publish again."
        )
    return table


@contextmanager
def reading(table: lancedb.table.Table) -> Iterator[None]:
    """Give whatever LanceDB raises for files that it cannot read one name.

    Raises:
        UnreadableError: it raised.
    """
    try:
        yield
    except (ValueError, RuntimeError, OSError) as error:
        raise UnreadableError(f"LanceDB cannot read {table.name}: {error}") from error


def read_vectors(table: lancedb.table.Table, reference: IndexReference) -> NDArray[np.float32]:
    """Read all vectors, (items, dimensions) float32 in the order of the catalogue, and check their hash.

    Raises:
        ArtifactError: ids, vectors or texts are not those that were indexed.
    """
    data = table.to_arrow().sort_by(ROW)
    flat = data[VECTOR].combine_chunks().values.to_numpy(zero_copy_only=False)
    vectors: NDArray[np.float32] = np.array(flat, dtype=np.float32).reshape(-1, reference.dimensions)
    if content_digest(data[ITEM_ID].to_pylist(), vectors, data[TEXT].to_pylist()) != reference.digest:
        raise ArtifactError(
            f"The vectors or texts in {reference.table} are not those of the generation. Publish again."
        )
    return vectors


def content_digest(item_ids: Sequence[str], vectors: NDArray[np.float32], texts: Sequence[str]) -> str:
    """Return the SHA-256 over ids, texts and vectors, in their order."""
    content = np.ascontiguousarray(vectors, dtype="<f4").tobytes()
    return digest(canonical_json([list(item_ids), list(texts), list(vectors.shape)]) + content)


def drop_indexes(folder: Path, keep: set[str]) -> list[str]:
    """Remove item tables that no generation names; return their names."""
    if not folder.exists():
        return []
    connection = lancedb.connect(folder)
    doomed = sorted(name for name in _table_names(connection) if name.startswith("items-") and name not in keep)
    for name in doomed:
        connection.drop_table(name)
    return doomed


def _table_names(connection: Any) -> list[str]:
    return list(connection.list_tables(limit=100_000).tables)


def _reference(connection: Any, name: str, item_ids: Sequence[str], dimensions: int, content: str) -> IndexReference:
    table = connection.open_table(name)
    tags = table.tags.list()
    if TAG not in tags:
        raise ArtifactError(f"{name} was not finished.")
    reference = IndexReference(name, int(tags[TAG]["version"]), len(item_ids), dimensions, content)
    open_index(Path(connection.uri), reference)
    return reference


def _check_vectors(item_ids: Sequence[str], vectors: NDArray[np.float32]) -> None:
    norms = np.linalg.norm(vectors, axis=1)
    bad = np.flatnonzero(~np.isfinite(norms) | (norms == 0))
    if len(bad):
        raise FloatingPointError(
            f"Item {item_ids[bad[0]]!r} has a vector that is zero or not finite; nothing was indexed."
        )
