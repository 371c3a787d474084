"""By what a measurement is summed up: our whole system, the figure that matters most, and what lists read of it."""

import logging
from pathlib import Path
from typing import Any

from recsys.artifacts import ArtifactError, read_json

OURS = "recsys"  # the whole system; its ablations are called recsys.<part>
HEADLINE = "ndcg@10"
METRICS_FILE = "metrics.json"
_LOG = logging.getLogger(__name__)


def measured_by(folder: Path) -> dict[str, Any]:
    """Return what a generation was measured to do, by protocol, for a list of many; empty: nobody has measured it.

    A document that cannot be read must not hide the other generations: it is logged, and empty here.
    """
    try:
        found = read_json(folder / METRICS_FILE)
    except (ArtifactError, OSError) as error:
        _LOG.warning("What %s was measured to do is left out: %s", folder.name, error)
        return {}
    protocols = found.get("protocols") if isinstance(found, dict) else None
    return protocols if isinstance(protocols, dict) else {}
