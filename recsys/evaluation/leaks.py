"""Proof that a split learns from nothing that it holds out, against the sequences that it was made from."""

import numpy as np
from numpy.typing import NDArray

from recsys.config import COLD_ITEMS, TEMPORAL
from recsys.data.sequences import Sequences
from recsys.evaluation.splits import Split, askable, catalogue_of, refuse


def check_split(split: Split, sequences: Sequences) -> None:
    """Check that no training row and no history holds its own target or anything after it.

    Raises:
        ValueError: the split leaks, or does not belong to these sequences; the message names the first bad user.
    """
    if len(split.train) != len(sequences):
        raise ValueError(f"The split has {len(split.train):,} training rows, the sequences have {len(sequences):,}.")
    catalogue_of(sequences, split.catalogue)
    if split.protocol == COLD_ITEMS:
        _check_cold(split, sequences)
        return
    _check_prefix("The training row", split.train, np.arange(len(sequences)), sequences)
    never = np.iinfo(np.int64).max
    earliest, latest = {}, {}  # row of a user → position of the first and of the last target within it
    for name, targets in (("validation", split.validation), ("test", split.test)):
        if np.any(np.diff(targets.users) < 0):
            raise ValueError(f"The {name} users are not ascending.")
        _check_prefix(f"The {name} history", targets.histories, targets.users, sequences)
        lengths = targets.histories.lengths
        beyond = lengths >= sequences.lengths[targets.users]
        positions = np.where(beyond, 0, sequences.offsets[:-1][targets.users] + lengths)
        wrong = beyond | (sequences.items[positions] != targets.items)
        refuse(f"The {name} target is not the event after its history", targets.users, wrong)
        earliest[name], latest[name] = np.full(len(sequences), never), np.full(len(sequences), -1)
        np.minimum.at(earliest[name], targets.users, lengths)
        np.maximum.at(latest[name], targets.users, lengths)
    if np.any(np.diff(split.test.users) == 0):
        raise ValueError("A test user has two targets.")
    everyone = np.arange(len(sequences))
    for name, place in earliest.items():
        refuse(f"The training row holds the {name} target", everyone, split.train.lengths > place)
    late = latest["validation"] >= earliest["test"]
    refuse("The validation target does not come before the test target", everyone, late)
    if split.protocol == TEMPORAL:
        _check_cuts(split, sequences)


def _check_prefix(what: str, part: Sequences, users: NDArray[np.integer], whole: Sequences) -> None:
    """Refuse rows of ``part`` that are not the beginning of the user's row in ``whole``."""
    longer = part.lengths > whole.lengths[users]
    refuse(f"{what} is longer than the user's events", users, longer)
    starts = whole.offsets[:-1][users]
    expected = whole.slice(starts, starts + part.lengths)
    refuse(f"{what} is not the beginning of the user's events", users[part.rows()], part.items != expected.items)


def _check_cuts(split: Split, sequences: Sequences) -> None:
    """Refuse a temporal split unless train < validation targets < test targets, in time and over all users."""
    if sequences.times is None:
        raise ValueError("A temporal split can only be checked against sequences with times.")
    starts = sequences.offsets[:-1]
    trained = sequences.slice(starts, starts + split.train.lengths).times
    asked, tested = (
        sequences.times[starts[targets.users] + targets.histories.lengths] for targets in (split.validation, split.test)
    )
    assert trained is not None
    for earlier, later, what in (
        (trained, asked, "training events and validation targets"),
        (asked, tested, "validation and test targets"),
        (trained, tested, "training events and test targets"),
    ):
        if len(earlier) and len(later) and earlier.max() >= later.min():
            raise ValueError(f"The {what} overlap in time: {earlier.max()} is not before {later.min()}.")


def _check_cold(split: Split, sequences: Sequences) -> None:
    """Refuse a split by items that learns from a held-out item, or from a user's events after the target."""
    held = np.zeros(split.catalogue, dtype=bool)
    held[split.validation.items] = held[split.test.items] = True
    parts = {"training row": split.train, "validation history": split.validation.histories}
    for what, part in (parts | {"test history": split.test.histories}).items():
        refuse(f"The {what} holds a held-out item", part.rows(), held[part.items])
    if np.intersect1d(split.validation.users, split.test.users).size:
        raise ValueError("A user has a validation and a test target.")
    learnt, asked = np.zeros(split.catalogue, dtype=bool), askable(sequences)
    learnt[split.train.items] = True
    for name, targets in (("validation", split.validation), ("test", split.test)):
        _check_prefix(f"The {name} history", targets.histories, targets.users, split.train)
        for user, item in zip(targets.users, targets.items, strict=True):
            row = sequences.row(user)
            place = np.flatnonzero((row == item) & asked[sequences.offsets[user] : sequences.offsets[user + 1]])
            before = row[: place[-1]] if len(place) else row[:0]
            if not len(place) or not np.array_equal(before[learnt[before]], split.train.row(user)):
                raise ValueError(f"The training row of user row {user} is not what came before the {name} target.")
