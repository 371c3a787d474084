"""The flow back: serve the generation before the current one again, or any other that is whole."""

from flows import progress
from flows.forms import Folder, Named, Reason
from flows.reports import report_promotions
from flows.runs import flow, run_id
from flows.runtime import open_home
from recsys.store.names import GENERATION, meant
from recsys.store.promotions import Cause


@flow("rollback", about={"to": "to the one before"})
def rollback_generation(to: Named | None = None, home: Folder | None = None, reason: Reason | None = None) -> str:
    """Serve a generation that is known to be good; running services follow within seconds. Return its id.

    Args:
        to: its id or alias; empty: the one before the current one. What is gone back from is no way back.
        home: the folder of all state; empty: RECSYS_HOME of whoever runs this.
        reason: why, in words, which the log of promotions keeps; empty: nothing is said.

    Raises:
        ArtifactError: there is none before it, or it is missing or broken; nothing has changed.
        ConflictError: somebody has published or gone back meanwhile; look again.
    """
    from recsys.publishing.rollback import roll_back  # LanceDB, which whoever lists flows has no use for

    place = open_home(home)
    target = None if to is None else meant(place, GENERATION, to)
    with progress.step("Verify"):
        served = roll_back(place, target, cause=Cause(run=run_id(), reason=reason or None))
    report_promotions(place)
    return served
