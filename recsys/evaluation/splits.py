"""Which events a model may learn from, and which it is asked to foretell.

Leave-one-out holds out each user's last event, a global cut in time everything after it, and cold items whole items.

A split holds copies of item indices only, so nothing downstream can reach past a cut by accident; ``leaks`` proves
it against the sequences that the split was made from.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.config import COLD_ITEMS, LEAVE_ONE_OUT, TEMPORAL
from recsys.data.sequences import SIGNALS, Sequences, Weighing
from recsys.errors import DataError, SettingError

VALIDATION_TARGETS_PER_USER = 10  # few users have events between two cuts in time, so each is asked more often


@dataclass(frozen=True)
class Targets:
    """Questions with known answers: which item follows this history?

    Attributes:
        users: (n,) int32, row of each user in the sequences that were split; ascending, in the test each at most once.
        histories: n rows, everything the user did before the target, oldest first; may be empty.
        items: (n,) int32, the one held-out item of each row.
        repeats: whether an item of the history may be the answer, and stays among those that are ranked.
        types: (n,) the type of each target's event, or None where all are the same.
    """

    users: NDArray[np.int32]
    histories: Sequences
    items: NDArray[np.int32]
    repeats: bool = False
    types: NDArray[np.str_] | None = None

    def __len__(self) -> int:
        return len(self.items)

    def take(self, places: NDArray[np.integer]) -> "Targets":
        """Return the targets at some places, in the given order."""
        types = None if self.types is None else self.types[places]
        return Targets(self.users[places], self.histories.take(places), self.items[places], self.repeats, types)


@dataclass(frozen=True)
class Most:
    """How many targets a split may have. Of more a random sample is drawn, before any history is copied.

    Attributes:
        validation: targets at most; None: all.
        test: likewise.
        seed: of the samples.
    """

    validation: int | None = None
    test: int | None = None
    seed: int = 0

    def of_validation(self, count: int) -> NDArray[np.int64]:
        """Return which of so many validation targets stay, ascending."""
        return _drawn(count, self.validation, [self.seed, 2])  # 0 and 1 draw which events of a user are asked for

    def of_test(self, count: int) -> NDArray[np.int64]:
        """Return which of so many test targets stay, ascending; there is one a user."""
        return _drawn(count, self.test, [self.seed, 3])


ALL = Most()


@dataclass(frozen=True)
class Split:
    """Training rows and two sets of targets.

    Attributes:
        protocol: ``leave-one-out``, ``temporal`` or ``cold-items``.
        train: a row for every user, possibly empty: all that models may learn from.
        validation: targets for choosing settings.
        test: targets for the final figures only.
        catalogue: number of items; item indices are below it.
        weighing: by how much events count, where they have signals.
        validation_of: how many validation targets there were, of which these were drawn; None: these.
        test_of: likewise of the test.
    """

    protocol: str
    train: Sequences
    validation: Targets
    test: Targets
    catalogue: int
    weighing: Weighing = SIGNALS
    validation_of: int | None = None
    test_of: int | None = None

    @property
    def repeats(self) -> bool:
        """Whether an item of the history may be the answer."""
        return self.test.repeats


def leave_one_out(
    sequences: Sequences, *, catalogue: int | None = None, repeats: bool = False, most: Most = ALL
) -> Split:
    """Hold out the last event of every user with three events or more for the test, the one before for validation.

    The rest of those rows and all shorter rows are for training. Histories reach back to the user's first event,
    so the history of a test target ends with the validation target. Where events have signals, the last two targets of
    every user who did something before both are held out; what was done after the first of them is not learnt from.

    Args:
        sequences: a row a user, oldest first.
        catalogue: number of items; None: up to the highest index seen.
        repeats: see ``Targets``.
        most: how many targets may be asked.

    Raises:
        DataError: no user has three events, or an item index does not fit the catalogue.
    """
    starts, ends = sequences.offsets[:-1], sequences.offsets[1:]
    before, last = _last_two_targets(sequences)
    users = np.flatnonzero(before > starts)
    if len(users) == 0 and sequences.signals is not None:
        raise DataError(
            "Leave-one-out needs a user with two targets and an event before them, and there is none. Bring more "
            "events, or give the role target to more of them."
        )
    if len(users) == 0:
        raise DataError(
            f"Leave-one-out needs a user with three events or more; the longest of {len(sequences):,} rows has "
            f"{sequences.lengths.max(initial=0)}. Bring more events."
        )
    train_ends = ends.copy()
    train_ends[users] = before[users]
    asked, tested = users[most.of_validation(len(users))], users[most.of_test(len(users))]
    return Split(
        LEAVE_ONE_OUT,
        sequences.slice(starts, train_ends),
        _targets(sequences, asked, before[asked], repeats),
        _targets(sequences, tested, last[tested], repeats),
        catalogue_of(sequences, catalogue),
        validation_of=_more(len(users), asked),
        test_of=_more(len(users), tested),
    )


def temporal(
    sequences: Sequences,
    *,
    validation_share: float = 0.1,
    test_share: float = 0.1,
    seed: int = 0,
    catalogue: int | None = None,
    repeats: bool = False,
    most: Most = ALL,
) -> Split:
    """Cut time in three for all users at once; train on what lies strictly before the first cut.

    Each user with events after the second cut gives one test target, drawn at random from these events; between the
    cuts, up to ten validation targets likewise. A history is everything the user did before the target, events after
    the cut included. Users without a history and items without training events stay in. Where many events share a
    second, the cut moves to the nearest end of that second, so equal times never lie on both sides.

    Args:
        sequences: a row a user with times, oldest first.
        validation_share: share of all events between the cuts, as nearly as equal times allow.
        test_share: share of all events after the second cut, likewise.
        seed: decides which event of a user becomes the target.
        catalogue: number of items; None: up to the highest index seen.
        repeats: see ``Targets``.
        most: how many targets may be asked.

    Raises:
        DataError, SettingError: times are unknown, out of order, or fewer than three different ones; shares are out of
            range; an item index does not fit the catalogue.
    """
    if sequences.times is None:
        raise DataError("A temporal split needs the time of every event and these are unknown. Use leave-one-out.")
    if not (validation_share > 0 and test_share > 0 and validation_share + test_share < 1):
        raise SettingError(
            f"validation_share {validation_share} and test_share {test_share} must be above 0 and sum to less than 1."
        )
    _check_time_order(sequences)
    first_cut, second_cut = _cuts(sequences.times, validation_share, test_share)
    starts, ends = sequences.offsets[:-1], sequences.offsets[1:]
    validation_starts = starts + _count_by_row(sequences, sequences.times < first_cut)
    test_starts = starts + _count_by_row(sequences, sequences.times < second_cut)
    asked = _draw(
        sequences, validation_starts, test_starts, VALIDATION_TARGETS_PER_USER, np.random.default_rng([seed, 0])
    )
    tested = _draw(sequences, test_starts, ends, 1, np.random.default_rng([seed, 1]))
    few, fewer = most.of_validation(len(asked[0])), most.of_test(len(tested[0]))
    return Split(
        TEMPORAL,
        sequences.slice(starts, validation_starts),
        _targets(sequences, asked[0][few], asked[1][few], repeats),
        _targets(sequences, tested[0][fewer], tested[1][fewer], repeats),
        catalogue_of(sequences, catalogue),
        validation_of=_more(len(asked[0]), few),
        test_of=_more(len(tested[0]), fewer),
    )


def cold_items(
    sequences: Sequences, *, share: float = 0.1, seed: int = 0, catalogue: int | None = None, most: Most = ALL
) -> Split:
    """Hold out whole items: nobody's use of them is learnt from, and they are what has to be found.

    The items born last, by their first event, are for the test and those born before them for validation; where times
    are unknown, both are drawn at random. A user of a test item gives one test target, the last event on such an
    item, and of the others a user of a validation item likewise a validation target. Their training rows and
    histories end before the target; nobody's holds any of these items. Users without a history stay in.

    Args:
        sequences: a row a user, oldest first.
        share: of the items with events, for each of test and validation.
        seed: decides where times are unknown.
        catalogue: number of items; None: up to the highest index seen.
        most: how many targets may be asked.

    Raises:
        DataError, SettingError: the share is out of range, or there are too few items to hold out two parts.
    """
    if not 0 < share < 0.5:
        raise SettingError(f"The share of cold items {share} must be above 0 and below 0.5.")
    size = catalogue_of(sequences, catalogue)
    used = np.unique(sequences.items)
    count = round(share * len(used))
    if count == 0:
        raise DataError(
            f"{len(used)} items with events are too few to hold out {share:.0%} of them. Bring more events."
        )
    part = np.zeros(size, dtype=np.int8)  # 1: validation, 2: test
    order = _by_birth(sequences, used, seed)
    part[order[-count:]], part[order[-2 * count : -count]] = 2, 1

    of_event, rows, everyone = part[sequences.items], sequences.rows(), np.arange(len(sequences))
    last = [np.full(len(sequences), -1), np.full(len(sequences), -1)]  # the place of the last such event of each user
    asked_for = askable(sequences)
    for number in (1, 2):
        places = np.flatnonzero((of_event == number) & asked_for)
        last[number - 1][rows[places]] = places  # ascending, so that the last one stays
    tested = everyone[last[1] >= 0]
    asked = everyone[(last[0] >= 0) & (last[1] < 0)]
    ends = sequences.offsets[1:].copy()
    ends[tested], ends[asked] = last[1][tested], last[0][asked]
    warm = sequences.only(of_event == 0)
    warm_before = np.concatenate([[0], np.cumsum(of_event == 0)])
    train = warm.slice(warm.offsets[:-1], warm_before[ends])

    def targets(users: NDArray[np.int64], number: int) -> Targets:
        return Targets(users.astype(np.int32), train.take(users), sequences.items[last[number - 1][users]])

    few, fewer = asked[most.of_validation(len(asked))], tested[most.of_test(len(tested))]
    return Split(
        COLD_ITEMS, train, targets(few, 1), targets(fewer, 2), size,
        validation_of=_more(len(asked), few), test_of=_more(len(tested), fewer),
    )  # fmt: skip


def sample(targets: Targets, count: int, seed: int = 0) -> Targets:
    """Return ``count`` targets drawn at random without replacement, in their order; all of them if there are fewer."""
    if count >= len(targets):
        return targets
    return targets.take(np.sort(np.random.default_rng(seed).choice(len(targets), count, replace=False)))


def _last_two_targets(sequences: Sequences) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the places of every row's last target but one and of its last, -1 where there are fewer, (rows,)."""
    if sequences.signals is None:
        ends, lengths = sequences.offsets[1:], sequences.lengths
        return np.where(lengths >= 2, ends - 2, -1), np.where(lengths >= 1, ends - 1, -1)
    places, rows = np.flatnonzero(sequences.signals.targets), sequences.rows()
    counts = np.bincount(rows[places], minlength=len(sequences))
    ends = np.cumsum(counts)
    before, last = (np.full(len(sequences), -1, dtype=np.int64) for _ in range(2))
    before[counts >= 2], last[counts >= 1] = places[ends[counts >= 2] - 2], places[ends[counts >= 1] - 1]
    return before, last


def _targets(sequences: Sequences, users: NDArray[np.int64], positions: NDArray[np.int64], repeats: bool) -> Targets:
    histories = sequences.slice(sequences.offsets[:-1][users], positions)
    types, signals = None, sequences.signals
    if signals is not None and len({signals.names[kind] for kind in np.unique(signals.kinds[signals.targets])}) > 1:
        types = np.array(signals.names)[signals.kinds[positions]]
    return Targets(users.astype(np.int32), histories, sequences.items[positions].astype(np.int32), repeats, types)


def _draw(
    sequences: Sequences,
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    per_user: int,
    random: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw up to ``per_user`` events of every user's window without replacement; return their rows and places."""
    lengths = ends - starts
    rows = np.repeat(np.arange(len(sequences)), lengths)
    first = np.cumsum(lengths) - lengths  # place of each window among all drawn-from events
    positions = np.arange(len(rows)) - first[rows] + starts[rows]
    if sequences.signals is not None:
        asked = sequences.signals.targets[positions]
        rows, positions = rows[asked], positions[asked]
        counts = np.bincount(rows, minlength=len(sequences))
        first = np.cumsum(counts) - counts
    order = np.lexsort((random.random(len(rows)), rows))
    chosen = np.sort(order[np.arange(len(rows)) - first[rows] < per_user])
    return rows[chosen], positions[chosen]


def _drawn(count: int, most: int | None, seed: list[int]) -> NDArray[np.int64]:
    if most is None or count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))


def _more(count: int, drawn: NDArray[np.integer]) -> int | None:
    return count if count > len(drawn) else None


def _cuts(times: NDArray[np.int64], validation_share: float, test_share: float) -> tuple[np.int64, np.int64]:
    """Return the first second of the validation part and of the test part."""
    seconds, counts = np.unique(times, return_counts=True)
    if len(seconds) < 3:
        raise DataError(
            f"A temporal split needs three different times; the {len(times):,} events have {len(seconds)}. "
            "Use leave-one-out, or bring finer times."
        )
    before = np.cumsum(counts) - counts  # events before each second, ascending
    wanted = len(times) * np.array([1 - validation_share - test_share, 1 - test_share])
    first, second = np.abs(before[:, None] - wanted).argmin(axis=0)
    second = max(second, 2)
    first = min(max(first, 1), second - 1)
    return seconds[first], seconds[second]


def _count_by_row(sequences: Sequences, chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
    running = np.concatenate([[0], np.cumsum(chosen)])
    return running[sequences.offsets[1:]] - running[sequences.offsets[:-1]]


def _check_time_order(sequences: Sequences) -> None:
    assert sequences.times is not None
    rows = sequences.rows()
    backwards = (np.diff(sequences.times) < 0) & (np.diff(rows) == 0)
    refuse("Events are not in time order", rows[1:], backwards)


def catalogue_of(sequences: Sequences, catalogue: int | None) -> int:
    needed = int(sequences.items.max(initial=-1)) + 1
    if catalogue is not None and catalogue < needed:
        raise ValueError(f"Item index {needed - 1} does not fit a catalogue of {catalogue:,} items.")
    return needed if catalogue is None else catalogue


def askable(sequences: Sequences) -> NDArray[np.bool_]:
    """Return which events may be asked for, (events,)."""
    return np.ones(len(sequences.items), dtype=bool) if sequences.signals is None else sequences.signals.targets


def _by_birth(sequences: Sequences, used: NDArray[np.integer], seed: int) -> NDArray[np.integer]:
    """Return items by their first event, equal ones by index; at random where times are unknown."""
    if sequences.times is None:
        return np.random.default_rng(seed).permutation(used)
    born = np.full(int(used.max()) + 1, np.iinfo(np.int64).max)
    np.minimum.at(born, sequences.items, sequences.times)
    return used[np.lexsort((used, born[used]))]


def refuse(what: str, users: NDArray[np.integer], bad: NDArray[np.bool_]) -> None:
    if bad.any():
        raise ValueError(f"{what}: user row {users[np.argmax(bad)]}. Build the split again from sorted sequences.")
