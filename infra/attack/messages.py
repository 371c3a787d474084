"""Requests that two readers could understand differently, paths that lead elsewhere, and what is open to everybody."""

from infra.attack.attacks import Outcome, attack, judged, not_tried
from infra.attack.load import lag
from infra.attack.target import Target

HOST = b"host: 127.0.0.1\r\n"
SECOND = b"GET /livez HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
# after each stands a second request, which a reader who counts otherwise takes for part of the first
SMUGGLED = {
    "length and chunks": b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": b"transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n",
    "two lengths": b"content-length: 0\r\ncontent-length: 44\r\n\r\n",
    "a list of lengths": b"content-length: 0, 44\r\n\r\n",
    "an unknown coding": b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked first": b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "a space before the colon": b"transfer-encoding : chunked\r\n\r\n0\r\n\r\n",
    "a signed length": b"content-length: +0\r\n\r\n",
    "a folded line": b"x-a: b\r\n content-length: 44\r\n\r\n",
    "a bare CR": b"x-a: b\rcontent-length: 44\r\n\r\n",
}
PATHS = (
    "/%2e%2e/etc/passwd", "/page/..%2f..%2fapi.py", "/page/..%5capi.py", "/page/%00", "/page/%2e%2e", "//evil.example/",
    "/\\evil.example", "/%0d%0ax-evil:1", "/v1/items/..%2f..%2fkeys.json", "/v1/items/%00", "/v1/items/%ff",
    "/v1/recommendations/..%2f..%2fkeys.json", "/v1/generations/..%2f..%2fkeys/promote", "/static_content/../keys.json",
)  # fmt: skip
SLASHED = ("/livez/", "/readyz/", "/metrics/", "/docs.json/", "/v1/recommend/", "/v1/items/")
UNDOCUMENTED = ("/schema.json", "/healthz", "/docs", "/redoc", "/openapi.json", "/static_content/index.css")
OPEN = ("/", "/livez", "/readyz", "/docs.json", "/metrics")
WORK_MS = 2.0  # of processor that a request without a key may cost


@attack("keyed", seconds=60, traceless=True)
def smuggled_requests(target: Target) -> Outcome:
    """A request that can be read in two ways is refused, and nothing after it is answered."""
    taken = []
    for name, lines in SMUGGLED.items():
        received = target.exchange(b"POST /livez HTTP/1.1\r\n" + HOST + lines + SECOND, seconds=1)
        if not received.startswith(b"HTTP/1.1 400") or received.count(b"HTTP/1.1 ") > 1:
            taken.append(name)
    return judged(not taken, f"{len(SMUGGLED)} ways; not refused: {', '.join(taken) or 'none'}")


@attack("keyed", traceless=True)
def who_is_meant(target: Target) -> Outcome:
    """A request says once which host it means: none and two are refused (RFC 9112, 3.2)."""
    wrong = []
    for name, lines in (("none", b""), ("two", HOST + b"host: evil.example\r\n")):
        received = target.exchange(b"GET /livez HTTP/1.1\r\n" + lines + b"connection: close\r\n\r\n", seconds=1)
        if not received.startswith(b"HTTP/1.1 4"):
            wrong.append(name)
    return judged(not wrong, f"answered with Host: {', '.join(wrong) or 'exactly one only'}")


@attack("keyed", traceless=True)
def a_redirect_elsewhere(target: Target) -> Outcome:
    """No answer leads to a host that the request named."""
    led = []
    for path in SLASHED:
        head = target.exchange(f"GET {path} HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n".encode(), 2)
        if b"evil.example" in head:
            led.append(path)
    return judged(not led, f"{len(led)} of {len(SLASHED)} paths with a slash too many lead to evil.example")


@attack("keyed", traceless=True)
def paths_that_climb(target: Target) -> Outcome:
    """A path leads to a route or to nothing."""
    found, key = [], target.head("GET", "@", "connection: close")
    for path in PATHS:
        received = target.exchange(key.replace(b" @ ", f" {path} ".encode(), 1), 2)
        if not received.startswith(b"HTTP/1.1 4") or b"\r\nx-evil" in received.lower():
            found.append(path)
    return judged(not found, f"{len(PATHS)} paths; answered: {', '.join(found) or 'none'}")


@attack("keyed", traceless=True)
def what_is_not_described(target: Target) -> Outcome:
    """Nothing answers that the OpenAPI document does not describe."""
    described = target.client.get("/docs.json").json()["paths"]
    found = [path for path in UNDOCUMENTED if path not in described and target.client.get(path).status_code < 400]
    head = target.client.head("/")
    if head.status_code < 400 and "content-security-policy" not in head.headers:
        found.append("HEAD / (of another page)")
    return judged(not found, f"answered: {', '.join(found) or 'none'}")


@attack("keyed", traceless=True)
def a_header_in_an_answer(target: Target) -> Outcome:
    """What a caller puts into a header cannot become a header, a log line or a page."""
    odd = (b"a\tb", b'"><script>', b"x" * 129, b"\xff\xfe", b"a b", b"a\xc2\x85b")
    echoed = []
    for value in odd:
        received = target.exchange(b"GET /livez HTTP/1.1\r\n" + HOST + b"x-request-id: " + value + b"\r\n\r\n", 1)
        if value in received:
            echoed.append(ascii(value))
    return judged(not echoed, f"{len(odd)} odd request ids; given back: {', '.join(echoed) or 'none'}")


@attack("keyed", seconds=60, traceless=True)
def open_routes(target: Target) -> Outcome:
    """A request that needs no key costs next to nothing."""
    if target.pid is None:
        return not_tried("its processor time is not ours to read")
    costs = {}
    for path in OPEN:
        target.client.get(path)
        before = target.work()
        for _ in range(60):
            target.client.get(path)
        costs[path] = (target.work() - before) / 60 * 1_000
    shown = ", ".join(f"{path} {cost:.1f}" for path, cost in costs.items())
    return judged(max(costs.values()) <= WORK_MS, f"ms of processor: {shown}")


@attack("keyed", traceless=True)
def guessing_keys(target: Target) -> Outcome:
    """A wrong key is refused, however long or strange, and in the time of any other."""
    if not target.keys:
        return not_tried("there are no keys")
    right = next(iter(target.keys.values()))
    wrong = ["", "x", "x" * 60_000, right[:-1], right + "x", right.upper(), f"{right}\t{right}", "é" * 40, '{"a":1}']
    taken = []
    for key in wrong:
        head = f"POST /v1/recommend HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\n\r\n"
        received = target.exchange(head.encode("latin-1", "replace"), 1)
        if not received.startswith((b"HTTP/1.1 401", b"HTTP/1.1 4")):
            taken.append(key[:20])
    return judged(not taken, f"{len(wrong)} wrong keys; taken: {', '.join(taken) or 'none'}")


@attack("keyed", traceless=True)
def a_websocket(target: Target) -> Outcome:
    """Nothing but HTTP is spoken: an upgrade is refused."""
    lines = f"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: {'A' * 22}=="
    received = target.exchange(target.head("GET", "/", lines), 1)
    return judged(b" 101 " not in received[:20], f"{received[:24]!r}")


@attack("keyed", seconds=90, traceless=True)
def bodies_that_are_hard_to_read(target: Target) -> Outcome:
    """No body holds up others: while one is read and refused, all else goes on."""
    number = "1" + "," + "1"
    bodies = {
        "350,000 unknown fields": "{" + ",".join(f'"x{n}":1' for n in range(350_000)) + "}",
        "a list of 2 million": f'{{"history":[{",".join([number] * 1_000_000)}]}}',
        "1,000 users of 350 unknown fields": '{"users":['
        + ",".join(["{" + ",".join(f'"k{n}":1' for n in range(350)) + "}"] * 1_000)
        + "]}",
        "1.3 million empty users": f'{{"users":[{",".join(["{}"] * 1_300_000)}]}}',
        "a number of 4 million digits": '{"k":' + "9" * 4_000_000 + "}",
        "2 million brackets": '{"filter":' + "[" * 2_000_000,
        "a filter of 300,000 conditions": '{"history":[],"filter":{"any":['
        + ",".join(['{"not":{}}'] * 300_000)
        + "]}}",
    }
    longest = {}
    for name, body in bodies.items():
        path = "/v1/recommend/batch" if "users" in name else "/v1/recommend"
        request = target.prepared("POST", path, body.encode())
        longest[name] = lag(target, lambda request=request: target.reply(request))
    worst = max(longest, key=lambda name: longest[name])
    evidence = f"{len(bodies)} bodies of up to 4 MiB; beside {worst} /livez waits {longest[worst]:,.0f} ms"
    return judged(longest[worst] < 500, evidence)


@attack("keyed", seconds=60, traceless=True)
def bodies_that_are_none(target: Target) -> Outcome:
    """What is no request is refused in words, and never by a fault."""
    bodies = (
        b"",
        b"user_id=1",
        b"[" * 100_000,
        b'{"filter":' * 50_000,
        b'{"history": [], "k": 1e400}',
        b'{"history": [], "k": 9' + b"9" * 5_000 + b"}",
        b'{"history": [], "k": true}',
        b'{"history": [], "diversity": NaN}',
        b'{"history": ["a"], "history": 1}',
        b'{"user_id": "\xff\xfe"}',
        b'{"user_id": "\\u0000"}',
        b'{"user_id": "\\ud800"}',
        b'{"user_id": "a\\u2028b"}',
        b'{"history": [], "promotions": [{"item_id": "x", "slot": -1}]}',
        b'{"history": [], "limits": {"\xc3\xa9": 1e99}}',
        b'{"history": [], "filter": {"field": "title", "contains": "(a+)+$"}}',
        b"\x1f\x8b\x08\x00" + bytes(100),
    )
    odd = []
    for body in bodies:
        status = target.reply(target.prepared("POST", "/v1/recommend", body), 10)[0]
        if status not in (200, 400, 413, 422):
            odd.append(f"{body[:30]!r} {status}")
    return judged(not odd, f"{len(bodies)} bodies; a fault or no answer: {', '.join(odd) or 'none'}")
