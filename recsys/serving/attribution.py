"""Whose doing a score is: each component's part of it, shared out over the items of the history."""

import numpy as np
from numpy.typing import NDArray

from recsys.data.sequences import Sequences
from recsys.ranking.scoring import PreparedHistory, Rows, Scoring
from recsys.ranking.system import CONTENT
from recsys.serving.explanation import Shares, by_closeness, in_proportion


def attribute(
    scoring: Scoring,
    prepared: PreparedHistory,
    history: Sequences,
    rows: Rows,
    parts: dict[str, NDArray[np.float32]],
) -> tuple[NDArray[np.int32], list[dict[str, Shares]]]:
    """Return the different items of a history, oldest first, and for each row the shares by component.

    Args:
        scoring: what scored.
        prepared: the history, prepared.
        history: one row.
        rows: the items whose scores are explained.
        parts: what ``prepared.parts(rows)`` returned.
    """
    past = _different(history.items)
    summands = {name: _summands(scoring, name, history, past, rows) for name in parts}
    found: list[dict[str, Shares]] = []
    for place, row in enumerate(rows):
        shares = {}
        for name, values in parts.items():
            part, terms = float(values[place]), summands[name]
            if terms is None:
                shares[name] = Shares(part, np.zeros(len(past)))
            elif name in scoring.system.learnt:
                last = scoring.block(name).stop - 1  # the bias stands behind the vector
                bias = float(scoring.source.vectors[row, last] * prepared.dense[name][-1])
                shares[name] = by_closeness(part, bias, terms[:, place])
            else:
                shares[name] = in_proportion(part, terms[:, place])
        found.append(shares)
    return past, found


def _summands(scoring: Scoring, name: str, history: Sequences, past: NDArray[np.int32], rows: Rows) -> NDArray | None:
    """Return (history, rows) numbers in whose proportion a component's parts are shared out, or None."""
    system = scoring.system
    if name in system.learnt:
        towers = system.learnt[name]
        read = np.isin(past, history.items[-towers.shape.max_history :])
        vectors = towers.vectors.cpu().numpy()
        return np.asarray((vectors[past] @ vectors[rows].T) * read[:, None])
    scorer = system.content if name == CONTENT else system.sparse.get(name)
    return None if scorer is None else scorer.contributions(history, past, rows)


def _different(history: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return each item once, in the order of its newest event."""
    items, newest = np.unique(history[::-1], return_index=True)
    return items[np.argsort(-newest)]
