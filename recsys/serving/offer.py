"""What a request lets everybody be offered, whoever asks: filter, exclusions, and promotions that hold."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.selection.catalogue import Catalogue
from recsys.serving.answers import ListRequest


@dataclass(frozen=True, eq=False)
class Offer:
    """What everybody may be offered.

    Attributes:
        allowed: (items,) bool: available, matching the filter and not excluded.
        promoted: rows by slot, from 1; all of them are allowed.
        unknown: ids of the request that the catalogue does not hold.
    """

    allowed: NDArray[np.bool_]
    promoted: dict[int, int]
    unknown: list[str]

    @classmethod
    def of(cls, catalogue: Catalogue, request: ListRequest) -> "Offer":
        """Return the offer of a request.

        Raises:
            FilterError: the filter does not fit the catalogue.
        """
        allowed = catalogue.allowed(request.filter)
        excluded, unknown = catalogue.existing(request.exclude_ids)
        allowed[excluded] = False
        promoted: dict[int, int] = {}
        for promotion in request.promotions:
            rows, missing = catalogue.existing([promotion.item_id])
            unknown += missing
            if rows and allowed[rows[0]] and rows[0] not in promoted.values():
                promoted[promotion.slot] = rows[0]
        return cls(allowed, promoted, unknown)
