"""The client against the running service: nothing forgotten, sync and async alike, errors with names."""

import asyncio
import inspect
import pickle
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import httpx
import pytest
from pydantic import BaseModel

import recsys_client
from recsys.home import Home
from recsys_client import (
    AsyncClient,
    Client,
    Conflict,
    Forbidden,
    Invalid,
    NewEvent,
    NewPromotion,
    NotFound,
    NotReady,
    RateLimited,
    ServiceError,
    Unauthorised,
    UserOrHistory,
    calls,
    params,
)
from recsys_client.schemas.page import NewRow, PageRequest
from recsys_client.schemas.recipes import (
    BecauseYouLikedRequest,
    BoughtTogetherRequest,
    BuyAgainRequest,
    NewArrivalsRequest,
    PopularRequest,
    RecentlyViewedRequest,
    TrendingRequest,
)
from recsys_client.schemas.recommend import BatchRequest, DialledOptions, ListOptions, RankRequest, SimilarRequest
from recsys_client.schemas.texts import SearchRequest
from recsys_client.schemas.users import SimilarUsersRequest
from services.edge.keys import create_key
from services.serve import running

METHODS = [name for name in vars(Client) if not name.startswith("_") and name != "close"]
OF_THE_MOMENT = {
    "rec_id",
    "took_ms",
    "version",
    "changed_at",
    "impressions",
    "forgotten_until",
    "since",
    "timestamp",
    "rates",
    "promotion",
    "at",
    "ended",
}


@dataclass(frozen=True)
class Step:
    """One call; ``refused`` is the error that it ends in."""

    name: str
    args: tuple[Any, ...] = ()
    options: Mapping[str, Any] | None = None
    refused: type[ServiceError] | None = None


def steps(mark: str, known_user: str, item: str, other: str, rec_id: str, generation: str, adapter: str) -> list[Step]:
    """Return a walk through all that can be called; what it writes carries the mark."""
    made = f"{mark} ?#%ü"  # an id that has to be quoted
    promotions = [NewPromotion(item_id=item, slot=1), {"item_id": other, "slot": 3}]
    filtered = {"filter": {"field": "year", "gte": 1960}, "fields": ["title", "year"]}
    return [
        Step("readyz"),
        Step("livez"),
        Step("recommend", options={"user_id": known_user, "k": 5, "explain": True, "promotions": promotions}),
        Step("recommend", options={"history": (item, other), "diversity": 0.3, "limits": {"year": 2}, **filtered}),
        Step("recommend_batch", ([UserOrHistory(user_id=known_user), {"history": [item]}],), {"k": 3}),
        Step("rank", ([other, item, "nothing"],), {"user_id": known_user}),
        Step("similar", (item,), filtered),
        Step("similar", (item,), {"by": "both", "k": 3}),
        Step("because_you_liked", options={"user_id": known_user, "by": "behaviour", "explain": True}),
        Step("bought_together", ([item, other],), {"k": 5}),
        Step("buy_again", options={"history": (item, other, item)}),
        Step("new_arrivals", options={"user_id": known_user, "days": 60}),
        Step("recently_viewed", options={"user_id": known_user, "k": 3}),
        Step("page", options={"user_id": known_user, "rows": [NewRow(recipe="trending"), {"recipe": "popular"}]}),
        Step("popular", options={"user_id": known_user, "days": 30, **filtered}),
        Step("trending", options={"days": 7, "explain": True}),
        Step("search", ("a film",), filtered),
        Step("search", ("haunted",), {"mode": "words"}),
        Step("embed", (["a film", "another"],)),
        Step("classify", (["My parcel is late"],)),
        Step("add_events", ([NewEvent(user_id=mark, item_id=item), {"user_id": mark, "item_id": "nothing"}],)),
        Step("user", (mark,), {"limit": 5}),
        Step("similar_users", options={"user_id": known_user, "k": 3}),
        Step("put_user", (mark, {"age": 34}), refused=Invalid),  # the snapshot knows no attributes
        Step("forget_user", (mark,)),
        Step("user", (mark,)),
        Step("put_item", (made,), {"title": "A new one", "year": 2026}),
        Step("patch_item", (made,), {"year": 2027, "genres": None}),
        Step("item", (made,)),
        Step("put_items", ([{"item_id": made, "title": "Again"}, {"item_id": made, "title": "Twice"}],)),
        Step("items", options={"after": "h", "limit": 2, "source": "catalogue", "fields": ["title", "year"]}),
        Step("delete_item", (made,)),
        Step("item", (made,), refused=NotFound),
        Step("delete_item", (made,), refused=NotFound),
        Step("release_item", (made,)),
        Step("release_item", (made,), refused=NotFound),
        Step("recommendation", (rec_id,), {"replay": True}),
        Step("generations"),
        Step("adapters"),
        Step("promote", (generation,), {"force": True, "reason": "It is the only one."}),
        Step("promote", ("0" * 16,), refused=NotFound),
        Step("promotion", ("0" * 16,), refused=NotFound),
        Step("compare_adapters", (adapter, adapter), {"users": 1}),
        Step("roll_back", refused=Conflict),
        Step("roll_back", options={"to": generation, "reason": "It is the one that serves."}),
        Step("promotions", options={"limit": 5}),
        Step("begin_shadow", (generation,), {"share": 1.0}),
        Step("shadow"),
        Step("end_shadow", (generation,)),
        Step("rates", options={"hours": 1, "event_type": "click"}),
        Step("end_shadow", (generation,), refused=NotFound),
        Step("metrics"),
    ]  # fmt: skip


def told(outcome: Any) -> Any:
    """Return what an answer or an error says, without what two equal calls differ in."""
    if isinstance(outcome, ServiceError):
        return type(outcome), outcome.status, outcome.title
    if isinstance(outcome, BaseModel):
        outcome = {"model": type(outcome), **outcome.model_dump(mode="json")}
    if isinstance(outcome, dict):
        return {key: told(value) for key, value in outcome.items() if key not in OF_THE_MOMENT}
    if isinstance(outcome, list):
        return [told(value) for value in outcome]
    return type(outcome) if isinstance(outcome, str) and len(outcome) > 10_000 else outcome  # metrics


class Recorded(httpx.HTTPTransport):
    """Notes which requests went over the wire."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple[str, str]] = set()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.seen.add((request.method.lower(), request.url.raw_path.decode().partition("?")[0]))
        return super().handle_request(request)


def test_every_operation_has_a_method_and_both_clients_give_equal_answers(
    service: httpx.Client, known_user: str, catalogue: list[str], eventually: Callable[[Callable[[], bool]], None]
) -> None:
    url, sent = str(service.base_url), Recorded()
    first = service.post("/v1/recommend", json={"history": catalogue[:2]}).json()

    def walk(mark: str) -> list[Step]:
        made = (first["rec_id"], first["generation"], first["adapter"])
        return steps(mark, known_user, catalogue[0], catalogue[1], *made)

    def settle() -> None:
        """Wait until all workers know of every item that was put and deleted so far: scores stand beside all others."""
        service.put("/v1/items/last", json={"title": "Last"}).raise_for_status()
        version = service.delete("/v1/items/last").raise_for_status().json()["version"]
        known = re.compile(r"^recsys_live_items_version (\S+)$", re.MULTILINE)
        eventually(lambda: float(known.findall(service.get("/metrics").text)[0]) >= version)

    def in_sync() -> Iterator[Any]:
        settle()
        with Client(url, timeout=30, transport=sent) as client:
            for step in walk(f"sync-{uuid.uuid4().hex[:8]}"):
                try:
                    yield getattr(client, step.name)(*step.args, **step.options or {})
                except ServiceError as error:
                    yield error

    async def in_async() -> list[Any]:
        outcomes: list[Any] = []
        settle()
        async with AsyncClient(url, timeout=30) as client:
            for step in walk(f"async-{uuid.uuid4().hex[:8]}"):
                try:
                    outcomes.append(await getattr(client, step.name)(*step.args, **step.options or {}))
                except ServiceError as error:
                    outcomes.append(error)
        return outcomes

    walked = walk("names only")
    assert {step.name for step in walked} == set(METHODS)
    for step, one, other in zip(walked, in_sync(), asyncio.run(in_async()), strict=True):
        assert (type(one) if isinstance(one, ServiceError) else None) == step.refused, (step, one)
        marks = re.compile(r"\ba?sync-[0-9a-f]{8}|\d+\.\d ms")  # and how long answers took at the gate
        assert marks.sub("", repr(told(one))) == marks.sub("", repr(told(other))), step

    document = service.get("/docs.json").json()
    for path, operations in document["paths"].items():
        concrete = re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path)))
        for method in operations:
            asked = any(verb == method and concrete.fullmatch(where) for verb, where in sent.seen)
            assert asked, f"the client has no method for {method.upper()} {path}"


def test_answers_are_the_services_schemas(service: httpx.Client, known_user: str, catalogue: list[str]) -> None:
    with Client(str(service.base_url)) as client:
        answer = client.recommend(user_id=known_user, k=3, explain=True)
        assert [item.item_id for item in answer.items] == [
            item.item_id for item in client.recommend(user_id=known_user, k=3).items
        ]
        explanation = answer.items[0].explanation
        assert explanation is not None
        assert sum(part.score for part in explanation.components) == pytest.approx(answer.items[0].score)
        assert "recsys_request_duration_seconds" in client.metrics()
        with pytest.raises(Invalid, match="there is no 'nothing'") as refused:
            client.similar(catalogue[0], fields=["nothing"])
        assert refused.value.code == "unknown-field"
        assert [error.pointer for error in refused.value.errors] == ["/fields/0"]
        with pytest.raises(Invalid, match=r"filter"):
            client.search("a film", filter={"field": "year", "like": 3})


def test_both_clients_offer_the_same_and_say_what_they_return() -> None:
    for name in METHODS:
        build = getattr(calls, name)
        signatures = [inspect.signature(getattr(kind, name)) for kind in (Client, AsyncClient)]
        assert signatures[0] == signatures[1]
        assert list(signatures[0].parameters)[1:] == list(inspect.signature(build).parameters)
        assert getattr(Client, name).__doc__ == build.__doc__
    assert inspect.signature(Client.item).return_annotation is recsys_client.calls.ItemAnswer


def test_the_options_are_those_of_the_schemas() -> None:
    user = set(UserOrHistory.model_fields)
    assert set(get_type_hints(params.ListParams)) == set(ListOptions.model_fields)
    dialled = set(DialledOptions.model_fields)
    assert set(get_type_hints(params.DialledParams)) == dialled == set(BatchRequest.model_fields) - {"users"}
    assert set(get_type_hints(params.RecommendParams)) == user | dialled
    for asked, request in (
        (params.BecauseYouLikedParams, BecauseYouLikedRequest),
        (params.BoughtTogetherParams, BoughtTogetherRequest),
        (params.NewArrivalsParams, NewArrivalsRequest),
        (params.AnybodyParams, RecentlyViewedRequest),
        (params.AnybodyParams, BuyAgainRequest),
        (params.PopularParams, PopularRequest),
        (params.TrendingParams, TrendingRequest),
    ):
        assert set(get_type_hints(asked)) == set(request.model_fields) - {"item_ids"}
    assert set(get_type_hints(params.SimilarUsersParams)) == set(SimilarUsersRequest.model_fields)
    assert set(get_type_hints(params.PageParams)) == set(PageRequest.model_fields)
    assert set(get_type_hints(params.RankParams)) == set(RankRequest.model_fields) - {"item_ids"}
    assert set(get_type_hints(params.SimilarParams)) == set(SimilarRequest.model_fields) - {"item_id"}
    assert set(get_type_hints(params.SearchParams)) == set(SearchRequest.model_fields) - {"query"}


@pytest.fixture(scope="module")
def keys_of(copy_of_home: Callable[[Path], Home], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The URL of a service with keys, and a key for each use."""
    home = copy_of_home(tmp_path_factory.mktemp("clients"))
    made = {scope: create_key(home, scope, [scope])[1] for scope in ("recommend", "write")}
    slow = create_key(home, "slow", ["recommend"], rate=0.001)[1]
    with running(home) as url:
        yield {"url": url, "slow": slow, **made}


def test_keys_are_sent_and_refusals_have_names(keys_of: dict[str, str]) -> None:
    url = keys_of["url"]
    with Client(url, key=keys_of["recommend"]) as client:
        item_id = client.recommend(history=[]).items[0].item_id
        with pytest.raises(Forbidden, match="'write'") as refused:
            client.add_events([{"user_id": "u", "item_id": item_id}])
        assert (refused.value.status, refused.value.title) == (403, "Forbidden")
        assert re.fullmatch("[0-9a-f]{32}", refused.value.request_id or "")
        with pytest.raises(NotFound, match="'another'"):
            client.recommend(history=[], adapter="another")
    with Client(url) as client:
        client.readyz()
        with pytest.raises(Unauthorised, match="Bearer"):
            client.recommend(history=[])
    with Client(url, key=keys_of["slow"], retries=3) as client:
        client.item(item_id)
        with pytest.raises(RateLimited) as limited:
            client.item(item_id)
        assert limited.value.retry_after is not None
        assert 900 < limited.value.retry_after <= 1000


@pytest.mark.parametrize(
    ("name", "args", "options", "detail"),
    [
        ("recommend", (), {}, "exactly one of user_id and history"),
        ("recommend", (), {"user_id": "u", "k": 201}, "k: "),
        ("recommend", (), {"user_id": "u", "dievrsity": 1}, "dievrsity"),
        ("add_events", ([{"user_id": "u", "item_id": "i", "timestamp": "yesterday"}],), {}, "events.0.timestamp"),
        ("put_item", ("i",), {"title": ""}, "title"),
        ("begin_shadow", ("g",), {"share": 2}, "share"),
        ("item", ("",), {}, "at least 1"),
        ("forget_user", ("..",), {}, "user_id: '..' cannot be part of an address"),
    ],
)
def test_what_cannot_be_valid_is_not_sent(
    name: str, args: tuple[Any, ...], options: dict[str, Any], detail: str
) -> None:
    client = Client("http://service", transport=httpx.MockTransport(lambda _: pytest.fail("it was sent")))
    with pytest.raises(Invalid) as refused:
        getattr(client, name)(*args, **options)
    assert refused.value.status == 422
    assert detail in refused.value.detail


class Faults:
    """A service that fails as told, once for each fault, and then answers; notes the bodies that it got."""

    def __init__(self, *faults: httpx.Response | Exception) -> None:
        self.faults = list(faults)
        self.bodies: list[bytes] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.bodies.append(request.content)
        if not self.faults:
            stored = {"accepted": 1, "duplicates": 0, "rejected": []}
            return httpx.Response(
                200, json=stored if request.url.path == "/v1/events" else {"item_id": "i", "version": 1}
            )
        fault = self.faults.pop(0)
        if isinstance(fault, Exception):
            raise fault
        return httpx.Response(fault.status_code, content=fault.content, headers=fault.headers)


def ask(faults: Faults, retries: int, name: str, *args: Any) -> Any:
    """Call a method of both clients, each with the same faults, and return what both returned."""

    async def in_async() -> Any:
        async with AsyncClient("http://service", retries=retries, transport=httpx.MockTransport(faults)) as client:
            return await getattr(client, name)(*args)

    with Client("http://service", retries=retries, transport=httpx.MockTransport(faults)) as client:
        kept = list(faults.faults)
        answer = getattr(client, name)(*args)
        faults.faults = kept
        assert asyncio.run(in_async()) == answer
    return answer


def busy(after: str | None = "0") -> httpx.Response:
    problem = {"title": "Service Unavailable", "status": 503, "detail": "No generation is loaded yet."}
    return httpx.Response(503, json=problem, headers={"Retry-After": after} if after else {})


EVENTS = [{"user_id": "u", "item_id": "i"}]


def test_a_repeated_event_keeps_its_id() -> None:
    faults = Faults(busy(), httpx.RemoteProtocolError("gone"))
    assert ask(faults, 2, "add_events", EVENTS).accepted == 1
    assert len(faults.bodies) == 6
    for sent in (faults.bodies[:3], faults.bodies[3:]):
        assert len(set(sent)) == 1
        assert b'"event_id":"' in sent[0]
    assert faults.bodies[0] != faults.bodies[3]
    faults = Faults()
    ask(faults, 0, "add_events", [{**EVENTS[0], "timestamp": "2026-01-31T12:00:00Z"}])
    assert b"event_id" not in faults.bodies[0]  # the content tells a repetition, from any process


@pytest.mark.parametrize(
    ("fault", "retries", "name", "error"),
    [
        (busy(), 0, "add_events", NotReady),  # off by default
        (busy(), 3, "delete_item", NotReady),
        (busy(None), 3, "add_events", NotReady),
        (busy("60"), 3, "add_events", NotReady),
        (httpx.ConnectError("refused"), 0, "add_events", httpx.ConnectError),
        (httpx.ReadTimeout("slow"), 3, "add_events", httpx.ReadTimeout),
        (httpx.ReadError("reset"), 3, "delete_item", httpx.ReadError),
    ],
)  # fmt: skip
def test_what_must_not_be_repeated_is_sent_once(
    fault: httpx.Response | Exception, retries: int, name: str, error: type[Exception]
) -> None:
    faults = Faults(fault)
    client = Client("http://service", retries=retries, transport=httpx.MockTransport(faults))
    with pytest.raises(error) as raised:
        getattr(client, name)(EVENTS if name == "add_events" else "i")
    assert len(faults.bodies) == 1
    if isinstance(raised.value, NotReady):
        assert raised.value.detail == "No generation is loaded yet."


def test_repeating_ends() -> None:
    faults = Faults(*[busy() for _ in range(9)])
    with pytest.raises(NotReady), Client("http://service", retries=2, transport=httpx.MockTransport(faults)) as client:
        client.add_events(EVENTS)
    assert len(faults.bodies) == 3
    with pytest.raises(ValueError, match="retries"):
        Client("http://service", retries=-1)


@pytest.mark.parametrize(
    ("status", "kind"), [(502, ServiceError), (503, NotReady), (302, ServiceError), (200, ServiceError)]
)
def test_what_is_not_the_service_is_a_service_error_too(status: int, kind: type[ServiceError]) -> None:
    page = httpx.MockTransport(lambda _: httpx.Response(status, text="<h1>Bad Gateway</h1>"))
    with Client("http://service", transport=page) as client, pytest.raises(ServiceError) as error:
        client.generations()
    assert type(error.value) is kind
    assert error.value.status == status
    assert "Bad Gateway" in str(error.value) or "is service the service?" in str(error.value)
    copy = pickle.loads(pickle.dumps(error.value))
    assert (type(copy), str(copy)) == (kind, str(error.value))


def test_what_is_exported_is_meant_to_be() -> None:
    exported = {name: getattr(recsys_client, name) for name in recsys_client.__all__}
    classes = [value for value in vars(recsys_client.errors).values() if inspect.isclass(value)]
    errors = {one for one in classes if issubclass(one, ServiceError)}
    assert set(exported.values()) == errors | {Client, AsyncClient, NewEvent, NewPromotion, UserOrHistory}
    assert recsys_client.__all__ == sorted(recsys_client.__all__)
