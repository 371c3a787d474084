"""The generation that a worker answers from: follows the pointer, loads beside the old one, then flips one reference.

A request takes the reference once and keeps it to its end, so that an answer is wholly one generation's.
"""

import gc
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from recsys.artifacts import ArtifactError
from recsys.home import Home
from recsys.remote.following import follow
from recsys.store.generations import current_id, earlier_ids
from recsys_client.schemas.problems import Code
from services.edge.metrics import Metrics
from services.edge.problems import Refused
from services.worker.encoders import Encoders
from services.worker.generation_cache import GenerationCache
from services.worker.live_items import LiveItems
from services.worker.loading import RETRY_SECONDS

if TYPE_CHECKING:
    from recsys.serving.recommender import Recommender

CHECK_SECONDS = 0.25  # between two looks at the pointer
_LOG = logging.getLogger(__name__)


class CurrentGeneration:
    """Holds the loaded generation and replaces it when the pointer moves.

    Attributes:
        problem: why what the pointer names is not served, or None while it is.
    """

    def __init__(
        self,
        home: Home,
        cache: GenerationCache,
        items: LiveItems,
        encoders: Encoders,
        metrics: Metrics,
        also: Sequence[Callable[[], None]] = (),
    ) -> None:
        self.problem: str | None = None
        self._home = home
        self._cache = cache
        self._items = items
        self._encoders = encoders
        self._also = also
        self._checking = threading.Lock()
        self._metrics = metrics
        self._base: Recommender | None = None  # as it was opened
        self._recommender: Recommender | None = None  # with the live items
        self._hidden: dict[str, tuple[int, bool]] = {}  # items not offered: by which change, and whether it deleted
        self._flipping = threading.Lock()
        self._failed: tuple[str, float] | None = None  # generation, and when to try it again
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="follow-pointer", daemon=True)
        self._items_thread = threading.Thread(target=self._follow_items, name="follow-items", daemon=True)

    @property
    def serving(self) -> str | None:
        """The id of the loaded generation."""
        return self._recommender.generation_id if self._recommender else None

    def recommender(self) -> "Recommender":
        """Return what answers now; hold it for the whole of one answer.

        Raises:
            Refused: 503, no generation is loaded; the detail says why.
        """
        if self._recommender is None:
            raise Refused(Code.NOTHING_SERVED, self.problem or "No generation is loaded yet.", {"Retry-After": "5"})
        return self._recommender

    def opened(self, generation_id: str) -> "Recommender | None":
        """Return the loaded generation as it was opened, without live items, where it is the one asked for."""
        base = self._base
        return base if base is not None and base.generation_id == generation_id else None

    def for_texts(self) -> "Recommender":
        """Return what answers a text that names no generation.

        That is ``recommender``; after a switch it is the generation before, until the new one's encoder is loaded.

        Raises:
            Refused: as ``recommender``.
        """
        current, other = self.recommender(), self._encoders.answering
        if other in (None, current.generation_id) or self._encoders.find(current.generation_id) is not None:
            return current
        before = self._cache.find(str(other))
        return current if before is None else self._items.applied_to(before, wait=False)

    def start(self) -> None:
        """Load what the pointer names, then keep looking at it in the background."""
        self.check()
        self._thread.start()
        self._items_thread.start()

    def hide(self, item_id: str, version: int, deleted: bool = False) -> None:
        """Offer an item no more, at once, or have none at all; a change after this version may bring it back.

        The rest of what has changed follows: to answer with many live items takes seconds to prepare.
        """
        with self._flipping:
            self._hidden[item_id] = version, deleted
            if self._recommender is not None:
                self._recommender = self._without_hidden(self._recommender)

    def _without_hidden(self, recommender: "Recommender") -> "Recommender":
        """Return what answers, without those hidden items that it does not know to be gone."""
        self._hidden = {item: how for item, how in self._hidden.items() if how[0] > recommender.items_version}
        if not self._hidden:
            return recommender
        gone = [item for item, (_, deleted) in self._hidden.items() if deleted]
        return replace(recommender, catalogue=recommender.catalogue.without(self._hidden, gone))

    def refresh(self) -> None:
        """Answer with the live items as they are now; those whose texts are not encoded yet follow."""
        base = self._base
        if base is not None and self._items.pending(base):
            updated = self._items.applied_to(base, wait=False)
            with self._flipping:
                if self._base is base:
                    self._recommender = self._without_hidden(updated)
            self._metrics.items_version.set(self._items.version(base))

    def stop(self) -> None:
        """Stop following; a load that is under way is left to itself."""
        self._stopping.set()
        if (base := self._base) is not None:
            self._metrics.serving.labels(base.generation_id, base.adapter_id).set(0)

    def check(self) -> None:
        """Load what the pointer names unless it is served already; whatever goes wrong, the old one stays."""
        with self._checking:
            self._check()

    def _check(self) -> None:
        wanted = None
        follow(self._home)
        try:
            wanted = current_id(self._home)
            if wanted is None:
                self.problem = "Nothing has been published here yet; `recsys publish` makes a generation and serves it."
            elif wanted == self.serving:
                self.problem = self._failed = None
            elif self._failed is None or self._failed[0] != wanted or time.monotonic() >= self._failed[1]:
                self._load(wanted)
                self.problem = self._failed = None
        except Exception as error:  # a broken file must stop neither the answers nor the following
            self._note(wanted or "in the pointer", error)
            self._failed = (wanted or "", time.monotonic() + RETRY_SECONDS)
            if self.serving is None:
                self._load_earlier()
            meanwhile = f" Generation {self.serving} answers meanwhile." if self.serving else ""
            self.problem = f"Generation {wanted or 'in the pointer'} cannot be loaded: {error}{meanwhile}"

    def _load_earlier(self) -> None:
        """Serve the last generation before the current one that is whole: a restart must not make a fault an outage."""
        try:
            earlier = earlier_ids(self._home)
        except ArtifactError as error:
            _LOG.error("%s", error)
            return
        for generation_id in earlier:
            try:
                self._load(generation_id)
                return
            except Exception as error:
                self._note(generation_id, error)

    def _note(self, generation_id: str, error: Exception) -> None:
        self._metrics.loads.labels("failed").inc()
        unexpected = None if isinstance(error, ArtifactError) else error
        _LOG.error("Generation %s cannot be loaded: %s", generation_id, error, exc_info=unexpected)

    def _load(self, generation_id: str) -> None:
        if self.serving is None and self._encoders.ahead:
            self._encoders.begin(generation_id)  # beside the generation itself
        loaded, old = self._cache.open(generation_id), self._base
        self._encoders.serve(generation_id)
        updated = self._items.applied_to(loaded)
        with self._flipping:
            self._base, self._recommender = loaded, self._without_hidden(updated)
        self._metrics.items_version.set(self._items.version(loaded))
        self._metrics.loads.labels("loaded").inc()
        if old is not None:
            self._cache.keep(old)  # a way back costs nothing
            self._metrics.serving.labels(old.generation_id, old.adapter_id).set(0)
        self._metrics.serving.labels(loaded.generation_id, loaded.adapter_id).set(1)
        _LOG.info("Serving generation %s with adapter %s.", loaded.generation_id, loaded.adapter_id)
        # What was just loaded lives long: looking through it in every full collection would stall requests.
        gc.collect()
        gc.freeze()

    def _follow_items(self) -> None:
        pause = CHECK_SECONDS
        while not self._stopping.wait(pause):
            started = time.monotonic()
            try:
                self.refresh()
            except Exception as error:  # a database that is away must not end the following
                _LOG.error("Live items cannot be followed; those known stay.", exc_info=error)
                started -= RETRY_SECONDS / 2
            # a large catalogue takes long to update; that may be two thirds of the time, no more
            pause = max(CHECK_SECONDS, (time.monotonic() - started) / 2)

    def _follow(self) -> None:
        while not self._stopping.wait(CHECK_SECONDS):
            self.check()
            if self.serving is not None:
                self._encoders.serve(self.serving)  # again, where it failed
            for look in self._also:
                look()
