"""Texts as vectors: by the adapter of what is served, by any other, or by a base model alone."""

from pathlib import Path

import polars as pl

from recsys.artifacts import ArtifactError
from recsys.callbacks import StageProgress, stage, step
from recsys.config import TextConfig
from recsys.data.sources import SourceError
from recsys.errors import SettingError
from recsys.home import Home, Place
from recsys.interactive.display import reporting
from recsys.interactive.frames import Table, as_table
from recsys.ranking.text_maps import TextMaps
from recsys.remote.following import reached
from recsys.store.generations import current_id, read_generation
from recsys.store.names import ADAPTER, meant
from recsys.texts.tables import ID, TEXT, VECTOR, read_texts, texts_of
from recsys.texts.vectors import TextVectors

_TOKENS = TextConfig().max_tokens


def embed(
    texts: Table,
    *,
    adapter: str | None = None,
    base: str | None = None,
    max_tokens: int = _TOKENS,
    home: Place = None,
    progress: bool | StageProgress = True,
) -> pl.DataFrame:
    """Return texts, or a catalogue, as unit vectors: the same that ``POST /v1/embed`` answers.

    >>> import recsys
    >>> vectors = recsys.embed(["Sheriff of the Frontier", "Wedding Prank"])
    >>> vectors["id"].to_list(), vectors["vector"].dtype
    (['1', '2'], Array(Float32, shape=(768,)))

    Args:
        texts: strings; a frame with ``text``, or with ``title`` as a catalogue, and ``id`` or ``item_id``; or a file.
        adapter: whose vectors, by id or alias; None: the served generation's.
        base: a base model without any adapter.
        max_tokens: of a text that are read, with ``base``.
        home: the folder of all state; None: RECSYS_HOME, else ``.recsys`` in the working folder.
        progress: True: bars; False: none; or a callback with stage, done and total.

    Returns:
        ``id``, ``text`` and ``vector`` (a fixed-size list of float32), a row a text, in their order. Of strings, and of
        a table without ids, the id is the number from 1.

    Raises:
        ArtifactError: nothing is served and neither an adapter nor a base is named, or what is named is missing.
        SourceError: the texts are no texts.
        SettingError: both an adapter and a base are named.
    """
    with reporting(progress) as report:
        with step(report, "Open the encoder"):
            encoder, reading = open_vectors(reached(home), adapter, base, max_tokens)
        return embed_with(encoder, texts, reading, report)


def embed_with(
    encoder: TextVectors, texts: Table, reading: TextConfig, progress: StageProgress | None = None
) -> pl.DataFrame:
    """Return what ``embed`` does, by an open encoder.

    Args:
        encoder: what encodes.
        texts: see ``embed``.
        reading: how a catalogue becomes text.
        progress: called with stage, done, total.
    """
    if isinstance(texts, list | tuple | pl.Series) or hasattr(texts, "tolist"):  # as NumPy and pandas have it
        try:
            texts = pl.DataFrame({TEXT: pl.Series(list(texts), dtype=pl.String, strict=True)})
        except TypeError as error:
            raise SourceError(f"The texts must be strings: {error}.") from error
    table = as_table(texts, "texts")
    if isinstance(table, pl.DataFrame):
        found = texts_of(table, "the frame", text=reading)
    else:
        found = read_texts(Path(table), text=reading)
    vectors = encoder.unit_vectors(found[TEXT].to_list(), found[ID].to_list(), stage(progress, "Encode texts"))
    return found.with_columns(pl.Series(VECTOR, vectors, dtype=pl.Array(pl.Float32, vectors.shape[1])))


def open_vectors(
    home: Home, adapter: str | None = None, base: str | None = None, max_tokens: int = _TOKENS
) -> tuple[TextVectors, TextConfig]:
    """Open the encoder that was asked for, the served generation's by default, and how it reads a catalogue.

    Raises:
        ArtifactError: there is no such adapter or base, or nothing is served.
        SettingError: both an adapter and a base are named.
    """
    if adapter is not None and base is not None:
        raise SettingError("An adapter has its own base: name an adapter or a base, not both.")
    if base is not None:
        return TextVectors.of_base(home, base, max_tokens), TextConfig(max_tokens=max_tokens)
    if adapter is not None:
        return TextVectors.of_adapter(home, meant(home, ADAPTER, adapter)), TextConfig()
    vectors = TextVectors.of_adapter(home, served_adapter(home))
    folder, _ = read_generation(home, str(current_id(home)))
    return vectors, TextMaps.load(folder).text


def served_adapter(home: Home) -> str:
    """Return the id of the adapter of what is served.

    Raises:
        ArtifactError: nothing is.
    """
    current = current_id(home)
    if current is None:
        raise ArtifactError("No generation is served. Name an adapter or a base, or publish one first.")
    return read_generation(home, current)[1].adapter
