"""How a route answers: from which generation, with what it was asked, and what it refuses."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fastapi import HTTPException, Response
from pydantic import BaseModel

from recsys.artifacts import ArtifactError
from recsys.errors import ColumnError, UntimedError
from recsys.ranking.stages import EndStage
from recsys.selection.dials import ObjectiveError
from recsys.selection.filters import FilterError
from recsys.selection.selection import LimitError
from recsys.store.names import ADAPTER, GENERATION, Kind, by_alias
from recsys_client.schemas.lists import RankedItem
from recsys_client.schemas.problems import Code, pointer_to
from recsys_client.schemas.recommend import FromModel, ListOptions
from services.edge.context import SERIALISE
from services.edge.problems import Refused
from services.worker import asking
from services.worker.state import Worker

if TYPE_CHECKING:
    from recsys.serving.answers import Answer, ListRequest
    from recsys.serving.recommender import Recommender

WRITTEN_AT_ONCE = 16  # items, between two of which others may go first
LEAST_ALIKE = "least_alike"  # in what is written down of a list whose dials were levelled
ERRORS = (400, 404, 409, 413, 422)


def answering(worker: Worker, asked: FromModel) -> "Recommender":
    """Return what answers a request, wholly, which may name an adapter or a generation.

    Raises:
        Refused: 404, there is no such adapter or generation; 409, nothing was made with the adapter, or the
            generation was made with another one or is broken; 503, nothing is served, or as many others as may be
            named at a time are in use.
        StillLoadingError: the generation is being loaded, or the encoder that its live items need.
    """
    recommender = worker.generation.recommender()
    adapter, generation = by_name(worker, ADAPTER, asked.adapter), by_name(worker, GENERATION, asked.generation)
    if generation is None and adapter in (None, recommender.adapter_id):
        return recommender
    try:
        generation_id = generation or worker.cache.answering(adapter or "")
        if generation_id != recommender.generation_id:
            base = worker.cache.named(generation_id)
            worker.items.check(base)
            recommender = worker.items.applied_to(base)
    except ArtifactError as error:
        raise Refused(Code.CANNOT_ANSWER, f"Generation {generation_id} cannot answer: {error}") from None
    except HTTPException as error:
        if error.status_code == 404:  # unlike an item's, such a name does not come and go
            worker.guard.refused()
        raise
    if adapter not in (None, recommender.adapter_id):
        detail = f"Generation {generation_id} was made with adapter {recommender.adapter_id}."
        raise Refused(Code.CANNOT_ANSWER, detail)
    return recommender


def by_name(worker: Worker, kind: Kind, name: str | None) -> str | None:
    """Return the id that a request names by itself or by an alias as it is now; what is neither stays as it is.

    Raises:
        ArtifactError: the file of the names is broken.
    """
    return name if name is None else by_alias(worker.home, kind, name) or name


def json_response(answer: BaseModel) -> Response:
    """Return an answer that is known to fit its schema, without validating it once more."""
    return Response(answer.model_dump_json(), media_type="application/json")


def unkept(response: Response) -> Response:
    """Return a response that nobody on its way may keep: it tells what somebody did."""
    response.headers["Cache-Control"] = "no-store"
    return response


def items_as_json(items: Iterable[BaseModel], checkpoint: EndStage) -> list[str]:
    """Return items as JSON texts, in a lane: with explanations they are megabytes, and take as long as ranking."""
    parts = []
    for place, item in enumerate(items):
        parts.append(item.model_dump_json())
        if place % WRITTEN_AT_ONCE == 0:
            checkpoint(SERIALISE)
    return parts


def with_items(answer: BaseModel, items: Sequence[str], left_out: Iterable[str] = ()) -> Response:
    """Return an answer whose items are written already.

    They are joined as text: to write a large answer in one piece would hold up everybody else's.

    Args:
        answer: all but its items.
        items: as JSON.
        left_out: fields that are not sent.
    """
    rest = answer.model_dump_json(exclude={"items", *left_out})
    return Response(f'{{"items":[{",".join(items)}],{rest[1:]}', media_type="application/json")


def milliseconds_since(started: float) -> float:
    """Return the time since a reading of ``time.perf_counter``."""
    return round((time.perf_counter() - started) * 1_000, 3)


def list_request(worker: Worker, request: ListOptions, now: int, least_alike: int = 1) -> "ListRequest":
    """Return what a request wants of a list; ``now`` are Unix seconds, when it asked; ``least_alike`` as there."""
    return asking.asked(request, now, worker.exposures.current, least_alike)


def ranked(answer: "Answer") -> list[RankedItem]:
    """Return an answer's items for a list that is not a user's."""
    return [RankedItem.model_validate(item) for item in answer.items]


@contextmanager
def refusing(recommender: "Recommender", fields: list[str]) -> Iterator[None]:
    """Answer 422 to fields, filters, limits, dials and context that do not fit, 409 to a list that there cannot be."""
    from recsys.serving.live_attributes import FieldError  # brings torch, for which BentoML's supervisor has no use

    unknown = [name for name in fields if name not in recommender.field_names]
    if unknown:
        detail = f"body.fields: there is no {unknown[0]!r}; there are {recommender.field_names}."
        raise Refused(Code.UNKNOWN_FIELD, detail, pointer=f"/fields/{fields.index(unknown[0])}")
    try:
        yield
    except FilterError as error:
        pointer = pointer_to([*error.option, *error.place])
        option = ".".join(map(str, error.option))
        raise Refused(Code.INVALID_FILTER, f"body.{option}: {error}", pointer=pointer) from None
    except FieldError as error:
        pointer = pointer_to(["context", *([error.field] if error.field else [])])
        raise Refused(Code.INVALID_CONTEXT, f"body.context: {error}", pointer=pointer) from None
    except ObjectiveError as error:
        raise Refused(Code.INVALID_OBJECTIVE, f"body.objective: {error}", pointer="/objective/field") from None
    except LimitError as error:
        raise Refused(Code.INVALID_LIMITS, f"body.limits: {error}", pointer="/limits") from None
    except ColumnError as error:
        raise Refused(Code.INVALID_REQUEST, f"body.column: {error}", pointer="/column") from None
    except UntimedError as error:
        raise Refused(Code.NO_SUCH_LIST, str(error)) from None
