"""A generation with live items beside its own: another recommender, made from the loaded one, which stays as it is.

New items stand behind the catalogue's rows and are ranked by their text, without an id residual and with the bias of
rare ones. An item of the catalogue that was put again keeps its trained vectors unless its text has changed.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from scipy import sparse

from recsys.artifacts import digest
from recsys.data.columns import AVAILABLE
from recsys.database.engine import Database
from recsys.database.live_items import ItemStore, LiveItem
from recsys.experts.lexical import extended as extended_words
from recsys.experts.popularity import Popularity
from recsys.experts.sparse import ItemMatrixScorer
from recsys.home import Home
from recsys.models.towers.tower import TwoTower
from recsys.ranking.system import CONTENT, IDS, LEXICAL, TOWERS, System
from recsys.selection.catalogue import Catalogue
from recsys.serving.live_columns import live_frame
from recsys.serving.live_source import LiveSource
from recsys.serving.new_texts import Encoder
from recsys.serving.recommender import Recommender
from recsys.serving.words import SharedWords
from recsys.store.mapping import grown


def with_live_items(
    base: Recommender,
    encoder: Encoder | None,
    live: Sequence[LiveItem],
    vectors: Mapping[str, NDArray],
    version: int,
    shown: int | None = None,
) -> Recommender:
    """Return a recommender that answers with live items as well.

    Args:
        base: a generation as it was opened.
        encoder: its encoder; None where nothing was encoded.
        live: all live items; deleted and unavailable ones are not offered, those without a vector are not there yet,
            and changes that the generation's own catalogue has overtaken do not count.
        vectors: what ``encoder.encode_items`` made of items' texts, by id.
        version: of the live items.
        shown: the change up to which all of them are among these; None: all are.
    """
    own = base.catalogue
    live = [item for item in live if base.standing(item) is not None]
    hidden = [item.item_id for item in live if item.columns is not None and item.columns.get(AVAILABLE) is False]
    gone = [item.item_id for item in live if item.columns is None]
    present = [item for item in live if item.columns is not None and (item.item_id in own or item.item_id in vectors)]
    frame = live_frame(present, own.items.schema)
    places = np.arange(len(own))
    changed, fresh = [], []  # rows of the catalogue that get another text, and items behind its end
    for number, item in enumerate(present):
        if item.item_id in own:
            places[own.row(item.item_id)] = len(own) + number
            if item.item_id in vectors:
                changed.append((own.row(item.item_id), vectors[item.item_id]))
        else:
            fresh.append((number, vectors[item.item_id]))
    order = np.concatenate([places, [len(own) + number for number, _ in fresh]]).astype(np.int64)
    items = pl.concat([own.items, frame])[order.tolist()]
    scoring, words, search_vectors = base.scoring, base.words, base.search_vectors
    if fresh or changed:
        assert encoder is not None
        rewritten = np.array([row for row, _ in changed], dtype=np.int64)
        made = np.array([vector for _, vector in [*changed, *fresh]], dtype=np.float32)
        dense = encoder.dense_vectors(made)
        if search_vectors is not None:
            search_vectors = _replaced(search_vectors, encoder.search_vectors(made), rewritten)
        written = encoder.item_texts(items[[*rewritten.tolist(), *range(len(own), len(items))]])
        system = _system(base.scoring.system, dense, written, rewritten)
        index = _replaced(base.scoring.source.vectors, np.concatenate([*dense.values()], axis=1), rewritten)
        source = LiveSource(base.scoring.source, index, rewritten, written)
        scoring = base.scoring.extended(system, source)
        words = SharedWords(lambda: encoder.item_texts(items))  # of everything, once somebody asks
    return replace(
        base,
        catalogue=Catalogue(items, hidden, gone),
        scoring=scoring,
        words=words,
        search_vectors=search_vectors,
        items_version=version,
        items_shown=version if shown is None else shown,
    )


def unencoded(base: Recommender, encoder: Encoder, live: Sequence[LiveItem]) -> dict[str, str]:
    """Return the texts of live items that a generation was not trained with, by item id, in the order given."""
    own, there = base.catalogue, [item for item in live if item.columns is not None]
    frame = live_frame(there, own.items.schema)
    texts = dict(zip((item.item_id for item in there), encoder.item_texts(frame), strict=True))
    rows, _ = own.split(texts)
    trained = dict(zip((own.ids[row] for row in rows), encoder.item_texts(own.items[rows]), strict=True))
    return {item_id: text for item_id, text in texts.items() if trained.get(item_id) != text}


def as_served(home: Home, base: Recommender, database: Database) -> Recommender:
    """Return a generation with all items that were put, changed or deleted, as a service answers from it.

    What no service has encoded yet is encoded here, and not kept.

    Args:
        home: where state lives.
        base: as it was opened.
        database: where the changes are.

    Raises:
        ArtifactError: texts are to be read, and the adapter or its base is missing or another.
    """
    store = ItemStore(database)
    version = store.version()
    return with_changes(home, base, database, store.changed(), version)


def with_changes(
    home: Home, base: Recommender, database: Database, changes: Sequence[LiveItem], version: int
) -> Recommender:
    """Return a generation with some items that were put, changed or deleted, as ``as_served`` does with all of them.

    Args:
        home: where state lives.
        base: as it was opened.
        database: where vectors are that a service has made.
        changes: the items.
        version: of the last of them.

    Raises:
        ArtifactError: as ``as_served``.
    """
    live = [item for item in changes if base.standing(item) is not None]
    if not live:
        return base
    if all(item.columns is None for item in live):
        return with_live_items(base, None, live, {}, version)
    encoder = Encoder.open(home, base.generation_id, base.scoring.system)
    texts = unencoded(base, encoder, live)
    known = ItemStore(database).vectors(encoder.key, list(texts))
    vectors = {name: vector for name, (made_of, vector) in known.items() if made_of == digest(texts[name].encode())}
    missing = [item_id for item_id in texts if item_id not in vectors]
    if missing:
        made = encoder.encode_items([texts[item_id] for item_id in missing], names=missing)
        vectors |= dict(zip(missing, made, strict=True))
    return with_live_items(base, encoder, live, vectors, version)


def _system(
    system: System, dense: dict[str, NDArray[np.float32]], written: list[str], rewritten: NDArray[np.int64]
) -> System:
    """Return a system with items more and others rewritten; ``dense`` and ``written`` hold the rewritten ones first."""
    fresh = len(written) - len(rewritten)
    learnt = {name: _with_vectors(towers, dense[name], rewritten) for name, towers in system.learnt.items()}
    content = copy.copy(system.content)
    content.vectors = _replaced(system.content.vectors, dense[CONTENT], rewritten)
    counts = np.concatenate([system.popularity.counts, np.zeros(fresh, np.float32)])
    experts = {name: _padded(expert, fresh) for name, expert in system.experts.items()}
    if system.lexicon is not None:
        experts[LEXICAL] = extended_words(system.experts[LEXICAL], system.lexicon, written, rewritten)
    return replace(
        system,
        towers=learnt[TOWERS],
        ids=learnt.get(IDS),
        content=content,
        experts=experts,
        popularity=Popularity(counts),
        again=None if system.again is None else system.again.extended(len(counts)),
    )


def _with_vectors(towers: TwoTower, rows: NDArray[np.float32], rewritten: NDArray[np.int64]) -> TwoTower:
    """Return towers with the item vectors that belong to some rows of the search matrix."""
    other = copy.copy(towers)
    other._buffers = dict(other._buffers)  # a copy of a module shares what it registers
    directions = rows[:, :-1] / np.maximum(np.linalg.norm(rows[:, :-1], axis=1, keepdims=True), 1e-12)
    vectors = _replaced(towers.vectors.cpu().numpy(), np.asarray(directions, np.float32), rewritten)
    other.vectors = torch.from_numpy(vectors)
    return other


def _replaced(
    vectors: NDArray[np.float32], new: NDArray[np.float32], rewritten: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return a copy with the first of ``new`` in the rewritten rows and the others behind the end."""
    result = grown(vectors, len(new) - len(rewritten))
    result[rewritten], result[len(vectors) :] = new[: len(rewritten)], new[len(rewritten) :]
    return result


def _padded(expert: ItemMatrixScorer, fresh: int) -> ItemMatrixScorer:
    """Return a scorer of more items, which shares its entries with the one that it was made from."""
    matrix = expert.matrix
    ends = np.concatenate([matrix.indptr, np.full(fresh, matrix.indptr[-1], dtype=matrix.indptr.dtype)])
    size = matrix.shape[0] + fresh
    padded = copy.copy(expert)
    padded.matrix = sparse.csr_matrix((matrix.data, matrix.indices, ends), shape=(size, size))
    return padded
