"""Who answers for each tenant: opened when somebody of it asks, kept while there is room, closed when others need it.

A key says whose it is, and is looked for among that tenant's keys alone; what answers is chosen by the key that was
found, so nothing in a path or a body can name another's.
"""

import ctypes
import gc
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from starlette.types import Scope

from recsys.errors import SettingError
from recsys.home import TENANT, Home
from recsys.tenants import NAME
from recsys_client.schemas.problems import Code
from recsys_client.schemas.readiness import Readiness
from services.edge.guard import CHALLENGE, TENANT_ID, Guard, TenantLimits, token_of
from services.edge.keys import ADMIN, Keys, tenant_in
from services.edge.lanes import StillLoadingError
from services.edge.metrics import Metrics
from services.edge.problems import Refused
from services.worker.loading import OFF, ON, RETRY_SECONDS
from services.worker.state import Worker

ASKED = "RECSYS_TENANTS"  # "on": the home has tenants, and the service answers theirs alone
MEMORY = "RECSYS_TENANTS_MIB"
DEFAULT_MIB = 4_096
RESIDENCE_SECONDS = 10.0  # for which what was asked for last stays before another may take its place
TEND_SECONDS = 1.0
NOBODYS = "The key is the operator's, which reads numbers. Ask with a key of a tenant: `recsys keys create --home …`."
_LOG = logging.getLogger(__name__)


def tenants_asked_for() -> bool:
    """Return whether the service shall answer tenants, as the environment says.

    Raises:
        SettingError: the variable is neither "on" nor "off".
    """
    value = os.environ.get(ASKED) or OFF
    if value not in (ON, OFF):
        raise SettingError(f"{ASKED} is {value!r}; it must be {ON} or {OFF}.")
    return value == ON


def memory_from_environment() -> int:
    """Return how many bytes of its own a worker of tenants may hold.

    Raises:
        SettingError: the variable is no positive whole number.
    """
    value = os.environ.get(MEMORY) or str(DEFAULT_MIB)
    if not value.isdecimal() or int(value) < 1:
        raise SettingError(f"{MEMORY} is {value!r}; it must be a positive whole number of MiB.")
    return int(value) << 20


def own_memory() -> int:
    """Return the bytes that this process alone holds, files that it maps not among them; 0 where nobody tells."""
    try:
        _, resident, shared, *_ = map(int, Path("/proc/self/statm").read_text().split())
    except (OSError, ValueError):
        return 0
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE")


@dataclass(eq=False)
class Place:
    """What answers for a tenant, or will.

    Attributes:
        tenant_id: whose, of all who ever had the name.
        opened: has it, or why it could not be had.
        requests: under way.
        asked: when somebody asked last, likewise ``failed``, when it could not be opened; of ``time.monotonic``.
    """

    tenant_id: str
    opened: "Future[Worker]" = field(default_factory=Future)
    requests: int = 0
    asked: float = field(default_factory=time.monotonic)
    failed: float = 0.0


class TenantWorkers:
    """Workers by tenant; see ``services.edge.auth.Workers``.

    Args:
        house: the home that tenants share; its keys are operators'.
        open_worker: makes what answers for a home, judged by a guard and counted by metrics; not started.
        metrics: nobody's.
        most: bytes that the process may hold. Above it those who have asked longest ago are closed.
        memory: tells how many it holds.
    """

    def __init__(
        self,
        house: Home,
        open_worker: Callable[[Home, Guard, Metrics], Worker],
        metrics: Metrics,
        most: int,
        memory: Callable[[], int] = own_memory,
    ) -> None:
        self._house = house
        self._open_worker = open_worker
        self._metrics = metrics
        self._most = most
        self._memory = memory
        self._operators = Guard(Keys(house, required=True))
        self._guards: dict[str, Guard] = {}
        self._places: OrderedDict[str, Place] = OrderedDict()  # who has asked longest ago first
        self._changing = threading.Lock()
        self._opening = threading.Lock()  # one at a time: two would take each other's time, and room
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._tend, name="tend-tenants", daemon=True)

    def start(self) -> "TenantWorkers":
        """Begin to look after those who are open; return itself."""
        self._thread.start()
        return self

    def guard_of(self, scope: Scope) -> Guard:
        """See ``Workers``: who judges is chosen by what a key says of itself, which the guard then checks."""
        name = tenant_in(token_of(scope))
        if name is None or NAME.fullmatch(name) is None:
            return self._operators
        if name not in self._guards:
            home = Home(self._house.tenants / name)
            if not (home.root / TENANT).is_file():
                return self._operators
            self._guards[name] = Guard(Keys(home, required=True), TenantLimits(self._house, name))
        return self._guards[name]

    @asynccontextmanager
    async def entered(self, guard: Guard, scope: Scope) -> AsyncIterator[Worker]:
        """See ``Workers``.

        Raises:
            Refused: 403, the key is an operator's; 503, the tenant's catalogue is not loaded yet, or cannot be.
        """
        if not guard.tenant:
            raise Refused(Code.MISSING_SCOPE, NOBODYS)
        place = await self._entered(guard, scope[TENANT_ID])
        try:
            yield place.opened.result()
        finally:
            with self._changing:
                place.requests -= 1

    def asks_for_keys(self) -> bool:
        """See ``Workers``."""
        return True

    def check_numbers(self, scope: Scope) -> None:
        """Let operators alone see numbers, which name tenants and tell how much each asks.

        Raises:
            Refused: 401 or 403.
        """
        token = token_of(scope)
        if not token:
            raise Refused(Code.UNAUTHORISED, "Send an operator's key: `Authorization: Bearer …`.")
        if tenant_in(token) is not None or not self._operators.knows(token, ADMIN):
            raise Refused(Code.MISSING_SCOPE, "Numbers of all tenants need an operator's key with the scope 'admin'.")

    def readiness(self) -> Readiness:
        """Return how many tenants have something loaded: the process answers whoever asks."""
        with self._changing:
            loaded = sum(map(_is_open, self._places.values()))
        return Readiness(generation="", texts=OFF, classifier=OFF, tenants=loaded)

    def close(self) -> None:
        """Close all who are open."""
        self._stopping.set()
        with self._changing:
            places, self._places = self._places, OrderedDict()
        for place in places.values():
            if _is_open(place):
                place.opened.result().close()

    async def _entered(self, guard: Guard, tenant_id: str) -> Place:
        """Return a tenant's place, in which a request more is under way; wait until somebody is in it.

        Raises:
            Refused: 401, the tenant has gone since its key was accepted; 503, it takes too long, or nobody can be.
        """
        name = guard.tenant
        while True:
            if guard.tenant_id != tenant_id:
                raise Refused(Code.UNKNOWN_KEY, "The key is unknown or revoked.", CHALLENGE)
            with self._changing:
                place = before = self._places.get(name)
                if place is None or place.tenant_id != tenant_id or _may_be_tried_again(place):
                    place = self._places[name] = Place(tenant_id)
                    arguments = (guard, place, before)
                    threading.Thread(target=self._open, args=arguments, name="open-tenant", daemon=True).start()
                self._places.move_to_end(name)
                place.asked = time.monotonic()
                if place.opened.done():
                    if (error := place.opened.exception()) is not None:
                        raise _refusal(name, error)
                    place.requests += 1
                    return place
            await StillLoadingError(f"The catalogue of {name}", place.opened).over()

    def _open(self, guard: Guard, place: Place, before: Place | None) -> None:
        numbers = self._metrics.of(guard.tenant)
        try:
            with self._opening:
                if before is not None and _is_open(before):  # of a tenant of the same name that is gone
                    before.opened.result().close()
                self._make_room()
                worker = self._open_worker(Home(self._house.tenants / guard.tenant), guard, numbers).start()
        except Exception as error:
            _LOG.error("The catalogue of %s cannot be opened.", guard.tenant, exc_info=error)
            place.failed = time.monotonic()
            numbers.openings.labels("failed").inc()
            place.opened.set_exception(error)
            return
        numbers.openings.labels("opened").inc()
        place.opened.set_result(worker)
        with self._changing:
            lost = self._places.get(guard.tenant) is not place  # it was made anew meanwhile, or this process ends
        if lost:
            worker.close()
        self._count()

    def _tend(self) -> None:
        """Close who is gone, and who has to make room."""
        while not self._stopping.wait(TEND_SECONDS):
            try:
                for name, place in list(self._places.items()):
                    if place.tenant_id != self._guards[name].tenant_id:
                        self._close(name, place, "gone")
                if self._memory() > self._most:
                    self._make_room()
            except Exception as error:
                _LOG.error("The tenants cannot be looked after.", exc_info=error)

    def _make_room(self) -> None:
        """Close those who have asked longest ago and have nothing under way, until less is held than may be.

        Who has asked last stays: more room than for one there is none to be made.
        """
        for name, place in list(self._places.items())[:-1]:
            if self._memory() <= self._most:
                return
            if time.monotonic() - place.asked >= RESIDENCE_SECONDS:
                self._close(name, place, "closed")

    def _close(self, name: str, place: Place, outcome: str) -> None:
        """Close who is open and has nothing under way."""
        with self._changing:
            if place.requests or not _is_open(place) or self._places.get(name) is not place:
                return
            del self._places[name]
        place.opened.result().close()
        self._metrics.of(name).openings.labels(outcome).inc()
        self._count()
        _give_back()

    def _count(self) -> None:
        with self._changing:
            self._metrics.tenants.set(sum(map(_is_open, self._places.values())))


def _is_open(place: Place) -> bool:
    return place.opened.done() and place.opened.exception() is None


def _may_be_tried_again(place: Place) -> bool:
    failed = place.opened.done() and place.opened.exception() is not None
    return failed and time.monotonic() - place.failed >= RETRY_SECONDS


def _refusal(name: str, error: BaseException) -> Refused:
    detail = f"The catalogue of {name} cannot be opened; the service's log says why."
    return Refused(Code.FILES_DAMAGED, detail, {"Retry-After": f"{RETRY_SECONDS:g}"})


def _give_back() -> None:
    """Give the system the memory that nothing holds any more."""
    gc.unfreeze()  # what was loaded long ago is looked through as well
    gc.collect()
    gc.freeze()
    with suppress(OSError, AttributeError):  # another C library than glibc
        ctypes.CDLL(None).malloc_trim(0)
