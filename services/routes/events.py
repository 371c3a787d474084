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
CONFLICT = (
    "The event_id {event_id!r} was sent before with another content; that event stays, and this one is not stored."
)
router = guarded_router("events")


@router.post("/v1/events", response_model=EventsAnswer, **scoped("write", 400, 413, 422, body=EVENTS))
async def add_events(request: EventsRequest, worker: WorkerOfApp, key_id: KeyId, told_all: ReadsHistories) -> Response:
    """Store live events; repeating a request is safe where events have a timestamp or an event_id.

    An event_id that comes again with another content is rejected as a conflict, and the first event stays; a timestamp
    that is left out is not compared. ``rec_id`` names the answer that brought an event, see GET /v1/rates.

    ``duplicates`` counts events that the same key has sent before. One that another key sent counts once all the same,
    and is ``accepted``: a key without the scope ``admin`` is not told what others send.
    """
    return json_response(await worker.writing.run(_add_events, worker, request, key_id, told_all))


def _add_events(worker: Worker, request: EventsRequest, key_id: str | None, told_all: bool) -> EventsAnswer:
    recommender = worker.generation.recommender()
    now = datetime.now(UTC)
    unheard = {new.item_id for new in request.events if not recommender.known_item(new.item_id)}
    if unheard:  # a new item that is not encoded yet, or one that was deleted, is none that there never was
        unheard -= worker.items.store.known(unheard)
    events, places, rejected = [], [], []
    for index, new in enumerate(request.events):
        # events without a time happened in the order in which they were sent
        timestamp = new.timestamp or now + timedelta(microseconds=index)
        if new.item_id in unheard:
            rejected.append(Rejection(index=index, reason=f"There is no item {new.item_id!r}.", code="unknown-item"))
            continue
        try:
            if timestamp > now + FUTURE_TOLERANCE:
                raise ValueError(f"The timestamp {timestamp} lies in the future.")
            given = {"timestamp": timestamp, "event_id": new.event_id or "", "timed": new.timestamp is not None}
            context = (recommender.situation(new.context) or None) if new.context else None
            events.append(Event(**new.model_dump() | given | {"context": context}))
            places.append(index)
        except ValueError as error:
            rejected.append(Rejection(index=index, reason=str(error), code="invalid-event"))
    end_stage(WORK)
    added = worker.events.add(events, key_id, told_all)
    end_stage(STORE)
    stored = {event.event_id: event for event in reversed(events)}  # of two with one id the first
    brought = [event for event_id in added.new if (event := stored[event_id]).rec_id is not None]
    if brought:
        worker.attribution.follow(brought)
    for place in added.conflicts:
        reason = CONFLICT.format(event_id=events[place].event_id)
        rejected.append(Rejection(index=places[place], reason=reason, code="conflict"))
    rejected.sort(key=lambda one: one.index)
    accepted = added.accepted + added.foreign
    duplicates = added.duplicates - added.foreign - len(added.conflicts)
    if accepted and worker.events.holds(events[-1].event_id):  # read as any answer of any worker will
        worker.metrics.event_lag.observe(since_arrival())
    # what was told, since the numbers are open to everybody
    worker.metrics.events.labels("accepted").inc(accepted)
    worker.metrics.events.labels("duplicate").inc(duplicates)
    worker.metrics.events.labels("rejected").inc(len(rejected))
    return EventsAnswer(accepted=accepted, duplicates=duplicates, rejected=rejected)
