"""The application: all routes, one shape of errors, one complete description."""

import json
from functools import cache

from fastapi import FastAPI

from recsys import __version__
from services.edge.auth import GuardedRoute
from services.edge.description import INFORMATION, TAGS, describe
from services.edge.keyless import OwnMachine
from services.edge.metrics import Exposition
from services.edge.own import Heads
from services.edge.problems import install_handlers
from services.edge.representations import Representations
from services.routes import (
    batch,
    classify,
    comparison,
    events,
    generations,
    items,
    lineage,
    lists,
    many_items,
    operations,
    page,
    promotions,
    rates,
    recommend,
    texts,
    users,
)

MODULES = (
    recommend,
    batch,
    lists,
    texts,
    classify,
    events,
    many_items,
    items,
    users,
    generations,
    comparison,
    promotions,
    lineage,
    rates,
    operations,
    page,
)


def create_app() -> FastAPI:
    """Return the application with all routes; whoever runs it sets ``app.state.workers`` first."""
    app = FastAPI(
        title="recsys",
        version=__version__,
        summary="Recommendations from user behaviour and item texts.",
        openapi_tags=[{"name": name, "description": meaning} for name, meaning in TAGS.items()],
        generate_unique_id_function=lambda route: route.name,  # as the method of the client is called
        **INFORMATION,
        openapi_url=None,  # the document is one of the routes: made once, and sent as it is
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # who asks for a path that does not exist is told so
    )
    install_handlers(app)
    app.add_middleware(Representations)
    app.add_middleware(Heads)
    app.add_middleware(OwnMachine)
    for module in MODULES:
        unguarded = [route for route in module.router.routes if not isinstance(route, GuardedRoute)]
        if unguarded:
            raise TypeError(f"{module.__name__} has routes that no key guards; make its router by guarded_router().")
        app.include_router(module.router)
    app.state.document = cache(lambda keyed: json.dumps(describe(app.openapi(), keyed), ensure_ascii=False).encode())
    app.state.exposition = Exposition()
    return app
