"""Who is answered while there are no keys: programs of this machine, and the page that the service itself serves.

A browser on this machine runs other people's pages too, and what it sends for them comes from this machine. They can
have a form sent anywhere, and have a name of theirs resolve to 127.0.0.1 ("DNS rebinding"). A proxy on this machine
lends its address to everybody behind it. Once there are keys none of this matters: nobody else's page knows one.
"""

import ipaddress
import re
from collections.abc import Sequence

from fastapi import Response
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from recsys_client.schemas.problems import Code
from services.edge.bodies import ACCEPT, are_json
from services.edge.problems import problem

MAKE_A_KEY = "or make a key (`recsys keys create`) and send it"
NOT_LOCAL = "This service has no keys, so it answers its own machine only; make one with `recsys keys create`."
PROXIED = (
    "A proxy has passed this request on, and behind one everybody looks like this machine. The service has no keys; "
    "make one with `recsys keys create`."
)
FOREIGN_HOST = (
    "Without keys the service is localhost, 127.0.0.1 or [::1], and the header Host names none of them; ask for one, "
    f"{MAKE_A_KEY}."
)
FOREIGN_PAGE = (
    "A page from elsewhere has sent this. Without keys the service's own page alone is answered; use that one, "
    f"{MAKE_A_KEY}."
)
NO_JSON = (
    "Without keys a POST, PUT or PATCH needs `content-type: application/json`, also where it has no body; send it, "
    f"{MAKE_A_KEY}."
)
PROXY_HEADERS = re.compile(
    r"forwarded(-.*)?|via|x-forwarded(-.*)?|x-original-.*|x-envoy-.*|cdn-loop"
    r"|((x-|true-|cf-|fastly-|x-cluster-)?(real|client|connecting|remote)|x-remote)-(ip|addr)"
)
HOST = re.compile(r"(\[[0-9a-f:.]+\]|[0-9a-z.-]+?)\.?(:\d*)?", re.IGNORECASE)
PAGE = "/"  # may be opened by following a link from anywhere
SITES = {"same-origin", "none"}  # what a browser says of its own page's requests, and of what a person typed


class OwnMachine:
    """ASGI middleware around the application: refuses, while it has no keys, what may come from elsewhere."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not scope["app"].state.workers.asks_for_keys():
            refusal = _refusal(scope)
            if refusal is not None:
                await refusal(scope, receive, send)
                return
        await self.app(scope, receive, send)


def _refusal(scope: Scope) -> Response | None:
    headers = Headers(scope=scope)
    if not is_loopback((scope.get("client") or ("",))[0]):
        return problem(Code.THIS_MACHINE_ONLY, NOT_LOCAL)
    if any(PROXY_HEADERS.fullmatch(name.replace("_", "-")) for name in headers):
        return problem(Code.THIS_MACHINE_ONLY, PROXIED)
    hosts = headers.getlist("host")
    if len(hosts) != 1 or not _names_this_machine(hosts[0]):
        return problem(Code.THIS_MACHINE_ONLY, FOREIGN_HOST)
    if not _is_own_page(scope, headers, hosts[0]):
        return problem(Code.THIS_MACHINE_ONLY, FOREIGN_PAGE)
    if not _is_json(scope["method"], headers.getlist("content-type")):
        return problem(Code.UNSUPPORTED_MEDIA_TYPE, NO_JSON, ACCEPT)
    return None


def is_loopback(address: str) -> bool:
    """Tell whether an address is of 127.0.0.0/8 or ::1."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _names_this_machine(host: str) -> bool:
    found = HOST.fullmatch(host)
    name = found[1].lower().strip("[]") if found else ""
    return name == "localhost" or is_loopback(name)


def _is_own_page(scope: Scope, headers: Headers, host: str) -> bool:
    """Tell whether no browser sent a request, or one for the service's own page or for a person who opens it.

    Browsers name a page's origin with all that could change something, and newer ones say for whom they ask at all.
    """
    own = f"{scope['scheme']}://{host}".lower()
    if any(origin.lower() != own for origin in headers.getlist("origin")):
        return False
    opens_page = scope["method"] in ("GET", "HEAD") and scope["path"] == PAGE
    followed = opens_page and headers.get("sec-fetch-mode") == "navigate" and "origin" not in headers
    return followed or set(headers.getlist("sec-fetch-site")) <= SITES


def _is_json(method: str, media_types: Sequence[str]) -> bool:
    """Tell whether a request could not come from a form, nor from a script that is asked no questions beforehand.

    DELETE is no form's, so without a body it needs no type.
    """
    if method in ("GET", "HEAD", "OPTIONS"):
        return True
    return are_json(media_types) and (bool(media_types) or method == "DELETE")
