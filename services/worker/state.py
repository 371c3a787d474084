"""What the routes work with: made when a worker starts, or when somebody of a tenant asks for the first time."""

from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request
from starlette.types import Scope

from recsys.database.comparisons import ShadowStore
from recsys.database.engine import Database
from recsys.database.events import EventStore
from recsys.database.rates import RateStore
from recsys.home import Home
from recsys_client.schemas.readiness import Readiness
from services.edge.auth import WORKER
from services.edge.guard import Guard
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
from services.worker.readiness import readiness_of
from services.worker.shadow import Shadow
from services.worker.users import Histories
from services.worker.wording import Wording

if TYPE_CHECKING:
    from recsys.serving.users import Users


FLUSH_SECONDS = 3.0  # what answers that are not written down yet get at the end
SHORT_WORK = 10.0  # what a single list may take, in units of the ranking for one user, not to count as a batch


@dataclass(frozen=True)
class Worker:
    """What the routes answer from: one home, its generation, and its live events."""

    home: Home
    database: Database
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

    def start(self) -> "Worker":
        """Load what is served, and follow it; return itself."""
        for backlog in (self.impressions.backlog, self.shadow.backlog, self.attribution.backlog):
            backlog.start()
        self.generation.start()
        return self

    def close(self) -> None:
        """Stop following the pointer, write down what waits, and let go of the database."""
        self.generation.stop()
        self.shadow.backlog.close(0)
        self.impressions.backlog.close(FLUSH_SECONDS)
        self.attribution.backlog.close(0)
        self.database.close()

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


@dataclass(frozen=True)
class OneWorker:
    """Who answers where there are no tenants; see ``services.edge.auth.Workers``."""

    worker: Worker

    def guard_of(self, scope: Scope) -> Guard:
        """See ``Workers``."""
        return self.worker.guard

    def entered(self, guard: Guard, scope: Scope) -> AbstractAsyncContextManager[Worker]:
        """See ``Workers``."""
        return nullcontext(self.worker)

    def asks_for_keys(self) -> bool:
        """See ``Workers``."""
        return self.worker.guard.asks_for_keys()

    def check_numbers(self, scope: Scope) -> None:
        """Let everybody see numbers, which tell nothing of anybody."""

    def readiness(self) -> Readiness:
        """Return what is loaded.

        Raises:
            Refused: 503, it cannot answer everything yet.
        """
        return readiness_of(self.worker.generation, self.worker.encoders, self.worker.classifiers)

    def close(self) -> None:
        """Close it."""
        self.worker.close()


async def _worker(request: Request) -> Worker:
    worker: Worker = request.scope[WORKER]
    return worker


WorkerOfApp = Annotated[Worker, Depends(_worker)]
