"""Generations, adapters and the shadow: what there is, what serves, and switching it."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from recsys_client.schemas.fields import Flag, Number, Request


class GenerationsAnswer(BaseModel):
    """All generations, and how this worker stands to the current one."""

    serving: str | None = Field(description="What this worker answers from.")
    current: str | None = Field(description="Where the pointer points.")
    problem: str | None = Field(description="Why the current one is not served.")
    generations: list[dict[str, Any]]
    attributes: dict[str, str] = Field(
        {},
        description="What may be said of users to the one that serves: types in words by name, such as a whole number.",
    )
    context: dict[str, str] = Field({}, description="Likewise what a request's context may hold.")


class AdapterCard(BaseModel):
    """What an adapter was made from and how well it does, and whether it can answer here."""

    model_config = ConfigDict(extra="allow")

    id: str
    generations: list[str] = Field(description="That recommend, or search, by it, the newest last.")
    can_answer: bool = Field(description="Whether a request may name it.")
    serving: bool = Field(description="Whether the current generation recommends, or searches, by it.")
    weights: dict[str, float] | None = Field(None, description="By component, in the newest generation made with it.")
    adapter_share: float | None = Field(None, description="Of all weight, what hangs on the adapter; 0: no list does.")
    adapter_part: str | None = Field(None, description="The same in a sentence.")
    made: str | None = Field(None, description="When it was stored (UTC).")
    aliases: list[str] = Field([], description="Names that stand for it in a request, and may be moved to another.")
    tags: list[str] = []
    note: str | None = None


class AdaptersAnswer(BaseModel):
    """The cards of all adapters, by id."""

    adapters: list[AdapterCard]


class PromoteRequest(Request):
    """How to promote."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"force": False}]})

    force: Flag = Field(False, description="Serve it whatever the gate says.")


class SwitchAnswer(BaseModel):
    """What is served now; every worker follows within two seconds."""

    generation: str
    previous: str | None
    findings: list[str] = Field(description="What the gate found; empty after a rollback.")


class ShadowRequest(Request):
    """How much the shadow answers."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"share": 0.1}]})

    share: Number = Field(default=0.1, gt=0, le=1, description="Of the requests to /v1/recommend.")


class ShadowAnswer(BaseModel):
    """The shadow, compared with what was answered, over its newest 10,000 answers; null where there are none."""

    generation: str | None = None
    share: float | None = None
    since: str | None = None
    answers: int = 0
    overlap: float | None = Field(None, description="Mean share of the items that both lists hold.")
    clicks: int = Field(0, description="That the live answers among them have brought, see GET /v1/rates.")
    clicks_shared: float | None = Field(
        None,
        description="Share of the clicked items that the shadow's lists hold as well; above overlap speaks for it.",
    )
    live_p50: float | None = Field(None, description="Milliseconds, like the three below.")
    live_p95: float | None = None
    shadow_p50: float | None = None
    shadow_p95: float | None = None
    live_cold: float | None = Field(None, description="Mean share of items without a training event.")
    shadow_cold: float | None = None
