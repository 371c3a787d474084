"""The OpenAPI document by itself: what it says of a body is what the service makes of it, in words that others know."""

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import BaseModel, ValidationError

from recsys_client import Client
from recsys_client.schemas.classify import ClassifyRequest
from recsys_client.schemas.events import EventsRequest, NewEvent
from recsys_client.schemas.generations import PromoteRequest, RollbackRequest, ShadowRequest
from recsys_client.schemas.items import PatchItemRequest, PutItemRequest, PutItemsRequest
from recsys_client.schemas.page import NewRow, PageRequest
from recsys_client.schemas.recipes import (
    BecauseYouLikedRequest,
    BoughtTogetherRequest,
    BuyAgainRequest,
    NewArrivalsRequest,
    PopularRequest,
    RecentlyViewedRequest,
    TrendingRequest,
)
from recsys_client.schemas.recommend import (
    BatchRequest,
    NewPromotion,
    RankRequest,
    RecommendRequest,
    SimilarRequest,
    UserOrHistory,
)
from recsys_client.schemas.texts import EmbedRequest, SearchRequest
from recsys_client.schemas.users import PutUserRequest, SimilarUsersRequest
from services.api import create_app
from services.edge.description import TAGS

KEYLESS, KEYED = (json.loads(create_app().state.document(keyed)) for keyed in (False, True))
BODIES: dict[type[BaseModel], list[dict[str, Any]]] = {  # as small as they may be
    RecommendRequest: [{"user_id": "7"}, {"history": []}, {"user_id": "7", "history": None}],
    UserOrHistory: [{"user_id": "7"}, {"history": ["50"]}],
    BatchRequest: [{"users": [{"user_id": "7"}]}],
    RankRequest: [{"user_id": "7", "item_ids": ["50"]}, {"history": [], "item_ids": ["50"]}],
    SimilarRequest: [{"item_id": "50"}],
    BecauseYouLikedRequest: [{}, {"user_id": "7", "item_id": "50"}],
    BoughtTogetherRequest: [{"item_ids": ["50"]}, {"item_ids": ["50"], "history": []}],
    BuyAgainRequest: [{"user_id": "7"}, {"history": []}],
    NewArrivalsRequest: [{}, {"user_id": "7", "days": 60}],
    RecentlyViewedRequest: [{"user_id": "7"}, {"history": []}],
    PopularRequest: [{}, {"user_id": "7"}, {"history": []}],
    TrendingRequest: [{}, {"user_id": "7"}],
    PageRequest: [{}, {"user_id": "7"}, {"history": []}],
    NewRow: [{"recipe": "popular"}],
    SimilarUsersRequest: [{"user_id": "7"}, {"history": ["50"]}],
    PutUserRequest: [{"attributes": {}}, {"attributes": {"age": 34, "sex": None}}],
    SearchRequest: [{"query": ""}],
    EmbedRequest: [{"texts": [""]}],
    ClassifyRequest: [{"texts": [""]}],
    EventsRequest: [{"events": [{"user_id": "7", "item_id": "50"}]}],
    NewEvent: [{"user_id": "7", "item_id": "50"}],
    NewPromotion: [{"item_id": "50", "slot": 1}],
    PutItemRequest: [{"title": "x"}],
    PutItemsRequest: [{"items": [{"item_id": "1", "title": "x"}]}],
    PatchItemRequest: [{"year": 1999}],
    PromoteRequest: [{}, {"force": True, "reason": "why"}],
    RollbackRequest: [{}, {"to": "0" * 16}],
    ShadowRequest: [{}],
}
VALUES: list[Any] = [
    *(None, True, False, "", "x", "x" * 256, "x" * 257, "a\nb", "a\u2028b", "5", "2026-01-31T12:00:00Z"),
    *(-1, 0, 1, 2, 200, 201, 1_000, 1_001, 5.0, 0.5, 1.5, -0.5, 1e300, 2**70),
    *([], ["x"], [""], [1], [None], ["x"] * 50, ["x"] * 51, ["x"] * 256, ["x"] * 257, ["x"] * 1_000, ["x"] * 1_001),
    *({}, {"x": 1}, {"x": 0}, {"x": 201}, {"x": "1"}, {"": 1}, {"a\nb": 1}, {str(number): 1 for number in range(11)}),
    *({"days": 7}, {"days": 0}, {"days": "7"}, {"days": True}, {"days": None, "event_types": ["buy"]}, {"days": 1e9}),
    *({"event_types": []}, {"event_types": ["buy", 1]}, {"event_types": None}, {"days": 7, "by": "buy"}),
    *([{"item_id": "50", "slot": 1}], [{"item_id": "50", "slot": 0}], [{"item_id": "50"}], [{}]),
    *([{"user_id": "7"}], [{"user_id": "7", "history": []}], [{"user_id": "7", "x": 1}], [{"user_id": "7"}] * 257),
]


def schemas_in(node: Any) -> Iterator[dict[str, Any]]:
    """Return every schema of a document, wherever it stands."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name in ("schema", "items", "additionalProperties", "propertyNames") and isinstance(value, dict):
                yield value
            elif name in ("schemas", "properties") and isinstance(value, dict):
                yield from value.values()
            elif name in ("anyOf", "allOf", "oneOf"):
                yield from value
            yield from schemas_in(value)
    elif isinstance(node, list):
        for value in node:
            yield from schemas_in(value)


def accepts(model: type[BaseModel], body: Any) -> bool:
    try:
        model.model_validate_json(json.dumps(body))
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("document", [KEYLESS, KEYED], ids=["without keys", "with keys"])
def test_every_word_of_a_schema_is_json_schemas(document: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(document).validate()
    known = {
        *("type", "enum", "const", "format", "pattern", "minLength", "maxLength", "minimum", "maximum"),
        *("exclusiveMinimum", "exclusiveMaximum", "items", "minItems", "maxItems", "uniqueItems"),
        *("properties", "required", "additionalProperties", "propertyNames", "minProperties", "maxProperties"),
        *("anyOf", "allOf", "not", "if", "then", "else", "$ref", "title", "description", "examples", "default"),
    }
    found = list(schemas_in(document))
    assert len(found) > 300
    assert not {word for schema in found for word in schema if word not in known}
    fields = [one for schema in document["components"]["schemas"].values() for one in schema["properties"].values()]
    assert not [field for field in fields if "default" in field]  # generators would have callers send it
    assert {"id", "aliases", "generations"} <= set(document["components"]["schemas"]["AdapterCard"]["required"])


def test_no_body_is_left_out_below() -> None:
    sent = (operation.get("requestBody", {}) for methods in KEYLESS["paths"].values() for operation in methods.values())
    found = re.findall(r"#/components/schemas/(\w+)", json.dumps(list(sent)))
    assert set(found) <= {model.__name__ for model in BODIES}


@pytest.mark.parametrize("model", BODIES, ids=lambda model: model.__name__)
def test_the_document_accepts_what_the_service_accepts(model: type[BaseModel]) -> None:
    schema = {"$ref": f"#/components/schemas/{model.__name__}", "components": KEYLESS["components"]}
    validator = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
    described = KEYLESS["components"]["schemas"][model.__name__]
    bodies = [*BODIES[model], *described.get("examples", [])]
    for body in bodies:
        assert validator.is_valid(body), body
        assert accepts(model, body), body
    told: dict[str, set[bool]] = {}
    for body, field in itertools.product(BODIES[model], [*described["properties"], "nothing"]):
        others = {name: value for name, value in body.items() if name != field}
        for changed in (others, *({**others, field: value} for value in VALUES)):
            expected = accepts(model, changed)
            assert validator.is_valid(changed) == expected, (field, str(changed)[:200])
            told.setdefault(field, set()).add(expected)
    assert {field for field, answers in told.items() if answers == {True}} <= {"nothing"}, told


def test_operations_are_called_as_the_clients_methods_and_tags_are_explained() -> None:
    for document in (KEYLESS, KEYED):
        operations = [one for methods in document["paths"].values() for one in methods.values()]
        names = [operation["operationId"] for operation in operations]
        assert sorted(names) == sorted({name for name in vars(Client) if not name.startswith("_")} - {"close"})
        assert {tag for operation in operations for tag in operation["tags"]} == set(TAGS)
        assert {tag["name"] for tag in document["tags"] if tag["description"]} == set(TAGS)
        for operation in operations:
            assert operation["description"]
            assert all(parameter["description"] for parameter in operation.get("parameters", ()))


def test_only_a_service_with_keys_asks_for_one() -> None:
    assert "securitySchemes" not in KEYLESS["components"]
    for path, methods in KEYLESS["paths"].items():
        for method, operation in methods.items():
            other = KEYED["paths"][path][method]
            assert operation["security"] == []
            assert bool(other["security"]) == path.startswith("/v1/")
            assert not {"401", "429"} & set(operation["responses"])
            assert "403" in operation["responses"]
            assert {"401", "403", "429"} <= set(other["responses"]) or not other["security"]
            body = "requestBody" in operation
            assert ("415" in operation["responses"]) == (method != "get")  # also for what says it is a form
            assert ("415" in other["responses"]) == body
            assert not body or {"400", "413", "422"} <= set(operation["responses"])
            sent = operation["requestBody"]["content"]["application/json"]["schema"] if body else {}
            assert {"type": "null"} not in sent.get("anyOf", [])  # where it may be left out, clients would send null


def test_every_error_is_described_with_its_shape_and_its_headers() -> None:
    told = {401: "WWW-Authenticate", 403: "WWW-Authenticate", 415: "Accept", 429: "Retry-After", 503: "Retry-After"}
    for document in (KEYLESS, KEYED):
        for methods in document["paths"].values():
            for operation in methods.values():
                responses = operation["responses"]
                assert {"400", "408", "431", "500", "503"} <= set(responses)
                for status, response in responses.items():
                    assert "X-Request-ID" in response["headers"]
                    assert told.get(int(status), "X-Request-ID") in response["headers"]
                    if int(status) < 400:
                        assert list(response.get("content", {})) in (["application/json"], ["text/plain"], [])
                        continue
                    shape = {"schema": {"$ref": "#/components/schemas/Problem"}}
                    assert response["content"] == {"application/problem+json": shape}
