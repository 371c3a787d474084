"""The classifiers of a worker: the one that would answer is loaded in the background, others when a text needs one."""

import os
from typing import TYPE_CHECKING

from recsys.artifacts import ArtifactError
from recsys.home import Home
from recsys.store.adapters import read_card
from recsys.store.names import ADAPTER, by_alias
from recsys_client.schemas.problems import Code
from services.edge.problems import Refused
from services.worker.loading import LOADING, OFF, BackgroundLoader

if TYPE_CHECKING:
    from recsys.models.encoder.classifier import Classifier

KEPT = 2  # each is a BERT
NONE = "none"


class Classifiers:
    """Classifiers by adapter. Safe to share between threads.

    Args:
        home: where state lives.
        ahead: whether the newest is loaded before a text needs it.
    """

    def __init__(self, home: Home, ahead: bool = True) -> None:
        self._home = home
        self._ahead = ahead
        self._loader = BackgroundLoader("Classifier {key}", self._load, KEPT)
        self._newest: tuple[int, str | None] | None = None  # state of the folder, and the newest of then

    def look(self) -> None:
        """Have the newest classifier loaded, where that is done ahead; again where it failed."""
        if self._ahead and (newest := self._find_newest()) is not None:
            self._loader.want(newest)

    def of(self, adapter: str | None) -> "tuple[str, Classifier]":
        """Return a classifier and its adapter's id, in a lane: the one that was named, or the newest that is there.

        Raises:
            StillLoadingError: it is being loaded.
            Refused: 404, there is no such adapter, or no classifier at all; 409, the adapter is for something
                else or is broken.
        """
        if adapter is None:
            adapter = self._find_newest()
            if adapter is None:
                raise Refused(Code.UNKNOWN_ADAPTER, "There is no classifier yet. Train one with `recsys classify`.")
            if self._loader.find(adapter) is None:
                adapter = self._loader.answering or adapter
        else:
            try:
                adapter = by_alias(self._home, ADAPTER, adapter) or adapter
                read_card(self._home, adapter)
            except ArtifactError:
                detail = f"There is no adapter {adapter!r}; GET /v1/adapters lists them."
                raise Refused(Code.UNKNOWN_ADAPTER, detail) from None
        try:
            return adapter, self._loader.get(adapter)
        except ArtifactError as error:
            raise Refused(Code.CANNOT_ANSWER, str(error)) from error

    @property
    def settled(self) -> bool:
        """Whether nobody has to wait: a classifier is there, or there is none, or it could not be loaded."""
        if self._newest is None:
            return False
        there = self._loader.find(self._loader.answering or "") is not None
        return self._newest[1] is None or self._loader.settled or there

    @property
    def state(self) -> str:
        """ "none", or of the newest "ready", "loading", "failed: why" or "off"."""
        if self._newest is None:
            return LOADING if self._ahead else OFF
        return NONE if self._newest[1] is None else self._loader.state(self._newest[1])

    def _find_newest(self) -> str | None:
        from recsys.texts.labels import newest_classifier  # brings transformers

        try:
            state = os.stat(self._home.adapters).st_mtime_ns  # moves when an adapter comes or goes
        except FileNotFoundError:
            state = 0
        known = self._newest
        if known is None or known[0] != state:
            known = self._newest = state, newest_classifier(self._home)
        return known[1]

    def _load(self, adapter: str) -> "Classifier":
        from recsys.texts.labels import open_classifier  # brings transformers

        return open_classifier(self._home, adapter)
