"""The BentoML service: one worker's generation, event store and routes, made when the worker starts.

``recsys serve`` runs it (see ``services/serve.py``); so does ``bentoml serve services.recommender:RecommenderService``.
"""

import os
import sys
from functools import partial

import bentoml

from recsys.database.engine import check_shared
from recsys.errors import SettingError
from recsys.home import Home
from recsys.remote.following import follow
from services.api import create_app
from services.edge.connections import guard_connections
from services.edge.context import asking_tenant
from services.edge.exposure import warn_if_open
from services.edge.guard import Guard
from services.edge.keys import REQUIRE_KEYS, Keys
from services.edge.lanes import Lane
from services.edge.logs import configure_logs
from services.edge.metrics import Metrics
from services.edge.observer import Observed, Observer
from services.edge.own import OwnAnswers
from services.edge.problems import Boundary
from services.edge.supervisor import guard_supervisor
from services.worker.bundled import serve_bundled
from services.worker.lifetime import end_with_server
from services.worker.opening import open_worker
from services.worker.state import OneWorker
from services.worker.tenants import TenantWorkers, memory_from_environment, tenants_asked_for

# BentoML leaves a timer of this length behind for every request: no longer than needed. Boundary's limit comes first.
REQUEST_TIMEOUT_SECONDS = 10
SWITCH_SECONDS = 0.0005  # Python's own 5 ms are what a short request would wait for a long one, many times over
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
    """Return a worker's lanes by name; tenants share them."""
    made: dict[str, Lane] = {}

    def shed(name: str) -> None:
        tenant = asking_tenant()
        (metrics if tenant is None else metrics.of(tenant)).shed.labels(name).inc()

    for name, (threads, queue) in LANES.items():
        made[name] = Lane(threads, queue, partial(shed, name), made.get(BEHIND.get(name, "")))
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

        torch.set_num_threads(1)  # one request is small; threads would only take turns with the other workers
        sys.setswitchinterval(SWITCH_SECONDS)
        home = Home.from_environment()
        warn_if_open(home)
        self.workers = _workers_of(home, tenants_asked_for())
        app.state.workers = self.workers

    @bentoml.on_shutdown
    def close(self) -> None:
        """Stop following the pointer, write down what waits, and let go of the database."""
        self.workers.close()
        app.state.observer.close()


def _workers_of(home: Home, tenants: bool) -> OneWorker | TenantWorkers:
    """Return who answers for a home, or for its tenants; they have begun, and requests are observed."""
    metrics = Metrics("" if tenants else None)
    app.state.observer = Observer.from_environment(metrics)
    opening = partial(open_worker, lanes=lanes(metrics))
    if tenants:
        if home.store is not None:
            raise SettingError("Tenants live in folders: let RECSYS_HOME name one, not an object store.")
        return TenantWorkers(home, opening, metrics, memory_from_environment()).start()
    check_shared(home)
    follow(home)
    serve_bundled(home)
    guard = Guard(Keys(home, required=bool(os.environ.get(REQUIRE_KEYS))))
    return OneWorker(opening(home, guard, metrics).start())


# The decorator has made a bentoml.Service of the class, which a type checker cannot see.
RecommenderService.add_asgi_middleware(Boundary)  # type: ignore[attr-defined]
RecommenderService.add_asgi_middleware(OwnAnswers, own=app)  # type: ignore[attr-defined]
