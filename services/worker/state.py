"""What the routes work with: made when a worker starts."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

from recsys.database.comparisons import ShadowStore
from recsys.database.events import EventStore
from recsys.database.rates import RateStore
from recsys.home import Home
from services.edge.auth import Guard
from services.edge.lanes import Lane
from services.edge.metrics import Metrics
from services.worker.attribution import Attribution
from services.worker.classifiers import Classifiers
from services.worker.comparisons import Comparisons
from services.worker.current import CurrentGeneration
from services.worker.encoders import Encoders
from services.worker.exposures import Exposures
from services.worker.generation_cache import GenerationCache
from services.worker.impression_writer import Impressions
from services.worker.live_items import LiveItems
from services.worker.promotions import Promotions
from services.worker.shadow import Shadow
from services.worker.users import Histories
from services.worker.wording import Wording

if TYPE_CHECKING:
    from recsys.serving.users import Users


SHORT_WORK = 10.0  # what a single list may take, in units of the ranking for one user, not to count as a batch


@dataclass(frozen=True)
class Worker:
    """What the routes work with; made when a worker starts and kept in ``app.state.worker``."""

    home: Home
    generation: CurrentGeneration
    cache: GenerationCache
    items: LiveItems
    users: "Users"
    histories: Histories
    impressions: Impressions
    shadow: Shadow
    shadows: ShadowStore
    metrics: Metrics
    guard: Guard
    encoders: Encoders
    classifiers: Classifiers
    rates: RateStore
    attribution: Attribution
    exposures: Exposures
    wording: Wording
    promotions: Promotions
    comparisons: Comparisons
    scoring: Lane
    batches: Lane
    encoding: Lane
    reading: Lane
    writing: Lane
    changing: Lane
    loading: Lane

    def lane_for(self, work: float) -> Lane:
        """Return the lane for lists: a long piece of work is none for the one that short ones wait for.

        Args:
            work: in units of the ranking for one user.
        """
        return self.scoring if work <= SHORT_WORK else self.batches

    @property
    def events(self) -> EventStore:
        """Live events."""
        return self.users.events


async def _worker(request: Request) -> Worker:
    worker: Worker = request.app.state.worker
    return worker


WorkerOfApp = Annotated[Worker, Depends(_worker)]
