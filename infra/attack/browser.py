"""A service without keys: what any page that is open in this machine's browser, or a proxy, can make it do."""

import httpx

from infra.attack.attacks import Outcome, attack, judged
from infra.attack.target import Target

EVIL = "http://evil.example"
NO_GENERATION = "0" * 16  # there is none, so that nothing is switched: 404 says that the form was taken


def _refused(answer: httpx.Response) -> bool:
    return answer.status_code >= 400 and answer.status_code not in (404, 409, 500)


@attack("keyless")
def a_form_of_another_page(target: Target) -> Outcome:
    """Without keys, a form on a web page changes nothing."""
    forms = {
        f"/v1/generations/{NO_GENERATION}/shadow": b"",
        f"/v1/generations/{NO_GENERATION}/promote": b"",
        "/v1/rollback": b"",
        "/v1/events": b'{"events": [{"user_id": "attack-form", "item_id": "' + target.items[0].encode() + b'"}]}',
    }
    done = []
    for path, content in forms.items():
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
            headers = {
                "Content-Type": kind,
                "Origin": EVIL,
                "Sec-Fetch-Site": "cross-site",
                "Sec-Fetch-Mode": "no-cors",
            }
            if not _refused(target.client.post(path, content=content, headers=headers)):
                done.append(f"{path.removeprefix(f'/v1/generations/{NO_GENERATION}')} as {kind.partition(';')[0]}")
    return judged(not done, f"{len(forms) * 3} forms; taken: {', '.join(done) or 'none'}")


@attack("keyless", traceless=True)
def a_name_that_leads_here(target: Target) -> Outcome:
    """Without keys, the service answers under this machine's names alone: a foreign Host is refused."""
    hosts = (
        "evil.example",
        f"evil.example:{target.address[1]}",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "0.0.0.0",
    )
    paths = ("/v1/generations", "/", "/v1/shadow")
    got = [
        f"{host}{path}"
        for host in hosts
        for path in paths
        if not _refused(target.client.get(path, headers={"Host": host}))
    ]
    return judged(
        not got, f"{len(hosts) * len(paths)} requests; answered: {len(got)}{f', first {got[0]}' if got else ''}"
    )


@attack("keyless", traceless=True)
def a_page_that_reads(target: Target) -> Outcome:
    """Without keys, requests that a foreign page sends are refused, and no answer is given to its scripts."""
    ways = {
        "a foreign Origin": {"Origin": EVIL},
        "a null Origin": {"Origin": "null"},
        "another port's Origin": {"Origin": "http://127.0.0.1:1"},
        "a cross-site fetch": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"},
        "a same-site fetch": {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"},
    }
    got = []
    for name, headers in ways.items():
        answer = target.client.post("/v1/recommend", json=target.wish(record=False), headers=headers)
        if not _refused(answer) or "access-control-allow-origin" in answer.headers:
            got.append(name)
    asked = {"Origin": EVIL, "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "content-type"}
    flight = target.client.options("/v1/items/x", headers=asked)
    if "access-control-allow-origin" in flight.headers:
        got.append("a preflight")
    return judged(not got, f"{len(ways) + 1} ways; answered: {', '.join(got) or 'none'}")


@attack("keyless", traceless=True)
def a_proxy_in_front(target: Target) -> Outcome:
    """Without keys, what a proxy has forwarded from elsewhere is refused."""
    ways = {
        "X-Forwarded-For": "203.0.113.7",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "https",
        "X-Real-IP": "203.0.113.7",
        "Forwarded": "for=203.0.113.7",
        "Via": "1.1 proxy",
        "CF-Connecting-IP": "203.0.113.7",
        "True-Client-IP": "203.0.113.7",
    }
    got = [name for name, value in ways.items() if not _refused(target.client.get("/v1/shadow", headers={name: value}))]
    return judged(not got, f"{len(ways)} headers; answered with: {', '.join(got) or 'none'}")


@attack("keyless", traceless=True)
def a_frame_around_the_page(target: Target) -> Outcome:
    """The page cannot be framed, and loads and sends nothing elsewhere."""
    policy = target.client.get("/").headers.get("content-security-policy", "")
    wanted = (
        "default-src 'self'",
        "frame-ancestors 'none'",
        "form-action 'none'",
        "base-uri 'none'",
        "object-src 'none'",
    )
    missing = [rule for rule in wanted if rule not in policy]
    return judged(not missing, f"missing in the policy: {', '.join(missing) or 'nothing'}")
