"""The application: all routes, one shape of errors, one complete description."""

import json
from collections.abc import Callable
from functools import cache, partial
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI

from recsys_client.schemas.fields import Problem
from services.edge.auth import GuardedRoute, describe_keys
from services.edge.keyless import OwnMachine
from services.edge.metrics import Exposition
from services.edge.own import Heads
from services.edge.problems import install_handlers
from services.routes import (
    batch,
    classify,
    events,
    generations,
    items,
    lineage,
    operations,
    page,
    rates,
    recommend,
    texts,
    users,
)

MODULES = (
    recommend,
    batch,
    texts,
    classify,
    events,
    items,
    users,
    generations,
    lineage,
    rates,
    operations,
    page,
)


def create_app() -> FastAPI:
    """Return the application with all routes; whoever runs it sets ``app.state.worker`` first."""
    app = FastAPI(
        title="recsys",
        version=version("recsys"),
        summary="Recommendations from user behaviour and item texts.",
        description="HEAD is answered wherever GET is, without the body.",
        openapi_url=None,  # the document is one of the routes: made once, and sent as it is
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # who asks for a path that does not exist is told so
    )
    install_handlers(app)
    app.add_middleware(Heads)
    app.add_middleware(OwnMachine)
    for module in MODULES:
        unguarded = [route for route in module.router.routes if not isinstance(route, GuardedRoute)]
        if unguarded:
            raise TypeError(f"{module.__name__} has routes that no key guards; make its router by guarded_router().")
        app.include_router(module.router)
    app.openapi = partial(_complete, app, app.openapi)  # type: ignore[method-assign]
    app.state.document = cache(lambda: json.dumps(app.openapi(), ensure_ascii=False).encode())
    app.state.exposition = Exposition()
    return app


def _complete(app: FastAPI, generate: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the OpenAPI document with what FastAPI does not know: the errors' shape, and the keys."""
    document = generate()
    document["components"]["schemas"]["Problem"] = Problem.model_json_schema()
    describe_keys(document)
    return document
