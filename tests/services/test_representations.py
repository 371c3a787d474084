"""How answers are sent: packed where that pays and is asked for, and not at all to whoever has them already."""

import gzip
import json

import anyio
import httpx
import pytest
from fastapi import FastAPI, Response

from services.edge.own import Heads
from services.edge.representations import LEAST_BYTES, LITTLE_BYTES, Representations, accepts_gzip, etag_of, is_known

LARGE = {"k": 200, "explain": True, "history": ["i000", "i004", "i008"]}


def sent(client: httpx.Client, method: str, path: str, accepts: str | None, **options: object) -> httpx.Response:
    """Ask without decoding; the body is what came over the wire."""
    headers = {"Accept-Encoding": accepts} if accepts is not None else {}
    request = client.build_request(method, path, headers=headers, **options)  # type: ignore[arg-type]
    if accepts is None:
        del request.headers["Accept-Encoding"]
    response = client.send(request, stream=True)
    response._content = b"".join(response.iter_raw())
    return response


def test_a_large_answer_is_packed_for_who_takes_it(service: httpx.Client) -> None:
    plain = sent(service, "POST", "/v1/recommend", None, json=LARGE)
    packed = sent(service, "POST", "/v1/recommend", "br, gzip;q=0.5", json=LARGE)
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert {plain.headers["vary"], packed.headers["vary"]} == {"Accept-Encoding"}
    assert int(packed.headers["content-length"]) == len(packed.content) < len(plain.content) / 3
    told, asked = (json.loads(content) for content in (gzip.decompress(packed.content), plain.content))
    assert told["items"] == asked["items"]
    for accepts in ("", "identity", "gzip;q=0", "br"):
        assert "content-encoding" not in sent(service, "POST", "/v1/recommend", accepts, json=LARGE).headers


def test_a_small_answer_is_never_packed(service: httpx.Client) -> None:
    for method, path, body in (("POST", "/v1/recommend", {"history": [], "k": 5}), ("GET", "/v1/items/i000", None)):
        answer = sent(service, method, path, "gzip", json=body)
        assert len(answer.content) < LEAST_BYTES
        assert "content-encoding" not in answer.headers
        assert "vary" not in answer.headers


@pytest.mark.parametrize("path", ["/docs.json", "/", "/page/page.js", "/v1/items/i000", "/v1/items", "/v1/generations"])
@pytest.mark.parametrize("accepts", ["gzip", "identity"])
def test_who_has_what_is_read_gets_no_body(service: httpx.Client, path: str, accepts: str) -> None:
    first = sent(service, "GET", path, accepts)
    assert first.status_code == 200
    headers = {"If-None-Match": f'"another", {first.headers["etag"]}', "Accept-Encoding": accepts}
    again = service.get(path, headers=headers)
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"].removeprefix("W/") == first.headers["etag"].removeprefix("W/")
    assert again.headers["cache-control"] == first.headers["cache-control"] == "no-cache"
    assert service.get(path, headers={"If-None-Match": '"another"'}).status_code == 200
    head = service.head(path, headers={"Accept-Encoding": accepts})
    assert head.headers["etag"] == first.headers["etag"]
    assert int(head.headers["content-length"]) == len(first.content)


def test_what_has_changed_is_sent(service: httpx.Client, catalogue: list[str]) -> None:
    path = f"/v1/items/{catalogue[-1]}"
    before = service.get(path)
    columns = before.json()["fields"]
    assert service.put(path, json=columns).status_code == 200
    after = service.get(path, headers={"If-None-Match": before.headers["etag"]})
    assert after.status_code == 200  # it is a live item now
    assert service.get(path, headers={"If-None-Match": after.headers["etag"]}).status_code == 304


def test_no_other_sites_page_is_let_in(service: httpx.Client) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type,authorization"}
    preflight = service.options("/v1/recommend", headers=asked)
    assert preflight.status_code == 405
    for answer in (preflight, service.get("/docs.json"), service.post("/v1/recommend", json={"history": []})):
        assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_what_somebody_did_is_kept_nowhere(service: httpx.Client, known_user: str) -> None:
    listed = service.post("/v1/recommend", json={"user_id": known_user}).json()
    for path in (f"/v1/users/{known_user}", f"/v1/recommendations/{listed['rec_id']}"):
        answer = service.get(path)
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
        assert "etag" in answer.headers  # for whoever keeps it on purpose


def test_errors_and_changes_have_no_etag(service: httpx.Client) -> None:
    assert "etag" not in service.get("/v1/items/nothing").headers
    assert "etag" not in service.post("/v1/recommend", json={"history": []}).headers
    assert "etag" not in service.get("/metrics").headers


@pytest.mark.parametrize("size", [LEAST_BYTES - 1, LEAST_BYTES, LITTLE_BYTES, 40 * LITTLE_BYTES])
def test_every_size_comes_back_as_it_was(size: int) -> None:
    app, body = FastAPI(), json.dumps("x" * (size - 2)).encode()
    app.add_middleware(Representations)
    app.add_middleware(Heads)

    @app.get("/")
    async def answer() -> Response:
        return Response(body, media_type="application/json")

    async def main() -> None:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            first, again = [await client.get("/", headers={"Accept-Encoding": "gzip"}) for _ in range(2)]
            assert first.content == again.content == body
            assert ("content-encoding" in first.headers) == (size >= LEAST_BYTES)
            assert first.headers["etag"] == again.headers["etag"]
            assert first.headers["etag"].removeprefix("W/") == etag_of(body)

    anyio.run(main)


@pytest.mark.parametrize(
    ("header", "taken"),
    [
        ("", False),
        ("gzip", True),
        ("GZIP;q=1.0", True),
        ("x-gzip", True),
        ("*", True),
        ("br, *;q=0.1", True),
        ("gzip; q=0", False),
        ("gzip;q=0.000, *", False),
        ("gzip;q=much", False),
        ("deflate, br", False),
    ],
)
def test_what_a_caller_accepts(header: str, taken: bool) -> None:
    assert accepts_gzip(header) == taken


def test_validators_are_compared_by_their_meaning() -> None:
    assert is_known('W/"a"', '"a"')
    assert is_known('"b" , "a"', 'W/"a"')
    assert is_known("*", '"a"')
    assert not is_known('"aa"', '"a"')
    assert not is_known(None, '"a"')
    assert not is_known("*", None)
