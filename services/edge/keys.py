"""API keys: made by ``recsys keys create``, kept as hashes in one file below the home, followed while it changes.

A key is 256 random bits, so there is nothing to guess and a plain SHA-256 is enough: slow hashes (bcrypt, scrypt)
protect passwords that people choose, and would only make every request slow here.
"""

import hmac
import logging
import os
import secrets
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from recsys.artifacts import PRIVATE, ArtifactError, as_json, digest, locked, read_json, refuse_links
from recsys.errors import SettingError
from recsys.home import Home
from recsys.remote.state import adopt, share

SCOPES = ("recommend", "write", "admin")
ADMIN = "admin"
PREFIX = "rsk_"  # lets scanners of repositories and logs recognise a key that has leaked
OF_TENANT = "."  # parts a tenant's name, which comes after the prefix, from the rest of its key
REQUIRE_KEYS = "RECSYS_REQUIRE_KEYS"  # set for a server that other machines can reach
Appearance = tuple[int, ...] | None
_LOG = logging.getLogger("bentoml.recsys")  # below BentoML's logger, whose handler prints them


@dataclass(frozen=True)
class Key:
    """What is known of a key; the key itself is shown once, when it is made.

    Attributes:
        id: names the key in lists and for ``revoke``; says nothing about it.
        name: whose it is, for people.
        scopes: what it may do; ``admin`` may do everything.
        sha256: of the key, 64 hexadecimal digits.
        created: RFC 3339.
        rate: requests a second that each worker takes from it; None: no limit.
    """

    id: str
    name: str
    scopes: tuple[str, ...]
    sha256: str
    created: str
    rate: float | None = None

    def may(self, scope: str) -> bool:
        """Tell whether the key has a scope: ``admin`` has all; ``write`` does not read, nor ``recommend`` write."""
        return scope in self.scopes or ADMIN in self.scopes


def read_keys(home: Home) -> tuple[Key, ...] | None:
    """Return all keys, or None where none was ever made.

    Raises:
        ArtifactError: the file is there and cannot be read, or is a link.
    """
    if not os.path.lexists(home.keys):
        return None
    refuse_links(home.keys)
    try:
        return tuple(Key(**entry | {"scopes": tuple(entry["scopes"])}) for entry in read_json(home.keys)["keys"])
    except (TypeError, KeyError, OSError) as error:
        raise ArtifactError(f"{home.keys} is no list of keys ({error}). Restore it, or make new keys.") from None


def create_key(home: Home, name: str, scopes: Iterable[str], rate: float | None = None) -> tuple[Key, str]:
    """Make and store a key; return what is kept of it, and the key, which cannot be had again.

    Raises:
        SettingError: no scope is given, or one that does not exist, or the rate is not positive.
    """
    chosen = tuple(scope for scope in SCOPES if scope in set(scopes))
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not chosen:
        raise SettingError(f"A key needs scopes of {', '.join(SCOPES)}; got {', '.join(unknown) or 'none'}.")
    if rate is not None and not 0 < rate < float("inf"):
        raise SettingError(f"A rate is a positive number of requests a second, not {rate}.")
    whose = "" if home.tenant is None else home.tenant + OF_TENANT
    token = PREFIX + whose + secrets.token_urlsafe(32)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    key = Key(secrets.token_hex(4), name, chosen, digest(token.encode()), now, rate)
    with _lock(home):
        _write(home, [*(read_keys(home) or ()), key])
    return key, token


def tenant_in(token: str) -> str | None:
    """Return whose key a token says that it is, which nobody has checked yet; None: no tenant's."""
    name, parted, _ = token.removeprefix(PREFIX).partition(OF_TENANT)
    return name if parted and token.startswith(PREFIX) else None


def revoke_key(home: Home, key_id: str) -> Key:
    """Remove a key; running workers refuse it from the next request on.

    Raises:
        ArtifactError: there is no such key.
    """
    with _lock(home):
        keys = read_keys(home) or ()
        revoked = next((key for key in keys if key.id == key_id), None)
        if revoked is None:
            raise ArtifactError(f"There is no key {key_id!r}. `recsys keys list` shows those that exist.")
        _write(home, [key for key in keys if key.id != key_id])
    return revoked


class Keys:
    """The keys as the file has them now: each question looks whether the file has changed, which costs microseconds.

    A file that vanishes or breaks opens nothing: whoever has once asked for keys goes on asking.

    Args:
        home: where the file lies.
        required: refuse everybody where there are no keys, as a service that others can reach must.
    """

    def __init__(self, home: Home, required: bool = False) -> None:
        self._home = home
        self._required = required
        self._keys: tuple[Key, ...] | None = None
        self._seen: Appearance = ()  # what the file looked like when it was read
        self._reading = threading.Lock()

    def asked_for(self) -> bool:
        """Tell whether a request needs a key."""
        self._follow()
        return self._required or self._keys is not None

    def find(self, token: str) -> Key | None:
        """Return the key that a token is, compared in constant time with every one that exists."""
        self._follow()
        presented = digest(token.encode())
        found = None
        for key in self._keys or ():
            if hmac.compare_digest(key.sha256, presented):
                found = key
        return found

    def _follow(self) -> None:
        seen = appearance(self._home.keys)
        if seen == self._seen:
            return
        with self._reading:
            try:
                found = read_keys(self._home)
                if found is None and self._keys is not None:
                    _LOG.error("%s has vanished; no key is accepted until it is back.", self._home.keys)
                    found = ()
                self._keys = found
            except ArtifactError as error:
                self._keys = self._keys or ()
                _LOG.error("The keys stay as they were. %s", error)
            self._seen = seen


def appearance(path: Path) -> Appearance:
    """Return what a file looks like without being read, which changes when it is replaced; None: it is not there."""
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _write(home: Home, keys: Iterable[Key]) -> None:
    share(home, home.keys.name, as_json({"keys": [asdict(key) for key in keys]}))


@contextmanager
def _lock(home: Home) -> Iterator[None]:
    with locked(home.make().keys.with_suffix(".lock"), mode=PRIVATE):
        adopt(home, home.keys.name)
        yield
