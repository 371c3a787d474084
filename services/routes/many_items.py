"""Many items at once: pages of all there are, and an upload with a result for each row."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import anyio
from fastapi import HTTPException, Query, Response
from pydantic import ValidationError

from recsys.data.columns import ITEM_ID, TITLE
from recsys.database.live_items import RoomError
from recsys_client.errors import invalid
from recsys_client.schemas.fields import MAX_FIELDS, Id, PathId
from recsys_client.schemas.items import (
    MAX_LISTED,
    ItemsAnswer,
    NewItem,
    PutItemsAnswer,
    PutItemsRequest,
    RejectedItem,
    Source,
)
from recsys_client.schemas.problems import Code
from services.edge.auth import KeyId, guarded_router, scoped
from services.edge.bodies import ITEMS
from services.edge.context import checkpoint, since_arrival
from services.edge.lanes import LOADED_SECONDS
from services.edge.problems import Refused
from services.routes.items import CROWDED, POLL_SECONDS, WAIT_SECONDS, checked_columns, described, must_wait
from services.worker.answering import items_as_json, json_response, with_items
from services.worker.state import Worker, WorkerOfApp

router = guarded_router("items")


@dataclass
class Upload:
    """Items on their way to be stored.

    Attributes:
        rows: that wait: place in the request, id and columns.
        answer: what has become of the others.
    """

    rows: list[tuple[int, str, dict[str, Any]]] = field(default_factory=list)
    answer: PutItemsAnswer = field(default_factory=lambda: PutItemsAnswer(accepted=0, version=None, rejected=[]))

    def reject(self, index: int, reason: str, code: str) -> None:
        """Note that an item is not stored."""
        self.answer.rejected.append(RejectedItem(index=index, reason=reason, code=code))


@router.get("/v1/items", response_model=ItemsAnswer, **scoped("recommend", 404, 422))
async def items(
    worker: WorkerOfApp,
    after: Annotated[PathId | None, Query(description="`next` of the page before; the beginning, if left out.")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LISTED, description="How many items at most.")] = 100,
    source: Annotated[Source, Query(description="Those put since, those of the served generation, or all.")] = "all",
    fields: Annotated[list[Id], Query(max_length=MAX_FIELDS, description="Columns to return.")] = [TITLE],  # noqa: B006
) -> Response:
    """List items in the order of their ids, a page at a time; what is put or deleted meanwhile shifts no page."""
    answer, listed = await worker.reading.run(_listed, worker, after or "", limit, source, fields)
    return with_items(answer, listed)


@router.post("/v1/items", response_model=PutItemsAnswer, **scoped("write", 400, 413, 422, body=ITEMS))
async def put_items(request: PutItemsRequest, worker: WorkerOfApp, key_id: KeyId) -> Response:
    """Put up to 500 items, each as PUT does, with a result for each: one that is wrong keeps none of the others out.

    They are stored in their order, at the pace at which texts are encoded; what cannot be stored within some seconds is
    ``rejected`` as ``overloaded``, to be sent again.
    """
    upload = await worker.changing.run(_checked, worker, request)
    late: float | None = None
    while upload.rows:
        try:
            stored = await worker.changing.run(_put_some, worker, upload, key_id)
        except HTTPException as error:
            if error.status_code != 503 or not upload.answer.accepted:
                raise
            break  # some of it is on disk, which must be told
        late = late or anyio.current_time() + min(WAIT_SECONDS, LOADED_SECONDS - since_arrival())
        if upload.rows and anyio.current_time() >= late:
            break
        if not stored:
            await anyio.sleep(POLL_SECONDS)
    for index, _, _ in upload.rows:
        upload.reject(index, CROWDED, Code.OVERLOADED)
    upload.answer.rejected.sort(key=lambda one: one.index)
    response = json_response(upload.answer)
    if upload.rows:
        response.headers["Retry-After"] = "1"
    return response


def _listed(
    worker: Worker, after: str, limit: int, source: Source, fields: Sequence[str]
) -> tuple[ItemsAnswer, list[str]]:
    """Return a page without its items, and these as JSON."""
    recommender = worker.generation.recommender()
    unknown = [name for name in fields if name not in recommender.field_names]
    if unknown:
        detail = f"query.fields: there is no {unknown[0]!r}; there are {recommender.field_names}."
        raise Refused(Code.UNKNOWN_COLUMN, detail)
    live = {item.item_id: item for item in worker.items.store.page(after, limit)}
    own = recommender.catalogue.items[ITEM_ID]
    ids = sorted({*live, *([] if source == "live" else own.filter(own > after).sort().head(limit))})[:limit]
    found = [described(recommender, item_id, live.get(item_id)) for item_id in ids]
    shown = [
        one.model_copy(update={"fields": {name: one.fields.get(name) for name in fields}})
        for one in found
        if one is not None and source in ("all", one.source)
    ]
    return ItemsAnswer(items=[], next=ids[-1] if len(ids) == limit else None), items_as_json(shown, checkpoint)


def _checked(worker: Worker, request: PutItemsRequest) -> Upload:
    """Return an upload of what can be stored; the rest is rejected already."""
    recommender, upload, ids = worker.generation.recommender(), Upload(), set()
    for index, given in enumerate(request.items):
        try:
            columns = NewItem.model_validate(given).model_dump(exclude_unset=True)
            item_id = columns.pop(ITEM_ID)
            if item_id in ids:
                upload.reject(index, f"The item {item_id!r} comes twice in this request.", "repeated-item")
                continue
            upload.rows.append((index, item_id, checked_columns(recommender, columns)))
            ids.add(item_id)
        except ValidationError as error:
            upload.reject(index, invalid(error).detail, Code.INVALID_ITEM)
        except Refused as error:
            upload.reject(index, error.detail.removeprefix("body."), error.code)
    return upload


def _put_some(worker: Worker, upload: Upload, key_id: str | None) -> int:
    """Store as many of the rows as may wait to be encoded; return how many went."""
    recommender = worker.generation.recommender()
    if must_wait(worker, recommender):
        return 0
    room = worker.items.room(recommender)
    some = upload.rows[:room] if room > 0 else list(upload.rows)  # without an encoder none waits for it
    outcomes = worker.items.store.put_all([(item_id, columns) for _, item_id, columns in some], key_id)
    for (index, item_id, columns), outcome in zip(some, outcomes, strict=True):
        if isinstance(outcome, RoomError):
            upload.reject(index, str(outcome), Code.NO_ROOM)
            continue
        upload.answer.accepted += 1
        upload.answer.version = outcome
        if columns.get("available") is False:
            worker.generation.hide(item_id, outcome)
    del upload.rows[: len(some)]
    return len(some)
