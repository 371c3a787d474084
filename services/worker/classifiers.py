"""The classifiers of a worker: loaded when a text first needs one, kept while they are among those used last."""

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from fastapi import HTTPException

from recsys.artifacts import ArtifactError
from recsys.home import Home
from recsys.store.adapters import read_card

if TYPE_CHECKING:
    from recsys.models.encoder.classifier import Classifier

KEPT = 2  # each is a BERT


class Classifiers:
    """Classifiers by adapter. Safe to share between threads; one thread loads while others wait for it."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._lock = threading.Lock()
        self._loaded: OrderedDict[str, Classifier] = OrderedDict()

    def of(self, adapter: str | None) -> "tuple[str, Classifier]":
        """Return a classifier and its adapter's id: the one that was named, or the newest.

        Raises:
            HTTPException: 404, there is no such adapter, or no classifier at all; 409, the adapter is for something
                else or is broken.
        """
        from recsys.texts.labels import newest_classifier, open_classifier  # brings transformers

        if adapter is None:
            adapter = newest_classifier(self._home)
            if adapter is None:
                raise HTTPException(404, "There is no classifier yet. Train one with `recsys classify`.")
        else:
            try:
                read_card(self._home, adapter)
            except ArtifactError:
                raise HTTPException(404, f"There is no adapter {adapter!r}; GET /v1/adapters lists them.") from None
        with self._lock:
            if adapter not in self._loaded:
                try:
                    self._loaded[adapter] = open_classifier(self._home, adapter)
                except ArtifactError as error:
                    raise HTTPException(409, str(error)) from error
                while len(self._loaded) > KEPT:
                    self._loaded.popitem(last=False)
            self._loaded.move_to_end(adapter)
            return adapter, self._loaded[adapter]
