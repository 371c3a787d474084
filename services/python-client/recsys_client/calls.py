"""What can be asked of the service: a function a route, from typed arguments to the request and its answer's type.

Both clients send what is built here. Arguments that are left out are not sent, so the defaults are the service's.
"""

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar, Unpack
from urllib.parse import quote

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from recsys_client.errors import ServiceError, error_in, error_of, invalid, invalid_parameter
from recsys_client.params import (
    AnybodyParams,
    BecauseYouLikedParams,
    BoughtTogetherParams,
    DialledParams,
    NewArrivalsParams,
    PageParams,
    PopularParams,
    RankParams,
    RecommendParams,
    SearchParams,
    SimilarParams,
    SimilarUsersParams,
    TrendingParams,
)
from recsys_client.schemas.classify import ClassifyAnswer, ClassifyRequest
from recsys_client.schemas.comparison import ComparisonAnswer
from recsys_client.schemas.events import EventsAnswer, EventsRequest, NewEvent
from recsys_client.schemas.fields import Id
from recsys_client.schemas.generations import (
    AdaptersAnswer,
    GenerationsAnswer,
    PromoteRequest,
    PromotionAnswer,
    PromotionsAnswer,
    RollbackRequest,
    ShadowAnswer,
    ShadowRequest,
    SwitchAnswer,
)
from recsys_client.schemas.items import (
    ItemAnswer,
    ItemChange,
    ItemsAnswer,
    PatchItemRequest,
    PutItemRequest,
    PutItemsAnswer,
    PutItemsRequest,
    Source,
)
from recsys_client.schemas.page import PageAnswer, PageRequest
from recsys_client.schemas.rates import RatesAnswer
from recsys_client.schemas.readiness import Readiness
from recsys_client.schemas.recipes import (
    BecauseYouLikedRequest,
    BoughtTogetherRequest,
    BuyAgainRequest,
    ListAnswer,
    NewArrivalsRequest,
    PopularRequest,
    RecentlyViewedRequest,
    RecipeRequest,
    TrendingRequest,
)
from recsys_client.schemas.recommend import (
    BatchAnswer,
    BatchRequest,
    RankAnswer,
    RankRequest,
    RecommendAnswer,
    RecommendRequest,
    SimilarAnswer,
    SimilarRequest,
    UserOrHistory,
)
from recsys_client.schemas.texts import EmbedAnswer, EmbedRequest, SearchAnswer, SearchRequest
from recsys_client.schemas.users import (
    ForgottenAnswer,
    LineageAnswer,
    PutUserRequest,
    SimilarUsersAnswer,
    SimilarUsersRequest,
    UserAnswer,
    UserAttributes,
)

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)
_ID = TypeAdapter(Id)


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request, and how to read the response.

    Attributes:
        arguments: what httpx needs beside method and path.
        read: makes a successful response the answer.
        repeatable: whether doing it twice is as good as once, also where the first answer was lost.
        follow: takes an answer and returns the call that asks for what it is not yet; None where it is what was asked.
    """

    method: str
    path: str
    arguments: dict[str, Any]
    read: Callable[[httpx.Response], T]
    repeatable: bool
    follow: "Callable[[T], Call[T] | None]" = lambda _: None

    def answer(self, response: httpx.Response) -> T:
        """Return the answer, or raise the ServiceError that the response stands for."""
        if not response.is_success:
            raise error_of(response)
        try:
            return self.read(response)
        except ValidationError as error:
            detail = f"This is no answer of {self.method} {self.path}; is {response.url.host} the service? {error}"
            raise ServiceError(response.status_code, "Unexpected answer", detail) from None


def recommend(**params: Unpack[RecommendParams]) -> Call[RecommendAnswer]:
    """Return the best items for a user, given by ``user_id`` or by ``history`` (item ids, oldest first)."""
    return _call("POST", "/v1/recommend", RecommendAnswer, _checked(RecommendRequest, params))


def recommend_batch(
    users: Iterable[UserOrHistory | Mapping[str, Any]], **params: Unpack[DialledParams]
) -> Call[BatchAnswer]:
    """Return the best items for up to 256 users, in their order."""
    return _call("POST", "/v1/recommend/batch", BatchAnswer, _checked(BatchRequest, {"users": list(users), **params}))


def rank(item_ids: Iterable[str], **params: Unpack[RankParams]) -> Call[RankAnswer]:
    """Return up to 1,000 given items in the order in which they suit a user."""
    return _call("POST", "/v1/rank", RankAnswer, _checked(RankRequest, {"item_ids": list(item_ids), **params}))


def similar(item_id: str, **params: Unpack[SimilarParams]) -> Call[SimilarAnswer]:
    """Return the items most like a given one."""
    return _call("POST", "/v1/similar", SimilarAnswer, _checked(SimilarRequest, {"item_id": item_id, **params}))


def because_you_liked(**params: Unpack[BecauseYouLikedParams]) -> Call[ListAnswer]:
    """Return what is like one item of the user's history, given or chosen by the service; ``about`` names it."""
    return _list(BecauseYouLikedRequest, params)


def bought_together(item_ids: Iterable[str], **params: Unpack[BoughtTogetherParams]) -> Call[ListAnswer]:
    """Return what goes with up to 50 items, as baskets show it, rather than in their place."""
    return _list(BoughtTogetherRequest, {"item_ids": list(item_ids), **params})


def buy_again(**params: Unpack[AnybodyParams]) -> Call[ListAnswer]:
    """Return what a user is likely to take once more about now."""
    return _list(BuyAgainRequest, params)


def new_arrivals(**params: Unpack[NewArrivalsParams]) -> Call[ListAnswer]:
    """Return what has come in the last ``days`` (30) of the snapshot, as it suits the user."""
    return _list(NewArrivalsRequest, params)


def recently_viewed(**params: Unpack[AnybodyParams]) -> Call[ListAnswer]:
    """Return what a user chose last, newest first."""
    return _list(RecentlyViewedRequest, params)


def page(**params: Unpack[PageParams]) -> Call[PageAnswer]:
    """Return several named lists at once, the most useful first, and no item twice; see ``NewRow`` for rows."""
    return _call("POST", "/v1/page", PageAnswer, _checked(PageRequest, params))


def popular(**params: Unpack[PopularParams]) -> Call[ListAnswer]:
    """Return what most people chose: ever, or in the last ``days`` of the snapshot."""
    return _list(PopularRequest, params)


def trending(**params: Unpack[TrendingParams]) -> Call[ListAnswer]:
    """Return what has grown beyond chance in the last ``days`` (7) of the snapshot."""
    return _list(TrendingRequest, params)


def search(query: str, **params: Unpack[SearchParams]) -> Call[SearchAnswer]:
    """Find items by free text, by meaning and by words."""
    return _call("POST", "/v1/search", SearchAnswer, _checked(SearchRequest, {"query": query, **params}))


def embed(texts: Iterable[str], *, adapter: str | None = None, generation: str | None = None) -> Call[EmbedAnswer]:
    """Return up to 256 texts as unit vectors, in their order."""
    asked = {"texts": list(texts), "adapter": adapter, "generation": generation}
    return _call("POST", "/v1/embed", EmbedAnswer, _checked(EmbedRequest, asked))


def classify(texts: Iterable[str], *, adapter: str | None = None) -> Call[ClassifyAnswer]:
    """Return what up to 256 texts are, in their order, by a classifier."""
    request = _checked(ClassifyRequest, {"texts": list(texts), "adapter": adapter})
    return _call("POST", "/v1/classify", ClassifyAnswer, request)


def add_events(events: Iterable[NewEvent | Mapping[str, Any]]) -> Call[EventsAnswer]:
    """Store up to 1,000 events; the next recommendation knows them.

    An event with neither ``event_id`` nor ``timestamp`` is given an ``event_id``, so that repeating the request after
    a lost answer counts nothing twice. With a ``timestamp`` the service tells a repetition by the event's content.
    """
    request = _checked(EventsRequest, {"events": list(events)})
    named = [
        event.model_copy(update={"event_id": uuid.uuid4().hex})
        if event.event_id is None and event.timestamp is None
        else event
        for event in request.events
    ]
    return _call("POST", "/v1/events", EventsAnswer, EventsRequest(events=named))


def put_item(item_id: str, /, *, title: str, available: bool | None = None, **columns: Any) -> Call[ItemChange]:
    """Store an item whole, new or in the place of what was there; a column that is left out is empty."""
    given = {"title": title, **columns} | ({} if available is None else {"available": available})
    return _call("PUT", f"/v1/items/{_segment('item_id', item_id)}", ItemChange, _checked(PutItemRequest, given))


def patch_item(item_id: str, /, **columns: Any) -> Call[ItemChange]:
    """Change some columns of an item and leave the others; None empties a column."""
    body = _checked(PatchItemRequest, columns)
    return _call("PATCH", f"/v1/items/{_segment('item_id', item_id)}", ItemChange, body)


def put_items(items: Iterable[Mapping[str, Any]]) -> Call[PutItemsAnswer]:
    """Store up to 500 items whole, each with its ``item_id``; the answer says which were not, and why."""
    return _call("POST", "/v1/items", PutItemsAnswer, _checked(PutItemsRequest, {"items": list(items)}))


def items(
    *, after: str | None = None, limit: int | None = None, source: Source | None = None, fields: Sequence[str] = ()
) -> Call[ItemsAnswer]:
    """Return a page of all items by id, those after ``after``; ``next`` of the answer is where the next one begins."""
    given = {"after": after, "limit": limit, "source": source, "fields": list(fields) or None}
    query = {name: value for name, value in given.items() if value is not None}
    return _call("GET", "/v1/items", ItemsAnswer, query=query)


def item(item_id: str) -> Call[ItemAnswer]:
    """Return an item, live or of the catalogue."""
    return _call("GET", f"/v1/items/{_segment('item_id', item_id)}", ItemAnswer)


def delete_item(item_id: str) -> Call[ItemChange]:
    """Take an item out of all lists; histories that hold it still count it."""
    return _call("DELETE", f"/v1/items/{_segment('item_id', item_id)}", ItemChange, repeatable=False)


def release_item(item_id: str) -> Call[ItemChange]:
    """Give an item back to the catalogue: what was put, changed or deleted counts no more."""
    return _call("POST", f"/v1/items/{_segment('item_id', item_id)}/release", ItemChange, repeatable=False)


def user(user_id: str, *, limit: int | None = None) -> Call[UserAnswer]:
    """Return what is known of a user, with the newest ``limit`` events (100 unless told otherwise)."""
    query = {} if limit is None else {"limit": limit}
    return _call("GET", f"/v1/users/{_segment('user_id', user_id)}", UserAnswer, query=query)


def similar_users(**params: Unpack[SimilarUsersParams]) -> Call[SimilarUsersAnswer]:
    """Return users of the snapshot who chose the same as one user, or as a history; needs the scope admin."""
    body = _checked(SimilarUsersRequest, params)
    return _call("POST", "/v1/similar-users", SimilarUsersAnswer, body)


def put_user(user_id: str, attributes: Mapping[str, Any]) -> Call[UserAttributes]:
    """Say what a user is like, in the place of what was said before; the next answer knows it."""
    body = _checked(PutUserRequest, {"attributes": dict(attributes)})
    return _call("PUT", f"/v1/users/{_segment('user_id', user_id)}", UserAttributes, body)


def forget_user(user_id: str) -> Call[ForgottenAnswer]:
    """Forget a user for good."""
    return _call("DELETE", f"/v1/users/{_segment('user_id', user_id)}", ForgottenAnswer, repeatable=False)


def recommendation(rec_id: str, *, replay: bool = False) -> Call[LineageAnswer]:
    """Return where an answer came from; with ``replay`` also whether its generation still gives it."""
    path = f"/v1/recommendations/{_segment('rec_id', rec_id)}"
    return _call("GET", path, LineageAnswer, query={"replay": replay} if replay else {})


def generations() -> Call[GenerationsAnswer]:
    """List all generations, and which one answers."""
    return _call("GET", "/v1/generations", GenerationsAnswer)


def adapters() -> Call[AdaptersAnswer]:
    """List all adapters, and which ones a request may name."""
    return _call("GET", "/v1/adapters", AdaptersAnswer)


def compare_adapters(first: str, second: str, *, users: int | None = None) -> Call[ComparisonAnswer]:
    """Compare two adapters on the targets that both held out, and show ``users`` people's lists (3) by both."""
    path = f"/v1/adapters/{_segment('first', first)}/compare/{_segment('second', second)}"
    return _call("GET", path, ComparisonAnswer, query={} if users is None else {"users": users})


def promote(
    generation_id: str, *, force: bool = False, reason: str | None = None, wait: bool = True
) -> Call[PromotionAnswer]:
    """Serve a generation; Conflict says why it is not, and ``force``, which takes a reason, overrules the gate.

    The gate may take minutes. With ``wait`` that is waited for; without, the answer comes at once, and ``promotion``
    tells what became of it.
    """
    path = f"/v1/generations/{_segment('generation_id', generation_id)}/promote"
    body = _checked(PromoteRequest, {"force": force} | ({} if reason is None else {"reason": reason}))
    call = _call("POST", path, PromotionAnswer, body, repeatable=False)
    if wait:
        return replace(call, follow=_decided)
    call.arguments["headers"]["Prefer"] = "respond-async"
    return call


def promotion(promotion_id: str) -> Call[PromotionAnswer]:
    """Return what became of a promotion; ``state`` says it, and a refusal is told, not raised."""
    return _call("GET", f"/v1/promotions/{_segment('promotion_id', promotion_id)}", PromotionAnswer)


def roll_back(*, to: str | None = None, reason: str | None = None) -> Call[SwitchAnswer]:
    """Serve the generation before the current one again, or any other; Conflict where there is none."""
    given = {name: value for name, value in (("to", to), ("reason", reason)) if value is not None}
    body = _checked(RollbackRequest, given) if given else None
    return _call("POST", "/v1/rollback", SwitchAnswer, body, repeatable=False)


def promotions(*, limit: int | None = None) -> Call[PromotionsAnswer]:
    """Return the newest ``limit`` switches and refusals (100 unless told otherwise): who, when, why."""
    return _call("GET", "/v1/promotions", PromotionsAnswer, query={} if limit is None else {"limit": limit})


def begin_shadow(generation_id: str, *, share: float | None = None) -> Call[ShadowAnswer]:
    """Let a generation answer a share of the requests in the background (a tenth unless told otherwise)."""
    path = f"/v1/generations/{_segment('generation_id', generation_id)}/shadow"
    body = _checked(ShadowRequest, {} if share is None else {"share": share})
    return _call("POST", path, ShadowAnswer, body, repeatable=False)


def end_shadow(generation_id: str) -> Call[ShadowAnswer]:
    """Let a generation be the shadow no longer; the answer is its last summary."""
    path = f"/v1/generations/{_segment('generation_id', generation_id)}/shadow"
    return _call("DELETE", path, ShadowAnswer, repeatable=False)


def shadow() -> Call[ShadowAnswer]:
    """Compare the shadow with what was answered."""
    return _call("GET", "/v1/shadow", ShadowAnswer)


def rates(*, hours: int | None = None, event_type: str | None = None) -> Call[RatesAnswer]:
    """Return what share of the answers of the last hours (24) has brought events, by generation."""
    query = {name: value for name, value in (("hours", hours), ("event_type", event_type)) if value is not None}
    return _call("GET", "/v1/rates", RatesAnswer, query=query)


def livez() -> Call[None]:
    """Return if the process is alive."""
    return Call("GET", "/livez", {}, _nothing, repeatable=True)


def readyz() -> Call[Readiness]:
    """Return what is loaded if the service can answer; NotReady says why it cannot."""
    return _call("GET", "/readyz", Readiness)


def metrics() -> Call[str]:
    """Return the numbers of all workers in Prometheus' text format."""
    return Call("GET", "/metrics", {}, _text, repeatable=True)


def _call(
    method: str,
    path: str,
    answer: type[M],
    body: BaseModel | None = None,
    *,
    query: Mapping[str, Any] | None = None,
    repeatable: bool = True,
) -> Call[M]:
    arguments: dict[str, Any] = {"params": query} if query else {}
    if body is not None:
        arguments["content"] = body.model_dump_json(exclude_unset=True)
    if body is not None or method == "POST":  # a service without keys asks for it also where there is no body
        arguments["headers"] = {"Content-Type": "application/json"}
    return Call(method, path, arguments, lambda response: answer.model_validate_json(response.content), repeatable)


def _decided(answer: PromotionAnswer) -> Call[PromotionAnswer] | None:
    """Return what asks once more while a promotion is judged; raise what it is refused by."""
    if answer.state == "running":
        return replace(promotion(answer.promotion), follow=_decided)
    if answer.problem is not None:
        raise error_in(answer.problem.status, answer.problem.code, answer.problem.detail)
    return None


def _list(schema: type[RecipeRequest], params: Mapping[str, Any]) -> Call[ListAnswer]:
    return _call("POST", f"/v1/lists/{schema.recipe}", ListAnswer, _checked(schema, params))


def _checked(schema: type[M], values: Mapping[str, Any]) -> M:
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise invalid(error, schema) from None


def _segment(name: str, value: str) -> str:
    """Return an id as one part of a path, whatever it holds."""
    try:
        _ID.validate_python(value)
    except ValidationError as error:
        (entry,) = error.errors(include_url=False, include_input=False)
        raise invalid_parameter(name, entry["type"].replace("_", "-"), entry["msg"]) from None
    if value in (".", ".."):  # servers and proxies resolve these before a route sees them
        raise invalid_parameter(name, "path-segment", f"{value!r} cannot be part of an address.")
    return quote(value, safe="")


def _nothing(_: httpx.Response) -> None:
    return None


def _text(response: httpx.Response) -> str:
    return response.text
