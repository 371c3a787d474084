"""Which answers new events come from: counted in the background for Prometheus, by the generation that answered.

What a list has brought a new item is noted with the item, which may be shown the longer for it.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from recsys.database.events import Event
from recsys.database.exposures import ExposureStore
from recsys.database.rates import COUNTED, RateStore
from services.edge.metrics import Metrics
from services.worker.backlog import Backlog

WAITING = 20_000  # events in memory; what does not fit is stored all the same, and counted by GET /v1/rates alone
BATCH = 1_000


class Attribution:
    """Looks up the answers that events name, without making their senders wait.

    An answer of another worker may be written a little later than its event is looked up; it is ``unknown`` then.
    """

    def __init__(self, rates: RateStore, metrics: Metrics, exposures: ExposureStore | None = None) -> None:
        self._rates = rates
        self._exposures = exposures
        self._metrics = metrics
        self.backlog: Backlog[Event] = Backlog(
            "attribute-events", self._count, WAITING, BATCH, metrics.clicks.labels("", "dropped").inc
        )

    def follow(self, events: Iterable[Event]) -> None:
        """Put events that were stored just now, and that name an answer, on the list of those to be counted."""
        for event in events:
            self.backlog.put(event)

    def _count(self, events: Sequence[Event]) -> None:
        judged = list(self._rates.judged(events))
        for labels, count in Counter((generation, outcome) for _, generation, outcome in judged).items():
            self._metrics.clicks.labels(*labels).inc(count)
        if self._exposures is not None:
            self._exposures.bring(Counter(event.item_id for event, _, outcome in judged if outcome == COUNTED))
