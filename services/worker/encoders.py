"""The encoders behind a worker's texts: loaded when a text first needs one, kept for the generations used last."""

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from fastapi import HTTPException

from recsys.artifacts import ArtifactError
from recsys.home import Home

if TYPE_CHECKING:
    from recsys.serving.new_texts import Encoder
    from recsys.serving.recommender import Recommender
    from recsys.serving.search import TextSearch

KEPT = 2  # the one that serves and the one before it, or two adapters side by side; each is two BERTs


class Encoders:
    """Encoders by generation. Safe to share between threads; one thread loads while others wait for it."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._lock = threading.Lock()
        self._loaded: OrderedDict[str, Encoder] = OrderedDict()
        self._searches: OrderedDict[str, tuple[Recommender, TextSearch]] = OrderedDict()

    def of(self, recommender: "Recommender") -> "Encoder":
        """Return the encoder that made a generation's vectors.

        Raises:
            HTTPException: 503, its adapter or its base is missing or another; the detail says which.
        """
        # brings transformers, which most answers do not need
        from recsys.serving.new_texts import Encoder

        generation_id = recommender.generation_id
        with self._lock:
            if generation_id not in self._loaded:
                try:
                    encoder = Encoder.open(self._home, generation_id, recommender.scoring.system)
                except ArtifactError as error:
                    raise HTTPException(503, f"Texts cannot be encoded: {error}", {"Retry-After": "10"}) from error
                self._loaded[generation_id] = encoder
                while len(self._loaded) > KEPT:
                    self._loaded.popitem(last=False)
            self._loaded.move_to_end(generation_id)
            return self._loaded[generation_id]

    def search_of(self, recommender: "Recommender") -> "TextSearch":
        """Return what searches a generation's items by text, its live ones among them.

        Raises:
            HTTPException: as ``of``.
        """
        from recsys.serving.search import TextSearch

        encoder, generation_id = self.of(recommender), recommender.generation_id
        with self._lock:
            found = self._searches.get(generation_id)
            if found is None or found[0] is not recommender:  # live items have changed
                found = recommender, TextSearch(recommender, encoder)
                self._searches[generation_id] = found
                while len(self._searches) > KEPT:
                    self._searches.popitem(last=False)
            self._searches.move_to_end(generation_id)
            return found[1]
