"""Users: what is known of them, and forgetting it. One user's history needs the admin scope."""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Annotated

from fastapi import Path, Query, Response

from recsys.database.user_attributes import AttributesError
from recsys_client.schemas.fields import PathId
from recsys_client.schemas.problems import Code, pointer_to
from recsys_client.schemas.users import (
    ForgottenAnswer,
    HistoryEvent,
    PutUserRequest,
    Removed,
    SharedItem,
    SimilarUser,
    SimilarUsersAnswer,
    SimilarUsersRequest,
    UserAnswer,
    UserAttributes,
)
from services.edge.auth import KeyId, guarded_router, scoped
from services.edge.bodies import A_LIST, SMALL
from services.edge.problems import Refused
from services.worker.answering import ERRORS, answering, json_response, milliseconds_since, unkept
from services.worker.state import Worker, WorkerOfApp

router = guarded_router("users")
UserId = Annotated[PathId, Path(description="As in the events.", examples=["196"])]
NEXT_INGEST = (
    "The next ingest leaves out this user's events up to forgotten_until, wherever the source still holds them; train "
    "and publish on it, then delete older snapshots and generations."
)
FLUSH_SECONDS = 2.0


@router.post("/v1/similar-users", response_model=SimilarUsersAnswer, **scoped("admin", *ERRORS, body=A_LIST))
async def similar_users(request: SimilarUsersRequest, worker: WorkerOfApp) -> Response:
    """Return users of the snapshot who chose the same as a user, or as a history."""
    return unkept(json_response(await worker.scoring.run(_similar_users, worker, request)))


@router.get("/v1/users/{user_id:path}", response_model=UserAnswer, **scoped("admin", 422))
async def user(
    user_id: UserId,
    worker: WorkerOfApp,
    limit: Annotated[int, Query(ge=1, le=1_000, description="How many events at most.")] = 100,
) -> Response:
    """Return what is known of a user: events with titles and where they are kept; nothing of who is unknown."""
    return unkept(json_response(await worker.reading.run(_user, worker, user_id, limit)))


@router.put(
    "/v1/users/{user_id:path}", response_model=UserAttributes, **scoped("write", 400, 409, 413, 422, body=SMALL)
)
async def put_user(user_id: UserId, request: PutUserRequest, worker: WorkerOfApp, key_id: KeyId) -> Response:
    """Say what a user is like, in the place of what was said before; the next answer of any worker knows it.

    Attributes are those of the served snapshot's table of users. What is left out, or null, is not known.
    """
    return json_response(await worker.changing.run(_put, worker, user_id, request, key_id))


@router.delete("/v1/users/{user_id:path}", response_model=ForgottenAnswer, **scoped("admin", 422))
async def forget_user(user_id: UserId, worker: WorkerOfApp) -> Response:
    """Forget a user: live events, impressions and what was put go for good, the snapshot's are never read again.

    What the user does afterwards counts again, as of somebody new.
    """
    return json_response(await worker.changing.run(_forget, worker, user_id))


def _similar_users(worker: Worker, request: SimilarUsersRequest) -> SimilarUsersAnswer:
    from recsys.serving.similar_users import similar_users  # brings torch, for which the supervisor has no use

    started = time.perf_counter()
    recommender = answering(worker, request)
    forgotten = worker.users.tombstones.read()
    if request.user_id is None:
        history: Sequence[str] = request.history or []
    else:
        history = worker.users.history(recommender.users, recommender.catalogue, request.user_id)
    known, missing = recommender.known(history)
    hidden = {name for name in recommender.users.rows if forgotten.when(name) is not None} if forgotten.times else set()
    found = similar_users(recommender, known, request.k, hidden | {request.user_id or ""})
    catalogue = recommender.catalogue
    return SimilarUsersAnswer(
        users=[
            SimilarUser(
                user_id=one.user_id,
                score=one.score,
                shared=one.shared,
                items=[SharedItem(item_id=item, title=catalogue.titles[catalogue.row(item)]) for item in one.items],
            )
            for one in found
        ],
        missing_ids=missing,
        generation=recommender.generation_id,
        adapter=recommender.adapter_id,
        took_ms=milliseconds_since(started),
    )


def _user(worker: Worker, user_id: str, limit: int) -> UserAnswer:
    recommender = worker.generation.recommender()
    worker.impressions.backlog.flush(FLUSH_SECONDS)
    past = worker.users.past(recommender.users, user_id)
    attributes, source = worker.users.described(recommender.users, user_id)
    shown = past[-limit:]
    rows, _ = recommender.catalogue.split([event.item_id for event in shown])
    titles = {recommender.catalogue.ids[row]: recommender.catalogue.titles[row] for row in rows}
    return UserAnswer(
        user_id=user_id,
        generation=recommender.generation_id,
        events={"snapshot": 0, "live": 0} | Counter(event.source for event in past),
        impressions=worker.users.impressions.count(user_id),
        history=[
            HistoryEvent(
                item_id=event.item_id,
                title=titles.get(event.item_id),
                timestamp=event.time,
                event_type=event.event_type,
                value=event.value,
                means=None if recommender.signals is None else recommender.signals.role(event.event_type, event.value),
                source=event.source,
            )
            for event in shown
        ],
        attributes=attributes,
        attributes_source=source,
    )


def _put(worker: Worker, user_id: str, request: PutUserRequest, key_id: str | None) -> UserAttributes:
    from recsys.serving.live_attributes import FieldError, check_attributes  # brings torch

    audience = worker.generation.recommender().users.audience
    values = {name: value for name, value in request.attributes.items() if value is not None}
    try:
        check_attributes(request.attributes, {} if audience is None else audience.schema)
    except FieldError as error:
        place = ["attributes"] if error.field is None else ["attributes", error.field]
        raise Refused(Code.INVALID_ATTRIBUTES, f"body.attributes: {error}", pointer=pointer_to(place)) from None
    try:
        worker.users.said.put(user_id, values, key_id)
    except AttributesError as error:
        raise Refused(Code.NO_ROOM_FOR_USERS, str(error)) from None
    return UserAttributes(user_id=user_id, attributes=values)


def _forget(worker: Worker, user_id: str) -> ForgottenAnswer:
    recommender = worker.generation.recommender()
    worker.impressions.backlog.flush(FLUSH_SECONDS)
    removal = worker.users.forget(user_id)
    events, impressions, _ = removal.rows
    return ForgottenAnswer(
        user_id=user_id,
        removed=Removed(events=events, impressions=impressions, erased=removal.erased),
        hidden=len(recommender.users.events(user_id)),
        next_ingest=NEXT_INGEST,
        forgotten_until=removal.time,
    )
