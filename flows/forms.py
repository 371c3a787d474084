"""What a form takes for a flow's own parameters: Prefect's server refuses another before it keeps a run.

A flow that is called takes what its function takes, and says itself what is wrong. Settings bring their own bounds and
the words behind their fields; ``flows.locations`` has what a location may be.

Run ``python -m flows.forms`` after ``prefect deploy``: Prefect leaves the names of a flow's own parameters open.
"""

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import WithJsonSchema

from recsys.artifacts import ID_DIGITS
from recsys.store.names import LONGEST_NAME

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

_ID = rf"[0-9a-f]{{{ID_DIGITS}}}"
_TEXT = {"type": "string", "pattern": r"\S"}

SnapshotId = Annotated[str, WithJsonSchema({"type": "string", "pattern": f"^{_ID}$"})]
# an id, how one begins, or an alias: what `recsys.store.names` knows
Named = Annotated[str, WithJsonSchema({"type": "string", "pattern": rf"^[0-9a-z][0-9a-z._-]{{0,{LONGEST_NAME - 1}}}$"})]
Text = Annotated[str, WithJsonSchema(_TEXT)]
Folder = Annotated[str, WithJsonSchema(_TEXT)]  # of the machine that runs the flow
# a date, or a time as ISO 8601 writes it
Moment = Annotated[str, WithJsonSchema({"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}"})]
Deployment = Annotated[str, WithJsonSchema({"type": "string", "pattern": "^[^/]+/[^/]+$"})]  # flow/deployment
Seed = Annotated[int, WithJsonSchema({"type": "integer", "minimum": 0, "maximum": 2**32 - 1})]
Count = Annotated[int, WithJsonSchema({"type": "integer", "minimum": 1})]


def some_of(names: tuple[str, ...]) -> Any:
    """Return what a form takes for one or more of some names."""
    items = {"type": "string", "enum": list(names)}
    return WithJsonSchema({"type": "array", "items": items, "minItems": 1, "uniqueItems": True})


def close_forms(client: "SyncPrefectClient", tag: str = "recsys") -> None:
    """Let the server refuse parameters that a flow has not, of each deployment with a tag: Prefect leaves that open."""
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags

    ours = DeploymentFilter(tags=DeploymentFilterTags(all_=[tag]))
    for deployment in client.read_deployments(deployment_filter=ours):
        schema = {**(deployment.parameter_openapi_schema or {}), "additionalProperties": False}
        body = {"parameter_openapi_schema": schema}
        client.request("PATCH", "/deployments/{id}", path_params={"id": deployment.id}, json=body).raise_for_status()


if __name__ == "__main__":
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        close_forms(client)
