"""The service's client, sync and async: a method a route, typed requests and answers, typed errors.

    from recsys_client import Client

    with Client("http://localhost:3000", key="rsk_…") as recsys:
        answer = recsys.recommend(user_id="196", k=5)
        recsys.add_events([{"user_id": "196", "item_id": answer.items[0].item_id}])

It needs httpx and pydantic, and loads nothing of what the service itself is made of.
"""

from recsys_client.clients import AsyncClient, Client
from recsys_client.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    NotReady,
    RateLimited,
    ServiceError,
    Unauthorised,
)
from recsys_client.schemas.events import NewEvent
from recsys_client.schemas.recommend import NewPromotion, UserOrHistory

__all__ = [
    "AsyncClient",
    "Client",
    "Conflict",
    "Forbidden",
    "Invalid",
    "NewEvent",
    "NewPromotion",
    "NotFound",
    "NotReady",
    "RateLimited",
    "ServiceError",
    "Unauthorised",
    "UserOrHistory",
]
