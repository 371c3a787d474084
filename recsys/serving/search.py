"""Free text to items: by meaning and by words, fused, whatever the query is: a title, a wish, a question.

By meaning: the query is encoded as the items' texts are and compared by cosine. By words: BM25 over the same texts.
Reciprocal rank fusion makes one list of both; items whose title is the query stand before it.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.data.columns import TITLE
from recsys.ranking.stages import ENCODE, FIELDS, RULES, SEARCH, EndStage, unmeasured
from recsys.ranking.system import CONTENT
from recsys.selection.filters import Condition
from recsys.serving.answers import POPULAR
from recsys.serving.fusion import RANK_CONSTANT, Fused, fuse
from recsys.serving.new_texts import Encoder
from recsys.serving.recommender import Recommender
from recsys.store.index import UnreadableError

CANDIDATES = 100  # from each list, at least
MEANING, WORDS, EXACT = "meaning", "words", "title"
_LOG = logging.getLogger(__name__)


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
    """What was found, best first.

    Attributes:
        fallback: ``popular`` where the query holds no word, ``meaning`` where words cannot be looked up, else None.
    """

    items: list[Hit]
    generation: str
    adapter: str
    fallback: str | None


class TextSearch:
    """Search over one generation's items. Safe to share between threads.

    Attributes:
        encoder: the generation's.
    """

    def __init__(self, recommender: Recommender, encoder: Encoder) -> None:
        self.encoder = encoder
        self._recommender = recommender
        self._vectors = recommender.scoring.source.vectors[:, recommender.scoring.block(CONTENT)]
        self._norms = encoder.meaning_norms(self._vectors)

    def search(
        self,
        query: str,
        *,
        k: int = 10,
        offset: int = 0,
        filter: Condition | None = None,
        fields: Sequence[str] = (TITLE,),
        end_stage: EndStage = unmeasured,
    ) -> Hits:
        """Find items by free text.

        Args:
            query: any text; one without a letter or digit finds what is popular.
            k: how many items; fewer only where fewer are allowed, or behind so many as a list of candidates has.
            offset: how many items before them are left out, those of earlier pages.
            filter: a structured condition on item columns, see ``recsys.selection.filters``.
            fields: item columns to return.
            end_stage: is told when a stage ends, see ``recsys.ranking.stages``.

        Raises:
            FilterError: the filter does not fit the catalogue.
            KeyError: a field does not exist.
        """
        catalogue, scoring = self._recommender.catalogue, self._recommender.scoring
        allowed = catalogue.allowed(filter)
        end_stage(RULES)
        fallback: str | None
        if any(character.isalnum() for character in query):
            found, fallback = self._found(query, max(CANDIDATES, 2 * k), allowed, end_stage)
            found = found[offset : offset + k]
        else:
            counts, rows = scoring.system.popularity.counts, scoring.popular(offset + k, allowed)[offset:]
            found, fallback = [Fused(row, float(counts[row]), ()) for row in rows.tolist()], POPULAR
        end_stage(SEARCH)
        records = catalogue.records(np.array([one.row for one in found], dtype=np.int64), fields)
        end_stage(FIELDS)
        hits = [
            Hit(catalogue.ids[one.row], one.score, one.found_by, record)
            for one, record in zip(found, records, strict=True)
        ]
        return Hits(hits, self._recommender.generation_id, self._recommender.adapter_id, fallback)

    def _found(
        self, query: str, count: int, allowed: NDArray[np.bool_], end_stage: EndStage
    ) -> tuple[list[Fused], str | None]:
        """Return what all lists find, fused, and the fallback where the words' index cannot be read."""
        lists = {
            EXACT: [row for row in self._recommender.catalogue.titled(query) if allowed[row]],
            MEANING: self._by_meaning(query, count, allowed, end_stage),
        }
        fallback = None
        try:
            lists[WORDS] = self._recommender.scoring.source.worded(query, count, allowed).tolist()
        except UnreadableError as error:
            _LOG.warning("%s. Searching by meaning alone.", error)
            fallback = MEANING
        # being the title outweighs any places in the other two lists
        found = [
            Fused(one.row, one.score + (2 / RANK_CONSTANT if EXACT in one.found_by else 0.0), one.found_by)
            for one in fuse(lists)
        ]
        return sorted(found, key=lambda one: (-one.score, one.row)), fallback

    def _by_meaning(self, query: str, count: int, allowed: NDArray[np.bool_], end_stage: EndStage) -> list[int]:
        """Return allowed rows by cosine, ties by row; every item is compared: its norm is in no index."""
        rows = np.flatnonzero(allowed)
        end_stage(SEARCH)
        vector = self.encoder.meaning_queries([query])[0]
        end_stage(ENCODE)
        cosines = (self._vectors @ vector / self._norms)[rows]
        if len(rows) > count:
            best = np.argpartition(-cosines, count - 1)[:count]
            rows, cosines = rows[best], cosines[best]
        return rows[np.lexsort((rows, -cosines))].tolist()
