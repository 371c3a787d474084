"""Buying again: how likely a user takes an item of their own history once more about now.

Whether: the chance that one who took an item takes it again (the repeat customer probability of Bhagat, Muralidharan,
Lobzhanidze and Vishwanath, "Buy It Again: Modeling Repeat Purchase Recommendations", KDD 2018), which grows with every
time that this user did, as a beta prior learns from a run of successes (Fader, Hardie and Lee, "Counting Your Customers
the Easy Way", 2005). When: log-normal intervals, as there. Each is shrunk from person to item to all items. Both
together are a mixture cure model (Boag, "Maximum likelihood estimates of the proportion of patients cured by cancer
therapy", 1949): whoever is long overdue has rather stopped than waits.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from scipy import sparse
from scipy.special import ndtr

from recsys.data.sequences import UNKNOWN_TIME, Sequences

AGAIN = "again"  # what this is called: in files, in a blend and in reports
SHRINKAGE = 10.0  # buyers, or intervals, that what is known of all items counts as
ROUNDS = 20  # of expectation and maximisation; they settle within ten
STRENGTHS = (0.25, 50.0)  # least and most that a prior may count as
LEAST_DEVIATION = 0.1  # of the logarithm of an interval: nobody is more regular than to a tenth
LEAST_CHANCE = 1e-6

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Due:
    """Items of one history, those that are most likely taken again first.

    Attributes:
        items: (n,) item indices, each once.
        chances: (n,) float64, from 0 to 1: taken again within the next ``window``.
        intervals: (n,) float64 seconds: the median of what lies between two times for this user; NaN where no time of
            the history is known.
        ago: (n,) float64 seconds since the last time; NaN likewise.
    """

    items: NDArray[np.int32]
    chances: Floats
    intervals: Floats
    ago: Floats


@dataclass(frozen=True, eq=False)
class BuyAgain:
    """What is known of buying again, by item; ``fit_again`` makes it.

    Attributes:
        chances: (catalogue + 1,) that one who took the item takes it again; the last is that of all items together,
            as are those of the next two.
        means: (catalogue + 1,) of the natural logarithm of an interval in seconds.
        deviations: (catalogue + 1,) of the same.
        run_strength: how many times of a person an item's chance counts as.
        person_strength: how many intervals of a person an item's mean counts as.
        window: seconds that "about now" lasts: the median between two moments of one user; 0: no intervals are known.
        catalogue: how many items are scored; those beyond what was fitted are taken to be like all.
    """

    chances: Floats
    means: Floats
    deviations: Floats
    run_strength: float
    person_strength: float
    window: float
    catalogue: int

    def extended(self, catalogue: int) -> "BuyAgain":
        """Return the same for more items."""
        return replace(self, catalogue=catalogue)

    def sparse_scores(self, histories: Sequences, now: NDArray[np.int64] | None = None) -> sparse.csr_matrix:
        """Return (rows, catalogue) chances that each item of a history is taken again within the window.

        Args:
            histories: rows with times. Of an item without one it is the share of its interval that the window is, as if
                one looked at any moment.
            now: (rows,) Unix seconds; None: each row's last event, so that no answer knows when it is asked for.
        """
        pairs = _Pairs.of(_targets(histories))
        chances = self._chances(pairs, *self._elapsed(histories, pairs, now))
        ends = np.searchsorted(pairs.rows, np.arange(len(histories) + 1)).astype(np.int32)
        entries = (chances.astype(np.float32), pairs.items.astype(np.int32), ends)
        return sparse.csr_matrix(entries, shape=(len(histories), self.catalogue))

    def score(self, histories: Sequences) -> NDArray[np.float32]:
        """Return (rows, catalogue) chances, 0 for what is not in the history."""
        return np.asarray(self.sparse_scores(histories).todense(), dtype=np.float32)

    def contributions(
        self, history: Sequences | NDArray[np.int32], past: NDArray[np.int32], items: NDArray[np.integer]
    ) -> NDArray[np.float32]:
        """Return what items of a history add to the scores of some items, (past, items): each all of its own."""
        return (past[:, None] == items[None]).astype(np.float32)

    def due(self, history: Sequences, now: int | None = None) -> Due:
        """Return what one user is likely to take again.

        Args:
            history: one row.
            now: Unix seconds; None: the time of the last event.
        """
        pairs = _Pairs.of(_targets(history))
        ago, known = self._elapsed(history, pairs, None if now is None else np.array([now]))
        chances = self._chances(pairs, ago, known)
        means, _ = self._intervals(pairs)
        order = np.lexsort((pairs.items, -chances))
        return Due(
            pairs.items[order],
            chances[order],
            np.where(known & (self.window > 0), np.exp(means), np.nan)[order],
            np.where(known, ago, np.nan)[order],
        )

    def save(self, folder: Path, name: str) -> None:
        """Write ``name.safetensors`` into a folder."""
        settings = np.array([self.run_strength, self.person_strength, self.window])
        tensors = {
            "chances": self.chances, "means": self.means, "deviations": self.deviations, "settings": settings,
        }  # fmt: skip
        save_file(tensors, folder / f"{name}.safetensors")

    @classmethod
    def load(cls, folder: Path, name: str) -> "BuyAgain":
        """Read what ``save`` wrote."""
        tensors = load_file(folder / f"{name}.safetensors")
        run_strength, person_strength, window = tensors["settings"].tolist()
        chances, means, deviations = (tensors[one] for one in ("chances", "means", "deviations"))
        return cls(chances, means, deviations, run_strength, person_strength, window, len(chances) - 1)

    def _places(self, items: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return where what is known of items stands; of new ones, what is known of all."""
        return np.minimum(items, len(self.chances) - 1).astype(np.int64)

    def _elapsed(
        self, histories: Sequences, pairs: "_Pairs", now: NDArray[np.int64] | None
    ) -> tuple[Floats, NDArray[np.bool_]]:
        """Return the seconds since each pair's last time, and where that is known."""
        known = pairs.last != UNKNOWN_TIME
        asked = (_last_times(histories) if now is None else now)[pairs.rows]
        return np.maximum(np.where(known, asked - pairs.last, 0), 0).astype(np.float64), known

    def _intervals(self, pairs: "_Pairs") -> tuple[Floats, Floats]:
        """Return mean and deviation of the logarithm of each pair's next interval.

        A person's mean has a normal prior around the item's; what is not known of it widens the deviation.
        """
        places, prior = self._places(pairs.items), self.person_strength
        means = (prior * self.means[places] + pairs.log_sums) / (prior + pairs.gaps)
        narrowed = (1 + 1 / (prior + pairs.gaps)) / (1 + 1 / prior)
        return means, np.maximum(self.deviations[places] * np.sqrt(narrowed), LEAST_DEVIATION)

    def _chances(self, pairs: "_Pairs", ago: Floats, known: NDArray[np.bool_]) -> Floats:
        """Return the chance of each pair: ``q (F(t + w) - F(t)) / (1 - q F(t))`` for a time t since the last one."""
        ever = (self.run_strength * self.chances[self._places(pairs.items)] + pairs.times_taken - 1) / (
            self.run_strength + pairs.times_taken - 1
        )
        if not self.window:
            return ever
        means, deviations = self._intervals(pairs)
        before, after = (_standardised(time, means, deviations) for time in (ago, ago + self.window))
        within = ndtr(-before) - ndtr(-after)  # of the upper tail, where the difference keeps its digits
        anytime = ever * np.minimum(self.window / np.exp(means), 1)
        return np.where(known, ever * within / (1 - ever * ndtr(before)), anytime)


def fit_again(train: Sequences, catalogue: int) -> BuyAgain | None:
    """Learn from histories how likely and how soon each item is taken again; None where nobody has taken one twice.

    A user is watched until their last event: who took an item shortly before may yet take it again, and counts by the
    chance of that (expectation and maximisation of the cure model).

    Args:
        train: with times; without them intervals are unknown, and chances alone are learnt.
        catalogue: number of items.
    """
    train = _targets(train)
    pairs = _Pairs.of(train)
    again = pairs.times_taken > 1
    if not again.any():
        return None
    owners, logs = pairs.log_gaps
    counts = np.bincount(pairs.items[owners], minlength=catalogue)
    overall = float(logs.mean()) if len(logs) else 0.0
    means = _shrunk(_sums(pairs.items[owners], logs, catalogue), counts, overall)
    residuals = logs - means[pairs.items[owners]]
    spread = float(np.mean(residuals**2)) if len(logs) else 0.0
    variances = _shrunk(_sums(pairs.items[owners], residuals**2, catalogue), counts, spread)
    deviations = np.maximum(np.sqrt(variances), LEAST_DEVIATION)

    watched = np.where(pairs.last == UNKNOWN_TIME, 0, _last_times(train)[pairs.rows] - pairs.last)
    through = ndtr(_standardised(watched, means[pairs.items], deviations[pairs.items]))
    chances, of_all = _repeated(again, through, pairs.items, catalogue)
    # of those who took it twice: how many took it a third time, and how many would, were a run to teach nothing
    _, after_two = _repeated(pairs.times_taken[again] > 2, through[again], np.zeros(again.sum(), np.int32), 1)
    gained = after_two - float(chances[pairs.items[again]].mean())
    run_strength = float(np.clip((1 - after_two) / gained, *STRENGTHS)) if gained > 0 else STRENGTHS[1]
    return BuyAgain(
        np.append(chances, of_all),
        np.append(means, overall),
        np.append(deviations, max(np.sqrt(spread), LEAST_DEVIATION)),
        run_strength,
        _person_strength(owners, residuals, spread),
        _median_step(train),
        catalogue,
    )


@dataclass(frozen=True)
class _Pairs:
    """Each user and item of some histories once, by row and item; events of one moment are one.

    Attributes:
        rows, items: of each pair.
        times_taken: how often.
        last: the last time, ``UNKNOWN_TIME`` where none is known.
        gaps: intervals that are known.
        log_sums: sum of their logarithms.
        log_gaps: the pair of each interval, and its logarithm.
    """

    rows: NDArray[np.int64]
    items: NDArray[np.int32]
    times_taken: NDArray[np.int64]
    last: NDArray[np.int64]
    gaps: NDArray[np.int64]
    log_sums: Floats
    log_gaps: tuple[NDArray[np.int64], Floats]

    @classmethod
    def of(cls, histories: Sequences) -> "_Pairs":
        rows, items = histories.rows(), histories.items
        order = np.lexsort((np.arange(len(items)), items, rows))
        rows, items = rows[order], items[order]
        same = np.zeros(len(items), dtype=bool)  # as the pair before
        same[1:] = (rows[1:] == rows[:-1]) & (items[1:] == items[:-1])
        times = np.full(len(items), UNKNOWN_TIME) if histories.times is None else histories.times[order]
        kept = ~same
        kept[1:] |= (times[1:] > times[:-1]) | (times[1:] == UNKNOWN_TIME)
        rows, items, times, same = rows[kept], items[kept], times[kept], same[kept]
        pairs = np.cumsum(~same) - 1
        count = int(pairs[-1]) + 1 if len(pairs) else 0
        between = same[1:] & (times[:-1] != UNKNOWN_TIME) & (times[1:] != UNKNOWN_TIME)
        owners, logs = pairs[1:][between], np.log((times[1:] - times[:-1])[between].astype(np.float64))
        last = np.append(~same[1:], True) if len(same) else same
        return cls(
            rows[~same],
            items[~same],
            np.bincount(pairs, minlength=count),
            times[last],
            np.bincount(owners, minlength=count),
            _sums(owners, logs, count),
            (owners, logs),
        )


def _sums(groups: NDArray[np.integer], values: Floats, count: int) -> Floats:
    return np.bincount(groups, values, count).astype(np.float64)


def _targets(histories: Sequences) -> Sequences:
    """Return what was taken: where events have signals, those that may be asked for, but for what is disliked."""
    if histories.signals is None:
        return histories
    return histories.only(histories.signals.targets & ~histories.disliked())


def _shrunk(sums: Floats, counts: NDArray[np.int64], overall: float) -> Floats:
    """Return means of groups, drawn towards that of all."""
    return (sums + SHRINKAGE * overall) / (counts + SHRINKAGE)


def _standardised(seconds: NDArray[np.number], means: Floats, deviations: Floats) -> Floats:
    with np.errstate(divide="ignore"):
        return (np.log(np.asarray(seconds, dtype=np.float64)) - means) / deviations


def _repeated(again: NDArray[np.bool_], through: Floats, groups: NDArray[np.int32], count: int) -> tuple[Floats, float]:
    """Return the chance to be taken again by group and of all.

    Args:
        again: whether it was seen to be.
        through: the share of intervals that would have ended while it was watched.
        groups: of each.
        count: of groups.
    """
    sizes = np.bincount(groups, minlength=count)
    seen = _sums(groups, again.astype(np.float64), count)
    waiting, theirs = through[~again], groups[~again]
    overall = float(seen.sum() / max(1, sizes.sum()))
    chances = _shrunk(seen, sizes, overall)
    for _ in range(ROUNDS):
        own = chances[theirs]
        late = own * (1 - waiting) / (1 - own * waiting)  # will be, and was not yet
        expected = seen + _sums(theirs, late, count)
        overall = float(expected.sum() / max(1, sizes.sum()))
        chances = np.clip(_shrunk(expected, sizes, overall), LEAST_CHANCE, 1 - LEAST_CHANCE)
    return chances, float(np.clip(overall, LEAST_CHANCE, 1 - LEAST_CHANCE))


def _person_strength(owners: NDArray[np.int64], residuals: Floats, spread: float) -> float:
    """Return the variance within persons over that between them, by analysis of variance over those with two gaps."""
    _, places, counts = np.unique(owners, return_inverse=True, return_counts=True)
    own = np.bincount(places, residuals) / counts if len(counts) else np.empty(0)
    several = counts[places] > 1 if len(counts) else np.empty(0, dtype=bool)
    freedom = int((counts[counts > 1] - 1).sum())
    if not freedom:
        return STRENGTHS[1]
    within = float(((residuals - own[places])[several] ** 2).sum() / freedom)
    between = spread - within
    return float(np.clip(within / between, *STRENGTHS)) if between > 0 else STRENGTHS[1]


def _median_step(histories: Sequences) -> float:
    """Return the median of the seconds between two moments of one user, 0 where there are none."""
    if histories.times is None:
        return 0.0
    steps, known = np.diff(histories.times), histories.times != UNKNOWN_TIME
    own = steps[(np.diff(histories.rows()) == 0) & (steps > 0) & known[1:] & known[:-1]]
    return float(np.median(own)) if len(own) else 0.0


def _last_times(histories: Sequences) -> NDArray[np.int64]:
    """Return the time of each row's last event, 0 where there is none that is known."""
    last = np.zeros(len(histories), dtype=np.int64)
    if histories.times is not None:
        np.maximum.at(last, histories.rows(), histories.times)
    return last
