"""What people like somebody, or in such a situation, like, as parts of one list's scores.

A history tells more than an age does, so the weight of attributes falls with every event of it. It tells nothing of the
situation, whose weight stays.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.experts.audience import Audience
from recsys.ranking.scoring import Rows
from recsys.ranking.system import POPULARITY
from recsys.serving.audience import CONTEXT
from recsys.serving.explanation import SEGMENT

LONGEST = 10  # history, in events, beside which it counts
# Beside the blend: 4.5 after one event, 3.3 after five; a seed of infra/benchmarks/audience.py prefers from 4 to 8.
WEIGHT, HALVED_BY = 5.0, 10.0
SITUATION = 2.5  # of a situation beside a history of any length: as attributes have after ten events


def weight(events: int) -> float:
    """Return how much the segments' logarithms count beside the blend of a history of so many events."""
    return WEIGHT * HALVED_BY / (HALVED_BY + events) if 0 < events <= LONGEST else float(events == 0)


@dataclass(frozen=True)
class Alike:
    """The segments of whoever a list is for, and of the situation.

    Attributes:
        everybody: (catalogue,) what popularity alone says.
        ratios: (catalogue,) what each segment adds to it, by component.
        labels: of the segments, by component.
        unknown: attributes whose values nobody has learnt from.
        unused: what of the context has no part in the scores, by name.
    """

    everybody: NDArray[np.float32]
    ratios: Mapping[str, NDArray[np.float32]]
    labels: Mapping[str, str]
    unknown: list[str]
    unused: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        audience: Audience,
        attributes: Mapping[str, Any],
        context: Mapping[str, Any],
        counts: NDArray[np.float32],
        events: int,
    ) -> "Alike":
        """Return the segments of somebody.

        Args:
            audience: of the snapshot.
            attributes: what is known of them.
            context: the situation, as it is declared.
            counts: (catalogue,) events of everybody, as popularity counts them.
            events: of the history.
        """
        own = {name: value for name, value in attributes.items() if name in audience.fields and weight(events)}
        segments, unknown = audience.known(own | {CONTEXT + name: value for name, value in context.items()})
        shares = {one.field: _share(one.field, events) for one in segments}
        ratios = audience.parts(segments, len(counts))
        return cls(
            audience.everybody(counts).astype(np.float32),
            {_component(name): np.float32(shares[name]) * part.astype(np.float32) for name, part in ratios.items()},
            {_component(one.field): f"{one.field.removeprefix(CONTEXT)} {one.label}" for one in segments},
            sorted(name for name in unknown if name in own),
            {name: value for name, value in context.items() if CONTEXT + name in unknown},
        )

    def parts(self, rows: Rows) -> dict[str, NDArray[np.float32]]:
        """Return what the segments add to the scores of some rows, (rows,) by component."""
        return {name: ratios[rows] for name, ratios in self.ratios.items()}

    def alone(self, rows: Rows) -> dict[str, NDArray[np.float32]]:
        """Return the whole scores of some rows where no history is known, (rows,) by component."""
        return {POPULARITY: self.everybody[rows], **self.parts(rows)}


def _share(field: str, events: int) -> float:
    return (SITUATION if events else 1.0) if field.startswith(CONTEXT) else weight(events)


def _component(field: str) -> str:
    return field if field.startswith(CONTEXT) else f"{SEGMENT}.{field}"
