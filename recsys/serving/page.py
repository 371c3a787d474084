"""A page of rows: several named lists for one user, the most useful first, and no item twice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from recsys.errors import ColumnError, UntimedError
from recsys.ranking.stages import RANKER, EndStage, unmeasured
from recsys.serving.answers import POPULAR, Answer, ListRequest
from recsys.serving.recipes.popular import Popular
from recsys.serving.recipes.recipe import Asked, Heading, Recipe
from recsys.serving.recipes.trending import Trending
from recsys.serving.recommender import NOTHING_KNOWN, Recommender

NO_SUCH_LIST, TOO_FEW = "no-such-list", "too-few-items"
LEAST = 3  # items of a row; of fewer a page is better off without it
FOR_STRANGERS = (Trending.name, Popular.name)  # what stands first where nothing is known of the user


@dataclass(frozen=True)
class AskedRow:
    """A row that is asked for: which list, and what it shall be like."""

    recipe: Recipe
    request: ListRequest


@dataclass(frozen=True)
class Row:
    """A row of a page.

    Attributes:
        place: in what was asked for.
        request: as it was answered: without what stands in rows above it.
        answer: its items.
        heading: what stands above it.
        utility: what the user is expected to get from it; None: nothing is known of the user.
    """

    place: int
    request: ListRequest
    answer: Answer
    heading: Heading
    utility: float | None


@dataclass(frozen=True)
class LeftOut:
    """Why a row is not on the page: a code, and the sentence."""

    code: str
    reason: str


@dataclass(frozen=True)
class Page:
    """A page.

    Attributes:
        rows: the most useful first.
        left_out: the rows that are not on it, by their place in what was asked for.
        remarks: what of attributes and the situation had no part in it, see ``Proposer``.
    """

    rows: list[Row]
    left_out: Mapping[int, LeftOut]
    remarks: Mapping[str, Any]


def arrange(
    recommender: Recommender,
    asked: Sequence[AskedRow],
    history: Sequence[str],
    end_stage: EndStage = unmeasured,
    attributes: Mapping[str, Any] = NOTHING_KNOWN,
) -> Page:
    """Return a page of rows.

    The rows are ordered by what the user is likely to use: the expected utility of a row is the mean of the user's own
    scores of its items, as ``Recommender.rank`` gives them, discounted by their places as in DCG:
    ``Σ score(i) / log₂(i + 1) / Σ 1 / log₂(i + 1)`` over its k places, where a place that stays empty counts 0, which
    is an ordinary item. Of a user of whom nothing is known trending and popular stand first, and the others as asked.
    Then the rows are filled from the top, each without the items above it; one with fewer than three (or k) items is
    left out, and so is one that the data cannot give, or that would be what is popular for want of a history.

    Raises:
        FilterError, LimitError, KeyError: as ``Recommender.listed``.
    """
    known = recommender.known(history)[0]
    first_of_all = asked[0].request if asked else ListRequest()
    everything, context = recommender.catalogue.allowed(None), recommender.situation(first_of_all.context)
    ranking = recommender.ranking(Asked(known, everything, first_of_all.now, end_stage, attributes, context))
    left_out: dict[int, LeftOut] = {}
    order: list[tuple[float, int, float | None]] = []
    for place, row in enumerate(asked):
        try:
            first = recommender.listed(row.recipe, history, replace(row.request, explain=False), end_stage, attributes)
        except (ColumnError, UntimedError) as error:
            left_out[place] = LeftOut(NO_SUCH_LIST, str(error))
            continue
        if first.fallback == POPULAR and row.recipe.name != Popular.name:
            reason = "Nothing is known of the user, so it would be what is popular."
            left_out[place] = LeftOut(NO_SUCH_LIST, reason)
            continue
        if not len(known.taught.items):
            order.append((row.recipe.name not in FOR_STRANGERS, place, None))
            continue
        rows = np.array(recommender.catalogue.split(item.item_id for item in first.items)[0], dtype=np.int64)
        discounts = 1 / np.log2(2 + np.arange(row.request.k))
        utility = float((ranking.scores(rows) * discounts[: len(rows)]).sum() / discounts.sum())
        order.append((-utility, place, utility))
        end_stage(RANKER)
    found: list[Row] = []
    above: list[str] = []
    for _, place, worth in sorted(order, key=lambda one: one[:2]):
        row = asked[place]
        request = replace(row.request, exclude_ids=[*row.request.exclude_ids, *above])
        answer = recommender.listed(row.recipe, history, request, end_stage, attributes)
        if len(answer.items) < min(LEAST, request.k):
            reason = f"Beside the rows above it has {len(answer.items)} items, fewer than {min(LEAST, request.k)}."
            left_out[place] = LeftOut(TOO_FEW, reason)
            continue
        above += [item.item_id for item in answer.items]
        found.append(Row(place, request, answer, row.recipe.heading(recommender, known), worth))
    return Page(found, dict(sorted(left_out.items())), {"unused_context": context} | ranking.remarks)
