"""What the service counts, for Prometheus; ``/metrics`` adds up all workers.

Workers share numbers through files in PROMETHEUS_MULTIPROC_DIR, which BentoML sets for each of them. The client library
decides at its first import whether it does so; hence everything here is imported and made when a worker starts.
"""

import asyncio
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from copy import copy
from functools import cache
from pathlib import Path
from typing import Any

from anyio import to_thread

STAGE_BUCKETS = (0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 4.0)
BUCKETS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0)  # seconds
TENANT = "tenant"  # a label
NO_FALLBACK = "none"
COLD, WARM = "cold", "warm"
REST = 4.0  # of the time that it took to make the numbers, before they are made again
SHARES = tuple(tenth / 10 for tenth in range(11))


class Metrics:
    """The numbers of one worker: of all that it does, or of one tenant.

    Args:
        tenant: whose they are, a label of each; empty: nobody's; None: there are no tenants, nor such a label.
    """

    def __init__(self, tenant: str | None = None) -> None:
        self._families: dict[str, Any] = {}
        self._tenants: dict[str, Metrics] = {}
        self._bind(tenant)

    def of(self, tenant: str) -> "Metrics":
        """Return the numbers of another tenant of this worker."""
        if tenant not in self._tenants:
            made = copy(self)
            made._bind(tenant)
            self._tenants[tenant] = made
        return self._tenants[tenant]

    def _bind(self, tenant: str | None) -> None:
        from prometheus_client import Counter, Gauge, Histogram

        def made(kind: Any, name: str, meaning: str, labels: Sequence[str] = (), **options: Any) -> Any:
            if name not in self._families:  # a process registers each once
                own = () if tenant is None else (TENANT,)
                self._families[name] = kind(name, meaning, (*own, *labels), **options)
            family = self._families[name]
            return family if tenant is None else Own(family, tenant) if labels else family.labels(tenant)

        self.requests = made(
            Histogram,
            "recsys_request_duration_seconds",
            "Time to answer, by route and status.",
            ["route", "status"],
            buckets=BUCKETS,
        )
        self.in_flight = made(
            Gauge,
            "recsys_requests_in_flight",
            "Requests that have arrived and are not answered, without probes and /metrics itself.",
            multiprocess_mode="livesum",
        )
        stages = made(
            Histogram, "recsys_stage_duration_seconds", "Time of a request's stages.", ["stage"], buckets=STAGE_BUCKETS
        )
        self.stage = cache(stages.labels)  # looking up labels takes as long as counting, and a request has a dozen
        self.answers = made(
            Counter,
            "recsys_answers",
            "Users's lists, by the link of the chain that made them; none: the whole ranking.",
            ["fallback"],
        )
        self.items = made(
            Counter,
            "recsys_recommended_items",
            "Items of recommended lists, by whether training saw events of them.",
            ["kind"],
        )
        self.lists = made(
            Counter, "recsys_lists", "Lists that were shown, by what answered.", ["generation", "adapter"]
        )
        self.clicks = made(
            Counter,
            "recsys_clicks",
            "Events that name an answer, by its generation; counted: the first of the answer and an item that it held.",
            ["generation", "outcome"],
        )
        self.events = made(Counter, "recsys_events", "Events received, by what became of them.", ["outcome"])
        self.event_lag = made(
            Histogram,
            "recsys_event_lag_seconds",
            "From the arrival of new events to their being readable by every answer, once a request.",
            buckets=BUCKETS,
        )
        self.loads = made(Counter, "recsys_generation_loads", "Attempts to load a generation.", ["outcome"])
        self.serving = made(
            Gauge,
            "recsys_generation_workers",
            "Workers that answer from a generation.",
            ["generation", "adapter"],
            multiprocess_mode="livesum",
        )
        self.items_version = made(
            Gauge,
            "recsys_live_items_version",
            "Changes to live items that every worker's answers know; behind what a PUT answered while texts wait.",
            multiprocess_mode="livemin",
        )
        self.impressions = made(
            Counter, "recsys_impressions", "Answers to be recorded, by what became of it.", ["outcome"]
        )
        self.shadows = made(
            Counter, "recsys_shadow_answers", "Answers of the shadow, by what became of them.", ["outcome"]
        )
        self.shadow_overlap = made(
            Histogram, "recsys_shadow_overlap", "Share of the items that live and shadow agree on.", buckets=SHARES
        )
        self.shadow_duration = made(Histogram, "recsys_shadow_duration_seconds", "The shadow's time.", buckets=BUCKETS)
        self.shed = made(Counter, "recsys_shed", "Requests turned away because too many waited, by what for.", ["lane"])
        self.openings = made(
            Counter, "recsys_tenant_openings", "Tenants whose catalogue was opened or closed, and why.", ["outcome"]
        )
        if tenant is not None and not tenant:
            self.tenants = made(
                Gauge, "recsys_tenants_open", "Tenants whose catalogue is loaded.", multiprocess_mode="livesum"
            )
        for fallback in (
            NO_FALLBACK,
            "filled",
            "segment",
            "popular",
            "degraded",
        ):  # a rate needs the zero before the first one
            self.answers.labels(fallback)
        for kind in (COLD, WARM):
            self.items.labels(kind)
        for outcome in ("written", "dropped"):
            self.impressions.labels(outcome)
        for outcome in ("answered", "dropped", "refused"):
            self.shadows.labels(outcome)
        for outcome in ("accepted", "duplicate", "rejected"):
            self.events.labels(outcome)
        for outcome in ("loaded", "failed"):
            self.loads.labels(outcome)


class Own:
    """A family of numbers of which one tenant's are meant.

    Args:
        family: of Prometheus' client, whose first label is the tenant.
        tenant: whose.
    """

    def __init__(self, family: Any, tenant: str) -> None:
        self._family, self._tenant = family, tenant

    def labels(self, *values: Any) -> Any:
        """Return the tenant's number with these labels."""
        return self._family.labels(self._tenant, *values)


class Exposition:
    """The numbers as they are sent: made once for all who ask at the same time, and seldom enough to cost little.

    Everybody may ask, as often as they like, and adding up all workers takes milliseconds of a processor. Whoever asks
    gets numbers that were made afterwards.
    """

    def __init__(self) -> None:
        self._one = asyncio.Lock()
        self._next: asyncio.Future[tuple[bytes, str]] | None = None
        self._not_before = 0.0

    async def read(self) -> tuple[bytes, str]:
        """Return the numbers in Prometheus' text format, and its media type."""
        if self._next is None:
            self._next = asyncio.ensure_future(self._make())
        return await asyncio.shield(self._next)

    async def _make(self) -> tuple[bytes, str]:
        async with self._one:
            await asyncio.sleep(max(0.0, self._not_before - time.monotonic()))
            self._next = None  # whoever asks from here on needs newer ones
            begun = time.monotonic()
            made = await to_thread.run_sync(exposition)
            ended = time.monotonic()
            self._not_before = ended + REST * (ended - begun)
            return made


def exposition() -> tuple[bytes, str]:
    """Return the numbers of all workers in Prometheus' text format, and its media type."""
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    _forget_the_dead(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return generate_latest(registry), CONTENT_TYPE_LATEST


def _forget_the_dead(folder: Path) -> None:
    """Remove the gauges of workers that have ended, which would count as if they lived; what they counted stays."""
    from prometheus_client.multiprocess import mark_process_dead

    for pid in {int(file.stem.rpartition("_")[2]) for file in folder.glob("gauge_live*_*.db")}:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            with suppress(FileNotFoundError):  # another worker is at it as well
                mark_process_dead(pid, str(folder))
        except PermissionError:  # it lives, under another user
            pass
