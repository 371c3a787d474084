"""Errors: their shape (RFC 9457), the codes to switch on, and which part of a request is wrong.

``Code`` is the one table of them: the service raises them, the OpenAPI document and the service's page list them.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from difflib import get_close_matches
from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self, get_args

from pydantic import BaseModel, Field

from recsys_client.schemas.fields import left_out

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

PROBLEM_JSON = "application/problem+json"
TYPES = "/problems/"  # where the service explains a code
LONGEST_NAME = 50  # of a field that was meant to be another; comparing takes time
KEY = "[key]"  # pydantic's name for the name of a member, in the place of an error
EXTRA = "extra_forbidden"  # pydantic's name for a field that is not declared


class Code(StrEnum):
    """Why a request is refused, for programs: a word that stays, its HTTP status, and when it happens.

    The first of a status stands for whatever has no word of its own.
    """

    status: int
    meaning: str

    def __new__(cls, word: str, status: int, meaning: str) -> Self:
        code = str.__new__(cls, word)
        code._value_ = word
        code.status = status
        code.meaning = meaning
        return code

    BAD_REQUEST = "bad-request", 400, "No HTTP/1.1, no `Host` or two, or a target that is no path."
    INVALID_JSON = "invalid-json", 400, "The body is no JSON."
    UNAUTHORISED = "missing-key", 401, "There is no `Authorization: Bearer …`."
    UNKNOWN_KEY = "unknown-key", 401, "The key was never made here, or is revoked."
    MISSING_SCOPE = "missing-scope", 403, "The key lacks the scope that the route needs."
    THIS_MACHINE_ONLY = "this-machine-only", 403, (
        "The service has no keys, and the request comes from another machine, through a proxy, from another page, or "
        "under a name of others."
    )  # fmt: skip
    TELLS_HISTORY = "tells-history", 403, (
        "The list would tell what its user has seen, which needs the scope `admin`."
    )  # fmt: skip
    NOT_FOUND = "not-found", 404, "There is nothing at this path."
    UNKNOWN_ITEM = "unknown-item", 404, "There is no such item."
    UNKNOWN_ADAPTER = "unknown-adapter", 404, "There is no such adapter, or no classifier at all."
    UNKNOWN_GENERATION = "unknown-generation", 404, "There is no such generation."
    UNKNOWN_PROMOTION = "unknown-promotion", 404, "There is no such promotion, or it is no longer kept."
    UNKNOWN_RECOMMENDATION = "unknown-recommendation", 404, (
        "No such answer is recorded: it is too old, or its user was forgotten."
    )  # fmt: skip
    UNKNOWN_COLUMN = "unknown-column", 404, "The address names a column that the catalogue does not have."
    NOT_THE_SHADOW = "not-the-shadow", 404, "The generation is not the shadow."
    METHOD_NOT_ALLOWED = "method-not-allowed", 405, "The path has other methods; `Allow` names them."
    TOO_SLOW = "too-slow", 408, "The request did not arrive in time, or nobody waits for its answer."
    CANNOT_ANSWER = "cannot-answer", 409, (
        "The generation or adapter exists and cannot be used: it is broken, or made for something else."
    )  # fmt: skip
    NO_SUCH_LIST = "no-such-list", 409, "The generation cannot have such a list: its events lack what it is made from."
    REFUSED_BY_GATE = "refused-by-gate", 409, (
        "The generation is worse than what serves; `force` with a `reason` overrules it."
    )  # fmt: skip
    SWITCHED_MEANWHILE = "switched-meanwhile", 409, (
        "Another generation was served meanwhile than the decision rested on; look again."
    )  # fmt: skip
    PROMOTION_RUNNING = "promotion-running", 409, (
        "Another promotion is under way; `Location` says where to ask for it."
    )  # fmt: skip
    NOTHING_BEFORE = "nothing-before", 409, "There is no generation to roll back to, or it is broken."
    NO_ROOM = "no-room", 409, "There may be no more live items, of this key or of all."
    NOT_IN_CATALOGUE = "not-in-catalogue", 409, "The served catalogue does not hold the item that shall be given back."
    NO_ROOM_FOR_USERS = "no-room-for-users", 409, (
        "The user's attributes are too large together, or as many users have some as may have."
    )  # fmt: skip
    NOT_REPLAYABLE = "not-replayable", 409, "The answer cannot be made again."
    TOO_LARGE = "body-too-large", 413, "The body has more bytes or commas than its route takes."
    ITEM_TOO_LARGE = "item-too-large", 413, "The columns of an item are too large together."
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type", 415, "The body is not sent as `application/json`."
    UNSUPPORTED_ENCODING = "unsupported-encoding", 415, "The body is compressed; send it as it is."
    INVALID_REQUEST = "invalid-request", 422, "The request does not fit its schema; `errors` says where."
    UNKNOWN_FIELD = "unknown-field", 422, "`fields` names a column that the catalogue does not have."
    INVALID_FILTER = "invalid-filter", 422, "The filter does not fit the catalogue."
    INVALID_LIMITS = "invalid-limits", 422, "`limits` does not fit the catalogue."
    INVALID_OBJECTIVE = "invalid-objective", 422, "`objective` names no column of numbers."
    INVALID_ITEM = "invalid-item", 422, "The item's columns do not fit the catalogue."
    INVALID_ATTRIBUTES = "invalid-attributes", 422, "The user's attributes do not fit those of the served snapshot."
    INVALID_CONTEXT = (
        "invalid-context",
        422,
        "`context` is not what the served snapshot declares.",
    )
    TOO_MANY_REQUESTS = "too-many-requests", 429, "The key asks more often than it may, or more at once."
    HEADERS_TOO_LARGE = (
        "headers-too-large",
        431,
        "Path and headers are too much, or the body comes in crumbs.",
    )
    FAULT = "fault", 500, "The service failed; its log says why."
    UNAVAILABLE = "unavailable", 503, "It cannot be answered at the moment; ask again later."
    OVERLOADED = "overloaded", 503, "There is more to do than can be done; nothing was done."
    TOO_LATE = "too-late", 503, "No answer was ready in time; what was begun may still be done."
    PROMOTION_LOST = "promotion-lost", 503, "The worker that judged it has ended before it was decided; ask again."
    LOADING = "loading", 503, "What the answer needs is still being loaded."
    NOTHING_SERVED = "nothing-served", 503, "No generation is loaded."
    TEXTS_UNAVAILABLE = "texts-unavailable", 503, "The encoder of texts cannot be loaded."
    DATABASE_UNAVAILABLE = "database-unavailable", 503, "The database cannot be reached; nothing was stored."
    FILES_DAMAGED = "files-damaged", 503, "Files of the service are missing or damaged."

    @classmethod
    def of(cls, status: int) -> "Code | None":
        """Return the general code of a status; None where there is none."""
        return next((code for code in cls if code.status == status), None)


class Violation(BaseModel):
    """One thing that is wrong with a request: a place in its body, or a parameter."""

    pointer: str | None = Field(
        default=None,
        json_schema_extra=left_out,
        description="Where in the body, as a JSON pointer (RFC 6901): /users/0/history/3; empty for the whole of it.",
    )
    parameter: str | None = Field(
        default=None, json_schema_extra=left_out, description="Which parameter of the path or the query."
    )
    code: str = Field(description="Which rule, for programs: missing, extra-forbidden, less-than-equal and the like.")
    detail: str = Field(description="What is wrong with it.")


def _enumerated(schema: dict[str, Any]) -> None:
    left_out(schema)
    schema["enum"] = [str(code) for code in Code]


class Problem(BaseModel):
    """An error, as application/problem+json. What says nothing is left out."""

    type: str = Field(
        default="about:blank",
        json_schema_extra=left_out,
        description="The page that explains the code, below the service's address.",
    )
    title: str = Field(description="The status in words.")
    status: int
    code: str | None = Field(  # no Code: a client reads those of newer services, too
        default=None, json_schema_extra=_enumerated, description="Why, for programs to switch on."
    )
    detail: str = Field(description="What is wrong and what to do about it, for people.")
    errors: list[Violation] | None = Field(
        default=None, json_schema_extra=left_out, description="What is wrong where, the first of many; of 422 always."
    )
    request_id: str | None = Field(
        default=None, json_schema_extra=left_out, description="As in X-Request-ID and in the service's log."
    )

    @classmethod
    def of(cls, code: Code, detail: str, errors: Sequence[Violation] = (), request_id: str | None = None) -> Self:
        """Return the problem of a code."""
        return cls(
            type=f"{TYPES}{code}",
            title=HTTPStatus(code.status).phrase,
            status=code.status,
            code=code,
            detail=detail,
            errors=list(errors) or None,
            request_id=request_id,
        )


def violation(error: "ErrorDetails", place: Sequence[str | int], body: Any) -> Violation:
    """Return what pydantic says of a place in a body; beside an unknown field, those that there are.

    Args:
        body: the type of the body: a model; None where it is not known.
    """
    detail = error["msg"].removeprefix("Value error, ")
    if error["type"] == EXTRA:
        detail += _instead(str(place[-1]), _fields(body, place[:-1]))
    return Violation(pointer=pointer_to(place), code=error["type"].replace("_", "-"), detail=detail)


def pointer_to(place: Iterable[str | int]) -> str:
    """Return a place in a body as a JSON pointer (RFC 6901); halves of characters, which JSON can hold, as \\ud800."""
    parts = (str(part).replace("~", "~0").replace("/", "~1") for part in place if part != KEY)
    return "".join(f"/{part}" for part in parts).encode(errors="backslashreplace").decode()


def _instead(name: str, known: Collection[str]) -> str:
    near = get_close_matches(name, known, n=1) if len(name) <= LONGEST_NAME else []
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; there are {', '.join(sorted(known))}" if known else ""


def _fields(kind: Any, place: Iterable[str | int]) -> Collection[str]:
    """Return the fields that a body may have at a place, if its type tells."""
    for part in (one for one in place if isinstance(one, str)):
        model = next(_models(kind), BaseModel)
        kind = model.model_fields[part].annotation if part in model.model_fields else None
    return next(_models(kind), BaseModel).model_fields


def _models(kind: Any) -> Iterator[type[BaseModel]]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    for inner in get_args(kind):
        yield from _models(inner)
