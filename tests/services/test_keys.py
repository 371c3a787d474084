"""Keys and scopes: every route of the description, asked with every kind of key."""

import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from recsys.artifacts import ArtifactError
from recsys.home import Home
from services import serve
from services.edge.auth import guarded_router
from services.edge.guard import Guard
from services.edge.keys import PREFIX, SCOPES, Keys, create_key, read_keys, revoke_key
from services.serve import running

OPEN = {"/livez", "/readyz", "/metrics"}
REFUSED = {401, 403}


@dataclass(frozen=True)
class Guarded:
    """A service with one key for each scope."""

    home: Home
    client: httpx.Client
    tokens: dict[str, str]

    def ask(self, method: str, path: str, token: str | None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return self.client.request(method, path, headers=headers)


@pytest.fixture(scope="module")
def guarded(copy_of_home: Callable[[Path], Home], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    home = copy_of_home(tmp_path_factory.mktemp("guarded"))
    tokens = {scope: create_key(home, scope, [scope])[1] for scope in SCOPES}
    with running(home) as url, httpx.Client(base_url=url, timeout=30) as client:
        yield Guarded(home, client, tokens)


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def test_every_route_asks_for_its_scope(guarded: Guarded) -> None:
    document = guarded.client.get("/docs.json").json()
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    walked = 0
    for method, path, operation in operations(document):
        concrete = path.replace("{", "").replace("}", "")
        answers = {
            name: guarded.ask(method, concrete, token)
            for name, token in {"none": None, "wrong": f"{PREFIX}{'x' * 43}", **guarded.tokens}.items()
        }
        statuses = {name: answer.status_code for name, answer in answers.items()}
        if method == "GET":
            for name, token in {"none": None, **guarded.tokens}.items():
                assert guarded.ask("HEAD", concrete, token).status_code == statuses[name]
        assert "security" in operation, f"{method} {path} declares no scope"
        if not operation["security"]:
            assert path in OPEN, f"{method} {path} is open to everybody"
            assert not set(statuses.values()) & REFUSED
            continue
        ((needed,),) = [list(requirement["key"]) for requirement in operation["security"]]
        assert needed in SCOPES
        assert {"401", "403", "429"} <= set(operation["responses"])
        for name in ("none", "wrong"):
            assert statuses[name] == answers[name].json()["status"] == 401, (method, path)
            assert answers[name].headers["WWW-Authenticate"].startswith("Bearer")
        for name in SCOPES:
            if name in (needed, "admin"):
                assert statuses[name] not in REFUSED, (method, path, name)
            else:
                assert statuses[name] == 403, (method, path, name)
                assert repr(needed) in answers[name].json()["detail"]
        walked += 1
    assert walked >= 4


def test_what_a_person_did_needs_the_admin_scope(guarded: Guarded) -> None:
    document = guarded.client.get("/docs.json").json()
    personal = {"/v1/users/{user_id}", "/v1/recommendations/{rec_id}"} & set(document["paths"])
    of_operators = ("/v1/generations", "/v1/adapters", "/v1/rollback", "/v1/promotions", "/v1/shadow", "/v1/rates")
    for method, path, operation in operations(document):
        if (method, path) == ("PUT", "/v1/users/{user_id}"):  # tells nothing of anybody
            assert operation["security"] == [{"key": ["write"]}]
        elif path in personal or path.startswith(of_operators):
            assert operation["security"] == [{"key": ["admin"]}], (method, path)


def test_a_refused_body_is_not_read(guarded: Guarded) -> None:
    assert guarded.client.post("/v1/events", content=b"{no json").status_code == 401


def test_keys_rotate_without_a_restart(guarded: Guarded) -> None:
    key, token = create_key(guarded.home, "new", ["admin"])
    assert guarded.ask("GET", "/v1/generations", token).status_code == 200
    revoke_key(guarded.home, key.id)
    assert guarded.ask("GET", "/v1/generations", token).status_code == 401
    assert guarded.ask("GET", "/v1/generations", guarded.tokens["admin"]).status_code == 200


def test_a_lost_file_opens_nothing(guarded: Guarded) -> None:
    content = guarded.home.keys.read_bytes()
    for damage in (lambda: guarded.home.keys.write_text("{"), guarded.home.keys.unlink):
        damage()
        assert guarded.ask("GET", "/v1/generations", None).status_code == 401
    guarded.home.keys.write_bytes(content)
    assert guarded.ask("GET", "/v1/generations", guarded.tokens["admin"]).status_code == 200


def test_a_rate_is_kept_for_each_key(guarded: Guarded) -> None:
    _, slow = create_key(guarded.home, "slow", ["admin"], rate=0.001)
    assert guarded.ask("GET", "/v1/generations", slow).status_code == 200
    refused = guarded.ask("GET", "/v1/generations", slow)
    assert refused.status_code == refused.json()["status"] == 429
    assert 900 < int(refused.headers["Retry-After"]) <= 1000
    assert refused.headers["RateLimit-Policy"] == '"rate";q=1;w=1000'
    assert re.fullmatch(r'"rate";r=0;t=(9\d\d|1000)', refused.headers["RateLimit"])
    assert guarded.ask("GET", "/v1/generations", guarded.tokens["admin"]).status_code == 200


def test_a_key_is_told_what_it_has_left(guarded: Guarded) -> None:
    _, token = create_key(guarded.home, "counted", ["write"], rate=0.01)
    _, quick = create_key(guarded.home, "quick", ["recommend"], rate=50)
    told = guarded.ask("DELETE", "/v1/items/nothing", token)
    assert told.status_code == 404
    assert (told.headers["RateLimit-Policy"], told.headers["RateLimit"]) == ('"rate";q=1;w=100', '"rate";r=0;t=100')
    told = guarded.ask("GET", "/v1/items/nothing", quick)
    assert told.headers["RateLimit-Policy"] == '"rate";q=100;w=2'  # two seconds' worth at once
    assert told.headers["RateLimit"] == '"rate";r=99;t=1'
    assert "RateLimit" not in guarded.ask("GET", "/v1/generations", guarded.tokens["admin"]).headers


def test_a_key_is_stored_as_its_hash_and_read_by_its_owner_only(tmp_path: Path) -> None:
    home = Home(tmp_path)
    key, token = create_key(home, "ops", ["write", "recommend"])
    assert key.scopes == ("recommend", "write")
    assert stat.S_IMODE(home.keys.stat().st_mode) == 0o600
    assert token.removeprefix(PREFIX) not in home.keys.read_text()
    assert read_keys(home) == (key,)
    assert revoke_key(home, key.id) == key
    assert read_keys(home) == ()
    with pytest.raises(ArtifactError, match="recsys keys list"):
        revoke_key(home, key.id)
    for scopes in ([], ["root"]):
        with pytest.raises(ValueError, match="scopes of recommend, write, admin"):
            create_key(home, "x", scopes)
    with pytest.raises(ValueError, match="positive"):
        create_key(home, "x", ["admin"], rate=0)


def test_from_the_first_key_on_everybody_needs_one(tmp_path: Path) -> None:
    guard, asked = Guard(Keys(Home(tmp_path))), {"type": "http", "client": ("127.0.0.1", 1), "headers": []}
    assert not guard.asks_for_keys()
    assert guard.check(asked, "admin") is None
    create_key(Home(tmp_path), "first", ["admin"])
    assert guard.asks_for_keys()
    assert guard.check(asked, "admin").status_code == 401


def test_a_public_service_without_keys_answers_nobody(tmp_path: Path) -> None:
    guard = Guard(Keys(Home(tmp_path), required=True))
    assert guard.asks_for_keys()
    assert guard.check({"type": "http", "client": ("127.0.0.1", 1), "headers": []}, "recommend").status_code == 401


def test_with_keys_other_addresses_can_be_served(tmp_path: Path) -> None:
    home = Home(tmp_path)
    key, _ = create_key(home, "ops", ["admin"])
    _, environment = serve._prepare(home, "0.0.0.0", serve.free_port(), 1)
    assert environment["RECSYS_REQUIRE_KEYS"] == "1"
    revoke_key(home, key.id)
    with pytest.raises(serve.ServeError, match="recsys keys create"):
        serve.serve(home, "0.0.0.0")


def test_a_route_without_a_scope_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="/v1/forgotten declares no scope"):
        guarded_router().get("/v1/forgotten")(lambda: None)


def test_what_a_user_did_is_not_told_by_explanations_either(guarded: Guarded, known_user: str) -> None:
    def ask(scope: str, path: str, **body: Any) -> Any:
        headers = {"Authorization": f"Bearer {guarded.tokens[scope]}"}
        answer = guarded.client.post(f"/v1/{path}", headers=headers, json={"explain": True, **body})
        assert answer.status_code == 200, answer.text
        return answer.json()

    past = guarded.ask("GET", f"/v1/users/{known_user}", guarded.tokens["admin"]).json()["history"]
    ids, titles = {event["item_id"] for event in past}, {event["title"] for event in past}
    given = [event["item_id"] for event in past]
    others = [f"i{number:03}" for number in range(80) if f"i{number:03}" not in ids]
    for path, body, items in (
        ("recommend", {}, lambda answer: answer["items"]),
        ("recommend/batch", {}, lambda answer: answer["answers"][0]["items"]),
        ("rank", {"item_ids": others}, lambda answer: answer["items"]),
    ):
        person = {"users": [{"user_id": known_user}]} if path.endswith("batch") else {"user_id": known_user}
        hidden, shown = (items(ask(scope, path, **body, **person)) for scope in ("recommend", "admin"))
        text = str(hidden)
        assert not any(f"'{item}'" in text for item in ids), path
        assert not any(title in text for title in titles), path
        assert any(str(title) in str(shown) for title in titles), path
        assert any("an earlier choice" in reason for item in hidden for reason in item["reasons"])
        for one, other in zip(hidden, shown, strict=True):
            assert (one["item_id"], one["score"]) == (other["item_id"], other["score"])
            for part in (one["explanation"], *one["explanation"]["components"]):
                assert part["history"] == []
            assert one["explanation"]["words"] == []
            added = one["explanation"]["baseline"] + one["explanation"]["other_history"]
            assert added == pytest.approx(one["score"], abs=1e-4)
        if path == "recommend":  # whoever gives a history knows it
            assert [one["explanation"] for one in ask("recommend", path, history=given)["items"]] == [
                one["explanation"] for one in shown
            ]


def asked(guarded: Guarded, scope: str, path: str = "recommend", **body: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {guarded.tokens[scope]}"}
    return guarded.client.post(f"/v1/{path}", json=body, headers=headers)


def naming(item_id: str) -> list[dict[str, Any]]:
    """Return requests that single out one item."""
    named = {"field": "item_id", "eq": item_id}
    others = {"field": "item_id", "ne": item_id}
    any_year = {"field": "year", "gte": 0}
    return [
        {"filter": named},
        {"filter": others},
        {"filter": {"field": "item_id", "in": [item_id]}},
        {"filter": {"field": "item_id", "not_in": [item_id]}},
        {"filter": {"field": "item_id", "contains": item_id}},
        {"filter": {"field": "item_id", "gte": item_id, "lte": item_id}},
        {"filter": {"field": "item_id", "exists": True}},
        {"filter": {"not": others}},
        {"filter": {"all": [any_year, {"any": [{"not": {"not": named}}, any_year]}]}},
    ]


def test_a_key_without_admin_cannot_ask_for_one_item_whether_a_user_has_seen_it(
    guarded: Guarded, known_user: str
) -> None:
    every = asked(guarded, "admin", history=[], k=200).json()["items"]
    item, title = every[0]["item_id"], every[0]["fields"]["title"]
    rest = [one["item_id"] for one in every[1:]]
    narrow = [*naming(item), {"filter": {"field": "title", "eq": title}}, {"exclude_ids": rest}]
    narrow.append({"filter": {"field": "year", "gte": 0}, "exclude_ids": rest[:-5]})
    for wanted in narrow:
        for path, who in (
            ("recommend", {"user_id": known_user}),
            ("recommend/batch", {"users": [{"history": []}, {"user_id": known_user}]}),
        ):
            refused = asked(guarded, "recommend", path, **who, **wanted)
            assert refused.status_code == refused.json()["status"] == 403, (path, wanted)
            assert "exclude_seen" in refused.json()["detail"]
            for form in ({"days": 7}, {"event_types": ["purchase"]}, None):
                assert asked(guarded, "recommend", path, **who, **wanted, exclude_seen=form).status_code == 403
            assert asked(guarded, "recommend", path, **who, **wanted, exclude_seen=False).status_code == 200
            assert asked(guarded, "admin", path, **who, **wanted).status_code == 200
        assert asked(guarded, "recommend", history=[item], **wanted).status_code == 200
    broad = {"filter": {"field": "year", "gte": 0}, "exclude_ids": rest[:5]}
    assert asked(guarded, "recommend", user_id=known_user, **broad).status_code == 200


def test_no_boost_of_a_key_without_admin_singles_an_item_out(guarded: Guarded, known_user: str) -> None:
    person: dict[str, Any] = {"user_id": known_user, "k": 30}
    plain = asked(guarded, "recommend", **person).json()["items"]
    item, title = plain[2]["item_id"], plain[2]["fields"]["title"]
    for wanted in naming(item):
        boosts = [{"filter": {"field": "year", "gte": 0}, "strength": 1}, {**wanted, "strength": 3}]
        refused = asked(guarded, "recommend", **person, boosts=boosts)
        assert refused.status_code == 403, wanted
        assert refused.json()["errors"][0]["pointer"] == "/boosts/1/filter"
        assert asked(guarded, "admin", **person, boosts=boosts).status_code == 200
    # by its title, by two conditions that it alone meets, by one that all others meet
    titled = {"field": "title", "eq": title}
    rest = {"any": [{"not": titled}, {"field": "year", "lt": 0}]}
    for boosts in (
        [{"filter": titled, "strength": 3}],
        [{"filter": {"not": titled}, "strength": -3}],
        [{"filter": {"any": [titled, {"field": "year", "lt": 1990}]}, "strength": 3},
         {"filter": {"any": [titled, {"field": "year", "gte": 1990}]}, "strength": 3},
         {"filter": {"field": "year", "gte": 0}, "strength": -3}],
        [{"filter": rest, "strength": -1}, {"filter": {"not": rest}, "strength": 2}],
    ):  # fmt: skip
        told = asked(guarded, "admin", **person, boosts=boosts).json()["items"]
        assert told[0]["item_id"] == item, boosts
        hidden = asked(guarded, "recommend", **person, boosts=boosts).json()
        assert [one["item_id"] for one in hidden["items"]] == [one["item_id"] for one in plain], boosts
        trace = guarded.ask("GET", f"/v1/recommendations/{hidden['rec_id']}?replay=true", guarded.tokens["admin"])
        assert trace.json()["replay"]["same"]
        # what was seen may be moved up where it is in the list in any case
        openly = asked(guarded, "recommend", **person, boosts=boosts, exclude_seen=False).json()["items"]
        assert openly[0]["item_id"] == item
    broad = [{"filter": {"field": "year", "gte": 0}, "strength": 1}]
    assert asked(guarded, "recommend", **person, boosts=broad).status_code == 200


def test_many_exclusions_would_page_through_what_a_user_has_not_seen(guarded: Guarded, known_user: str) -> None:
    many = {"exclude_ids": [f"none-{number}" for number in range(101)]}
    assert asked(guarded, "recommend", user_id=known_user, **many).status_code == 403
    assert asked(guarded, "recommend", history=[], **many).status_code == 200
    assert asked(guarded, "admin", user_id=known_user, **many).status_code == 200


def test_every_list_of_a_user_is_written_down_with_the_key_that_asked(guarded: Guarded, known_user: str) -> None:
    key = next(one.id for one in read_keys(guarded.home) or () if one.scopes == ("recommend",))
    for path, body in (
        ("recommend", {"user_id": known_user}),
        ("recommend/batch", {"users": [{"user_id": known_user}]}),
    ):
        answer = asked(guarded, "recommend", path, **body, record=False).json()
        rec_id = answer.get("rec_id") or answer["answers"][0]["rec_id"]
        found = guarded.ask("GET", f"/v1/recommendations/{rec_id}?replay=true", guarded.tokens["admin"]).json()
        assert (found["key"], found["shown"], found["user_id"]) == (key, False, known_user)
        assert found["replay"]["same"]
    order = asked(guarded, "recommend", "rank", user_id=known_user, item_ids=["i001", "i002"]).json()["rec_id"]
    found = guarded.ask("GET", f"/v1/recommendations/{order}", guarded.tokens["admin"]).json()
    assert (found["key"], found["shown"], found["request"]["item_ids"]) == (key, False, ["i001", "i002"])
    assert guarded.ask("GET", f"/v1/recommendations/{order}?replay=true", guarded.tokens["admin"]).status_code == 409
    for openly in (("admin", {"user_id": known_user}), ("recommend", {"history": ["i003"]})):
        assert "rec_id" not in asked(guarded, openly[0], "rank", **openly[1], item_ids=["i001"]).json()
    hidden = asked(guarded, "recommend", history=["i001"], record=False).json()["rec_id"]
    preview = asked(guarded, "admin", user_id=known_user, record=False).json()["rec_id"]
    for rec_id in (hidden, preview):
        assert guarded.ask("GET", f"/v1/recommendations/{rec_id}", guarded.tokens["admin"]).status_code == 404
