"""What stands around a home, as `recsys doctor` looks at it: keys, variables, ports, and servers that are named."""

import difflib
import os
import re
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx

import flows
import recsys
import services
from flows.locations import PREFIX
from flows.server import PORT
from recsys.artifacts import ArtifactError
from recsys.data.locations import DEFAULT, Sources, shown
from recsys.distributed.cluster import ADDRESS
from recsys.health.findings import Seen, failed, fine, some, warning
from recsys.home import ENDPOINTS, Home
from recsys.remote.cache import limit_from_environment
from services.edge.keys import REQUIRE_KEYS, SCOPES, Key, read_keys

REACH_SECONDS = 3
SERVICE_PORT = 3000
OLD = timedelta(days=365)
SECRET_MODE = 0o077
_NAMES = re.compile(r"RECSYS_[A-Z0-9_]*[A-Z0-9]")
_DIGEST = re.compile(r"[0-9a-f]{64}")


def look_at_keys(home: Home) -> Iterator[Seen]:
    """See whether the service's keys can be read, by nobody else, and are what keys are."""
    keys = read_keys(home)
    if keys is None:
        if os.environ.get(REQUIRE_KEYS):
            yield warning(f"{REQUIRE_KEYS} is set, and there are no keys.", "`recsys keys create` makes one.")
        else:
            yield fine("there are none: the service answers this machine alone")
        return
    wrong = False
    for seen in _wrong_keys(home, keys):
        wrong = True
        yield seen
    if not wrong:
        yield fine(f"{len(keys)}: {', '.join(f'{count} may {one}' for one, count in _scopes(keys))}")


def _wrong_keys(home: Home, keys: Sequence[Key]) -> Iterator[Seen]:
    mode = home.keys.stat().st_mode & 0o777
    if mode & SECRET_MODE:
        yield warning(f"{home.keys} has mode {mode:o}: others may read the hashes.", f"chmod 600 {home.keys}")
    for field in ("id", "sha256"):
        twice = [value for value, count in Counter(getattr(key, field) for key in keys).items() if count > 1]
        if twice:
            said = some(twice) if field == "id" else f"{len(twice)} of them"
            yield failed(f"Two keys have one {field}: {said}.", "Revoke both, and make new ones.")
    for key in keys:
        revoke = f"recsys keys revoke {key.id}"
        unknown = sorted(set(key.scopes) - set(SCOPES))
        if unknown or not key.scopes or not _DIGEST.fullmatch(str(key.sha256)):
            what = f"may {some(unknown)}, which nobody knows" if unknown else "has no scope, or no hash of a key"
            yield failed(f"Key {key.id} {what}.", f"{revoke}, and make a new one.")
        try:
            made = datetime.fromisoformat(str(key.created))
        except ValueError:
            yield failed(f"Key {key.id} does not say when it was made.", f"{revoke}, and make a new one.")
            continue
        if datetime.now(UTC) - (made if made.tzinfo else made.replace(tzinfo=UTC)) > OLD:
            yield warning(
                f"Key {key.id} of {key.name} is of {made:%Y-%m-%d}.", f"Make a new one, hand it out, then {revoke}."
            )


def _scopes(keys: Sequence[Key]) -> list[tuple[str, int]]:
    counted = Counter(scope for key in keys for scope in key.scopes)
    return sorted(counted.items())


def look_at_variables() -> Iterator[Seen]:
    """See whether every ``RECSYS_…`` variable is one that is read, and holds what can be read."""
    known = known_variables()
    given = sorted(name for name in os.environ if name.startswith("RECSYS_"))
    unknown = [name for name in given if name not in known and not name.startswith(PREFIX)]
    wrong = False
    for name in unknown:
        wrong = True
        near = difflib.get_close_matches(name, known, 1)
        yield warning(
            f"{name} is set, and nothing reads it.",
            f"Is {near[0]} meant?" if near else "Remove it, or correct its name.",
        )
    for read in _readers():
        try:
            read()
        except (ValueError, ArtifactError, OSError) as error:
            wrong = True
            yield failed(str(error), "Correct the variable: the service does not start with it.")
    if not wrong:
        yield fine(f"{len(given)} set: {some(given)}" if given else "no RECSYS_… variable is set")


def known_variables() -> set[str]:
    """Return the variables that the code names; no list could be forgotten that way."""
    rooms = [Path(room.__file__ or "").parent for room in (recsys, flows, services)]
    return {name for room in rooms for path in room.rglob("*.py") for name in _NAMES.findall(path.read_text())}


def _readers() -> list[Callable[[], object]]:
    from services.edge.connections import keep_alive_seconds
    from services.edge.logs import LogSettings
    from services.worker.impression_writer import Retention
    from services.worker.live_items import room_from_environment
    from services.worker.loading import loads_ahead
    from services.worker.promotions import limits_from_environment
    from services.worker.tenants import memory_from_environment, tenants_asked_for
    from services.worker.wording import Wording

    return [
        Sources.from_environment,
        LogSettings.from_environment,
        Retention.from_environment,
        room_from_environment,
        loads_ahead,
        keep_alive_seconds,
        Wording.from_environment,
        limits_from_environment,
        tenants_asked_for,
        memory_from_environment,
        limit_from_environment,
    ]


def look_at_ports() -> Iterator[Seen]:
    """See whether the usual ports are free, or have whom they are meant for."""
    for port, whose, page in ((SERVICE_PORT, "recsys serve", "/livez"), (PORT, "recsys ui", "/api/health")):
        if not _answers("127.0.0.1", port):
            yield fine(f"{port} is free for `{whose}`")
            continue
        try:
            answered = httpx.get(f"http://127.0.0.1:{port}{page}", timeout=REACH_SECONDS).status_code
        except httpx.HTTPError:
            answered = 0
        if answered in (200, 401):
            yield fine(f"`{whose}` answers at {port}")
        else:
            yield warning(f"Something else answers at port {port}.", f"Start `{whose}` with another --port.")


def look_at_stores() -> Iterator[Seen]:
    """See whether what lies elsewhere can be reached: an object store with an address of its own, and named sources."""
    places = {}
    endpoint = next((name for name in ENDPOINTS if os.environ.get(name)), None)
    if endpoint:
        places[endpoint] = os.environ[endpoint]
    entries = Sources.of(os.environ.get("RECSYS_SOURCES") or DEFAULT).urls
    places |= {
        f"RECSYS_SOURCES ({shown(one)})": one for one in entries if one.startswith("http") and urlsplit(one).netloc
    }
    places |= {name: url for name, url in os.environ.items() if name.startswith(PREFIX) and url.startswith("http")}
    away = []
    for name, url in sorted(places.items()):
        host = urlsplit(url)
        if not _answers(host.hostname or "", host.port or (443 if host.scheme == "https" else 80)):
            away.append(name)
    for name in away:
        yield failed(f"Nobody answers at {name}.", "Look at the address, the network, and whether the store runs.")
    if not away:
        yield fine(f"{len(places)} reached: {some(sorted(places))}" if places else "none is named by an address")


def look_at_ray() -> Iterator[Seen]:
    """See whether the head of the Ray cluster answers, where one is named."""
    address = os.environ.get(ADDRESS)
    if not address:
        yield fine("no cluster is named")
        return
    host, _, port = address.rpartition(":")
    if not port.isdigit() or not host:
        yield failed(f"{ADDRESS} is {address!r}.", "Write HOST:PORT of the cluster's head.")
    elif not _answers(host, int(port)):
        yield failed(
            f"Nobody answers at {address}, as {ADDRESS} has it.", "Start `ray start --head` there, or unset it."
        )
    else:
        yield fine(f"the head at {address} answers")


def _answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), REACH_SECONDS):
            return True
    except (OSError, OverflowError):
        return False
