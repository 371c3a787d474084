"""Connections that send too much, too slowly or nonsense, or that never read: memory, files and logs stay bounded."""

import time
from contextlib import ExitStack, suppress

from infra.attack.attacks import Outcome, attack, judged, not_tried
from infra.attack.target import MIB, Target

FLAT_MIB = 48  # that a service may grow by: allowed bodies, some copies
SENT_MIB = 64
SLOW_SECONDS = 14  # a little more than the ten after which a slow request is ended
OPEN_FILES = 1_100  # connections: more than the 1,024 files that a system usually lets a process open
CHUNKED = "transfer-encoding: chunked\r\ncontent-type: application/json"


def _flood(target: Target, start: bytes, piece: bytes) -> tuple[int, bytes]:
    """Send a start, then pieces until SENT_MIB are taken or the connection ends; return bytes taken and the answer."""
    sent, received = 0, b""
    with target.connect() as connection:
        try:
            connection.sendall(start)
            while sent < SENT_MIB * MIB:
                connection.sendall(piece)
                sent += len(piece)
        except OSError:
            pass
        connection.settimeout(2)
        with suppress(OSError):
            received = connection.recv(65536)
    return sent, received


def _flat(target: Target, start: bytes, piece: bytes) -> Outcome:
    before = target.memory()
    sent, received = _flood(target, start, piece)
    grown = target.memory() - before
    said = received.split(b" ", 2)[1].decode() if received.startswith(b"HTTP/") else "no answer"
    evidence = f"{sent / MIB:.0f} of {SENT_MIB} MiB taken ({said}); memory {grown:+.0f} MiB"
    return judged(sent < SENT_MIB * MIB and grown < FLAT_MIB, evidence)


@attack("keyed", traceless=True)
def trailers(target: Target) -> Outcome:
    """Trailers of a chunked request count as its headers do, and too many are refused."""
    piece = b"".join(b"X-%06d: %s\r\n" % (number, b"a" * 1_000) for number in range(256))
    return _flat(target, target.head("POST", "/v1/recommend", CHUNKED) + b"2\r\n{}\r\n0\r\n", piece)


@attack("keyed", traceless=True)
def headers_without_end(target: Target) -> Outcome:
    """Headers above 64 KiB are refused."""
    return _flat(target, b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n", b"X-A: " + b"a" * 32_000 + b"\r\n")


@attack("keyed", traceless=True)
def one_header_without_end(target: Target) -> Outcome:
    """A header that never ends is refused."""
    return _flat(target, b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nX-A: ", b"a" * 65_536)


@attack("keyed", traceless=True)
def chunk_extensions(target: Target) -> Outcome:
    """What a chunked body says beside its content is bounded."""
    piece = b"1;" + b"a" * 32_000 + b"\r\n \r\n"
    return _flat(target, target.head("POST", "/v1/recommend", CHUNKED), piece)


@attack("keyed", traceless=True)
def a_body_without_end(target: Target) -> Outcome:
    """A chunked body above 4 MiB is refused."""
    piece = b"10000\r\n" + b" " * 65_536 + b"\r\n"
    return _flat(target, target.head("POST", "/v1/recommend", CHUNKED), piece)


@attack("keyed", traceless=True)
def a_body_after_its_refusal(target: Target) -> Outcome:
    """What comes after a refusal is not read for long."""
    start = target.head("POST", "/v1/recommend", f"content-length: {SENT_MIB * MIB}")
    return _flat(target, start, b" " * 65_536)


@attack("keyed", seconds=60, traceless=True)
def slow_senders(target: Target) -> Outcome:
    """A request that trickles in is ended within ten seconds, and holds nobody up."""
    starts = [b"", b"GET / HTTP/1.1\r\nX-", target.head("POST", "/v1/recommend", "content-length: 1000") + b"{"]
    with ExitStack() as stack:
        senders = [stack.enter_context(target.connect()) for _ in range(60)]
        for number, sender in enumerate(senders):
            sender.sendall(starts[number % len(starts)])
        slowest, until = 0.0, time.monotonic() + SLOW_SECONDS
        while time.monotonic() < until:
            started = time.monotonic()
            target.client.get("/livez")
            slowest = max(slowest, time.monotonic() - started)
            for number, sender in enumerate(senders):
                with suppress(OSError):
                    sender.sendall(b"x" if number % len(starts) else b"")
            time.sleep(0.5)
        open_still = 0
        for sender in senders:
            sender.settimeout(0.2)
            try:
                while sender.recv(65536):
                    pass
            except TimeoutError:
                open_still += 1
            except OSError:
                pass
    evidence = f"{open_still} of 60 open after {SLOW_SECONDS} s; slowest /livez beside them {slowest * 1_000:.0f} ms"
    return judged(open_still == 0 and slowest < 2, evidence)


@attack("keyed", seconds=150)
def answers_that_nobody_reads(target: Target) -> Outcome:
    """An answer that is not fetched is let go, and its connection ends."""
    readers, seconds = 4, 30
    fields = list(target.told(f"/v1/items/{target.items[0]}")["fields"])
    wish = target.prepared("POST", "/v1/recommend/batch", target.crowd(160, k=200, fields=fields, record=False))
    with ExitStack() as stack:
        connections = []
        for _ in range(readers):
            connection = stack.enter_context(target.connect(buffer=4096))
            connection.sendall(wish)
            connections.append(connection)
            target.quiet(20)
        time.sleep(seconds)
        ports = {connection.getsockname()[1] for connection in connections}
        kept = [one for process in target.processes() for one in process.net_connections("tcp")]
        kept = [one for one in kept if one.raddr and one.raddr.port in ports and one.status == "ESTABLISHED"]
        left = 0
        for connection in connections:
            connection.settimeout(2)
            with suppress(OSError):
                while part := connection.recv(1 << 20):
                    left += len(part)
    evidence = f"{len(kept)} of {readers} connections held after {seconds} s; {left / MIB:.1f} MiB were kept for them"
    return judged(not kept, evidence)


@attack("keyed", seconds=60, traceless=True)
def requests_in_a_pipeline(target: Target) -> Outcome:
    """Requests sent ahead wait outside of the service's memory."""
    before, sent = target.memory(), 0
    with target.connect(buffer=4096, seconds=2) as connection, suppress(OSError):
        for _ in range(100):
            sent += connection.send(b"GET /docs.json HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n" * 1_000)
    time.sleep(3)
    grown = target.memory() - before
    return judged(grown < FLAT_MIB, f"{sent / MIB:.1f} MiB of requests taken, nothing read; memory {grown:+.0f} MiB")


@attack("keyed", seconds=90)
def many_connections(target: Target) -> Outcome:
    """Connections that say nothing keep nobody else out."""
    with ExitStack() as stack:
        opened = 0
        with suppress(OSError):
            for _ in range(OPEN_FILES):
                stack.enter_context(target.connect(seconds=2)).sendall(b"GET / HTTP/1.1\r\n")
                opened += 1
        started = time.monotonic()
        try:
            with target.connect(seconds=5) as honest:
                honest.sendall(target.prepared("GET", "/livez"))
                said = honest.recv(100).split(b"\r\n")[0].decode()
        except OSError as error:
            said = f"no answer ({type(error).__name__})"
        took = time.monotonic() - started
    return judged("200" in said and took < 2, f"beside {opened} of them /livez says {said!r} after {took:.1f} s")


@attack("keyed")
def nonsense_in_the_log(target: Target) -> Outcome:
    """Requests that are none are no way to fill the disk."""
    if target.log is None:
        return not_tried("the log is elsewhere")
    before = target.logged()
    for _ in range(500):
        target.exchange(b"\x16\x03\x01\r\n\r\n", seconds=1)
    grown = target.logged() - before
    return judged(grown < 20_000, f"500 of them left {grown:,} bytes in the log")


@attack("keyed", seconds=60)
def callers_who_leave(target: Target) -> Outcome:
    """Connections that are closed too early are no way to fill the disk."""
    if target.log is None:
        return not_tried("the log is elsewhere")
    before = target.logged()
    wish = target.prepared("POST", "/v1/recommend", target.wish(k=200, record=False))
    for number in range(200):
        with target.connect() as connection:
            connection.sendall(wish if number % 2 else wish[:-5])
    target.quiet(15)
    grown = target.logged() - before
    return judged(grown < 30_000, f"200 of them left {grown:,} bytes in the log")
