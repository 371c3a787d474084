"""Users like one: who of the snapshot chose the same, rare things counting more."""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from recsys.serving.history import KnownHistory

if TYPE_CHECKING:
    from recsys.serving.recommender import Recommender

SHRINKAGE = 5.0  # items in common with which a similarity counts half: one alone says little
MOST_SHARED = 5  # items that are named


@dataclass(frozen=True)
class SimilarUser:
    """One user of the snapshot.

    Attributes:
        score: from 0 to 1, the more alike the higher.
        shared: how many items both chose.
        items: some of them, ids, the rarest first.
    """

    user_id: str
    score: float
    shared: int
    items: tuple[str, ...]


def similar_users(
    recommender: "Recommender", history: KnownHistory, k: int, hidden: Container[str] = ()
) -> list[SimilarUser]:
    """Return the users of the snapshot that are most like a history, most alike first; equal ones by their ids.

    The score is ``cosine · n / (n + 5)`` with ``n`` items in common. The cosine is that of both sets of chosen items,
    each item weighing ``ln(users / users who chose it)`` (inverse user frequency, Breese, Heckerman and Kadie, 1998);
    the factor is their significance (Herlocker and others, 1999).

    Args:
        recommender: the generation.
        history: what the user did.
        k: how many; fewer only where fewer have anything in common with the history.
        hidden: users who must not be named.
    """
    behaviour = recommender.behaviour
    names = list(recommender.users.rows)
    people = np.maximum(behaviour.people(), 1)
    weights = np.log(max(2, len(names)) / people)
    own = np.unique(history.sequence.liked().items)
    own = own[own < behaviour.items]
    mine = np.zeros(behaviour.items)
    mine[own] = weights[own]
    users = behaviour.by_user
    dots = users @ (mine * weights)
    lengths = np.sqrt(users @ weights**2) * max(float(np.sqrt((mine**2).sum())), 1e-12)
    shared = users @ (mine > 0).astype(np.float64)
    cosines = np.divide(dots, lengths, out=np.zeros(len(names)), where=lengths > 0)
    scores = cosines * shared / (shared + SHRINKAGE)
    found: list[SimilarUser] = []
    for row in np.argsort(-scores, kind="stable").tolist():
        if len(found) == k or scores[row] <= 0:
            break
        if names[row] not in hidden:
            items = _shared(users, row, mine)
            shown = tuple(recommender.catalogue.ids[item] for item in items)
            found.append(SimilarUser(names[row], float(scores[row]), int(shared[row]), shown))
    return found


def _shared(users: sparse.csr_matrix, row: int, mine: np.ndarray) -> Sequence[int]:
    """Return some items that a user shares with who is asked about, the rarest first."""
    items = users.indices[users.indptr[row] : users.indptr[row + 1]]
    items = items[mine[items] > 0]
    order: list[int] = items[np.lexsort((items, -mine[items]))][:MOST_SHARED].tolist()
    return order
