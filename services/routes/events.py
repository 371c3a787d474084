"""Live events: checked one by one, stored durably, counted once."""

from datetime import UTC, datetime, timedelta

from fastapi import Response

from recsys.config import IngestConfig
from recsys.database.events import Event
from recsys_client.schemas.events import EventsAnswer, EventsRequest, Rejection
from services.edge.auth import guarded_router, scoped
from services.edge.context import STORE, WORK, end_stage, since_arrival
from services.worker.answering import json_response
from services.worker.state import Worker, WorkerOfApp

FUTURE_TOLERANCE = timedelta(seconds=IngestConfig().future_tolerance_seconds)
router = guarded_router()


@router.post("/v1/events", response_model=EventsAnswer, **scoped("write", 400, 413, 422, kib=4_096))
async def add_events(request: EventsRequest, worker: WorkerOfApp) -> Response:
    """Store live events; repeating a request is safe where events have a timestamp or an event_id."""
    return json_response(await worker.writing.run(_add_events, worker, request))


def _add_events(worker: Worker, request: EventsRequest) -> EventsAnswer:
    recommender = worker.generation.recommender()
    now = datetime.now(UTC)
    events, rejected = [], []
    for index, new in enumerate(request.events):
        # events without a time happened in the order in which they were sent
        timestamp = new.timestamp or now + timedelta(microseconds=index)
        try:
            if not recommender.known_item(new.item_id):
                raise ValueError(f"There is no item {new.item_id!r} in generation {recommender.generation_id}.")
            if timestamp > now + FUTURE_TOLERANCE:
                raise ValueError(f"The timestamp {timestamp} lies in the future.")
            events.append(Event(**new.model_dump() | {"timestamp": timestamp, "event_id": new.event_id or ""}))
        except ValueError as error:
            rejected.append(Rejection(index=index, reason=str(error)))
    end_stage(WORK)
    added = worker.events.add(events)
    end_stage(STORE)
    if added.accepted and worker.events.holds(events[-1].event_id):  # read as any answer of any worker will
        worker.metrics.event_lag.observe(since_arrival())
    worker.metrics.events.labels("accepted").inc(added.accepted)
    worker.metrics.events.labels("duplicate").inc(added.duplicates)
    worker.metrics.events.labels("rejected").inc(len(rejected))
    return EventsAnswer(accepted=added.accepted, duplicates=added.duplicates, rejected=rejected)
