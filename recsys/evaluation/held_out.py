"""Which rows of a snapshot are learnt from and which are held out, by the name of a protocol."""

import logging

from recsys.config import COLD_ITEMS, LEAVE_ONE_OUT, TEMPORAL, ModelConfig, Protocol
from recsys.data.mapped_sequences import mapped_sequences
from recsys.data.sequences import Sequences
from recsys.data.signals import signals_of
from recsys.data.snapshot import Snapshot
from recsys.errors import DataError, SettingError
from recsys.evaluation.splits import Most, Split, cold_items, leave_one_out, temporal

VALIDATION_TARGETS = 50_000  # copied with their histories at most; every choice is made by a sample of them
TEST_TARGETS = 25_000  # asked at most, where the settings leave it open
_LOG = logging.getLogger(__name__)


def allows(snapshot: Snapshot, protocol: str, config: ModelConfig) -> bool:
    """Tell whether a snapshot's times allow a protocol: a split by time bears a small share of made-up ones."""
    if protocol != TEMPORAL or snapshot.times_known:
        return True
    few = snapshot.unknown_times() <= config.evaluation.max_unknown_times * snapshot.manifest.counts.events
    return few and config.experts.popularity_half_life_days is None  # which needs all times when all is fitted again


def allowed_protocols(snapshot: Snapshot, config: ModelConfig) -> list[Protocol]:
    """Return the configured protocols by which a snapshot can be split, and log why others are left out.

    It is asked before anything is trained: users of two events, or events of one time, leave a protocol no targets.

    Raises:
        DataError: none is left; says why each is not.
    """
    allowed: list[Protocol] = []
    reasons = {}
    for name in config.evaluation.protocols:
        try:
            split = make_split(read_sequences(snapshot, name, config)[0], snapshot.manifest.counts.items, name, config)
            _check_targets(split)
        except DataError as error:
            reasons[name] = str(error)
        else:
            allowed.append(name)
    if not allowed:
        advice = "" if LEAVE_ONE_OUT in reasons else " Add leave-one-out to evaluation.protocols."
        told = " ".join(f"{name}: {reason}" for name, reason in reasons.items())
        raise DataError(f"Snapshot {snapshot.id} allows none of evaluation.protocols. {told}{advice}")
    for name, reason in reasons.items():
        _LOG.warning("Snapshot %s is not measured by the protocol %s: %s", snapshot.id, name, reason)
    return allowed


def _check_targets(split: Split) -> None:
    for name, targets in (("validation", split.validation), ("test", split.test)):
        if not len(targets):
            raise DataError(f"No target is left for the {name} part. Bring more events, or more users.")
    if not (split.train.lengths >= 2).any():
        raise DataError("No user has two events left to learn from. Bring more events.")


def read_sequences(
    snapshot: Snapshot, protocol: str, config: ModelConfig, shuffle_ties: bool = False
) -> tuple[Sequences, dict[str, int]]:
    """Return a snapshot's sequences for a protocol, and how many events were treated specially, by what was done.

    Args:
        snapshot: whose.
        protocol: a split by time leaves out events whose time is made up.
        config: all settings.
        shuffle_ties: put one user's events at equal times in random order, to see that no figure hangs on it.

    Raises:
        DataError: too many times are made up for a split by time, or there are no ties to shuffle.
    """
    special: dict[str, int] = {}
    if not allows(snapshot, protocol, config):
        raise DataError(
            f"Snapshot {snapshot.id} has made-up timestamps ({snapshot.unknown_times():,} events): no temporal split. "
            "Use leave-one-out, or raise evaluation.max_unknown_times."
        )
    if shuffle_ties:
        special["tied_events_shuffled"] = snapshot.tied_events()
        if not special["tied_events_shuffled"]:
            raise DataError(f"Snapshot {snapshot.id} has no ties to shuffle: no user has two events at one known time.")
    seed, signals = config.seed if shuffle_ties else None, signals_of(config)
    if protocol == TEMPORAL and not snapshot.times_known:
        special["events_of_unknown_time_left_out"] = snapshot.unknown_times()
        return snapshot.timed_sequences(seed, signals), special
    return mapped_sequences(snapshot, seed, signals), special


def make_split(sequences: Sequences, catalogue: int, protocol: str, config: ModelConfig) -> Split:
    """Split sequences by a protocol's name.

    Where people come back to their items, see ``Sequences.repeats``, those stay among what is asked for and ranked; but
    for cold items, which no history holds. Of very many targets a sample is drawn.

    Raises:
        DataError, SettingError: there is no such protocol, or the data does not allow it.
    """
    shares = config.evaluation
    most = Most(
        max(VALIDATION_TARGETS, shares.max_validation_users), shares.max_test_targets or TEST_TARGETS, config.seed
    )
    if protocol == LEAVE_ONE_OUT:
        return leave_one_out(sequences, catalogue=catalogue, repeats=sequences.repeats(), most=most)
    if protocol == TEMPORAL:
        return temporal(
            sequences,
            validation_share=shares.validation_share,
            test_share=shares.test_share,
            seed=config.seed,
            catalogue=catalogue,
            repeats=sequences.repeats(),
            most=most,
        )
    if protocol == COLD_ITEMS:
        return cold_items(sequences, share=shares.cold_share, seed=config.seed, catalogue=catalogue, most=most)
    raise SettingError(f"There is no protocol {protocol!r}; there are leave-one-out, temporal and cold-items.")
