"""What people like somebody like, as parts of one list's scores: all there is for who is new, less for others.

A history tells more than an age does, so its weight falls with every event of the history.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.experts.audience import Audience
from recsys.ranking.scoring import Rows
from recsys.ranking.system import POPULARITY
from recsys.serving.explanation import SEGMENT

LONGEST = 10  # history, in events, beside which it counts
WEIGHT, HALVED_BY = 4.0, 2.0  # beside the blend; chosen by infra/benchmarks/audience.py


def weight(events: int) -> float:
    """Return how much the segments' logarithms count beside the blend of a history of so many events."""
    return WEIGHT * HALVED_BY / (HALVED_BY + events) if 0 < events <= LONGEST else float(events == 0)


@dataclass(frozen=True)
class Alike:
    """The segments of whoever a list is for.

    Attributes:
        everybody: (catalogue,) what popularity alone says.
        ratios: (catalogue,) what each segment adds to it, by component.
        labels: of the segments, by component.
        unknown: attributes whose values nobody has learnt from.
    """

    everybody: NDArray[np.float32]
    ratios: Mapping[str, NDArray[np.float32]]
    labels: Mapping[str, str]
    unknown: list[str]

    @classmethod
    def of(cls, audience: Audience, attributes: Mapping[str, Any], counts: NDArray[np.float32], events: int) -> "Alike":
        """Return the segments of somebody.

        Args:
            audience: of the snapshot.
            attributes: what is known of them.
            counts: (catalogue,) events of everybody, as popularity counts them.
            events: of the history.
        """
        segments, unknown = audience.known(
            {name: value for name, value in attributes.items() if name in audience.fields}
        )
        share, found = weight(events), audience.parts(segments, len(counts)) if weight(events) else {}
        return cls(
            audience.everybody(counts).astype(np.float32),
            {f"{SEGMENT}.{name}": np.float32(share) * ratios.astype(np.float32) for name, ratios in found.items()},
            {f"{SEGMENT}.{one.field}": f"{one.field} {one.label}" for one in segments},
            sorted(unknown),
        )

    def parts(self, rows: Rows) -> dict[str, NDArray[np.float32]]:
        """Return what the segments add to the scores of some rows, (rows,) by component."""
        return {name: ratios[rows] for name, ratios in self.ratios.items()}

    def alone(self, rows: Rows) -> dict[str, NDArray[np.float32]]:
        """Return the whole scores of some rows where no history is known, (rows,) by component."""
        return {POPULARITY: self.everybody[rows], **self.parts(rows)}
