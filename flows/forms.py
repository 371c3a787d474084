"""What a form takes for a flow's own parameters: Prefect's server refuses another before it keeps a run.

A flow that is called takes what its function takes, and says itself what is wrong. Settings bring their own bounds and
the words behind their fields; ``flows.locations`` has what a location may be.
"""

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import WithJsonSchema

from recsys.artifacts import ID_DIGITS
from recsys.settings.bounds import LONGEST_TEXT
from recsys.store.names import LONGEST_NAME
from recsys.store.promotions import LONGEST_REASON

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient

_ID = rf"[0-9a-f]{{{ID_DIGITS}}}"
_TEXT = {"type": "string", "pattern": r"\S", "maxLength": LONGEST_TEXT}
_DATE = r"\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)|02-(?:0[1-9]|[12]\d))"
_CLOCK = r"(?:[01]\d|2[0-3])(?::[0-5]\d(?::[0-5]\d(?:\.\d{1,6})?)?)?"
_ZONE = r"(?:[Zz]|[+-](?:[01]\d|2[0-3]):?[0-5]\d)"

SnapshotId = Annotated[str, WithJsonSchema({"type": "string", "pattern": f"^{_ID}$"})]
JoinedSnapshot = Annotated[str, WithJsonSchema({"type": "string", "pattern": f"^(?:{_ID}|latest)$"})]
# an id, how one begins, or an alias: what `recsys.store.names` knows
Named = Annotated[str, WithJsonSchema({"type": "string", "pattern": rf"^[0-9a-z][0-9a-z._-]{{0,{LONGEST_NAME - 1}}}$"})]
Text = Annotated[str, WithJsonSchema(_TEXT)]
Reason = Annotated[str, WithJsonSchema({**_TEXT, "maxLength": LONGEST_REASON})]
Folder = Annotated[str, WithJsonSchema(_TEXT)]  # of the machine that runs the flow
# a date, or a time as ISO 8601 writes it
Moment = Annotated[str, WithJsonSchema({"type": "string", "pattern": rf"^{_DATE}(?:[T ]{_CLOCK}{_ZONE}?)?$"})]
Deployment = Annotated[str, WithJsonSchema({**_TEXT, "pattern": "^[^/]+/[^/]+$"})]  # flow/deployment
Address = Annotated[str, WithJsonSchema({**_TEXT, "pattern": r"^\S+:\d+$"})]  # host:port
Document = Annotated[dict[str, Any], WithJsonSchema({"type": "object"})]  # of JSON; a flow says what it may hold
Seed = Annotated[int, WithJsonSchema({"type": "integer", "minimum": 0, "maximum": 2**32 - 1})]
NotNegative = Annotated[float, WithJsonSchema({"type": "number", "minimum": 0})]


def at_least(number: int) -> Any:
    """Return what a form takes for a whole number."""
    return WithJsonSchema({"type": "integer", "minimum": number})


Count = Annotated[int, at_least(1)]


def some_of(names: tuple[str, ...]) -> Any:
    """Return what a form takes for one or more of some names."""
    items = {"type": "string", "enum": list(names)}
    return WithJsonSchema({"type": "array", "items": items, "minItems": 1, "uniqueItems": True})


def close_forms(client: "SyncPrefectClient", deployments: "Iterable[UUID]") -> None:
    """Let the server refuse parameters that the flows of some deployments have not: Prefect leaves that open."""
    for one in deployments:
        schema = client.read_deployment(one).parameter_openapi_schema or {}
        body = {"parameter_openapi_schema": {**schema, "additionalProperties": False}}
        client.request("PATCH", "/deployments/{id}", path_params={"id": one}, json=body).raise_for_status()
