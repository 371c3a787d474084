"""Conditional popularity: what is popular among people like somebody, or in a situation like somebody's.

The score of an item i for values v of some fields is

    log p(i) + Σ_v log(((n_iv + m·p(i)) / (n_v + m)) / p(i))

with p(i) the item's share of all events, n_iv its events where the field has the value, n_v all events there, and m
how many events everybody's taste counts for (Dirichlet smoothing, Zhai & Lafferty 2001; the sum is naive Bayes'). A
field is used where it makes held-out users' events likelier by a share that matters and by more than one standard
error, with the m that does so most. A value that is unknown adds nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recsys.experts.segments import Codes, Field

SHRINKAGES = (30.0, 100.0, 300.0, 1_000.0, 3_000.0, 10_000.0, 30_000.0, 100_000.0)
HELD_OUT_SHARE = 0.2  # of the users
MOST_HELD_OUT = 2_000  # users
LEAST_GAIN = 0.002  # nats an event; less moves no list to speak of
LEAST_HELD_OUT = 10  # users; by fewer nothing is chosen
MOST_SCORES = 2**22  # held-out situations × catalogue that one comparison looks at
UNSEEN = 0.5  # events that every item has beside its own, so that one without any can be scored
SEED = 0


@dataclass(frozen=True)
class Segment:
    """People, or a situation: a value of a field as it was given, and the segment that it belongs to."""

    field: str
    number: int
    label: str


@dataclass(frozen=True)
class Conditional:
    """One field's counts.

    Attributes:
        counts: (segments, catalogue) events.
        totals: (segments,) events.
        shrinkage: m.
    """

    field: Field
    counts: sparse.csr_matrix
    totals: NDArray[np.float64]
    shrinkage: float

    def log_ratios(self, segment: int, shares: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (catalogue,) logarithms of how many times likelier each item is in a segment than everywhere.

        Args:
            segment: its number.
            shares: (catalogue,) p; behind the items that were counted stand new ones.
        """
        row, events = self.counts[segment], self.totals[segment] + self.shrinkage
        found = np.full(len(shares), np.log(self.shrinkage / events))  # of items without an event there
        own = shares[row.indices]
        found[row.indices] = np.log((row.data + self.shrinkage * own) / events / own)
        return found


@dataclass(frozen=True, eq=False)
class Audience:
    """What is popular, by everybody and by segment. Safe to share between threads: nothing changes.

    Attributes:
        counts: (catalogue,) events.
        fields: those that pay, by name.
        gains: what each of all fields made held-out events likelier by, in nats an event, and its standard error.
    """

    counts: NDArray[np.float64]
    fields: Mapping[str, Conditional]
    gains: Mapping[str, tuple[float, float]]

    def known(self, values: Mapping[str, Any]) -> tuple[list[Segment], dict[str, Any]]:
        """Return the segments that some values belong to, by field, and what of them is unknown."""
        found, unknown = [], {}
        for name, value in values.items():
            number = self.fields[name].field.segment(value) if name in self.fields else None
            if number is None:
                unknown[name] = value
            else:
                found.append(Segment(name, number, self.fields[name].field.labels[number]))
        return found, unknown

    def parts(self, segments: list[Segment], catalogue: int | None = None) -> dict[str, NDArray[np.float64]]:
        """Return what each segment adds to the scores, (catalogue,) by field; above 0: liked more than elsewhere.

        Args:
            segments: as ``known`` returns them.
            catalogue: how many items there are now; new ones stand behind those that were counted.
        """
        shares = _shares(np.pad(self.counts, (0, (catalogue or len(self.counts)) - len(self.counts))))
        return {one.field: self.fields[one.field].log_ratios(one.number, shares) for one in segments}

    def everybody(self, counts: NDArray[np.floating] | None = None) -> NDArray[np.float64]:
        """Return how much likelier each item is than one of average popularity, (catalogue,), as a logarithm.

        Args:
            counts: (catalogue,) events of everybody by another count, such as one where newer ones weigh more.
        """
        shares = _shares(self.counts if counts is None else counts)
        return np.asarray(np.log(shares * len(shares)))

    def scores(self, segments: list[Segment], counts: NDArray[np.floating] | None = None) -> NDArray[np.float64]:
        """Return (catalogue,) scores: ``everybody`` and all ``parts``."""
        everybody = self.everybody(counts)
        return np.asarray(sum(self.parts(segments, len(everybody)).values(), everybody))


def fit_audience(
    items: NDArray[np.integer], users: NDArray[np.integer], codes: list[Codes], catalogue: int
) -> Audience:
    """Count events, and choose the fields that pay.

    Args:
        items: (events,) what each is about.
        users: (events,) whose each is, by number.
        codes: of all fields, a row an event.
        catalogue: how many items there are.
    """
    counts = np.bincount(items, minlength=catalogue).astype(np.float64)
    held = _held_out(users)
    chosen: list[tuple[Codes, float]] = []
    gains: dict[str, tuple[float, float]] = {}
    if codes and len(np.unique(users[held])) >= LEAST_HELD_OUT:
        chosen, gains = _chosen(items, users, codes, catalogue, held)
    fields = {one.field.name: _count(items, one, catalogue, shrinkage) for one, shrinkage in chosen}
    return Audience(counts, fields, gains)


def _chosen(
    items: NDArray[np.integer],
    users: NDArray[np.integer],
    codes: list[Codes],
    catalogue: int,
    held: NDArray[np.bool_],
) -> tuple[list[tuple[Codes, float]], dict[str, tuple[float, float]]]:
    """Return the fields that pay with their shrinkage, the best one first, and every field's gain alone."""
    learnt = {
        one.field.name: _count(items[~held], Codes(one.field, one.segments[~held]), catalogue, 1.0) for one in codes
    }
    shares = _shares(np.bincount(items[~held], minlength=catalogue).astype(np.float64))
    judged = _Judge(items[held], users[held], {one.field.name: one.segments[held] for one in codes}, learnt, shares)
    single: dict[str, tuple[float, float, float]] = {}
    for one in codes:
        tried = [(*judged.gain({one.field.name: shrinkage}), shrinkage) for shrinkage in SHRINKAGES]
        single[one.field.name] = max(tried)
    by_name = {one.field.name: one for one in codes}
    kept: dict[str, float] = {}
    best = 0.0
    for name in sorted(single, key=lambda name: (-single[name][0], name)):
        gain, error, shrinkage = single[name]
        if gain <= max(error, LEAST_GAIN):
            continue
        both, _ = judged.gain(kept | {name: shrinkage})
        if both > best:  # a field that says the same as another would count it twice
            kept[name], best = shrinkage, both
    gains = {name: (gain, error) for name, (gain, error, _) in single.items()}
    return [(by_name[name], shrinkage) for name, shrinkage in kept.items()], gains


@dataclass
class _Judge:
    """Held-out events, (events,), and how much likelier some fields make them."""

    items: NDArray[np.integer]
    users: NDArray[np.integer]
    segments: dict[str, NDArray[np.int32]]
    learnt: dict[str, Conditional]
    shares: NDArray[np.float64]

    def gain(self, shrinkages: Mapping[str, float]) -> tuple[float, float]:
        """Return by how many nats an event of a user is likelier on average, and the standard error over users."""
        situations, place = np.unique(
            np.stack([self.segments[name] for name in shrinkages], axis=1), axis=0, return_inverse=True
        )
        place = place.reshape(-1)
        most, sizes = max(1, MOST_SCORES // len(self.shares)), np.bincount(place)
        ends, order = np.cumsum(sizes), np.argsort(place, kind="stable")
        found, judged = np.zeros(len(self.items)), np.zeros(len(self.items), dtype=bool)
        for number in np.argsort(-sizes, kind="stable")[:most]:  # the commonest
            own = order[ends[number] - sizes[number] : ends[number]]
            judged[own] = True
            ratios = np.zeros(len(self.shares))
            for name, segment in zip(shrinkages, situations[number], strict=True):
                if segment >= 0:
                    field = replace(self.learnt[name], shrinkage=shrinkages[name])
                    ratios += field.log_ratios(int(segment), self.shares)
            normal = np.log(np.sum(self.shares * np.exp(ratios)))
            found[own] = ratios[self.items[own]] - normal
        _, whose = np.unique(self.users[judged], return_inverse=True)
        means = np.bincount(whose, found[judged]) / np.bincount(whose)
        return float(means.mean()), float(means.std() / np.sqrt(len(means)))


def _count(items: NDArray[np.integer], one: Codes, catalogue: int, shrinkage: float) -> Conditional:
    known = one.segments >= 0
    shape = (len(one.field.labels), catalogue)
    ones = np.ones(int(known.sum()))
    counts = sparse.csr_matrix((ones, (one.segments[known], items[known])), shape=shape)  # repeated places add up
    counts.sum_duplicates()
    return Conditional(one.field, counts, np.asarray(counts.sum(axis=1), dtype=np.float64).ravel(), shrinkage)


def _held_out(users: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Return which events are held out, (events,): all those of some users."""
    people = np.unique(users)
    drawn = np.random.default_rng(SEED).permutation(people)[: min(MOST_HELD_OUT, int(HELD_OUT_SHARE * len(people)))]
    return np.isin(users, drawn)


def _shares(counts: NDArray[np.floating]) -> NDArray[np.float64]:
    smoothed = np.asarray(counts, dtype=np.float64) + UNSEEN
    return np.asarray(smoothed / smoothed.sum())
