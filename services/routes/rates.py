"""What answers have brought, by generation: for those who compare them."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import Query, Response

from recsys.database.rates import Rate
from recsys_client.schemas.fields import Id
from recsys_client.schemas.rates import MAX_HOURS, GenerationRate, RatesAnswer
from services.edge.auth import guarded_router, scoped
from services.worker.answering import json_response
from services.worker.state import Worker, WorkerOfApp

FLUSH_SECONDS = 1.0
router = guarded_router("generations")


@router.get("/v1/rates", response_model=RatesAnswer, **scoped("admin", 422))
async def rates(
    worker: WorkerOfApp,
    hours: Annotated[int, Query(ge=1, le=MAX_HOURS, description="How far back answers and events count.")] = 24,
    event_type: Annotated[Id | None, Query(description="Of the events that count; any, where left out.")] = None,
) -> Response:
    """Say what share of the answers has brought events that name them in ``rec_id``, by generation and adapter.

    An event counts once for an answer and item, where the answer was shown, held the item, and was for the event's user
    or for a history. Answers that are no longer kept, and users who were forgotten, are not counted.
    """
    return json_response(await worker.batches.run(_rates, worker, hours, event_type))


def _rates(worker: Worker, hours: int, event_type: str | None) -> RatesAnswer:
    worker.impressions.backlog.flush(FLUSH_SECONDS)
    since = datetime.now(UTC) - timedelta(hours=hours)
    found = worker.rates.read(since, event_type)
    return RatesAnswer(
        since=since, rates=[_told(one) for one in found.generations], unknown=found.unknown, unlisted=found.unlisted
    )


def _told(rate: Rate) -> GenerationRate:
    low, high = rate.interval
    counted = {name: value for name, value in vars(rate).items() if name in GenerationRate.model_fields}
    return GenerationRate(**counted, rate=rate.rate, low=low, high=high)
