"""The BentoML service: one worker's generation, event store and routes, made when the worker starts.

``recsys serve`` runs it (see ``services/serve.py``); so does ``bentoml serve services.recommender:RecommenderService``.
"""

import os

import bentoml
from anyio import CapacityLimiter

from recsys.home import Home
from recsys.store.events import EventStore
from services.api import create_app
from services.auth import Guard
from services.current import CurrentGeneration
from services.encoding import Encoders
from services.keys import REQUIRE_KEYS, Keys
from services.metrics import Metrics
from services.parts import ENCODING_THREADS, SCORING_THREADS, WRITING_THREADS, Parts
from services.problems import Boundary

REQUEST_TIMEOUT_SECONDS = 10  # BentoML leaves a timer of this length behind for every request: no longer than needed

app = create_app()


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
@bentoml.asgi_app(app)
class RecommenderService:
    """Recommendations over HTTP from the current generation and live events."""

    def __init__(self) -> None:
        import torch

        torch.set_num_threads(1)  # one request is small; threads would only take turns with the other workers
        home = Home.from_environment()
        metrics = Metrics()
        self.generation = CurrentGeneration(home, metrics)
        self.events = EventStore(Database.of(home))
        app.state.parts = Parts(
            home,
            self.generation,
            self.events,
            metrics,
            Guard(Keys(home, required=bool(os.environ.get(REQUIRE_KEYS)))),
            encoders=Encoders(home),
            scoring=CapacityLimiter(SCORING_THREADS),
            encoding=CapacityLimiter(ENCODING_THREADS),
            writing=CapacityLimiter(WRITING_THREADS),
        )
        self.generation.start()

    async def __is_ready__(self) -> bool:
        """Tell BentoML's /readyz: true, or an HTTPException with the reason."""
        return self.generation.recommender() is not None

    @bentoml.on_shutdown
    def close(self) -> None:
        """Let go of the database and stop following the pointer."""
        self.generation.stop()
        self.events.close()


# The decorator has made a bentoml.Service of the class, which a type checker cannot see.
RecommenderService.add_asgi_middleware(Boundary)  # type: ignore[attr-defined]
