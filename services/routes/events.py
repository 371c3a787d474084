"""Live events: checked one by one, stored durably, counted once."""

from datetime import UTC, datetime, timedelta

from fastapi import Response

from recsys.config import IngestConfig
from recsys.database.events import Event
from recsys_client.schemas.events import EventsAnswer, EventsRequest, Rejection
from services.edge.auth import KeyId, ReadsHistories, guarded_router, scoped
from services.edge.bodies import EVENTS
from services.edge.context import STORE, WORK, end_stage, since_arrival
from services.worker.answering import json_response
from services.worker.state import Worker, WorkerOfApp

FUTURE_TOLERANCE = timedelta(seconds=IngestConfig().future_tolerance_seconds)
router = guarded_router()


@router.post("/v1/events", response_model=EventsAnswer, **scoped("write", 400, 413, 422, body=EVENTS))
async def add_events(request: EventsRequest, worker: WorkerOfApp, key_id: KeyId, told_all: ReadsHistories) -> Response:
    """Store live events; repeating a request is safe where events have a timestamp or an event_id.

    ``duplicates`` counts events that the same key has sent before. One that another key sent counts once all the same,
    and is ``accepted``: a key without the scope ``admin`` is not told what others send.
    """
    return json_response(await worker.writing.run(_add_events, worker, request, key_id, told_all))


def _add_events(worker: Worker, request: EventsRequest, key_id: str | None, told_all: bool) -> EventsAnswer:
    recommender = worker.generation.recommender()
    now = datetime.now(UTC)
    events, rejected = [], []
    for index, new in enumerate(request.events):
        # events without a time happened in the order in which they were sent
        timestamp = new.timestamp or now + timedelta(microseconds=index)
        try:
            if not recommender.known_item(new.item_id):
                raise ValueError(f"There is no item {new.item_id!r}.")
            if timestamp > now + FUTURE_TOLERANCE:
                raise ValueError(f"The timestamp {timestamp} lies in the future.")
            events.append(Event(**new.model_dump() | {"timestamp": timestamp, "event_id": new.event_id or ""}))
        except ValueError as error:
            rejected.append(Rejection(index=index, reason=str(error)))
    end_stage(WORK)
    added = worker.events.add(events, key_id)
    end_stage(STORE)
    foreign = 0 if told_all else added.foreign
    accepted, duplicates = added.accepted + foreign, added.duplicates - foreign
    if accepted and worker.events.holds(events[-1].event_id):  # read as any answer of any worker will
        worker.metrics.event_lag.observe(since_arrival())
    # what was told, since the numbers are open to everybody
    worker.metrics.events.labels("accepted").inc(accepted)
    worker.metrics.events.labels("duplicate").inc(duplicates)
    worker.metrics.events.labels("rejected").inc(len(rejected))
    return EventsAnswer(accepted=accepted, duplicates=duplicates, rejected=rejected)
