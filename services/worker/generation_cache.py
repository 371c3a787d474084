"""Generations that a worker has loaded beside the current one: for requests that name an adapter, replays and shadows.

Each is verified when it is loaded and never changes, so the current one that is replaced waits here to come back.
"""

import os
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from fastapi import HTTPException

from recsys.artifacts import ArtifactError
from recsys.home import Home
from recsys.store.adapters import read_card
from recsys.store.generations import list_generations, newest_last

if TYPE_CHECKING:
    from recsys.serving.recommender import Recommender

KEPT = 2  # generations in memory beside the current one


class GenerationCache:
    """Opens generations on demand and keeps those used last. Safe to share between threads."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._loaded: OrderedDict[str, Recommender] = OrderedDict()
        self._opening = threading.Lock()  # one at a time: loading is heavy
        self._changing = threading.Lock()
        self._newest: tuple[int, dict[str, str]] = (-1, {})  # state of the folder, generation by adapter

    def open(self, generation_id: str) -> "Recommender":
        """Return a loaded generation, verified.

        Raises:
            ArtifactError: it does not exist, or is not what it was.
        """
        found = self._find(generation_id)
        if found is not None:
            return found
        with self._opening:
            found = self._find(generation_id)
            if found is None:
                # Imported here because BentoML's supervisor imports the service too, and has no use for torch.
                from recsys.serving.recommender import Recommender

                found = Recommender.open(self._home, generation_id)
                self.keep(found)
        return found

    def keep(self, recommender: "Recommender") -> None:
        """Keep a loaded generation for as long as it is among those used last."""
        with self._changing:
            self._loaded[recommender.generation_id] = recommender
            self._loaded.move_to_end(recommender.generation_id)
            while len(self._loaded) > KEPT:
                self._loaded.popitem(last=False)

    def answering(self, adapter_id: str) -> str:
        """Return the id of the newest generation that an adapter made.

        Raises:
            HTTPException: 404, there is no such adapter; 409, no generation was made with it.
        """
        newest = self._by_adapter()
        if adapter_id in newest:
            return newest[adapter_id]
        try:
            read_card(self._home, adapter_id)
        except ArtifactError:
            raise HTTPException(404, f"There is no adapter {adapter_id!r}; GET /v1/adapters lists them.") from None
        raise HTTPException(409, f"No generation was made with adapter {adapter_id!r}, so it cannot answer.")

    def known(self, generation_id: str) -> None:
        """Check that a generation is there.

        Raises:
            HTTPException: 404, it is not.
        """
        if generation_id not in self._by_adapter().values() and all(
            one.id != generation_id for one in list_generations(self._home)
        ):
            raise HTTPException(404, f"There is no generation {generation_id!r}; GET /v1/generations lists them.")

    def _find(self, generation_id: str) -> "Recommender | None":
        with self._changing:
            found = self._loaded.get(generation_id)
            if found is not None:
                self._loaded.move_to_end(generation_id)
            return found

    def _by_adapter(self) -> dict[str, str]:
        try:
            state = os.stat(self._home.generations).st_mtime_ns  # moves when a generation comes or goes
        except FileNotFoundError:
            return {}
        known, newest = self._newest
        if known != state:
            newest = {one.adapter: one.id for one in newest_last(self._home)}
            self._newest = state, newest
        return newest
