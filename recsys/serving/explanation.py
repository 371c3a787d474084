"""Why an item was recommended: what each component and each item of the history added to its score, in numbers.

A sparse expert's score is a sum over the history before its power, and the content component's is one too: their parts
are shared out in proportion to the summands. The tower is not a sum; what it adds beyond the item's bias is shared out
by closeness, max(cosine, 0), to the history's items: an account of it, not a derivation.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from recsys.ranking.system import AGAIN, CONTENT, EASE, IDS, KNN, LEXICAL, POPULARITY, RULES, TOWERS
from recsys.selection.dials import BOOSTED, BURIED, FAVOURED

TEMPLATES = {
    RULES: "often follows {title}",
    KNN: "liked by people who liked {title}",
    EASE: "goes together with {title}",
    TOWERS: "close to {title} in text and use",
    IDS: "chosen along with {title}",
    CONTENT: "described like {title}",
    LEXICAL: "shares words with {title}",
    POPULARITY: "popular",
    AGAIN: "you come back to this about every {every} days; last {ago} days ago",
}
AGAIN_ANYTIME = "again_anytime"  # the same where no interval of days is known
TRENDING, TRENDING_ALIKE = "trending", "trending_alike"
CHOSEN, CHOSEN_LATELY = "chosen", "chosen_lately"
LIKED_TOO, TOGETHER, ARRIVED, RECENT = "liked_too", "together", "arrived", "recent"
LISTED = {  # what recipes say
    TRENDING: "up {times}× in {days} days: {people} people",
    TRENDING_ALIKE: "up {times}× in {days} days among people of {title}: {people} people",
    CHOSEN: "chosen by {people} people",
    CHOSEN_LATELY: "chosen by {people} people in {days} days",
    LIKED_TOO: "{people} people chose this and {title}, {times} times as many as by chance",
    TOGETHER: "in {baskets} baskets together with {title}, {times} times as often as by chance",
    ARRIVED: "new since {since}",
    RECENT: "last seen on {date}",
}
UNNAMED = "unnamed"  # what a table of sentences says in the place of a title that must not be told
TITLED = frozenset(name for name, template in TEMPLATES.items() if "{title}" in template)
SEGMENT, SAME = "segment", "unnamed_segment"  # people alike, and what stands for what they have in common
ALIKE = {SEGMENT: "popular among people of {title}", SAME: "the same kind", "context": "popular in this situation"}
OF_SEGMENTS = frozenset({SEGMENT, TRENDING_ALIKE})  # their titles are segments' names
EXPLORATION, NEW = "exploration", "new"  # the part of a score, and the reason
DIALLED = {  # what the request's dials did, beside the components
    BOOSTED: "boosted by the shop: {what}",
    BURIED: "moved down by the shop: {what}",
    FAVOURED: "favoured by the shop for its {what}",
    NEW: "new, and near to {title} that you liked",
}
_NEWER = {AGAIN_ANYTIME: "you come back to this", **LISTED, **ALIKE, **DIALLED}
ENGLISH = {**TEMPLATES, **_NEWER, UNNAMED: "an earlier choice"}
LATER = frozenset({AGAIN, *_NEWER})  # sentences that a table may lack: in their place stands English
MAX_REASONS = 2
SHOWN_BY_COMPONENT = 5
SHOWN = 10
CANCELLED = 1e-4  # of the summands' sizes: a smaller sum is what rounding left


@dataclass(frozen=True)
class Shares:
    """How one component's part of one item's score is shared out over the history.

    Attributes:
        part: what the component adds to the score.
        history: (history,) the part's shares, one for each different item of the history, oldest first.
    """

    part: float
    history: NDArray[np.float64]

    @property
    def baseline(self) -> float:
        """What no item of the history accounts for."""
        return float(self.part - self.history.sum())


@dataclass(frozen=True)
class Carried:
    """What an item of the history added to a score."""

    item_id: str
    title: str
    score: float


@dataclass(frozen=True)
class Component:
    """One component's part of a score: ``score = baseline + sum(history) + other_history``."""

    name: str
    score: float
    baseline: float
    history: list[Carried]
    other_history: float


@dataclass(frozen=True)
class Word:
    """A word that an item's text shares with the items that carried it."""

    word: str
    weight: float


@dataclass(frozen=True)
class Reason:
    """Why an item stands in a list, for whoever makes sentences.

    Attributes:
        code: the component (of ``segment.age``, ``segment``; so of ``context.device``), or what a recipe says, or what
            a dial did.
        item_id: the item of the history behind it, likewise ``title``; None: there is none, or it must not be told.
            The title of a segment is its name, also where something trends in it.
        every_days: of what is taken again: days between two times, about; None: not known, likewise ``ago_days``.
        ago_days: of the same: days since the last time.
        numbers: what a recipe has counted, by the names of its template.
        what: the condition or the field of a dial.
    """

    code: str
    item_id: str | None = None
    title: str | None = None
    every_days: float | None = None
    ago_days: float | None = None
    what: str | None = None
    numbers: Mapping[str, int | float | str] = field(default_factory=dict, kw_only=True)

    def said_by(self, table: Mapping[str, str]) -> str:
        """Return the reason in words."""
        code, every, ago = self.code, round(self.every_days or 0), round(self.ago_days or 0)
        if code == AGAIN and every < 1:
            code = AGAIN_ANYTIME
        unnamed = (table.get(SAME) or ENGLISH[SAME]) if code in OF_SEGMENTS else table[UNNAMED]
        title = unnamed if self.title is None else self.title
        template = table.get(code) or ENGLISH[code]
        return template.format(title=title, every=every, ago=ago, what=self.what, **self.numbers)


@dataclass(frozen=True)
class Explanation:
    """A score in parts.

    Attributes:
        components: by size; their scores add up to the item's.
        history: the items of the history that added most, over all components.
        other_history: what the history's other items added.
        baseline: what no item of the history accounts for, such as popularity;
            ``score = baseline + sum(history) + other_history``.
        words: most telling first.
        reasons: the components with the largest parts, then what dials did.
    """

    components: list[Component]
    history: list[Carried]
    other_history: float
    baseline: float
    words: list[Word]
    reasons: list[Reason] = field(default_factory=list)


def in_proportion(part: float, summands: NDArray) -> Shares:
    """Share out a part in proportion to what it was summed from; where that cancels out, nothing is shared."""
    terms = summands.astype(np.float64)
    whole = float(terms.sum())
    if abs(whole) <= CANCELLED * float(np.abs(terms).sum()):
        return Shares(part, np.zeros(len(terms)))
    return Shares(part, part * (terms / whole))


def by_closeness(part: float, bias: float, cosines: NDArray) -> Shares:
    """Share out what a part has beyond a bias by closeness; nothing, where that is not positive or nothing is close."""
    closeness = np.maximum(cosines.astype(np.float64), 0)
    if part <= bias or not closeness.any():
        return Shares(part, np.zeros(len(cosines)))
    return Shares(part, (part - bias) * closeness / closeness.sum())


def reasons(
    shares: Mapping[str, Shares],
    history: NDArray[np.int32],
    ids: list[str],
    titles: list[str],
    segments: Mapping[str, str],
    again: Reason | None = None,
) -> list[Reason]:
    """Name the components with the largest parts of a score, and the history item behind each.

    Args:
        shares: by component.
        history: (history,) the different items of the history, oldest first.
        ids: of all items.
        titles: likewise.
        segments: names of the segments, by component.
        again: how often the item is taken, where it is taken again.
    """
    found: list[Reason] = []
    for name in sorted(shares, key=lambda name: (-shares[name].part, name)):
        if shares[name].part <= 0 or len(found) == MAX_REASONS:
            break
        if name in segments:
            found.append(Reason(code_of(name), title=segments[name]))
        elif name not in TITLED:
            found.append(again if name == AGAIN and again is not None else Reason(name))
        elif shares[name].history.max(initial=0) > 0:
            # Among equal shares the newest event is the better story.
            source = history[len(history) - 1 - int(np.argmax(shares[name].history[::-1]))]
            found.append(Reason(name, ids[source], titles[source]))
    return found


def sentences(found: Iterable[Reason], table: Mapping[str, str] = ENGLISH) -> tuple[str, ...]:
    """Return reasons in words, each once.

    Args:
        found: the reasons.
        table: a template for each code, but for some of ``LATER``, and what stands for a title that must not be told.
    """
    return tuple(dict.fromkeys(one.said_by(table) for one in found))


def code_of(component: str) -> str:
    """Return the code of a component's reasons: one for all segments, whatever field they are of."""
    return component.partition(".")[0]


def explanation(
    shares: Mapping[str, Shares],
    history: NDArray[np.int32],
    ids: list[str],
    titles: list[str],
    words: list[Word],
    why: list[Reason],
) -> Explanation:
    """Return a score's parts by component and item of the history; arguments as in ``reasons``, which gave ``why``."""

    def carried(values: NDArray[np.float64], most: int) -> tuple[list[Carried], float]:
        order = np.lexsort((-np.arange(len(values)), -np.abs(values)))[:most]
        shown = [
            Carried(ids[history[place]], titles[history[place]], float(values[place]))
            for place in order
            if values[place]
        ]
        return shown, float(values.sum() - sum(one.score for one in shown))

    components = []
    for name in sorted(shares, key=lambda name: (-abs(shares[name].part), name)):
        shown, other = carried(shares[name].history, SHOWN_BY_COMPONENT)
        components.append(Component(name, shares[name].part, shares[name].baseline, shown, other))
    together = np.sum([one.history for one in shares.values()], axis=0) if shares else np.zeros(len(history))
    shown, other = carried(together, SHOWN)
    return Explanation(components, shown, other, sum(one.baseline for one in shares.values()), words, why)


def without_history(parts: Explanation) -> tuple[tuple[str, ...], Explanation]:
    """Return reasons and parts that do not tell which items the history holds; the sums stay what they are.

    What is taken again is in the history: its part is told as another component's.
    """

    def summed(shown: list[Carried], other: float) -> float:
        return other + sum(one.score for one in shown)

    parts = replace(parts, components=_without_again(parts.components))
    why = [replace(one, item_id=None, title=None) for one in parts.reasons if one.code in LISTED]
    why += [
        Reason(code_of(one.name))
        for one in sorted(parts.components, key=lambda one: (-one.score, one.name))
        if code_of(one.name) in {*TEMPLATES, *ALIKE} and one.score > 0 and (one.history or one.name not in TITLED)
    ][:MAX_REASONS]
    why += [replace(one, item_id=None, title=None) for one in parts.reasons if one.code in DIALLED]
    components = [
        replace(one, history=[], other_history=summed(one.history, one.other_history)) for one in parts.components
    ]
    other = summed(parts.history, parts.other_history)
    hidden = replace(parts, components=components, history=[], other_history=other, words=[], reasons=why)
    return sentences(why), hidden


def _without_again(components: list[Component]) -> list[Component]:
    """Return components without what is taken again, whose part the largest gets of those that a history speaks in."""
    hidden = [one for one in components if one.name == AGAIN]
    others = [one for one in components if one.name != AGAIN]
    if not hidden or not others:
        return components
    part = hidden[0].score
    largest = max(others, key=lambda one: (one.name in TITLED, abs(one.score)))
    whole = replace(largest, score=largest.score + part, other_history=largest.other_history + part)
    return [whole if one is largest else one for one in others]
