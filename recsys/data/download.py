"""A file over HTTP, for a while: no redirect, no proxy, no cookie, and no address but the one that was looked at.

A name is resolved once; the address that was found fit is the one that is connected to, whatever the name says later.
"""

import ipaddress
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx

from recsys.data.locations import VARIABLE, SourceError, Sources, UnreachableError, shown

CONNECT_SECONDS, SILENCE_SECONDS, DOWNLOAD_SECONDS = 10, 60, 3_600
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@contextmanager
def downloaded(location: str, sources: Sources, max_bytes: int, seconds: float = DOWNLOAD_SECONDS) -> Iterator[Path]:
    """Fetch what an ``http`` or ``https`` URL names into a file that only this process' user may read, and remove it.

    Args:
        location: the URL; userinfo becomes basic authentication.
        sources: what may be read.
        max_bytes: of the answer's body.
        seconds: for all of it.

    Raises:
        SourceError: it may not be read, does not answer with 200, is too large or takes too long; an UnreachableError
            where the network or the server may do better the next time.
    """
    named = shown(location)
    addresses = _addresses(location, sources)
    with tempfile.NamedTemporaryFile(prefix="recsys-") as file:
        try:
            with httpx.HTTPTransport(verify=httpx.create_ssl_context(), trust_env=False) as transport:
                answer = _first_answer(transport, httpx.URL(location.strip()), addresses)
                with closing(answer):
                    _check_status(answer.status_code, named)
                    _write(answer, file, named, max_bytes, time.monotonic() + seconds)
            failure = None
        except httpx.HTTPError as error:
            failure = type(error).__name__  # their texts may hold the URL
        if failure:
            raise UnreachableError(
                f"{named} cannot be fetched ({failure}). Check the address and the network, and try again."
            )
        file.flush()
        yield Path(file.name)


def is_public(address: str) -> bool:
    """Return whether an IP address is one of the whole internet, also where it is written within another."""
    found = ipaddress.ip_address(address)
    if isinstance(found, ipaddress.IPv6Address):
        within = found.ipv4_mapped or found.sixtofour or (found.teredo or (None, None))[1]
        if found in _NAT64:
            within = ipaddress.IPv4Address(int(found) & 0xFFFF_FFFF)
        if within is not None:
            found = within
    return found.is_global and not found.is_multicast


def _addresses(location: str, sources: Sources) -> list[str]:
    named_host = sources.url(location)
    try:
        url = httpx.URL(location.strip())
        found = socket.getaddrinfo(url.host, url.port or url.scheme, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, httpx.InvalidURL):
        raise SourceError(f"{shown(location)}: its host has no address. Check the URL.") from None
    addresses = list(dict.fromkeys(str(place[4][0]) for place in found))
    if not named_host and not all(is_public(address) for address in addresses):
        raise SourceError(
            f"{shown(location)} may not be read: its host is in this machine's own network. Whoever runs this may add "
            f"the beginning of the URL, with the host, to {VARIABLE}."
        )
    return addresses


def _first_answer(transport: httpx.HTTPTransport, url: httpx.URL, addresses: list[str]) -> httpx.Response:
    headers = {"Host": url.netloc.decode("ascii"), "Accept-Encoding": "identity", "User-Agent": "recsys"}
    if url.userinfo:
        signed = next(httpx.BasicAuth(url.username, url.password).auth_flow(httpx.Request("GET", url)))
        headers["Authorization"] = signed.headers["Authorization"]
    timeouts = {"connect": CONNECT_SECONDS, "read": SILENCE_SECONDS, "write": SILENCE_SECONDS, "pool": None}
    extensions = {"sni_hostname": url.host, "timeout": timeouts}
    for address in addresses:
        try:
            target = url.copy_with(host=address, username=None, password=None)
            return transport.handle_request(httpx.Request("GET", target, headers=headers, extensions=extensions))
        except (httpx.ConnectError, httpx.ConnectTimeout):
            if address == addresses[-1]:
                raise
    raise AssertionError("getaddrinfo gives an address or raises")


def _check_status(status: int, named: str) -> None:
    if httpx.codes.is_redirect(status):
        raise SourceError(
            f"{named} answers with a redirect ({status}), and none is followed. Give the URL it leads to."
        )
    if status != httpx.codes.OK:
        busy = httpx.codes.is_server_error(status) or status == httpx.codes.TOO_MANY_REQUESTS
        kind = UnreachableError if busy else SourceError
        raise kind(f"{named} answers with {status} instead of the file. Check the URL and its credentials.")


def _write(
    answer: httpx.Response, file: "tempfile._TemporaryFileWrapper[bytes]", named: str, most: int, end: float
) -> None:
    written = 0
    for part in answer.iter_raw():
        written += len(part)
        if written > most:
            raise SourceError(
                f"{named} is larger than {most:,} bytes; limits.max_bytes of the ingest settings raises that."
            )
        if time.monotonic() > end:
            raise SourceError(f"{named} takes too long to arrive. Fetch it by other means and give the file.")
        file.write(part)
