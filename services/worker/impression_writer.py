"""Where answers come from: an impression of each is written in the background, and can be told and replayed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from recsys.artifacts import ArtifactError, canonical_json, digest
from recsys.database.impressions import Impression, ImpressionStore, Lineage
from recsys.home import Home
from recsys.store.adapters import read_card
from recsys_client.schemas.recommend import ListOptions, UserOrHistory
from services.edge.metrics import Metrics
from services.worker.backlog import Backlog

if TYPE_CHECKING:
    from recsys.serving.answers import Answer
    from recsys.serving.recommender import Recommender

WAITING = 10_000  # impressions in memory; at 500 answers a second a database may be away for 20 s
BATCH = 200
PURGE_EVERY = timedelta(hours=1)
SHOWN = 1.0  # propensity: the ranking is deterministic, so what it shows it shows always


class Impressions:
    """Writes down every answer without making it wait.

    Args:
        home: where adapters are.
        store: where impressions go.
        metrics: counts those that were dropped.
        days: for how long impressions are kept.
    """

    def __init__(self, home: Home, store: ImpressionStore, metrics: Metrics, days: float) -> None:
        self.store = store
        self._home = home
        self._metrics = metrics
        self._kept = timedelta(days=days)
        self._purged = datetime.min.replace(tzinfo=UTC)
        self._lineages: dict[str, Lineage] = {}
        self.backlog: Backlog[tuple[Recommender, _Given]] = Backlog(
            "write-impressions", self._write, WAITING, BATCH, metrics.impressions.labels("dropped").inc
        )

    def record(
        self,
        rec_id: str,
        recommender: "Recommender",
        user: UserOrHistory,
        options: ListOptions,
        history: Sequence[str],
        answer: "Answer",
    ) -> None:
        """Put an answer on the list of those to be written."""
        self.backlog.put((recommender, _Given(rec_id, datetime.now(UTC), user, options, history, answer)))

    def lineage(self, recommender: "Recommender") -> Lineage:
        """Return what a generation's answers stand on."""
        known = self._lineages.get(recommender.generation_id)
        if known is None:
            manifest = recommender.manifest
            try:
                adapter = digest(canonical_json(read_card(self._home, recommender.adapter_id).files))
            except ArtifactError:
                adapter = None  # deleted while its last answers were written
            known = {
                "adapter_digest": adapter,
                "snapshot": manifest.snapshot,
                "flow_run": manifest.flow_run,
                "index": {"table": manifest.index.table, "version": manifest.index.version},
            }
            self._lineages[recommender.generation_id] = known
        return known

    def _write(self, entries: Sequence[tuple["Recommender", "_Given"]]) -> None:
        impressions = [self._impression(recommender, given) for recommender, given in entries]
        written = self.store.add(impressions)
        self._metrics.impressions.labels("written").inc(written)
        now = datetime.now(UTC)
        if now - self._purged > PURGE_EVERY:
            self._purged = now
            self.store.purge(now - self._kept)

    def _impression(self, recommender: "Recommender", given: "_Given") -> Impression:
        asked = given.user.model_dump(include=set(UserOrHistory.model_fields)) | given.options.model_dump(
            include=set(ListOptions.model_fields)
        )
        return Impression(
            rec_id=given.rec_id,
            time=given.time,
            user_id=given.user.user_id,
            generation=given.answer.generation,
            adapter=given.answer.adapter,
            lineage={**self.lineage(recommender), "items_version": recommender.items_version},
            request=asked,
            history=given.history,
            items=[{"item_id": item.item_id, "score": item.score, "propensity": SHOWN} for item in given.answer.items],
            fallback=given.answer.fallback,
        )


@dataclass(frozen=True)
class _Given:
    """An answer on the list of those to be written."""

    rec_id: str
    time: datetime
    user: UserOrHistory
    options: ListOptions
    history: Sequence[str]
    answer: "Answer"


def differences(impression: Impression, answer: "Answer") -> list[str]:
    """Return in what a replayed answer is not the one that was given; empty where it is the same."""
    from recsys.serving.answers import DEGRADED, POPULAR  # brings torch, for which BentoML's supervisor has no use

    found = []
    then, now = [item["item_id"] for item in impression.items], [item.item_id for item in answer.items]
    if then != now:
        moved = sum(a != b for a, b in zip(then, now, strict=False))
        found.append(f"items: {len(set(then) ^ set(now))} in one list only, {moved} in another place")
    elif [item["score"] for item in impression.items] != [item.score for item in answer.items]:
        found.append("scores")
    # who could not be looked up was answered as somebody unknown
    if (POPULAR if impression.fallback == DEGRADED else impression.fallback) != answer.fallback:
        found.append(f"fallback: {answer.fallback}")
    return found
