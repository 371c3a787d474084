"""What is asked of a generation, and what it answers."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from recsys.data.columns import TITLE
from recsys.errors import RequestError
from recsys.ranking.exploration import Exposure
from recsys.selection.dials import Boost, Objective
from recsys.selection.filters import Condition
from recsys.selection.selection import Promotion
from recsys.serving.explanation import Explanation, sentences, without_history

POPULAR = "popular"
SEGMENTED = "segment"
FILLED = "filled"
DEGRADED = "degraded"
REMARKS = ("unused_attributes", "unused_context")  # of an answer, said only where there is something to say


@dataclass(frozen=True)
class Seen:
    """What was seen lately, or by some kinds of events, or both.

    Attributes:
        days: in how many days before the list is asked for; an event without a time counts as just now. None: ever.
        event_types: by what; an event without a type is none of them. None: by any.
    """

    days: float | None = None
    event_types: Collection[str] | None = None

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "Seen":
        """Return what a mapping says.

        Raises:
            RequestError: it holds something else.
        """
        if options.keys() - {"days", "event_types"} or isinstance(options.get("event_types"), str):
            raise RequestError(f'exclude_seen is {options!r}; write it as {{"days": 7, "event_types": ["purchase"]}}.')
        return cls(**options)


ExcludeSeen = bool | Seen | None  # all, nothing, some of it; None: as the generation's data suggests


@dataclass(frozen=True)
class NewItems:
    """What is done for items of which little is known, see ``recsys.ranking.exploration``.

    Attributes:
        slots: places of the first page that are kept for new items that suit the user; ordinary ones where none does.
        strength: units, from 0 to 3, that a perfect new item gets beside its score.
        exposures: by item id, of those that were shown.
    """

    slots: int = 0
    strength: float = 0.0
    exposures: Mapping[str, Exposure] = field(default_factory=dict)


@dataclass(frozen=True)
class ListRequest:
    """What a list shall be like, whoever it is for.

    Attributes:
        k: its length; shorter only where fewer items are left.
        offset: how many items before it are left out: those of earlier pages, which have the same request but for this.
        filter: a structured condition on item columns, see ``recsys.selection.filters``.
        exclude_seen: leave out items of the history; see ``ExcludeSeen``. What a user dislikes is left out in any case.
        exclude_ids: leave out these items.
        diversity: from 0, by score alone, to 1, see ``recsys.selection.diversity``.
        limits: how many items may hold the same value, by field; promoted items count, but are never turned away.
        promotions: items for fixed slots. They must be available, match the filter and not be excluded, or their slot
            is an ordinary one; having been seen, diversity and limits do not keep them away.
        boosts: what is moved up and down, by condition.
        objective: a number of the items that counts beside what suits, or None.
        new_items: what is done for them; None: nothing.
        least_alike: how many of the items that may be offered must be moved alike; 1: each as its own, see
            ``Dials.levelled``.
        explain: say why.
        fields: item columns to return.
        now: Unix seconds, when it is asked for; None: with each history's last event.
        least_offered: what was seen is left out only of lists for which so many items are proposed: of fewer, what is
            missing would tell.
        context: the situation, by names of columns that the snapshot declares.
    """

    k: int = 10
    offset: int = 0
    filter: Condition | None = None
    exclude_seen: ExcludeSeen = None
    exclude_ids: Sequence[str] = ()
    diversity: float = 0.0
    limits: Mapping[str, int] = field(default_factory=dict)
    promotions: Sequence[Promotion] = ()
    boosts: Sequence[Boost] = ()
    objective: Objective | None = None
    new_items: NewItems | None = None
    least_alike: int = 1
    explain: bool = False
    fields: Sequence[str] = (TITLE,)
    now: int | None = None
    least_offered: int = 0
    context: Mapping[str, Any] = field(default_factory=dict)

    @property
    def depth(self) -> int:
        """How many items the whole list has, up to the end of this page."""
        return self.offset + self.k


@dataclass(frozen=True)
class Recommendation:
    """One ranked item.

    Attributes:
        score: higher is better; comparable within one answer.
        reasons: sentences, where an explanation was wished for.
        fields: columns of the catalogue.
        promoted: whether it stands where a promotion put it.
        new: whether it stands in a place that is kept for new items.
        explanation: the score in parts, where that was wished for.
    """

    item_id: str
    score: float
    reasons: tuple[str, ...]
    fields: dict[str, Any]
    promoted: bool = False
    new: bool = False
    explanation: Explanation | None = None

    def said_by(self, table: Mapping[str, str]) -> "Recommendation":
        """Return the item with its reasons in another language, by a table as ``explanation.ENGLISH`` is one."""
        if self.explanation is None:
            return self
        return replace(self, reasons=sentences(self.explanation.reasons, table))

    def without_history(self) -> "Recommendation":
        """Return the item with reasons and an explanation that do not tell which items the history holds."""
        if self.explanation is None:
            return self
        reasons, parts = without_history(self.explanation)
        return replace(self, reasons=reasons, explanation=parts)


@dataclass(frozen=True)
class Answer:
    """A ranked list and where it came from.

    Attributes:
        items: best first.
        generation: id of the generation that answered.
        adapter: id of its adapter.
        fallback: which link of the chain answered: None, ``filled``, ``segment``, ``popular`` or ``degraded``.
        missing_ids: ids of the request that the catalogue does not hold.
        unused_attributes: those of the user's, beside a short history, whose value says nothing about what is liked.
        unused_context: what of the context has no part in the list: nobody has learnt from it, or it does not pay.
    """

    items: list[Recommendation]
    generation: str
    adapter: str
    fallback: str | None
    missing_ids: list[str]
    unused_attributes: list[str] = field(default_factory=list)
    unused_context: dict[str, Any] = field(default_factory=dict)
