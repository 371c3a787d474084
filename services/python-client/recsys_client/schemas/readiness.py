"""Whether a worker can answer, and what of it is loaded."""

from typing import Annotated

from pydantic import BaseModel, Field

STATES = 'or "failed: " and why, or "off" where it is loaded when a text needs it'


class Readiness(BaseModel):
    """What the worker that was asked has loaded; lists need the generation alone."""

    generation: Annotated[str, Field(description="What answers; empty where there are tenants, each with its own.")]
    texts: Annotated[
        str,
        Field(
            description=f'The encoder of its texts: "ready", "loading", {STATES}. After a switch the generation before '
            "answers texts until it is ready."
        ),
    ]
    classifier: Annotated[
        str, Field(description=f'The newest classifier: "ready", "loading", "none" where there is none, {STATES}.')
    ]
    tenants: Annotated[
        int | None, Field(description="Tenants whose catalogues are loaded; missing where there are no tenants.")
    ] = None
