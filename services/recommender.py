"""The BentoML service: one worker's generation, event store and routes, made when the worker starts.

``recsys serve`` runs it (see ``services/serve.py``); so does ``bentoml serve services.recommender:RecommenderService``.
"""

import os
import sys
from functools import partial

import bentoml

from recsys.database.comparisons import ShadowStore
from recsys.database.engine import Database, check_shared
from recsys.database.exposures import ExposureStore
from recsys.database.live_items import ItemStore
from recsys.database.rates import RateStore
from recsys.home import Home
from recsys.remote.following import follow
from services.api import create_app
from services.edge.auth import Guard
from services.edge.connections import guard_connections
from services.edge.exposure import warn_if_open
from services.edge.keys import REQUIRE_KEYS, Keys
from services.edge.lanes import Lane
from services.edge.logs import configure_logs
from services.edge.metrics import Metrics
from services.edge.observer import Observed, Observer
from services.edge.own import OwnAnswers
from services.edge.problems import Boundary
from services.edge.supervisor import guard_supervisor
from services.worker.attribution import Attribution
from services.worker.bundled import serve_bundled
from services.worker.classifiers import Classifiers
from services.worker.comparisons import Comparisons
from services.worker.current import CurrentGeneration
from services.worker.encoders import Encoders
from services.worker.exposures import Exposures
from services.worker.generation_cache import GenerationCache
from services.worker.impression_writer import Impressions, Retention
from services.worker.lifetime import end_with_server
from services.worker.live_items import LiveItems, room_from_environment
from services.worker.loading import loads_ahead
from services.worker.promotions import Promotions, limits_from_environment
from services.worker.shadow import Shadow
from services.worker.state import Worker
from services.worker.users import Histories
from services.worker.wording import Wording

# BentoML leaves a timer of this length behind for every request: no longer than needed. Boundary's limit comes first.
REQUEST_TIMEOUT_SECONDS = 10
SWITCH_SECONDS = 0.0005  # Python's own 5 ms are what a short request would wait for a long one, many times over
FLUSH_SECONDS = 3.0  # what answers that are not written down yet get at the end
# Threads of a worker, and requests that wait for one at most. Scoring and SQL have their own, so that a slow request
# never holds up others of another kind or the health checks.
LANES = {
    "scoring": (2, 128),  # a worker scores on one core; the second hides the waits for SQL
    "batches": (1, 32),  # many users at once, and other long work
    "encoding": (1, 64),  # BERT fills a core; recommendations go on beside it
    "reading": (1, 64),  # items, users, lineage and generations, one at a time
    "writing": (1, 128),  # events alone; SQLite has one writer at a time: waiting here is fairer than in its busy loop
    "changing": (1, 32),  # items that are put and deleted, users that are forgotten: these take long
    "loading": (1, 8),  # two generations that load at once take each other's time
}

BEHIND = {"batches": "scoring"}  # whoever asks for one list goes first


def lanes(metrics: Metrics) -> dict[str, Lane]:
    """Return a worker's lanes by name."""
    made: dict[str, Lane] = {}
    for name, (threads, queue) in LANES.items():
        made[name] = Lane(threads, queue, metrics.shed.labels(name).inc, made.get(BEHIND.get(name, "")))
    return made


configure_logs()
app = create_app()
guard_supervisor()
guard_connections(partial(Observed, observer=lambda: app.state.observer))


@bentoml.service(
    workers=1,
    traffic={"timeout": REQUEST_TIMEOUT_SECONDS},
    http={"host": "127.0.0.1"},  # BentoML's own default is every interface
    # Its own metrics make a time series of every path that anybody invents; /metrics here counts by route.
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    # Spans are made for every request even while nothing collects them, and cost more than the rest of the server.
    tracing={"excluded_urls": [".*"]},
)
class RecommenderService:
    """Recommendations over HTTP from the current generation and live events."""

    def __init__(self) -> None:
        end_with_server()

        import torch

        from recsys.serving.users import Users  # brings torch, for which BentoML's supervisor has no use

        torch.set_num_threads(1)  # one request is small; threads would only take turns with the other workers
        sys.setswitchinterval(SWITCH_SECONDS)
        home = Home.from_environment()
        check_shared(home)
        follow(home)
        serve_bundled(home)
        warn_if_open(home)
        metrics = Metrics()
        self.database = Database.of(home)
        users, shadows = Users(self.database), ShadowStore(self.database)
        exposures = Exposures(ExposureStore(self.database))
        self.impressions = Impressions(home, users.impressions, metrics, Retention.from_environment(), exposures)
        cache, ahead = GenerationCache(home), loads_ahead()
        encoders, classifiers = Encoders(home, cache, ahead), Classifiers(home, ahead)
        items = LiveItems(home, ItemStore(self.database, room_from_environment()), encoders)
        self.shadow = Shadow(home, cache, items, shadows, metrics)
        rates = RateStore(self.database)
        self.attribution = Attribution(rates, metrics, exposures.store)
        # classifiers after the encoder, without which nothing is ready
        look = [self.shadow.check, lambda: classifiers.look() if encoders.settled else None]
        self.generation = CurrentGeneration(home, cache, items, encoders, metrics, also=look)
        app.state.worker = Worker(
            home,
            self.generation,
            cache,
            items,
            users,
            Histories(users),
            self.impressions,
            self.shadow,
            shadows,
            metrics,
            Guard(Keys(home, required=bool(os.environ.get(REQUIRE_KEYS)))),
            encoders=encoders,
            classifiers=classifiers,
            rates=rates,
            attribution=self.attribution,
            exposures=exposures,
            wording=Wording.from_environment(),
            comparisons=Comparisons(home),
            promotions=Promotions(home, self.generation, cache, limits_from_environment()),
            **lanes(metrics),
        )
        app.state.observer = self.observer = Observer.from_environment(metrics)
        self.impressions.backlog.start()
        self.shadow.backlog.start()
        self.attribution.backlog.start()
        self.generation.start()

    @bentoml.on_shutdown
    def close(self) -> None:
        """Stop following the pointer, write down what waits, and let go of the database."""
        self.generation.stop()
        self.shadow.backlog.close(0)
        self.impressions.backlog.close(FLUSH_SECONDS)
        self.attribution.backlog.close(0)
        self.database.close()
        self.observer.close()


# The decorator has made a bentoml.Service of the class, which a type checker cannot see.
RecommenderService.add_asgi_middleware(Boundary)  # type: ignore[attr-defined]
RecommenderService.add_asgi_middleware(OwnAnswers, own=app)  # type: ignore[attr-defined]
