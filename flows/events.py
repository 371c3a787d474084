"""What a run tells whoever listens, in Prefect's feed of events: automations start from these, and people read them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from flows.runs import for_the_ui
from recsys.home import Home

REFUSED = "recsys.refused"  # the gate kept a generation from being served
DRIFTED = "recsys.drifted"  # what comes in is no longer what the served generation has learnt from
TRAINING_HELPS = {"recsys.training": "helps"}  # label of a drift that a training learns; others call for a look first
_NONE: Mapping[str, str] = MappingProxyType({})


@for_the_ui
def tell(event: str, home: Home, payload: dict[str, Any], labels: Mapping[str, str] = _NONE) -> None:
    """Emit an event about a home; the run under way is named with it by Prefect.

    Args:
        event: ``REFUSED`` or ``DRIFTED``.
        home: what it happened to.
        payload: what an automation may show: JSON, and no more than a page of it.
        labels: by which an automation tells such events apart.
    """
    from prefect.events import emit_event  # here, because Prefect reads its settings when it is imported

    resource = {"prefect.resource.id": f"recsys.home.{home.root}", "prefect.resource.name": str(home.root), **labels}
    emit_event(event, resource=resource, payload={"home": str(home.root)} | payload)
