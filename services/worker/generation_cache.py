"""Generations that a worker has loaded beside the current one: for requests that name an adapter, replays and shadows.

Each is verified when it is loaded and never changes, so the current one that is replaced waits here to come back.
"""

import os
from typing import TYPE_CHECKING

from recsys.artifacts import ArtifactError
from recsys.home import Home
from recsys.store.adapters import read_card
from recsys.store.generations import newest_last, read_manifest
from recsys_client.schemas.problems import Code
from services.edge.problems import Refused
from services.worker.loading import BackgroundLoader

if TYPE_CHECKING:
    from recsys.serving.recommender import Recommender

KEPT = 2  # generations in memory beside the current one


class GenerationCache:
    """Opens generations on demand and keeps those used last. Safe to share between threads."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._loader: BackgroundLoader[Recommender] = BackgroundLoader("Generation {key}", self._load, KEPT)
        self._newest: tuple[int, dict[str, str]] = (-1, {})  # state of the folder, generation by adapter

    def open(self, generation_id: str) -> "Recommender":
        """Return a loaded generation, verified; this may take long, so it is not for lanes that answer.

        Raises:
            ArtifactError: it does not exist, or is not what it was.
        """
        return self._loader.begin(generation_id, again=True).result()

    def named(self, generation_id: str) -> "Recommender":
        """Return a generation that a request names, in a lane.

        Raises:
            StillLoadingError: it is being loaded.
            Refused: 404, there is none; 503 with Retry-After, as many others as are kept are in use.
            ArtifactError: it is not what it was.
        """
        try:
            read_manifest(self._home, generation_id)
        except ArtifactError:
            detail = f"There is no generation {generation_id!r}; GET /v1/generations lists them."
            raise Refused(Code.UNKNOWN_GENERATION, detail) from None
        return self._loader.get(generation_id)

    def find(self, generation_id: str) -> "Recommender | None":
        """Return a generation if it is loaded."""
        return self._loader.find(generation_id)

    def keep(self, recommender: "Recommender") -> None:
        """Keep a loaded generation for as long as it is among those used last."""
        self._loader.keep(recommender.generation_id, recommender)

    def answering(self, adapter_id: str) -> str:
        """Return the id of the newest generation that an adapter made.

        Raises:
            Refused: 404, there is no such adapter; 409, no generation was made with it.
        """
        newest = self._by_adapter()
        if adapter_id in newest:
            return newest[adapter_id]
        try:
            read_card(self._home, adapter_id)
        except ArtifactError:
            detail = f"There is no adapter {adapter_id!r}; GET /v1/adapters lists them."
            raise Refused(Code.UNKNOWN_ADAPTER, detail) from None
        detail = f"No generation was made with adapter {adapter_id!r}, so it cannot answer."
        raise Refused(Code.CANNOT_ANSWER, detail)

    def _load(self, generation_id: str) -> "Recommender":
        # Imported here because BentoML's supervisor imports the service too, and has no use for torch.
        from recsys.serving.recommender import Recommender

        recommender = Recommender.open(self._home, generation_id)
        recommender.prepare()
        return recommender

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
