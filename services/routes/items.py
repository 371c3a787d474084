"""Live items: put, read and delete; every worker follows within a second, a new text as fast as it is encoded.

How large one may be, and how much a key and all of them together may have, is bounded: every worker holds all of them.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import anyio
from fastapi import Path, Response
from pydantic import ValidationError

from recsys.data.columns import AVAILABLE, ITEM_ID
from recsys.database.live_items import LiveItem, RoomError
from recsys.database.moments import moment
from recsys_client.errors import invalid
from recsys_client.schemas.fields import PathId
from recsys_client.schemas.items import MAX_COLUMNS, ItemAnswer, ItemChange, PatchItemRequest, PutItemRequest
from recsys_client.schemas.problems import Code, pointer_to
from services.edge.auth import KeyId, guarded_router, scoped
from services.edge.bodies import AN_ITEM
from services.edge.context import since_arrival
from services.edge.lanes import LOADED_SECONDS
from services.edge.problems import Refused
from services.worker.answering import json_response
from services.worker.state import Worker, WorkerOfApp

if TYPE_CHECKING:
    from recsys.serving.recommender import Recommender

WAIT_SECONDS = 4.0  # for other items to be encoded; with the lane's own waiting it stays below the request's timeout
POLL_SECONDS = 0.05
TIDY_EVERY = 1_000  # changes
router = guarded_router("items")
MERGE_PATCH = "application/merge-patch+json"
CROWDED = "Many items wait to be encoded; this one was not stored. Come again, and put fewer at once."
ItemId = Annotated[PathId, Path(description="As in the catalogue, or new.", examples=["50"])]


@router.put("/v1/items/{item_id:path}", response_model=ItemChange, **scoped("write", 400, 409, 413, 422, body=AN_ITEM))
async def put_item(item_id: ItemId, request: PutItemRequest, worker: WorkerOfApp, key_id: KeyId) -> Response:
    """Store an item in the place of what was there; it is recommendable, by its text, within seconds.

    An upload goes at the pace at which texts are encoded: this waits while many others do, and then answers 503.
    409 says that there is no room for another live item, of this key or of all; deleting makes some.
    """
    return json_response(await _in_turn(worker, _put, worker, item_id, request, key_id))


async def _in_turn(worker: Worker, change: Callable[..., ItemChange | None], *arguments: Any) -> ItemChange:
    """Change an item as soon as few enough others wait to be encoded, or answer 503."""
    late: float | None = None
    while (changed := await worker.changing.run(change, *arguments)) is None:
        # where it has waited for the encoder, less is left
        late = late or anyio.current_time() + min(WAIT_SECONDS, LOADED_SECONDS - since_arrival())
        if anyio.current_time() >= late:
            raise Refused(Code.OVERLOADED, CROWDED, {"Retry-After": "1"})
        await anyio.sleep(POLL_SECONDS)
    return changed


def _merge_patch() -> dict[str, Any]:
    """Return the route's arguments, whose body has a media type of its own as well."""
    arguments = scoped("write", 400, 404, 409, 413, 422, body=AN_ITEM)
    schema = {"$ref": f"#/components/schemas/{PatchItemRequest.__name__}"}
    arguments["openapi_extra"]["requestBody"] = {"content": {MERGE_PATCH: {"schema": schema}}}
    return arguments


@router.patch("/v1/items/{item_id:path}", response_model=ItemChange, **_merge_patch())
async def patch_item(item_id: ItemId, request: PatchItemRequest, worker: WorkerOfApp, key_id: KeyId) -> Response:
    """Change some columns of an item, live or of the catalogue, and leave the others as they are (RFC 7396).

    An item of the catalogue becomes a live one. Of two that change an item at once neither undoes the other's columns.
    Else as PUT.
    """
    return json_response(await _in_turn(worker, _patch, worker, item_id, request, key_id))


@router.get("/v1/items/{item_id:path}", response_model=ItemAnswer, **scoped("recommend", 404, 422))
async def item(item_id: ItemId, worker: WorkerOfApp) -> Response:
    """Return an item, live or of the catalogue."""
    return json_response(await worker.reading.run(_item, worker, item_id))


@router.post("/v1/items/{item_id:path}/release", response_model=ItemChange, **scoped("write", 404, 409, 422))
async def release_item(item_id: ItemId, worker: WorkerOfApp) -> Response:
    """Give an item back to the catalogue: what was put, changed or deleted counts no more, in any later ingest either.

    404: nothing is live under this id. 409: the served catalogue does not hold the item; ingest it first, or delete it.
    """
    return json_response(await worker.changing.run(_release, worker, item_id))


@router.delete("/v1/items/{item_id:path}", response_model=ItemChange, **scoped("write", 404, 422))
async def delete_item(item_id: ItemId, worker: WorkerOfApp, key_id: KeyId) -> Response:
    """Take an item out of all lists; histories that hold it still count it."""
    return json_response(await worker.changing.run(_delete, worker, item_id, key_id))


def _put(worker: Worker, item_id: str, request: PutItemRequest, key_id: str | None) -> ItemChange | None:
    """Store an item; None, and nothing is stored, where it has to wait."""
    recommender = worker.generation.recommender()
    columns = checked_columns(recommender, request.model_dump(exclude_unset=True))
    if request.available is not False and must_wait(worker, recommender):
        return None
    try:
        version = worker.items.store.put(item_id, columns, key_id)
    except RoomError as error:
        raise Refused(Code.NO_ROOM, str(error)) from None
    if request.available is False:
        worker.generation.hide(item_id, version)
    return ItemChange(item_id=item_id, version=version)


def _patch(worker: Worker, item_id: str, request: PatchItemRequest, key_id: str | None) -> ItemChange | None:
    """Change an item; None, and nothing is stored, where it has to wait."""
    recommender = worker.generation.recommender()
    if request.available is not False and must_wait(worker, recommender):
        return None
    stored: dict[str, Any] = {}

    def changed(live: LiveItem | None) -> Mapping[str, Any]:
        live = recommender.standing(live)
        known = live.columns if live is not None else _of_the_catalogue(recommender, item_id)
        if known is None:
            raise Refused(Code.UNKNOWN_ITEM, f"There is no item {item_id!r}.")
        changes = request.model_dump(exclude_unset=True)
        merged = _merged(known, changes)
        try:
            whole = PutItemRequest.model_validate(merged)
        except ValidationError as error:
            pointer = pointer_to(error.errors()[0]["loc"])
            raise Refused(Code.INVALID_ITEM, f"body.{invalid(error).detail}", pointer=pointer) from None
        stored.update(whole.model_dump(exclude_unset=True))
        emptied = dict.fromkeys(changes.keys() - stored.keys() - {AVAILABLE})  # a column that is unknown is none
        checked_columns(recommender, emptied | stored)
        return stored

    try:
        version = worker.items.store.change(item_id, changed, key_id)
    except RoomError as error:
        raise Refused(Code.NO_ROOM, str(error)) from None
    if stored.get("available") is False:
        worker.generation.hide(item_id, version)
    return ItemChange(item_id=item_id, version=version)


def _merged(known: Any, patch: Any) -> Any:
    """Return what a merge patch makes of a value (RFC 7396, section 2)."""
    if not isinstance(patch, Mapping):
        return patch
    kept = dict(known) if isinstance(known, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            kept.pop(name, None)
        else:
            kept[name] = _merged(kept.get(name), value)
    return kept


def checked_columns(recommender: "Recommender", columns: dict[str, Any]) -> dict[str, Any]:
    """Return an item's columns, which must fit the catalogue.

    Raises:
        Refused: 422, they do not; 413, they are too much together.
    """
    from recsys.serving.live_columns import ItemError, check_columns, check_size

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
    return columns


def must_wait(worker: Worker, recommender: "Recommender") -> bool:
    """Tell whether another item had better wait until those before it are encoded."""
    if not worker.items.crowded(recommender):
        return False
    worker.encoders.check(recommender.generation_id)
    return worker.encoders.find(recommender.generation_id) is not None  # without one it would wait in vain


def _delete(worker: Worker, item_id: str, key_id: str | None) -> ItemChange:
    recommender = worker.generation.recommender()
    live = recommender.standing(worker.items.store.find(item_id))
    known = live.columns is not None if live else recommender.known_item(item_id)
    if not known:
        raise Refused(Code.UNKNOWN_ITEM, f"There is no item {item_id!r}.")
    version = worker.items.store.put(item_id, None, key_id)
    if version % TIDY_EVERY == 0:
        worker.items.store.tidy(recommender.catalogue)
    worker.generation.hide(item_id, version, deleted=True)
    return ItemChange(item_id=item_id, version=version)


def _release(worker: Worker, item_id: str) -> ItemChange:
    recommender = worker.generation.recommender()

    def check(live: LiveItem) -> None:
        if live.columns is not None and not recommender.settled.holds(recommender.catalogue.find(item_id)):
            detail = (
                f"Generation {recommender.generation_id} holds no item {item_id!r}, so it cannot be given back. "
                "Ingest it and publish first, or delete it. Nothing was changed."
            )
            raise Refused(Code.NOT_IN_CATALOGUE, detail)

    version = worker.items.store.release(item_id, check)
    if version is None:
        raise Refused(Code.UNKNOWN_ITEM, f"Nothing was put, changed or deleted under {item_id!r}.")
    return ItemChange(item_id=item_id, version=version)


def _item(worker: Worker, item_id: str) -> ItemAnswer:
    found = described(worker.generation.recommender(), item_id, worker.items.store.find(item_id))
    if found is None:
        raise Refused(Code.UNKNOWN_ITEM, f"There is no item {item_id!r}.")
    return found


def described(recommender: "Recommender", item_id: str, live: LiveItem | None) -> ItemAnswer | None:
    """Return an item as it is now, live or of the catalogue; None where there is none.

    Args:
        recommender: that answers.
        item_id: of the item.
        live: what was last put under the id.
    """
    live, (rows, _) = recommender.standing(live), recommender.catalogue.split([item_id])
    offered = bool(rows) and bool(recommender.catalogue.available[rows[0]])
    if live is not None and live.columns is not None:
        return ItemAnswer(
            item_id=item_id,
            fields=live.columns,
            source="live",
            version=live.version,
            changed_at=moment(live.time),
            recommendable=offered,
        )
    if live is not None or not rows:
        return None
    fields = {
        name: value for name, value in recommender.catalogue.items.row(rows[0], named=True).items() if name != ITEM_ID
    }
    return ItemAnswer(
        item_id=item_id, fields=fields, source="catalogue", version=None, changed_at=None, recommendable=offered
    )


def _of_the_catalogue(recommender: "Recommender", item_id: str) -> dict[str, Any] | None:
    """Return an item's columns as JSON values, those that are not empty."""
    found = described(recommender, item_id, None)
    if found is None:
        return None
    columns: dict[str, Any] = found.model_dump(mode="json")["fields"]
    return {name: value for name, value in columns.items() if value is not None}
