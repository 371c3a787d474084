"""Reasons for a recommendation: which component carried it, and which item of the history stood behind that."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from recsys.experts.sparse import ItemMatrixScorer

WORDS = {
    "rules": "often follows {title}",
    "knn": "liked by people who liked {title}",
    "ease": "goes together with {title}",
    "towers": "close to {title} in text and use",
    "content": "described like {title}",
    "popularity": "popular",
}
MAX_REASONS = 2


def reasons(
    parts: Mapping[str, float],
    item: int,
    history: NDArray[np.int32],
    experts: Mapping[str, ItemMatrixScorer],
    vectors: Mapping[str, NDArray[np.float32]],
    titles: list[str],
) -> tuple[str, ...]:
    """Name the components with the largest shares of a score and the history item behind each.

    Args:
        parts: what each component adds to the item's score, on the blend's scale.
        item: the recommended item.
        history: (events,) item indices, oldest first.
        experts: item × item scorers by name.
        vectors: (items, width) unit vectors of the components that compare vectors, by name.
        titles: of all items.
    """
    found: list[str] = []
    for name in sorted(parts, key=lambda name: (-parts[name], name)):
        if parts[name] <= 0 or len(found) == MAX_REASONS:
            break
        if name in experts:
            shares = experts[name].contributions(history, item)
        elif name in vectors:
            shares = vectors[name][history] @ vectors[name][item]
        else:
            found.append(WORDS[name])
            continue
        if shares.max(initial=0) > 0:
            # Among equal shares the newest event is the better story.
            source = history[len(shares) - 1 - int(np.argmax(shares[::-1]))]
            found.append(WORDS[name].format(title=titles[source]))
    return tuple(dict.fromkeys(found))
