"""Live items in a worker: follows their counter, has new texts encoded once, and applies them to generations.

What is deleted or not available goes at once in the worker that took the call, in others at the next look; a new text
takes as long as BERT does. Texts are encoded in the order of their arrival and few may wait: an upload is slowed down
to BERT's pace, so that an item that others put meanwhile is offered within seconds, too. While the encoder itself is
being loaded, new texts are left out.
"""

import logging
import math
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recsys.artifacts import PRIVATE, digest, locked
from recsys.database.live_items import ItemStore, LiveItem, Room
from recsys.errors import SettingError
from recsys.home import Home
from services.worker.encoders import Encoders

if TYPE_CHECKING:
    from recsys.serving.new_texts import Encoder
    from recsys.serving.recommender import Recommender

MOST = "RECSYS_LIVE_ITEMS"  # how many live items there may be; a key may have half of them
BATCH = 16  # texts encoded at once
ENCODING_SECONDS = 0.5  # after which what is there is shown, before the next ones are encoded
MOST_WAITING = 64  # changes that this worker does not answer with yet
WAITING_SECONDS = 3.0  # in which those are encoded; where the processor is slower, fewer may wait
SPARE = 1_000  # vectors in memory beside twice those that are needed
KEPT = 3  # updated generations: the current one and those of the cache
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Updated:
    """A generation with the live items: what it was made from, and what came of it."""

    base: "Recommender"
    version: int
    encoded: bool  # with an encoder; without one, texts are left out
    recommender: "Recommender"

    @property
    def finished(self) -> bool:
        """Whether the same could not be had more completely."""
        return not self.encoded or self.recommender.items_shown == self.version


class LiveItems:
    """The live items of a worker. Safe to share between threads."""

    def __init__(self, home: Home, store: ItemStore, encoders: Encoders) -> None:
        self.store = store
        self._home = home
        self._encoders = encoders
        self._items: dict[str, LiveItem] = {}
        self._version = 0
        self._reading = threading.Lock()
        self._applying = threading.Lock()
        self._pace = math.inf  # texts that the last full batch had a second
        self._known: dict[str, dict[str, tuple[str, NDArray[np.float32]]]] = {}  # by adapter and item: digest, vector
        self._updated: dict[str, _Updated] = {}  # by generation

    def applied_to(self, base: "Recommender", wait: bool = True) -> "Recommender":
        """Return a generation with the live items.

        Args:
            base: as it was opened.
            wait: for its encoder, and encode everything first; otherwise what is not encoded yet is left out, and
                encoded a batch a call.
        """
        if wait and self._needs_encoder(base):
            self._encoders.wait(base.generation_id)
        with self._applying:
            version, items = self._read()
            if not version:
                return base
            while True:
                known, encoder = self._updated.get(base.generation_id), self._encoder(base, items)
                if known is not None and self._stands(known, base, version, encoder is not None):
                    return known.recommender
                updated = _Updated(base, version, encoder is not None, self._apply(base, items, version, encoder))
                self._updated[base.generation_id] = updated
                while len(self._updated) > KEPT:
                    self._updated.pop(next(iter(self._updated)))
                if not wait:
                    return updated.recommender

    def check(self, base: "Recommender") -> None:
        """Begin with the encoder that ``applied_to`` would wait for, in a lane, whose thread must not.

        Raises:
            StillLoadingError: it is being loaded.
        """
        if self._needs_encoder(base):
            self._encoders.check(base.generation_id)

    def pending(self, base: "Recommender") -> bool:
        """Tell whether ``applied_to`` would return something new."""
        known = self._updated.get(base.generation_id)
        version = self.store.version()
        able = self._encoders.find(base.generation_id) is not None
        return version > 0 and (known is None or not self._stands(known, base, version, able))

    def crowded(self, recommender: "Recommender") -> bool:
        """Tell whether what answers lacks so many changes that another one had better wait, too."""
        return self.room(recommender) <= 0

    def room(self, recommender: "Recommender") -> int:
        """Return how many more changes may wait until what answers has them."""
        most = math.ceil(max(BATCH, min(MOST_WAITING, self._pace * WAITING_SECONDS)))
        return most - (self.store.version() - recommender.items_shown)

    def version(self, base: "Recommender") -> int:
        """Return the changes that a generation is updated with completely."""
        known = self._updated.get(base.generation_id)
        return 0 if known is None or known.base is not base else known.recommender.items_shown

    def _stands(self, known: _Updated, base: "Recommender", version: int, able: bool) -> bool:
        """Tell whether nothing better can be had; ``able``: whether there is an encoder now."""
        same = known.base is base and known.version == version
        return same and known.finished and (known.encoded or not able)

    def _needs_encoder(self, base: "Recommender") -> bool:
        return self.pending(base) and _have_texts(self._read()[1])

    def _encoder(self, base: "Recommender", items: Sequence[LiveItem]) -> "Encoder | None":
        """Return the encoder if it is loaded; else begin with it where a text needs it."""
        if _have_texts(items):
            self._encoders.begin(base.generation_id)
        return self._encoders.find(base.generation_id)

    def _read(self) -> tuple[int, list[LiveItem]]:
        with self._reading:
            version = self.store.version()  # first: what is read below may be newer, and not older
            if version < self._version:  # an older copy of the database was put in its place
                self._items, self._version = {}, 0
            moved, self._version, since = version != self._version, version, self._version
            for item in self.store.changed(since):
                self._items.pop(item.item_id, None)  # the newest stands last
                self._items[item.item_id] = item
                self._version = max(self._version, item.version)
            if moved and self.store.count() != len(self._items):  # some are released, or deleted long ago
                kept = self.store.ids()
                self._items = {item_id: item for item_id, item in self._items.items() if item_id in kept}
            return self._version, list(self._items.values())

    def _apply(
        self, base: "Recommender", items: Sequence[LiveItem], version: int, encoder: "Encoder | None"
    ) -> "Recommender":
        """Encode for a while; return what can be had now."""
        from recsys.serving.live_generation import unencoded, with_live_items

        items = [item for item in items if base.standing(item) is not None]
        there = [item for item in items if item.columns is not None]
        if encoder is None or not there:
            first = min((item.version for item in there), default=version + 1)
            return with_live_items(base, None, items, {}, version, first - 1)
        wanted = unencoded(base, encoder, there)
        vectors = self._vectors(encoder, wanted)
        missing = [item.version for item in there if item.item_id in wanted and item.item_id not in vectors]
        return with_live_items(base, encoder, items, vectors, version, min(missing) - 1 if missing else version)

    def _vectors(self, encoder: "Encoder", texts: dict[str, str]) -> dict[str, NDArray[np.float32]]:
        """Return the vectors of texts by item id, encoding for a while what nobody has encoded yet, oldest first."""
        adapter = encoder.key
        digests = {item_id: digest(text.encode()) for item_id, text in texts.items()}
        known = self._known.setdefault(adapter, {})
        if len(known) > 2 * len(texts) + SPARE:  # most of them are of items that are gone
            known = self._known[adapter] = {item_id: known[item_id] for item_id in texts if item_id in known}
        missing = [item_id for item_id in texts if known.get(item_id, ("",))[0] != digests[item_id]]
        if missing:
            with self._one_encodes():
                known |= self.store.vectors(adapter, missing)
                missing = [item_id for item_id in missing if known.get(item_id, ("",))[0] != digests[item_id]]
                started = time.monotonic()
                while missing and time.monotonic() - started < ENCODING_SECONDS:
                    batch, missing = missing[:BATCH], missing[BATCH:]
                    begun = time.monotonic()
                    made = encoder.encode_items([texts[item_id] for item_id in batch], names=batch)
                    if len(batch) == BATCH:
                        self._pace = BATCH / max(time.monotonic() - begun, 1e-6)
                    self.store.add_vectors(adapter, batch, [digests[item_id] for item_id in batch], made)
                    known |= {item_id: (digests[item_id], vector) for item_id, vector in zip(batch, made, strict=True)}
        found = {item_id: known[item_id] for item_id in texts if item_id in known}
        return {item_id: vector for item_id, (text, vector) in found.items() if text == digests[item_id]}

    @contextmanager
    def _one_encodes(self) -> Iterator[None]:
        """Let one worker of this machine encode; the others wait and find its vectors."""
        with locked(self._home.root / ".encoding.lock", mode=PRIVATE):
            yield


def _have_texts(items: Sequence[LiveItem]) -> bool:
    return any(item.columns is not None for item in items)


def room_from_environment() -> Room:
    """Return how many live items there may be, as the environment says.

    Raises:
        SettingError: the variable is no positive whole number.
    """
    value = os.environ.get(MOST)
    if not value:
        return Room()
    if not value.isdecimal() or int(value) < 1:
        raise SettingError(f"{MOST} is {value!r}; it must be a positive whole number.")
    return Room.of(int(value))
