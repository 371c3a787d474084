"""Generations, adapters and the shadow: what there is, what serves, and switching it."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from recsys_client.schemas.fields import Flag, Id, Number, Request

# One line, which begins with something: it becomes a line of a log and of tables.
_BLANKS = r"\u0020\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
_CONTROLS = r"\u0000-\u001f\u007f-\u009f\u2028\u2029"
Reason = Annotated[
    str, StringConstraints(min_length=1, max_length=500, pattern=rf"^[^{_CONTROLS}{_BLANKS}][^{_CONTROLS}]*$")
]


class PromotionProblem(BaseModel):
    """Why a promotion was refused or has failed, as an error says it."""

    status: int
    code: str = Field(description="For programs to switch on.")
    detail: str = Field(description="What is wrong and what to do about it, for people.")


class PromotionAnswer(BaseModel):
    """An attempt to serve a generation, and what became of it."""

    promotion: str = Field(description="Its id, for GET /v1/promotions/{promotion_id}.")
    state: Literal["running", "promoted", "refused", "failed"] = Field(
        description="`running`: it is being judged; `promoted`: it is served; `refused` by the gate; `failed`: see "
        "`problem`. What has not been promoted has changed nothing."
    )
    generation: str
    previous: str | None = Field(description="What was served before; null while it is running, and of nothing.")
    findings: list[str] | None = Field(description="What the gate found; null while it is running.")
    by: str = Field(description="Whose login, or whose key.")
    reason: str | None
    forced: bool = Field(description="Whether the gate is to be overruled.")
    at: str = Field(description="When it was asked for (UTC).")
    ended: str | None = Field(description="When it was decided (UTC).")
    problem: PromotionProblem | None = Field(description="Why it was refused or has failed.")


class GenerationsAnswer(BaseModel):
    """All generations, and how this worker stands to the current one."""

    serving: str | None = Field(description="What this worker answers from.")
    current: str | None = Field(description="Where the pointer points.")
    problem: str | None = Field(description="Why the current one is not served.")
    promoting: PromotionAnswer | None = Field(None, description="The promotion that is under way, of any worker.")
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

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"force": False}, {"force": True, "reason": "The old one has no spring catalogue."}],
            "if": {"required": ["force"], "properties": {"force": {"const": True}}, "additionalProperties": True},
            "then": {
                "required": ["reason"],
                "properties": {"reason": {"not": {"type": "null"}}},
                "additionalProperties": True,
            },
        }
    )

    force: Flag = Field(
        default=False,
        description="Serve it whatever the gate says, which takes a reason. What is broken is not served even so.",
    )
    reason: Reason | None = Field(
        default=None, validate_default=True, description="Why, in words; GET /v1/promotions keeps it."
    )

    @field_validator("reason")
    @classmethod
    def _given_where_forced(cls, reason: str | None, info: ValidationInfo) -> str | None:
        if reason is None and info.data.get("force"):
            raise PydanticCustomError("reason_wanted", "to overrule the gate takes a reason")
        return reason


class RollbackRequest(Request):
    """Where to go back to."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "Its lists were odd."}]})

    to: Id | None = Field(
        default=None, description="Id or alias of any generation; the one before the current one where left out."
    )
    reason: Reason | None = Field(default=None, description="Why, in words; GET /v1/promotions keeps it.")


class SwitchAnswer(BaseModel):
    """What is served now; every worker follows within two seconds."""

    generation: str
    previous: str | None
    findings: list[str] = Field(description="Empty after a rollback.")


class PromotionRecord(BaseModel):
    """One switch of what is served, or one that was refused."""

    at: str = Field(description="When it was decided (UTC).")
    action: Literal["publish", "rollback", "refused"]
    generation: str = Field(description="What it is about.")
    previous: str | None = Field(description="What was served until then; after a refusal it still is.")
    by: str = Field(description="Whose login, or whose key.")
    run: str | None = Field(description="The flow run that did it.")
    reason: str | None
    forced: bool = Field(description="Whether the gate was to be overruled.")
    passed: bool | None = Field(description="What the gate said; null where it was not asked.")
    findings: list[str] = Field(description="Of the gate, or what is broken.")
    promotion: str | None = Field(
        None, description="Its id, for GET /v1/promotions/{promotion_id}; null of what this service was not asked for."
    )


class PromotionsAnswer(BaseModel):
    """What was served when, by whom and why, and what was refused; the newest first."""

    promotions: list[PromotionRecord]


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
