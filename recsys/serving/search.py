"""Free text to items: by meaning and by words, whatever the query is: a title, a wish, a question.

By meaning: the query is encoded as the items' texts are and compared by cosine. By words: BM25 over the same texts.
The scores of both are fused into one list; items whose title is the query stand before it.
"""

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from recsys.data.columns import TITLE
from recsys.ranking.candidates import Worded
from recsys.ranking.stages import ENCODE, FIELDS, RULES, SEARCH, EndStage, unmeasured
from recsys.ranking.system import CONTENT
from recsys.selection.filters import Condition
from recsys.serving.answers import POPULAR
from recsys.serving.fusion import WORDS_WEIGHT, Fused, fused_scores
from recsys.serving.new_texts import Encoder
from recsys.serving.recommender import Recommender
from recsys.store.index import UnreadableError

CANDIDATES = 100  # from each list, at least
MEANING, WORDS, EXACT = "meaning", "words", "title"
Mode = Literal["both", "meaning", "words"]
BOTH: Mode = "both"
EXACT_BONUS = 1 + WORDS_WEIGHT  # being the title outweighs all else
NOTHING = Worded(np.empty(0, dtype=np.int64), np.empty(0))
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hit:
    """One item that was found.

    Attributes:
        score: the fused score, by meaning alone the cosine, by words alone the share of the query's words that the
            text holds, by weight; comparable within one answer.
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
        adapter: of the generation; the search does not read it.
        search_adapter: what the query and the items are compared by; None: the base alone.
        fallback: ``popular`` where the query holds no word, ``meaning`` where words cannot be looked up, else None.
    """

    items: list[Hit]
    generation: str
    adapter: str
    search_adapter: str | None
    fallback: str | None


class TextSearch:
    """Search over one generation's items. Safe to share between threads.

    Attributes:
        encoder: the generation's.
    """

    def __init__(self, recommender: Recommender, encoder: Encoder) -> None:
        self.encoder = encoder
        self._recommender = recommender
        scoring = recommender.scoring
        content = scoring.source.vectors[:, scoring.block(CONTENT)]
        self._meaning = encoder.meaning(content, recommender.search_vectors)
        with suppress(UnreadableError):  # who asks for words is told
            _ = scoring.source.word_weights  # counted now, not while somebody waits

    def search(
        self,
        query: str,
        *,
        k: int = 10,
        offset: int = 0,
        filter: Condition | None = None,
        mode: Mode = BOTH,
        fields: Sequence[str] = (TITLE,),
        end_stage: EndStage = unmeasured,
    ) -> Hits:
        """Find items by free text.

        Args:
            query: any text; one without a letter or digit finds what is popular.
            k: how many items; fewer only where fewer are allowed, or behind so many as a list of candidates has.
            offset: how many items before them are left out, those of earlier pages.
            filter: a structured condition on item columns, see ``recsys.selection.filters``.
            mode: by ``both`` meaning and words, or by ``meaning`` or ``words`` alone: then no title comes first.
            fields: item columns to return.
            end_stage: is told when a stage ends, see ``recsys.ranking.stages``.

        Raises:
            FilterError: the filter does not fit the catalogue.
            KeyError: a field does not exist.
            UnreadableError: by words alone, and their index cannot be read.
        """
        catalogue, scoring = self._recommender.catalogue, self._recommender.scoring
        allowed = catalogue.allowed(filter)
        end_stage(RULES)
        fallback: str | None
        if any(character.isalnum() for character in query):
            found, fallback = self._found(query, max(CANDIDATES, 2 * k), allowed, mode, end_stage)
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
        manifest = self._recommender.manifest
        return Hits(hits, manifest.id, manifest.adapter, manifest.search_adapter, fallback)

    def _found(
        self, query: str, count: int, allowed: NDArray[np.bool_], mode: Mode, end_stage: EndStage
    ) -> tuple[list[Fused], str | None]:
        """Return what a query finds, best first, and the fallback where the words' index cannot be read."""
        worded, fallback = NOTHING, None
        if mode != MEANING:
            try:
                worded = self._recommender.scoring.source.worded(query, count, allowed)
            except UnreadableError as error:
                if mode == WORDS:
                    raise
                _LOG.warning("%s. Searching by meaning alone.", error)
                fallback = MEANING
        found_by = dict.fromkeys(worded.rows.tolist(), (WORDS,))
        if mode == WORDS:
            pairs = zip(worded.rows.tolist(), worded.shares.tolist(), strict=True)
            return [Fused(row, share, found_by[row]) for row, share in pairs], None
        end_stage(SEARCH)
        vector = self.encoder.query(query)
        end_stage(ENCODE)
        cosines = self._meaning.cosines(vector)
        for row in nearest(cosines, np.flatnonzero(allowed), count).tolist():
            found_by[row] = (MEANING, *found_by.get(row, ()))
        titled = self._recommender.catalogue.titled(query) if mode == BOTH else []
        for row in (row for row in titled if allowed[row]):
            found_by[row] = (EXACT, *found_by.get(row, ()))
        shares = np.zeros(len(cosines))
        shares[worded.rows] = worded.shares
        rows = np.fromiter(found_by, dtype=np.int64, count=len(found_by))
        scores = fused_scores(cosines[rows], shares[rows])
        scores += EXACT_BONUS * np.isin(rows, titled)
        order = np.lexsort((rows, -scores)).tolist()
        return [Fused(int(rows[one]), float(scores[one]), found_by[int(rows[one])]) for one in order], fallback


def nearest(cosines: NDArray[np.floating], rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return the ``count`` of some rows with the largest cosines, (items,), in no order; of equal ones the first."""
    if len(rows) <= count:
        return rows
    least = np.partition(cosines[rows], len(rows) - count)[len(rows) - count]
    above, equal = rows[cosines[rows] > least], rows[cosines[rows] == least]
    return np.concatenate([above, equal[: count - len(above)]])
