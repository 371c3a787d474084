"""A table of texts to a table of vectors, in parts: what is done stays done when the command is killed.

Parts lie in a folder beside the result, named by what they were made from; the finished result replaces them.
"""

import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from recsys.artifacts import STAGING_PREFIX, digest, short_id, write_atomic
from recsys.callbacks import Progress
from recsys.config import TextConfig, from_stored
from recsys.data.columns import ITEM_ID, TITLE
from recsys.data.snapshot import open_snapshot
from recsys.data.sources import SourceError, read_columns, read_lines
from recsys.data.text import item_texts
from recsys.distributed.executor import Advance, Executor, InProcess, Work
from recsys.errors import SettingError
from recsys.home import Home
from recsys.models.encoder.export import CARD
from recsys.store.adapters import read_card
from recsys.texts.vectors import TextVectors

ID, TEXT, VECTOR = "id", "text", "vector"
TEXTS = "texts.parquet"  # of a table that is being encoded
PART_ROWS = 8_192
SAMPLED = 1_000
LINES = (".txt", ".text", ".lines")


@dataclass(frozen=True)
class Embedded:
    """What ``embed_table`` wrote: rows, width of the vectors, rows that an earlier, killed run had done."""

    rows: int
    dimensions: int
    resumed: int


def read_texts(
    path: Path, id_column: str | None = None, text_column: str | None = None, text: TextConfig | None = None
) -> pl.DataFrame:
    """Return ``id`` and ``text``, both strings, in the order of the file.

    A file of lines has a text a line, whose id is its number from 1. A table has a column of texts, ``text`` unless
    another is named; a catalogue, which has ``title`` instead, is read as for training. Its ids are in ``id`` or
    ``item_id`` unless another column is named; without any they are the row numbers from 1.

    Raises:
        SourceError: the file cannot be read, lacks a column, holds no row, or an id is missing or twice there.
    """
    if path.suffix.lower() in LINES:
        try:
            lines = read_lines(path)
        except (OSError, UnicodeDecodeError) as error:
            raise SourceError(f"{path} cannot be read as lines of UTF-8 text: {error}.") from error
        table = pl.DataFrame({TEXT: lines}, schema={TEXT: pl.String})
    else:
        table = read_columns(path)
    return texts_of(table, path.name, id_column, text_column, text)


def texts_of(
    table: pl.DataFrame,
    named: str,
    id_column: str | None = None,
    text_column: str | None = None,
    text: TextConfig | None = None,
) -> pl.DataFrame:
    """Return ``id`` and ``text`` of a table, as ``read_texts`` does; ``named`` is what messages call it.

    Raises:
        SourceError: it lacks a column, holds no row, or an id is missing or twice there.
    """
    for name in (id_column, text_column):
        if name is not None and name not in table.columns:
            raise SourceError(f"{named} has no column {name!r}; it has {', '.join(table.columns)}.")
    ids = id_column or next((name for name in (ID, ITEM_ID) if name in table.columns), None)
    chosen = text_column or (TEXT if TEXT in table.columns else None)
    if chosen is None and TITLE not in table.columns:
        raise SourceError(
            f"{named} has neither {TEXT!r} nor {TITLE!r}; it has {', '.join(table.columns)}. Name one: --text."
        )
    if table.is_empty():
        raise SourceError(f"{named} holds no text.")
    texts = pl.Series(TEXT, item_texts(table, text or TextConfig())) if chosen is None else table[chosen]
    found = pl.DataFrame(
        {
            ID: (table[ids] if ids else pl.Series(range(1, len(table) + 1))).cast(pl.String),
            TEXT: texts.cast(pl.String).fill_null(""),
        }
    )
    if found[ID].null_count() or found[ID].n_unique() < len(found):
        raise SourceError(f"{named}: in the ids ({ids}) one is missing or is there twice. Name another column.")
    return found


def sample_texts(home: Home, adapter_id: str | None, path: Path | None = None) -> list[str]:
    """Return at most ``SAMPLED`` texts by which an encoder is measured: of a file, else of an adapter's catalogue.

    Raises:
        SettingError: there is neither.
        ArtifactError: the adapter is missing, or the snapshot that it was trained on.
    """
    card = read_card(home, adapter_id) if adapter_id else None
    reading = from_stored(TextConfig, card.settings.get("text", {})) if card else TextConfig()
    if path is not None:
        found = read_texts(path, text=reading)[TEXT].to_list()
    elif card is not None and card.snapshot is not None:
        found = item_texts(open_snapshot(home, card.snapshot).items(), reading)
    else:
        raise SettingError("Give --texts: there is no catalogue behind this encoder to measure it on.")
    return found[:: -(-len(found) // SAMPLED)]


def embed_table(
    table: pl.DataFrame,
    encoder: TextVectors,
    out: Path,
    progress: Progress | None = None,
    executor: Executor | None = None,
) -> Embedded:
    """Write ``id`` and ``vector`` (unit vectors, a fixed-size list of float32) of all rows as Parquet.

    Args:
        table: what ``read_texts`` gives.
        encoder: what encodes.
        out: replaced when all is done, never before.
        progress: called with rows done and rows in all.
        executor: encodes parts; None: this process.

    Raises:
        VectorError: a vector is zero or not finite; the message names its id, and nothing more is written.
    """
    key = short_id(
        digest("\0".join(table[ID]).encode()),
        digest("\0".join(table[TEXT]).encode()),
        [part.card.to_dict() for part in encoder.parts],
        [part.max_tokens for part in encoder.parts],
    )
    folder = out.parent / f"{STAGING_PREFIX}{out.name}-{key}"
    _write_table(table, folder / TEXTS)
    done = 0

    def advance(rows: int) -> None:
        nonlocal done
        done += rows
        if progress:
            progress(done, len(table))

    starts = range(0, len(table), PART_ROWS)
    found = list((executor or InProcess()).map(EmbeddingJob(folder, PART_ROWS, encoder), starts, advance))
    whole = pl.concat([pl.read_parquet(_part(folder, start), glob=False) for start in starts])
    _write_table(whole, out)
    shutil.rmtree(folder)
    return Embedded(len(whole), sum(encoder.widths), sum(found))


@dataclass(frozen=True)
class EmbeddingJob:
    """The job whose shards are parts of a table, by their first row; see ``recsys.distributed.executor.Job``.

    Attributes:
        folder: of the texts, and of the parts.
        size: rows of a part.
        encoder: what encodes; elsewhere it is opened again from its files.
    """

    folder: Path
    size: int
    encoder: TextVectors

    def files(self) -> list[Path]:
        """See ``Job``."""
        return [self.folder / TEXTS, *(part.folder / CARD for part in self.encoder.parts)]

    @contextmanager
    def opened(self) -> Iterator[Work[int, int]]:
        """See ``Job``; a shard's result is how many of its rows were done before."""
        texts = pl.scan_parquet(self.folder / TEXTS, glob=False)

        def work(start: int, advance: Advance) -> int:
            rows = texts.slice(start, self.size).collect()
            path = _part(self.folder, start)
            if path.is_file():  # written in one step, so it is whole
                advance(len(rows))
                return len(rows)
            told = 0

            def progress(done: int, own: int) -> None:
                nonlocal told
                now = done * len(rows) // own  # the encoder counts its own texts, each once a part of its vector
                told, more = now, now - told
                advance(more)

            _write(rows[ID], self.encoder.unit_vectors(rows[TEXT].to_list(), rows[ID].to_list(), progress), path)
            advance(len(rows) - told)
            return 0

        yield work


def _part(folder: Path, start: int) -> Path:
    return folder / f"{start:012}.parquet"


def _write(ids: pl.Series, vectors: np.ndarray, path: Path) -> None:
    shape = pl.Array(pl.Float32, vectors.shape[1])
    _write_table(pl.DataFrame({ID: ids, VECTOR: pl.Series(vectors, dtype=shape)}), path)


def _write_table(table: pl.DataFrame, path: Path) -> None:
    buffer = io.BytesIO()
    table.write_parquet(buffer)
    write_atomic(path, buffer.getvalue())
