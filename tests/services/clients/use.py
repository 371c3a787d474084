"""Calls the service with a client made from its OpenAPI document alone; prints what came back as JSON."""

import json
import sys
from typing import Any

from generated import Client
from generated.api.events import add_events
from generated.api.generations import generations, roll_back
from generated.api.items import delete_item, item, put_item
from generated.api.lists import rank, recommend, recommend_batch, similar
from generated.api.operations import readyz
from generated.api.texts import classify, embed, search
from generated.api.users import forget_user, recommendation, user
from generated.models import (
    BatchRequest,
    ClassifyRequest,
    EmbedRequest,
    EventsRequest,
    NewEvent,
    PutItemRequest,
    RankRequest,
    RecommendRequest,
    SearchRequest,
    SimilarRequest,
    UserOrHistory,
)

url, first, other = sys.argv[1:]
# wanted without keys, also where there is no body
client = Client(base_url=url, headers={"Content-Type": "application/json"}, raise_on_unexpected_status=True)
seen: dict[str, int] = {}


def took(module: Any, *args: Any, **arguments: Any) -> Any:
    response = module.sync_detailed(*args, client=client, **arguments)
    seen[module.__name__.rpartition(".")[2]] = int(response.status_code)
    return response.parsed


answer = took(recommend, body=RecommendRequest(user_id="python"))
took(recommend_batch, body=BatchRequest(users=[UserOrHistory(user_id="7"), UserOrHistory(history=[])]))
took(rank, body=RankRequest(history=[first], item_ids=[other]))
took(similar, body=SimilarRequest(item_id=first))
took(search, body=SearchRequest(query="a film"))
took(embed, body=EmbedRequest(texts=["a film"]))
took(classify, body=ClassifyRequest(texts=["a ticket"]))
told = took(add_events, body=EventsRequest(events=[NewEvent(user_id="python", item_id=first)]))
change = took(put_item, "py/1 ?", body=PutItemRequest(title="New"))
took(item, "py/1 ?")
took(delete_item, "py/1 ?")
person = took(user, "python", limit=1)
lineage = took(recommendation, answer.rec_id)
took(forget_user, "python")
took(generations)
took(readyz)
refused = recommend.sync(client=client, body=RecommendRequest(user_id="7", adapter="nothing"))
wrong = recommend.sync(client=client, body=RecommendRequest(user_id="7", k=0))
back = roll_back.sync(client=client)
print(
    json.dumps(
        {
            "seen": seen,
            "best": answer.items[0].item_id,
            "fallback": answer.fallback,
            "accepted": told.accepted,
            "version": change.version,
            "history": [event.item_id for event in person.history],
            "shown": [one.item_id for one in lineage.items],
            "codes": [refused.code, back.code, wrong.code, wrong.errors[0].pointer],
        }
    )
)
