"""Where answers come from: an impression of each is written in the background, and can be told and replayed."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from recsys.artifacts import ArtifactError, canonical_json, digest
from recsys.database.impressions import Impression, ImpressionStore, Lineage, Options
from recsys.errors import SettingError
from recsys.home import Home
from recsys.store.adapters import read_card
from services.edge.environment import numbers
from services.edge.metrics import Metrics
from services.worker.backlog import Backlog
from services.worker.exposures import Exposures

if TYPE_CHECKING:
    from recsys.serving.answers import Answer
    from recsys.serving.recommender import Recommender

_LOG = logging.getLogger(__name__)
WAITING = 10_000  # impressions in memory; at 500 answers a second a database may be away for 20 s
BATCH = 200
PURGE_EVERY = timedelta(hours=1)
DAYS, MIB = "RECSYS_IMPRESSION_DAYS", "RECSYS_IMPRESSION_MIB"  # for how long answers are kept, and how much of them
DEFAULT_DAYS, DEFAULT_MIB = 30.0, 16_384.0
MOST_DAYS, MOST_MIB = 36_500, 10**9
SHRUNK = 0.9  # of what may be kept is left after the oldest had to go
SHOWN = 1.0  # propensity: the ranking is deterministic, so what it shows it shows always


@dataclass(frozen=True)
class Retention:
    """What is kept of impressions.

    Attributes:
        days: for how long.
        mib: how many millions (2^20) of characters at most; above it the oldest go.

    Raises:
        SettingError: one of them is not positive.
    """

    days: float = DEFAULT_DAYS
    mib: float = DEFAULT_MIB

    def __post_init__(self) -> None:
        for variable, value, most in ((DAYS, self.days, MOST_DAYS), (MIB, self.mib, MOST_MIB)):
            if not 0 < value <= most:
                raise SettingError(f"{variable} is {value}; it must be a positive number, {most:,} at most.")

    @classmethod
    def from_environment(cls) -> "Retention":
        """Return what the variables say.

        Raises:
            SettingError: they say no number, or none that is positive.
        """
        return cls(**numbers({"days": DAYS, "mib": MIB}))


class Impressions:
    """Writes down every answer without making it wait.

    Args:
        home: where adapters are.
        store: where impressions go.
        metrics: counts those that were dropped.
        retention: what is kept of them.
        exposures: counts new items that were shown, or None.
    """

    def __init__(
        self,
        home: Home,
        store: ImpressionStore,
        metrics: Metrics,
        retention: Retention,
        exposures: Exposures | None = None,
    ) -> None:
        self.store = store
        self._home = home
        self._metrics = metrics
        self._retention = retention
        self._exposures = exposures
        self._purged = datetime.min.replace(tzinfo=UTC)
        self._lineages: dict[str, Lineage] = {}
        self.backlog: Backlog[Given] = Backlog(
            "write-impressions", self._write, WAITING, BATCH, metrics.impressions.labels("dropped").inc
        )

    def record(self, given: "Given") -> None:
        """Put an answer on the list of those to be written."""
        self.backlog.put(given)

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

    def _write(self, entries: Sequence["Given"]) -> None:
        written = self.store.add([self._impression(given) for given in entries])
        self._metrics.impressions.labels("written").inc(written)
        most = int(self._retention.mib * 2**20)
        if self.store.size() > most:
            gone = self.store.shrink(int(most * SHRUNK))
            _LOG.warning("The %d oldest impressions were deleted: there were more than %s says.", gone, MIB)
        now = datetime.now(UTC)
        if now - self._purged > PURGE_EVERY:
            self._purged = now
            self.store.purge(now - timedelta(days=self._retention.days))
        if self._exposures is not None:  # at the end: what fails before is tried again as a whole
            self._exposures.show([one.recommender.little_known(one.item_ids) for one in entries if one.shown])

    def _impression(self, given: "Given") -> Impression:
        return Impression(
            rec_id=given.rec_id,
            time=given.time,
            user_id=given.user_id,
            generation=given.recommender.generation_id,
            adapter=given.recommender.adapter_id,
            key=given.key,
            shown=given.shown,
            lineage={**self.lineage(given.recommender), "items_version": given.recommender.items_version},
            options=given.options,
            history=given.history,
            known=given.known,
            items=[
                {"item_id": item_id, "score": score, "propensity": SHOWN}
                for item_id, score in zip(given.item_ids, given.scores, strict=True)
            ],
            fallback=given.fallback,
            attributes=given.attributes,
        )


@dataclass(frozen=True)
class Given:
    """An answer on the list of those to be written: no more of it than is written, since many may wait.

    Attributes:
        user_id: whose list it is; None: a history's.
        options: one object for all lists of a request, so that it is spelt once.
        history: what it was made from, item ids, oldest first.
        known: what else of these events, see ``Impression``.
        item_ids: of the list, likewise ``scores``.
        shown: False for a preview.
        key: id of the key that asked.
        attributes: what else it was made from, by name.
    """

    rec_id: str
    recommender: "Recommender"
    user_id: str | None
    options: Options
    history: Sequence[str]
    item_ids: Sequence[str]
    scores: Sequence[float]
    fallback: str | None
    shown: bool
    key: str | None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    time: datetime = field(default_factory=lambda: datetime.now(UTC))
    known: Mapping[str, Sequence[Any]] = field(default_factory=dict)


def differences(impression: Impression, answer: "Answer") -> list[str]:
    """Return in what a replayed answer is not the one that was given; empty where it is the same."""
    from recsys.serving.answers import DEGRADED, POPULAR  # brings torch, for which BentoML's supervisor has no use

    found = []
    shown = answer.items[: len(answer.items) - impression.left_out.get("items", 0)]
    then, now = [item["item_id"] for item in impression.items], [item.item_id for item in shown]
    if then != now:
        moved = sum(a != b for a, b in zip(then, now, strict=False))
        found.append(f"items: {len(set(then) ^ set(now))} in one list only, {moved} in another place")
    elif [item["score"] for item in impression.items] != [item.score for item in shown]:
        found.append("scores")
    # who could not be looked up was answered as somebody unknown
    if (POPULAR if impression.fallback == DEGRADED else impression.fallback) != answer.fallback:
        found.append(f"fallback: {answer.fallback}")
    return found
