"""The shadow: a generation that answers a share of the requests in the background, to be compared and never shown."""

import hashlib
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from recsys.artifacts import ArtifactError
from recsys.database.comparisons import Comparison, ShadowStore
from recsys.home import Home
from recsys.selection.filters import FilterError
from recsys.store.shadow import ShadowState, read_shadow
from recsys_client.schemas.generations import ShadowAnswer
from services.edge.metrics import Metrics
from services.worker.backlog import Backlog
from services.worker.generation_cache import GenerationCache
from services.worker.live_items import LiveItems

if TYPE_CHECKING:
    from recsys.serving.answers import Answer, ListRequest
    from recsys.serving.recommender import Recommender

WAITING = 100  # answers that wait for their shadow; above it they go without
BATCH = 20
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shown:
    """An answer that was given, with what it takes to give it again."""

    rec_id: str
    recommender: "Recommender"
    history: Sequence[str]
    asked: "ListRequest"
    answer: "Answer"
    milliseconds: float
    attributes: Mapping[str, Any] = field(default_factory=dict)


class Shadow:
    """Follows the state and answers in the background."""

    def __init__(
        self, home: Home, cache: GenerationCache, items: LiveItems, store: ShadowStore, metrics: Metrics
    ) -> None:
        self._home = home
        self._cache = cache
        self._items = items
        self._store = store
        self._metrics = metrics
        self._current: tuple[ShadowState, Recommender] | None = None
        self._failed: ShadowState | None = None
        self._changing = threading.Lock()
        self.backlog: Backlog[Shown] = Backlog(
            "answer-as-shadow", self._answer, WAITING, BATCH, metrics.shadows.labels("dropped").inc
        )

    def check(self) -> None:
        """Load what the state names; a shadow that cannot be loaded is reported once and left alone."""
        with self._changing:
            wanted = None
            try:
                wanted = read_shadow(self._home)
                if wanted is None:
                    self._current = self._failed = None
                elif wanted != self._failed and (self._current is None or self._current[0] != wanted):
                    self._current = wanted, self._cache.open(wanted.generation)
            except Exception as error:
                self._current, self._failed = None, wanted
                _LOG.error("There is no shadow. %s", error, exc_info=not isinstance(error, ArtifactError))

    def follow(self, shown: Shown) -> None:
        """Let the shadow answer as well, if this answer belongs to its share."""
        current = self._current
        if current is not None and _drawn(shown.rec_id) < current[0].share:
            self.backlog.put(shown)

    def _answer(self, entries: Sequence[Shown]) -> None:
        current = self._current
        if current is not None:
            shadow = self._items.applied_to(current[1])
            compared = [self._compare(shadow, shown) for shown in entries]
            found = [one for one in compared if one is not None]
            self._store.add(found)
            self._metrics.shadows.labels("answered").inc(len(found))

    def _compare(self, shadow: "Recommender", shown: Shown) -> Comparison | None:
        started = time.perf_counter()
        try:
            (answer,) = shadow.recommend_many([shown.history], shown.asked, attributes=[shown.attributes])
        except (FilterError, ValueError, KeyError):  # its catalogue has other columns
            self._metrics.shadows.labels("refused").inc()
            return None
        seconds = time.perf_counter() - started
        live, other = ([item.item_id for item in one.items] for one in (shown.answer, answer))
        longest = max(len(live), len(other))
        overlap = len(set(live) & set(other)) / longest if longest else 1.0
        self._metrics.shadow_overlap.observe(overlap)
        self._metrics.shadow_duration.observe(seconds)
        return Comparison(
            shown.rec_id,
            shown.answer.generation,
            answer.generation,
            datetime.now(UTC),
            shown.asked.k,
            overlap,
            shown.milliseconds,
            round(seconds * 1_000, 3),
            shown.recommender.cold_share(live),
            shadow.cold_share(other),
            [place for place, item_id in enumerate(live) if item_id in set(other)],
        )


def summary(home: Home, store: ShadowStore) -> ShadowAnswer:
    """Return the state of the shadow and how it compares so far."""
    state = read_shadow(home)
    if state is None:
        return ShadowAnswer.model_validate({})
    told = {"generation": state.generation, "share": state.share, "since": state.since}
    return ShadowAnswer.model_validate({**told, **store.summary(state.generation)})


def _drawn(rec_id: str) -> float:
    """Return a number of [0, 1) that depends on the answer alone."""
    return int.from_bytes(hashlib.blake2b(rec_id.encode(), digest_size=8).digest(), "big") / 2**64
