"""Live items: put, read and delete; every worker follows within a second, a new text as fast as it is encoded."""

from typing import Annotated

from fastapi import HTTPException, Path, Response

from recsys.columns import ITEM_ID
from services.auth import guarded_router, scoped
from services.parts import Parts, PartsOfApp, json_response
from services.schemas.fields import Id
from services.schemas.live import MAX_COLUMNS, ItemAnswer, ItemChange, PutItemRequest

router = guarded_router()
ItemId = Annotated[Id, Path(description="As in the catalogue, or new.")]


@router.put("/v1/items/{item_id:path}", response_model=ItemChange, **scoped("write", 400, 413, 422))
async def put_item(item_id: ItemId, request: PutItemRequest, parts: PartsOfApp) -> Response:
    """Store an item in the place of what was there; it is recommendable, by its text, within seconds."""
    return json_response(await parts.writing.run(_put, parts, item_id, request))


@router.get("/v1/items/{item_id:path}", response_model=ItemAnswer, **scoped("recommend", 404, 422))
async def item(item_id: ItemId, parts: PartsOfApp) -> Response:
    """Return an item, live or of the catalogue."""
    return json_response(await parts.writing.run(_item, parts, item_id))


@router.delete("/v1/items/{item_id:path}", response_model=ItemChange, **scoped("write", 404, 422))
async def delete_item(item_id: ItemId, parts: PartsOfApp) -> Response:
    """Take an item out of all lists; histories that hold it still count it."""
    return json_response(await parts.writing.run(_delete, parts, item_id))


def _put(parts: Parts, item_id: str, request: PutItemRequest) -> ItemChange:
    from recsys.live import ItemError, check_columns  # brings transformers

    columns = request.model_dump(exclude_unset=True)
    if len(columns) > MAX_COLUMNS:
        raise HTTPException(422, f"body: an item has at most {MAX_COLUMNS} columns.")
    try:
        check_columns(columns, parts.generation.recommender().catalogue.items.schema)
    except ItemError as error:
        raise HTTPException(422, f"body.{error}") from None
    version = parts.items.store.put(item_id, columns)
    if not request.available:
        parts.generation.refresh()
    return ItemChange(item_id=item_id, version=version)


def _delete(parts: Parts, item_id: str) -> ItemChange:
    live = parts.items.store.find(item_id)
    known = live.columns is not None if live else parts.generation.recommender().known_item(item_id)
    if not known:
        raise HTTPException(404, f"There is no item {item_id!r}.")
    version = parts.items.store.put(item_id, None)
    parts.generation.refresh()
    return ItemChange(item_id=item_id, version=version)


def _item(parts: Parts, item_id: str) -> ItemAnswer:
    recommender = parts.generation.recommender()
    live = parts.items.store.find(item_id)
    rows, _ = recommender.catalogue.split([item_id])
    offered = bool(rows) and bool(recommender.catalogue.available[rows[0]])
    if live is not None and live.columns is not None:
        return ItemAnswer(
            item_id=item_id, fields=live.columns, source="live", version=live.version, recommendable=offered
        )
    if live is not None or not rows:
        raise HTTPException(404, f"There is no item {item_id!r}.")
    fields = {
        name: value for name, value in recommender.catalogue.items.row(rows[0], named=True).items() if name != ITEM_ID
    }
    return ItemAnswer(item_id=item_id, fields=fields, source="catalogue", version=None, recommendable=offered)
