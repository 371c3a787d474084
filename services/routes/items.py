"""Live items: put, read and delete; every worker follows within a second, a new text as fast as it is encoded.

How large one may be, and how much a key and all of them together may have, is bounded: every worker holds all of them.
"""

from typing import Annotated

import anyio
from fastapi import Path, Response

from recsys.data.columns import ITEM_ID
from recsys.database.live_items import RoomError
from recsys_client.schemas.fields import PathId
from recsys_client.schemas.items import MAX_COLUMNS, ItemAnswer, ItemChange, PutItemRequest
from recsys_client.schemas.problems import Code, pointer_to
from services.edge.auth import KeyId, guarded_router, scoped
from services.edge.bodies import AN_ITEM
from services.edge.context import since_arrival
from services.edge.lanes import LOADED_SECONDS
from services.edge.problems import Refused
from services.worker.answering import json_response
from services.worker.state import Worker, WorkerOfApp

WAIT_SECONDS = 4.0  # for other items to be encoded; with the lane's own waiting it stays below the request's timeout
POLL_SECONDS = 0.05
TIDY_EVERY = 1_000  # changes
router = guarded_router("items")
ItemId = Annotated[PathId, Path(description="As in the catalogue, or new.")]


@router.put("/v1/items/{item_id:path}", response_model=ItemChange, **scoped("write", 400, 409, 413, 422, body=AN_ITEM))
async def put_item(item_id: ItemId, request: PutItemRequest, worker: WorkerOfApp, key_id: KeyId) -> Response:
    """Store an item in the place of what was there; it is recommendable, by its text, within seconds.

    An upload goes at the pace at which texts are encoded: this waits while many others do, and then answers 503.
    409 says that there is no room for another live item, of this key or of all; deleting makes some.
    """
    late: float | None = None
    while (change := await worker.changing.run(_put, worker, item_id, request, key_id)) is None:
        # where it has waited for the encoder, less is left
        late = late or anyio.current_time() + min(WAIT_SECONDS, LOADED_SECONDS - since_arrival())
        if anyio.current_time() >= late:
            detail = "Many items wait to be encoded; this one was not stored. Come again, and put fewer at once."
            raise Refused(Code.OVERLOADED, detail, {"Retry-After": "1"})
        await anyio.sleep(POLL_SECONDS)
    return json_response(change)


@router.get("/v1/items/{item_id:path}", response_model=ItemAnswer, **scoped("recommend", 404, 422))
async def item(item_id: ItemId, worker: WorkerOfApp) -> Response:
    """Return an item, live or of the catalogue."""
    return json_response(await worker.reading.run(_item, worker, item_id))


@router.delete("/v1/items/{item_id:path}", response_model=ItemChange, **scoped("write", 404, 422))
async def delete_item(item_id: ItemId, worker: WorkerOfApp, key_id: KeyId) -> Response:
    """Take an item out of all lists; histories that hold it still count it."""
    return json_response(await worker.changing.run(_delete, worker, item_id, key_id))


def _put(worker: Worker, item_id: str, request: PutItemRequest, key_id: str | None) -> ItemChange | None:
    """Store an item; None, and nothing is stored, where it has to wait."""
    from recsys.serving.live_columns import ItemError, check_columns, check_size

    recommender = worker.generation.recommender()
    columns = request.model_dump(exclude_unset=True)
    if len(columns) > MAX_COLUMNS:
        raise Refused(Code.INVALID_ITEM, f"body: an item has at most {MAX_COLUMNS} columns.", pointer="")
    try:
        check_columns(columns, recommender.catalogue.items.schema)
    except ItemError as error:
        raise Refused(Code.INVALID_ITEM, f"body.{error}", pointer=pointer_to([error.column or ""])) from None
    try:
        check_size(columns)
    except ItemError as error:
        raise Refused(Code.ITEM_TOO_LARGE, str(error)) from None
    if request.available and worker.items.crowded(recommender):
        worker.encoders.check(recommender.generation_id)
        if worker.encoders.find(recommender.generation_id) is not None:  # without one it would wait in vain
            return None
    try:
        version = worker.items.store.put(item_id, columns, key_id)
    except RoomError as error:
        raise Refused(Code.NO_ROOM, str(error)) from None
    if not request.available:
        worker.generation.hide(item_id, version)
    return ItemChange(item_id=item_id, version=version)


def _delete(worker: Worker, item_id: str, key_id: str | None) -> ItemChange:
    live = worker.items.store.find(item_id)
    known = live.columns is not None if live else worker.generation.recommender().known_item(item_id)
    if not known:
        raise Refused(Code.UNKNOWN_ITEM, f"There is no item {item_id!r}.")
    version = worker.items.store.put(item_id, None, key_id)
    if version % TIDY_EVERY == 0:
        worker.items.store.tidy(worker.generation.recommender().catalogue)
    worker.generation.hide(item_id, version)
    return ItemChange(item_id=item_id, version=version)


def _item(worker: Worker, item_id: str) -> ItemAnswer:
    recommender = worker.generation.recommender()
    live = worker.items.store.find(item_id)
    rows, _ = recommender.catalogue.split([item_id])
    offered = bool(rows) and bool(recommender.catalogue.available[rows[0]])
    if live is not None and live.columns is not None:
        return ItemAnswer(
            item_id=item_id, fields=live.columns, source="live", version=live.version, recommendable=offered
        )
    if live is not None or not rows:
        raise Refused(Code.UNKNOWN_ITEM, f"There is no item {item_id!r}.")
    fields = {
        name: value for name, value in recommender.catalogue.items.row(rows[0], named=True).items() if name != ITEM_ID
    }
    return ItemAnswer(item_id=item_id, fields=fields, source="catalogue", version=None, recommendable=offered)
