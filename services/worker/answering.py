"""How a route answers: from which generation, with what it was asked, and what it refuses."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fastapi import HTTPException, Response
from pydantic import BaseModel

from recsys.artifacts import ArtifactError
from recsys.selection.filters import FilterError
from recsys.selection.selection import LimitError, Promotion
from recsys_client.schemas.lists import RankedItem
from recsys_client.schemas.recommend import FromModel, ListOptions
from services.worker.state import Worker

if TYPE_CHECKING:
    from recsys.serving.answers import Answer, ListRequest
    from recsys.serving.recommender import Recommender

ERRORS = (400, 404, 409, 413, 422)


def answering(worker: Worker, asked: FromModel) -> "Recommender":
    """Return what answers a request, wholly, which may name an adapter or a generation.

    Raises:
        HTTPException: 404, there is no such adapter or generation; 409, nothing was made with the adapter, or the
            generation was made with another one or is broken; 503, nothing is served, or as many others as may be
            named at a time are in use.
        StillLoadingError: the generation is being loaded, or the encoder that its live items need.
    """
    recommender, adapter = worker.generation.recommender(), asked.adapter
    if asked.generation is None and adapter in (None, recommender.adapter_id):
        return recommender
    generation_id = asked.generation or worker.cache.answering(adapter or "")
    if generation_id != recommender.generation_id:
        try:
            base = worker.cache.named(generation_id)
            worker.items.check(base)
            recommender = worker.items.applied_to(base)
        except ArtifactError as error:
            raise HTTPException(409, f"Generation {generation_id} cannot answer: {error}") from None
    if adapter not in (None, recommender.adapter_id):
        raise HTTPException(409, f"Generation {generation_id} was made with adapter {recommender.adapter_id}.")
    return recommender


def json_response(answer: BaseModel, left_out: set[str] | None = None) -> Response:
    """Return an answer that is known to fit its schema, without validating it once more.

    Args:
        answer: what is sent.
        left_out: fields that are not.
    """
    return Response(answer.model_dump_json(exclude=left_out), media_type="application/json")


def milliseconds_since(started: float) -> float:
    """Return the time since a reading of ``time.perf_counter``."""
    return round((time.perf_counter() - started) * 1_000, 3)


def list_request(request: ListOptions) -> "ListRequest":
    """Return what a request wants of a list."""
    from recsys.serving.answers import ListRequest  # brings torch, for which BentoML's supervisor has no use

    of_the_list = set(ListOptions.model_fields) - set(FromModel.model_fields) - {"promotions", "record"}
    given = {name: getattr(request, name) for name in of_the_list}
    return ListRequest(**given, promotions=[Promotion(one.item_id, one.slot) for one in request.promotions])


def ranked(answer: "Answer") -> list[RankedItem]:
    """Return an answer's items for a list that is not a user's."""
    return [RankedItem.model_validate(item) for item in answer.items]


@contextmanager
def refusing(recommender: "Recommender", fields: list[str]) -> Iterator[None]:
    """Answer 422 to fields, filters and limits that do not fit the catalogue."""
    unknown = [name for name in fields if name not in recommender.field_names]
    if unknown:
        raise HTTPException(422, f"body.fields: there is no {unknown[0]!r}; there are {recommender.field_names}.")
    try:
        yield
    except FilterError as error:
        raise HTTPException(422, f"body.filter: {error}") from None
    except LimitError as error:
        raise HTTPException(422, f"body.limits: {error}") from None
