"""What is known of new items beside the training: read from the database at most once a second, when a list asks."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence

from sqlalchemy.exc import SQLAlchemyError

from recsys.database.exposures import ExposureStore
from recsys.ranking.exploration import Exposure

KEPT_SECONDS = 1.0  # for which counts are used: within it all workers know what any of them has shown
_LOG = logging.getLogger(__name__)


class Exposures:
    """How often new items were shown, as of a second ago. Safe to share between threads."""

    def __init__(self, store: ExposureStore) -> None:
        self.store = store
        self._reading = threading.Lock()
        self._read: Mapping[str, Exposure] = {}
        self._until = 0.0

    def current(self) -> Mapping[str, Exposure]:
        """Return the exposures by item id; the last ones known while the database is away."""
        with self._reading:
            if time.monotonic() >= self._until:
                try:
                    self._read = {item_id: Exposure(*counts) for item_id, counts in self.store.read().items()}
                except SQLAlchemyError as error:
                    _LOG.error("How often new items were shown cannot be read; the last counts stay. %s", error)
                self._until = time.monotonic() + KEPT_SECONDS
            return self._read

    def show(self, lists: Sequence[Sequence[str]]) -> None:
        """Count lists that were shown, of each the ids of its new items."""
        counts = Counter(item_id for one in lists for item_id in one)
        if counts:
            self.store.show(counts)
