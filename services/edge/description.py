"""The OpenAPI document: what FastAPI makes of the routes, and what it does not know of the errors and the keys.

With keys every route says which scope it needs; while there are none, nobody is asked for one, and the document does
not ask either.
"""

import copy
from collections.abc import Container
from http import HTTPStatus
from typing import Any

from pydantic.json_schema import models_json_schema

from recsys_client.schemas.problems import PROBLEM_JSON, Problem
from services.edge.representations import describe_validators

SCHEME = "key"
SCHEME_DESCRIPTION = (
    "A key from `recsys keys create`. Scopes: `recommend` asks for items, `write` sends events and items, `admin` does "
    "everything."
)
DESCRIPTION = (
    "HEAD is answered wherever GET is, without the body. Every response has an `X-Request-ID`: the caller's own, or a "
    "new one. Errors are `application/problem+json`, also for paths and methods that are not described here (404, "
    "405), and unknown fields are refused. "
)
WITH_KEYS = "Every operation below /v1 needs a key."
WITHOUT_KEYS = (
    "No key was ever made (`recsys keys create`), so none is asked for, and only this machine and the service's own "
    "page are answered; others get 403."
)
INFORMATION: dict[str, Any] = {
    "contact": {"name": "Whoever runs this service"},
    "license_info": {"name": "Apache License 2.0", "identifier": "Apache-2.0"},
    "servers": [{"url": "/", "description": "The service that this document comes from."}],
}
TAGS = {
    "lists": "Items for users, in order; items like another.",
    "texts": "Texts to items, vectors and labels.",
    "events": "What users do, as it happens.",
    "items": "Items beside those of the catalogue, and these.",
    "users": "What is known of a user, forgetting it, and where an answer came from.",
    "generations": "What there is to answer from, what answers, and switching it.",
    "operations": "Whether the service lives and is ready, and its numbers.",
}
EVERYWHERE = {400, 408, 431, 500, 503}  # whatever the route: how the request is sent, and how the service does
ONLY_WITH_KEYS = {401, 429}
WRITING = ("post", "put", "patch", "delete")
REQUEST_ID = "X-Request-ID"
HEADERS: dict[str, tuple[Container[int], str]] = {  # the statuses that have one, and what it says
    REQUEST_ID: (range(600), "Under which the service's log knows the request: the caller's own, or a new one."),
    "RateLimit-Policy": ({429}, "What the key may ask for: requests at once (q), back within so many seconds (w)."),
    "RateLimit": ({429}, "What is left of it (r), and in how many seconds it is whole again (t)."),
    "Location": ({202}, "Where to ask what became of it."),
    "Preference-Applied": ({202}, "What of Prefer is followed, where something is."),
    "Retry-After": ({202, 429, 503}, "Seconds after which to ask again."),
    "WWW-Authenticate": ({401, 403}, "Bearer, and what is wrong with the key; of 403 where it lacks a scope."),
    "Accept": ({415}, "The media type that the route takes."),
    "Accept-Encoding": ({415}, "The content codings that the route takes."),
}


def describe(generated: dict[str, Any], keyed: bool) -> dict[str, Any]:
    """Return the whole document.

    Args:
        generated: as FastAPI makes it; it is left as it is.
        keyed: whether the service asks for keys.
    """
    document: dict[str, Any] = _whole(copy.deepcopy(generated))
    describe_validators(document)
    document["info"]["description"] = DESCRIPTION + (WITH_KEYS if keyed else WITHOUT_KEYS)
    components = document["components"]
    components["schemas"] |= _schemas_of_errors()
    for schema in components["schemas"].values():
        _require_defaults(schema)
    if keyed:
        components["securitySchemes"] = {
            SCHEME: {"type": "http", "scheme": "bearer", "description": SCHEME_DESCRIPTION}
        }
    used: set[str] = set()
    for operations in document["paths"].values():
        for method, operation in operations.items():
            _leave_out_null(operation.get("requestBody", {}))
            answers = {status: response for status, response in operation["responses"].items() if int(status) < 400}
            for status, response in answers.items():
                response.setdefault("headers", {}).update(_headers(int(status)))
            statuses = {int(status) for status in operation["responses"]} - {int(status) for status in answers}
            statuses |= EVERYWHERE
            if keyed:
                statuses |= {415} if "requestBody" in operation else set()
            else:
                operation["security"] = []
                statuses = statuses - ONLY_WITH_KEYS | {403} | ({415} if method in WRITING else set())
            operation["responses"] = answers | {str(status): _error(status) for status in sorted(statuses)}
            used.update(*(response["headers"] for response in operation["responses"].values()))
    components["headers"] = {
        name: {"schema": {"type": "string"}, "description": meaning}
        for name, (_, meaning) in HEADERS.items()
        if name in used
    }
    return document


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the errors of a route as FastAPI takes them, in short: ``describe`` says the rest."""
    return {status: {"description": HTTPStatus(status).phrase} for status in statuses}


def _error(status: int) -> dict[str, Any]:
    return {
        "description": HTTPStatus(status).phrase,
        "headers": _headers(status),
        "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


def _headers(status: int) -> dict[str, dict[str, str]]:
    """Return the headers of a status."""
    return {
        name: {"$ref": f"#/components/headers/{name}"} for name, (statuses, _) in HEADERS.items() if status in statuses
    }


def _leave_out_null(body: dict[str, Any]) -> None:
    """Describe a body that may be left out as that, not as one that may be null, which generated clients would send."""
    for content in body.get("content", {}).values():
        kinds = [kind for kind in content["schema"].get("anyOf", ()) if kind != {"type": "null"}]
        if len(kinds) == 1:
            content["schema"] = kinds[0]


def _require_defaults(schema: dict[str, Any]) -> None:
    """Describe the fields of an answer that have a default as what they are: always sent.

    Their defaults are for clients that ask an older service; bodies tell theirs in words.
    """
    fields = schema.get("properties", {})
    told = [name for name, field in fields.items() if "default" in field]
    for name in told:
        del fields[name]["default"]
    if told:
        schema["required"] = [name for name in fields if name in {*schema.get("required", ()), *told}]


def _schemas_of_errors() -> dict[str, Any]:
    _, made = models_json_schema([(Problem, "serialization")], ref_template="#/components/schemas/{model}")
    schemas: dict[str, Any] = made["$defs"]
    return schemas


def _whole(node: Any) -> Any:
    """Return a document in which whole numbers are written as such: FastAPI writes every bound as 200.0."""
    if isinstance(node, dict):
        return {name: _whole(value) for name, value in node.items()}
    if isinstance(node, list):
        return [_whole(value) for value in node]
    return int(node) if isinstance(node, float) and node.is_integer() else node
