"""The items' vectors and texts in LanceDB: one table for each set of them, named by the hash of ids, vectors and texts.

The name binds an index to the encoder that made it: other weights give another table, also where the dimensions agree.
A generation names a table and one version of it, which a tag protects from clean-up. Beside a table lies a file with
its vectors alone, which all workers of a machine map where it is large: the operating system keeps one copy of it in
memory.
"""

import fcntl
import hashlib
import logging
import math
import os
import weakref
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import lancedb
import numpy as np
import pyarrow as pa
from lancedb.background_loop import LOOP
from lancedb.index import FTS, IvfSq
from numpy.typing import NDArray

from recsys.artifacts import (
    MAPPED_FROM,
    READABLE,
    ArtifactError,
    canonical_json,
    discard_folder,
    locked,
    make_room,
    open_to_readers,
    refuse_links,
    staged_file,
)
from recsys.data.columns import ITEM_ID
from recsys.errors import RecsysError, VectorError
from recsys.home import Home
from recsys.remote.folders import fetch
from recsys.remote.listing import TABLES as TABLE_ROOM
from recsys.store.manifests import TABLE_FOLDER, IndexReference

VECTOR = "vector"
ROW = "row"
TEXT = "text"
ROW_ID, QUERY = "_rowid", "query_index"  # LanceDB's
APPROXIMATE_FROM = 20_000  # items; below it an exact product in memory is faster than any index
KMEANS_ROUNDS = 15  # the default of 50 takes three times as long and finds nothing more
BATCH = 16_384  # rows copied at once
TAG = "served"
GENERATION_TAG = "generation-"  # before an id: the version that this generation names, once it was served
LOCK, BUILDING = ".lock", ".building.lock"
TABLES = "items-"  # how the names of all tables begin
_LOG = logging.getLogger(__name__)


class UnreadableError(RecsysError):
    """LanceDB fails to read a table that was opened. The message has its reason."""


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
        VectorError: a vector is zero or not finite.
    """
    _check_vectors(item_ids, vectors)
    with locked(make_room(folder) / BUILDING):  # of two with the same content the second finds what the first has built
        return _found_or_built(folder, item_ids, vectors, texts)


def _found_or_built(
    folder: Path, item_ids: Sequence[str], vectors: NDArray[np.float32], texts: Sequence[str]
) -> IndexReference:
    content = content_digest(item_ids, vectors, texts)
    name = f"{TABLES}{content[:16]}"
    connection = lancedb.connect(folder)
    dimensions = vectors.shape[1]
    fetch(Home(folder.parent), TABLE_ROOM, f"{name}{TABLE_FOLDER}")  # else two machines have two of one name
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
        settings = {"num_partitions": partitions(len(item_ids)), "max_iterations": KMEANS_ROUNDS}
        table.create_index(VECTOR, config=IvfSq(distance_type="dot", **settings))
    table.create_index(TEXT, config=FTS())
    set_tag(folder, name, TAG, table.version)
    open_to_readers(folder / f"{name}{TABLE_FOLDER}")
    return _reference(connection, name, item_ids, dimensions, content)


def set_tag(folder: Path, name: str, tag: str, version: int) -> None:
    """Protect a version of a table from clean-up by a tag."""
    _open_for_tags(folder, name).tags.create(tag, version)


def _open_for_tags(folder: Path, name: str) -> lancedb.table.Table:
    """Open a table by a URL, so that its tags are where it is.

    By a plain path LanceDB makes the folder of tags where the path leads with its ``ü``, ``?`` or ``%`` encoded, beside
    the home.
    """
    return lancedb.connect(f"file-object-store://{quote(str(folder.absolute()))}").open_table(name)


def partitions(rows: int) -> int:
    """Return into how many parts an index of so many rows is divided, of which a search reads some.

    LanceDB's own choice, a part for 8,192 rows, makes it read most of a catalogue of 100,000 items.
    """
    return math.isqrt(rows)


def open_index(folder: Path, reference: IndexReference) -> lancedb.table.Table:
    """Open the very version that a generation names.

    Raises:
        ArtifactError: the table or the version is gone, its columns or its shape are others, or something of it is a
            link.
    """
    stored = folder / f"{reference.table}{TABLE_FOLDER}"
    fetch(Home(folder.parent), TABLE_ROOM, stored.name)
    refuse_links(folder, stored, *stored.rglob("*"))
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


def open_for_vectors(folder: Path, reference: IndexReference) -> lancedb.table.AsyncTable:
    """Open what ``open_index`` has checked, for ``nearest``."""

    async def opened() -> lancedb.table.AsyncTable:
        table = await (await lancedb.connect_async(folder)).open_table(reference.table)
        await table.checkout(reference.version)
        return table

    return LOOP.run(opened())


def nearest(
    table: lancedb.table.AsyncTable, queries: NDArray[np.float32], count: int, probes: int
) -> list[tuple[NDArray[np.uint64], NDArray[np.float32]]]:
    """Return LanceDB's numbers of the ``count`` rows nearest to each query by dot product, as its index sees them.

    With them come the distances, (found,): 1 less the product.

    All queries are one question to LanceDB, and one change of threads: its synchronous table changes five times.

    Args:
        table: from ``open_for_vectors``.
        queries: (rows, dimensions).
        count: rows for each query.
        probes: parts of the index that are read.
    """

    async def asked() -> pa.Table:
        search = table.vector_search(list(queries)).distance_type("dot").select(["_distance"])
        return await search.with_row_id().nprobes(probes).limit(count).to_arrow()

    found = LOOP.run(asked())
    numbers, distances = found[ROW_ID].to_numpy(), found["_distance"].to_numpy()
    if len(queries) == 1:
        return [(numbers, distances)]
    places = found[QUERY].to_numpy()
    return [(numbers[own], distances[own]) for own in (places == place for place in range(len(queries)))]


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


@contextmanager
def whole(folder: Path, reference: IndexReference) -> Iterator[None]:
    """Say which table it is whose files LanceDB cannot read while it is opened.

    Raises:
        ArtifactError: it raised.
    """
    try:
        yield
    except (ValueError, RuntimeError, OSError) as error:
        raise ArtifactError(
            f"The LanceDB table {reference.table} below {folder} cannot be read: {error}. Train and publish again, or "
            "roll back."
        ) from error


def map_vectors(folder: Path, table: lancedb.table.Table, reference: IndexReference) -> NDArray[np.float32]:
    """Return all vectors, (items, dimensions) float32 in the order of the catalogue, not to be written to.

    They are read from a file beside the table, which is made again where it is missing or damaged.

    Raises:
        ArtifactError: ids, vectors or texts are not those that were indexed.
    """
    named = table.search().select([ROW, ITEM_ID, TEXT]).limit(reference.rows).to_arrow().sort_by(ROW)
    item_ids, texts = named[ITEM_ID].to_pylist(), named[TEXT].to_pylist()
    path = _vectors_file(folder, reference)
    for _ in range(2):
        try:
            vectors = _mapped(path)
            if content_digest(item_ids, vectors, texts) == reference.digest:
                return vectors
        except (OSError, ValueError):
            pass  # absent, or no such file at all
        _copy_vectors(table, reference, path)
    raise ArtifactError(f"The vectors or texts in {reference.table} are not those of the generation. Publish again.")


def row_ids(table: lancedb.table.Table, reference: IndexReference) -> NDArray[np.uint64]:
    """Return LanceDB's own numbers of the rows, (items,), ascending: a table is written once, in their order.

    A search that asks for these alone reads nothing but the index.
    """
    numbers = table.search().select([ROW]).with_row_id(True).limit(reference.rows).to_arrow().sort_by(ROW)
    found: NDArray[np.uint64] = numbers[ROW_ID].to_numpy()
    return found


def content_digest(item_ids: Sequence[str], vectors: NDArray[np.float32], texts: Sequence[str]) -> str:
    """Return the SHA-256 over ids, texts and vectors, in their order."""
    sha = hashlib.sha256(canonical_json([list(item_ids), list(texts), list(vectors.shape)]))
    sha.update(np.ascontiguousarray(vectors, dtype="<f4").data)
    return sha.hexdigest()


def keep_version(folder: Path, reference: IndexReference, generation_id: str) -> None:
    """Tag the version of a table that a generation names by that one's id, so that no clean-up of versions takes it."""
    table, tag = _open_for_tags(folder, reference.table), f"{GENERATION_TAG}{generation_id}"
    if tag in table.tags.list():
        return
    try:
        set_tag(folder, reference.table, tag, reference.version)
    except (ValueError, RuntimeError, OSError):
        if tag not in table.tags.list():  # another process may have tagged it first
            raise
    open_to_readers(folder / f"{reference.table}{TABLE_FOLDER}")


def release_version(folder: Path, reference: IndexReference, generation_id: str) -> None:
    """Take the tag of a generation that is deleted away, where its table is still there for another one."""
    if reference.table in _table_names(lancedb.connect(folder)):
        table, tag = _open_for_tags(folder, reference.table), f"{GENERATION_TAG}{generation_id}"
        if tag in table.tags.list():
            table.tags.delete(tag)


@contextmanager
def indexing(folder: Path) -> Iterator[None]:
    """Keep every table from being dropped, until the generation that will name it is there."""
    with locked(make_room(folder) / LOCK, fcntl.LOCK_SH):
        yield


def drop_indexes(folder: Path, named: Callable[[], Collection[IndexReference]]) -> list[str]:
    """Remove the tables that no generation names, and their vectors; return the tables' names.

    What a process has mapped stays until a later call, and everything stays while somebody is ``indexing``.

    Args:
        folder: the LanceDB folder.
        named: returns what the generations name; asked when nobody can add one.
    """
    if not folder.exists():
        return []
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder / LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB))
        except BlockingIOError:
            _LOG.info("Somebody is publishing; tables that nobody needs are dropped another time.")
            return []
        keep = named()
        unnamed = set(folder.glob(f"{TABLES}*.npy")) - {_vectors_file(folder, reference) for reference in keep}
        mapped = {path for path in unnamed if _is_mapped(path)}
        for path in unnamed - mapped:
            path.unlink(missing_ok=True)
        connection = lancedb.connect(folder)
        held = {reference.table for reference in keep} | {path.name.rpartition("-")[0] for path in mapped}
        doomed = sorted(name for name in _table_names(connection) if name.startswith(TABLES) and name not in held)
        for name in doomed:
            discard_folder(folder / f"{name}{TABLE_FOLDER}")  # in one step, unlike LanceDB's own drop
        return doomed


def _vectors_file(folder: Path, reference: IndexReference) -> Path:
    return folder / f"{reference.table}-{reference.version}.npy"  # another version may hold other vectors


def _mapped(path: Path) -> NDArray[np.float32]:
    """Map a file of vectors, or read a small one; either holds the file open, with the lock that ``drop_indexes`` sees.

    Raises:
        OSError: it is missing.
        ValueError: it is no such file.
    """
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        if os.fstat(file.fileno()).st_size >= MAPPED_FROM:
            return np.asarray(np.memmap(file, dtype, "r", file.tell(), shape))
        numbers = np.fromfile(file, dtype)
        numbers.flags.writeable = False
        weakref.finalize(numbers, os.close, os.dup(file.fileno()))
        return numbers.reshape(shape)


def _is_mapped(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _copy_vectors(table: lancedb.table.Table, reference: IndexReference, path: Path) -> None:
    """Write a table's vectors to a file, a batch at a time; readers see the old file or the new one."""
    with staged_file(path.parent) as staging:
        shape = (reference.rows, reference.dimensions)
        vectors = np.lib.format.open_memmap(staging, mode="w+", dtype=np.float32, shape=shape)
        for batch in table.search().select([ROW, VECTOR]).limit(reference.rows).to_batches(BATCH):
            vectors[batch[ROW].to_numpy()] = batch[VECTOR].flatten().to_numpy().reshape(-1, reference.dimensions)
        vectors.flush()
        staging.chmod(READABLE)
        os.replace(staging, path)


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
        raise VectorError(f"Item {item_ids[bad[0]]!r} has a vector that is zero or not finite; nothing was indexed.")
