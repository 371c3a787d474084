"""Free text to items: by meaning and by words, fused, whatever the query is: a title, a wish, a question.

By meaning: the query is encoded as the items' texts are and compared with their content vectors. By words: BM25 over the
same texts. Reciprocal rank fusion makes one list of both; items whose title is the query stand before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recsys.columns import TITLE
from recsys.encoder import Encoder
from recsys.ranking.fusion import RANK_CONSTANT, Fused, fuse
from recsys.recommender import POPULAR, Recommender
from recsys.system import CONTENT

CANDIDATES = 100  # from each list, at least
MEANING, WORDS, EXACT = "meaning", "words", "title"


@dataclass(frozen=True)
class Hit:
    """One item that was found.

    Attributes:
        score: the fused score; comparable within one answer.
        found_by: which lists hold it: ``meaning``, ``words``, and ``title`` where that is the query.
        fields: columns of the catalogue.
    """

    item_id: str
    score: float
    found_by: tuple[str, ...]
    fields: dict[str, Any]


@dataclass(frozen=True)
class Hits:
    """What was found, best first; ``fallback`` is ``popular`` where the query holds no word, else None."""

    items: list[Hit]
    generation: str
    adapter: str
    fallback: str | None


def search(
    recommender: Recommender,
    encoder: Encoder,
    query: str,
    *,
    k: int = 10,
    filter: dict[str, Any] | None = None,
    fields: Sequence[str] = (TITLE,),
) -> Hits:
    """Find items by free text.

    Args:
        recommender: whose items.
        encoder: of the same generation.
        query: any text; one without a letter or digit finds what is popular.
        k: how many items; fewer only where fewer are allowed.
        filter: a structured condition on item columns, see ``recsys.ranking.rules``.
        fields: item columns to return.

    Raises:
        FilterError: the filter does not fit the catalogue.
        KeyError: a field does not exist.
    """
    catalogue, scoring = recommender.catalogue, recommender.scoring
    allowed = catalogue.allowed(filter)
    count = max(CANDIDATES, 2 * k)
    if any(character.isalnum() for character in query):
        lists = {EXACT: [row for row in catalogue.titled(query) if allowed[row]]}
        lists[MEANING] = _by_meaning(recommender, encoder, query, count, allowed)
        lists[WORDS] = scoring.source.worded(query, count, allowed).tolist()
        # being the title outweighs any places in the other two lists
        found = [
            Fused(one.row, one.score + (2 / RANK_CONSTANT if EXACT in one.found_by else 0.0), one.found_by)
            for one in fuse(lists)
        ]
        found = sorted(found, key=lambda one: (-one.score, one.row))[:k]
        fallback = None
    else:
        rows = scoring.popular(k, allowed)
        counts = scoring.system.popularity.counts
        found, fallback = [Fused(row, float(counts[row]), ()) for row in rows.tolist()], POPULAR
    records = catalogue.records(np.array([one.row for one in found], dtype=np.int64), fields)
    hits = [
        Hit(catalogue.ids[one.row], one.score, one.found_by, record) for one, record in zip(found, records, strict=True)
    ]
    return Hits(hits, recommender.generation_id, recommender.adapter_id, fallback)


def _by_meaning(recommender: Recommender, encoder: Encoder, query: str, count: int, allowed: np.ndarray) -> list[int]:
    """Return allowed rows by the cosine between the query's and the items' content vectors, ties by row."""
    source, block = recommender.scoring.source, recommender.scoring.block(CONTENT)
    vector = np.zeros(source.vectors.shape[1], dtype=np.float32)
    vector[block] = encoder.content_queries([query])[0]
    rows = source.search(vector, count, allowed)
    cosines = np.einsum("rw,w->r", source.vectors[rows][:, block], vector[block])
    return rows[np.lexsort((rows, -cosines))].tolist()
