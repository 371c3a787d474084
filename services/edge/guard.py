"""Judges requests: by the keys that there are, by what bounds each and its tenant, and by what a key sent before."""

import logging
import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from starlette.datastructures import Headers
from starlette.types import Scope

from recsys.artifacts import ArtifactError
from recsys.home import TENANT, Home
from recsys.tenants import Tenant, read_tenant
from recsys_client.schemas.problems import Code
from services.edge.context import CURRENT, asking_key
from services.edge.keys import ADMIN, Appearance, Keys, appearance
from services.edge.problems import problem

READS_HISTORIES = "recsys.reads_histories"  # in a request's scope: whether it may be told what a user did
TENANT_ID = "recsys.tenant"  # in a request's scope: the id of the tenant whose key was accepted
ALLOWANCE = "recsys.allowance"  # in a request's scope: headers that say what its key has left
BURST_SECONDS = 2.0  # how much of its rate a key may use at once
MOST_AT_ONCE = 100  # requests of one key that a worker has under way; fewer than may wait for a lane
# To refuse takes time, too: a key that has sent so many bodies lately that are none waits so long for each request that
# it has under way. So many are forgotten every second. An id that names nothing is no nonsense: catalogues change.
FREE_REFUSALS, REFUSAL_SECONDS, REFUSALS_FORGOTTEN = 50, 0.05, 5.0
LONGEST_SECONDS = 3.0
CHALLENGE = {"WWW-Authenticate": "Bearer"}
_LOG = logging.getLogger("bentoml.recsys")


def token_of(scope: Scope) -> str:
    """Return the key that a request brings, which nobody has checked yet; empty: it brings none."""
    scheme, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


class Guard:
    """Judges requests by their keys; called from the event loop alone, so it takes no lock.

    Attributes:
        tenant: whose keys these are; empty: there are no tenants.

    Args:
        keys: that exist.
        limits: of the tenant.
    """

    def __init__(self, keys: Keys, limits: "TenantLimits | None" = None) -> None:
        self.tenant = "" if limits is None else limits.name
        self._keys = keys
        self._limits = limits
        self._buckets: dict[str, tuple[float, float]] = {}  # by key: tokens left, and when that was
        self._under_way: Counter[str] = Counter()  # requests by key
        self._refusals: dict[str, tuple[float, float]] = {}  # by key: how many lately, and when that was

    @property
    def tenant_id(self) -> str | None:
        """The id of the tenant whose keys these are now; None: it is gone, or leaves."""
        known = self._limits.now() if self._limits else None
        return known.id if known else None

    def asks_for_keys(self) -> bool:
        """Tell whether there are keys, or must be."""
        return self._keys.asked_for()

    def check(self, scope: Scope, needed: str) -> Any:
        """Return None if a request may go on, else the response that refuses it."""
        if not self._keys.asked_for():  # whoever is answered at all then, is answered everything
            scope[READS_HISTORIES] = True
            return None
        token = token_of(scope)
        if not token:
            return problem(Code.UNAUTHORISED, "Send a key: `Authorization: Bearer …`.", CHALLENGE)
        key = self._keys.find(token)
        tenant = self._limits.now() if self._limits else None
        if key is None or (self._limits and tenant is None):
            headers = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
            return problem(Code.UNKNOWN_KEY, "The key is unknown or revoked.", headers)
        if not key.may(needed):
            held = ", ".join(key.scopes)
            headers = {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{needed}"'}
            detail = f"This needs the scope {needed!r}; the key {key.id} has {held}."
            return problem(Code.MISSING_SCOPE, detail, headers)
        if self._under_way[key.id] >= MOST_AT_ONCE:
            detail = (
                f"The key {key.id} has {MOST_AT_ONCE} requests under way, as many as it may; wait for some of them."
            )
            return problem(Code.TOO_MANY_REQUESTS, detail, {"Retry-After": "1"})
        if tenant is not None and tenant.at_once and sum(self._under_way.values()) >= tenant.at_once:
            detail = f"The tenant {self.tenant} has {tenant.at_once} requests under way, as many as it may."
            return problem(Code.TOO_MANY_REQUESTS, detail, {"Retry-After": "1"})
        scope[READS_HISTORIES] = key.may(ADMIN)
        if tenant is not None:
            scope[TENANT_ID] = tenant.id
        context = CURRENT.get()
        if context is not None:
            context.key, context.tenant = key.id, self.tenant
        limits = [] if key.rate is None else [(f"The key {key.id}", key.id, key.rate)]
        if tenant is not None and tenant.rate is not None:
            limits.append((f"The tenant {self.tenant}", "", tenant.rate))
        return self._take(scope, limits)

    def knows(self, token: str, scope: str) -> bool:
        """Tell whether a token is a key that has a scope."""
        key = self._keys.find(token)
        return key is not None and key.may(scope)

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Count the current request among those of its key."""
        key = asking_key() or ""
        self._under_way[key] += 1
        try:
            yield
        finally:
            self._under_way[key] -= 1
            if not self._under_way[key]:
                del self._under_way[key]

    def refused(self) -> None:
        """Note that the current request was nonsense."""
        key = asking_key()
        if key is not None:
            self._refusals[key] = self._refusals_of(key) + 1, time.monotonic()

    def patience(self) -> float:
        """Return for how many seconds the current request has to wait: its key has asked for nonsense too often.

        The more it asks at once the longer, so that it gets no more answers in all.
        """
        key = asking_key()
        if key is None or self._refusals_of(key) <= FREE_REFUSALS:
            return 0.0
        return min(LONGEST_SECONDS, REFUSAL_SECONDS * self._under_way[key])

    def _refusals_of(self, key: str) -> float:
        count, then = self._refusals.get(key, (0.0, 0.0))
        return max(0.0, count - REFUSALS_FORGOTTEN * (time.monotonic() - then))

    def _take(self, scope: Scope, limits: Sequence[tuple[str, str, float]]) -> Any:
        """Take one request from every rate that bounds it, or from none; tell what is left of the one that has least.

        Args:
            scope: the request's.
            limits: who is bounded, by what name, and to how many requests a second.
        """
        now, left = time.monotonic(), {}
        for who, name, rate in limits:
            most = max(1.0, rate * BURST_SECONDS)
            tokens, before = self._buckets.get(name, (most, now))
            left[name] = min(most, tokens + (now - before) * rate)
            if left[name] < 1:
                retry = {"Retry-After": str(math.ceil((1 - left[name]) / rate))}
                detail = f"{who} may ask {rate:g} times a second."
                return problem(Code.TOO_MANY_REQUESTS, detail, allowance(rate, most, left[name]) | retry)
        for _, name, _ in limits:
            self._buckets[name] = left[name] - 1, now
        if limits:
            _, name, rate = min(limits, key=lambda limit: left[limit[1]])
            told = allowance(rate, max(1.0, rate * BURST_SECONDS), left[name] - 1)
            scope[ALLOWANCE] = [(name.lower().encode(), value.encode()) for name, value in told.items()]
        return None


class TenantLimits:
    """What bounds a tenant, as its file has it now.

    Attributes:
        name: the tenant's.
    """

    def __init__(self, house: Home, name: str) -> None:
        self.name = name
        self._house = house
        self._path = house.tenants / name / TENANT
        self._seen: Appearance = ()
        self._known: Tenant | None = None

    def now(self) -> Tenant | None:
        """Return what is known of the tenant; None: it is gone, or leaves. A broken file changes nothing."""
        seen = appearance(self._path)
        if seen != self._seen:
            try:
                found = None if seen is None else read_tenant(self._house, self.name)
                self._known = found if found is None or not found.leaving else None
            except ArtifactError as error:
                _LOG.error("What bounds the tenant stays as it was. %s", error)
            self._seen = seen  # the last of all: another thread may look meanwhile
        return self._known


def allowance(rate: float, most: float, left: float) -> dict[str, str]:
    """Return the headers that say what a key may ask a worker for, and what is left of it.

    As draft-ietf-httpapi-ratelimit-headers-10 has them: ``q`` requests at once, which come back within ``w`` seconds;
    ``r`` are left, and all of them again in ``t`` seconds.

    Args:
        rate: requests a second.
        most: requests at once.
        left: of these.
    """
    quota = f'"rate";q={int(most)};w={math.ceil(most / rate)}'
    return {"RateLimit-Policy": quota, "RateLimit": f'"rate";r={int(left)};t={math.ceil((most - left) / rate)}'}
