"""Splits: the laws that keep the future out of training, on random sequences, and the refusals."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.config import EvaluationConfig, ModelConfig
from recsys.data.sequences import Sequences
from recsys.evaluation.held_out import make_split
from recsys.evaluation.leaks import check_split
from recsys.evaluation.splits import Most, Split, Targets, cold_items, leave_one_out, sample, temporal

# rows of (time, item); few distinct times make ties the rule
ROWS = st.lists(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 6)), max_size=8), min_size=1, max_size=12)


def build(rows):
    ordered = [sorted(row, key=lambda event: event[0]) for row in rows]
    lists = Sequences.from_lists([[item for _, item in row] for row in ordered])
    times = np.array([time for row in ordered for time, _ in row], dtype=np.int64)
    return Sequences(lists.items, lists.offsets, times)


def positions(sequences, targets):
    """Where each target lies in the flat arrays, by the length of its history."""
    return sequences.offsets[:-1][targets.users] + targets.histories.lengths


def equal(first, second):
    return all(
        np.array_equal(a, b)
        for a, b in (
            (first.train.items, second.train.items),
            (first.validation.items, second.validation.items),
            (first.test.items, second.test.items),
            (first.test.histories.items, second.test.histories.items),
        )
    )


def test_seen_items_may_be_asked_for_where_people_come_back_to_them():
    once = build([[(time, item) for time, item in enumerate(row)] for row in ([0, 1, 2, 3], [3, 2, 1, 0])])
    again = build([[(time, item) for time, item in enumerate(row)] for row in ([0, 1, 0, 1], [3, 2, 1, 0])])
    for sequences, kept in ((once, False), (again, True)):
        for protocol in ("leave-one-out", "temporal"):
            split = make_split(sequences, 4, protocol, ModelConfig())
            assert split.repeats == split.validation.repeats == kept
            assert sample(split.validation, 1).repeats == kept
            check_split(split, sequences)
    assert not make_split(again, 4, "cold-items", ModelConfig(evaluation=EvaluationConfig(cold_share=0.3))).repeats


@pytest.mark.parametrize("make", [leave_one_out, temporal, cold_items])
def test_of_many_targets_some_are_drawn_and_nothing_else_changes(make):
    rng = np.random.default_rng(0)
    sequences = build([[(int(time), int(item)) for time, item in rng.integers(0, 60, (8, 2))] for _ in range(90)])
    whole = make(sequences, catalogue=60)
    few = make(sequences, catalogue=60, most=Most(validation=7, test=9, seed=1))
    check_split(few, sequences)
    assert (len(few.validation), few.validation_of) == (7, len(whole.validation))
    assert (len(few.test), few.test_of) == (9, len(whole.test))
    assert np.array_equal(few.train.items, whole.train.items)
    for drawn, of in ((few.validation, whole.validation), (few.test, whole.test)):
        asked = {(user, item, len(row)): row for user, item, row in questions(of)}
        assert all(np.array_equal(asked[user, item, len(row)], row) for user, item, row in questions(drawn))
        assert np.all(np.diff(drawn.users) >= 0)
    assert equal(few, make(sequences, catalogue=60, most=Most(7, 9, seed=1)))
    assert not np.array_equal(few.test.users, make(sequences, catalogue=60, most=Most(7, 9, seed=2)).test.users)
    enough = make(sequences, catalogue=60, most=Most(len(whole.validation), len(whole.test)))
    assert (enough.validation_of, enough.test_of) == (None, None)
    assert equal(enough, whole)


def questions(targets):
    return [
        (user, item, targets.histories.row(row))
        for row, (user, item) in enumerate(zip(targets.users, targets.items, strict=True))
    ]


def test_settings_say_how_many_targets_are_asked(monkeypatch):
    sequences = build([[(time, (time + user) % 9) for time in range(5)] for user in range(30)])
    assert make_split(sequences, 9, "leave-one-out", ModelConfig()).test_of is None
    config = ModelConfig(evaluation=EvaluationConfig(max_test_targets=4))
    split = make_split(sequences, 9, "leave-one-out", config)
    assert (len(split.test), split.test_of, len(split.validation)) == (4, 30, 30)
    monkeypatch.setattr("recsys.evaluation.held_out.TEST_TARGETS", 11)
    assert len(make_split(sequences, 9, "leave-one-out", ModelConfig()).test) == 11


@given(ROWS)
def test_leave_one_out_uses_every_event_of_a_held_out_user_once(rows):
    sequences = build(rows)
    if max(len(row) for row in rows) < 3:
        with pytest.raises(ValueError, match="three events"):
            leave_one_out(sequences)
        return
    split = leave_one_out(sequences)
    check_split(split, sequences)
    held_out = {}
    for row, user in enumerate(split.test.users):
        assert split.test.users[row] == split.validation.users[row]
        held_out[user] = [split.validation.items[row], split.test.items[row]]
        assert [*split.validation.histories.row(row), split.validation.items[row]] == list(
            split.test.histories.row(row)
        )
    assert sorted(held_out) == [user for user, row in enumerate(rows) if len(row) >= 3]
    for user in range(len(rows)):
        assert [*split.train.row(user), *held_out.get(user, [])] == list(sequences.row(user))


@given(ROWS, st.integers(0, 3), st.sampled_from([(0.1, 0.1), (0.3, 0.2), (0.45, 0.45), (0.01, 0.01)]))
def test_temporal_cuts_time_in_three(rows, seed, shares):
    sequences = build(rows)
    if len(np.unique(sequences.times)) < 3:
        with pytest.raises(ValueError, match="three different times"):
            temporal(sequences, seed=seed)
        return
    split = temporal(sequences, validation_share=shares[0], test_share=shares[1], seed=seed)
    check_split(split, sequences)
    validation = sequences.times[positions(sequences, split.validation)]
    test = sequences.times[positions(sequences, split.test)]
    trained = split.train.times
    assert len(trained)
    assert len(validation)
    assert len(test)
    assert trained.max() < validation.min() <= validation.max() < test.min()
    # nothing between the parts is lost: whoever acts after a cut has a target, and equal times share a side
    untrained = sequences.times > trained.max()
    assert len(trained) == (~untrained).sum()
    late = np.unique(sequences.rows()[sequences.times >= test.min()])
    assert np.array_equal(split.test.users, late)
    for row, user in enumerate(split.test.users):
        history = split.test.histories.row(row)
        assert np.array_equal(history, sequences.row(user)[: len(history)])
        assert split.test.items[row] == sequences.row(user)[len(history)]


@given(ROWS, st.integers(0, 3))
def test_the_same_seed_gives_the_same_split(rows, seed):
    sequences = build(rows)
    if len(np.unique(sequences.times)) >= 3:
        assert equal(temporal(sequences, seed=seed), temporal(sequences, seed=seed))


@pytest.fixture
def sequences():
    random = np.random.default_rng(0)
    return build([[(int(t), int(i)) for t, i in random.integers(0, 200, (12, 2))] for _ in range(40)])


def test_another_seed_draws_other_targets_and_the_same_training_rows(sequences):
    first, second = temporal(sequences, test_share=0.4, seed=1), temporal(sequences, test_share=0.4, seed=2)
    assert np.array_equal(first.train.items, second.train.items)
    assert not np.array_equal(first.test.histories.lengths, second.test.histories.lengths)


def test_targets_are_drawn_from_the_whole_window():
    sequences = build([[(0, 0), (1, 0), (9, 1), (9, 2), (9, 3)]] * 300)
    assert set(temporal(sequences, test_share=0.6).test.items) == {1, 2, 3}


def test_shares_are_met_as_nearly_as_equal_times_allow(sequences):
    split = temporal(sequences, validation_share=0.2, test_share=0.3)
    assert len(split.train.items) / len(sequences.items) == pytest.approx(0.5, abs=0.02)
    crowded = build([[(0, 0)] * 1 + [(1, 1)] * 7 + [(2, 2), (3, 3)]])  # wanted: 80 %; the nearest end of a second
    assert len(temporal(crowded).train.items) == 8


def test_cold_users_and_cold_items_stay_in():
    sequences = build([[(0, 0), (1, 1)], [(5, 0), (6, 1)], [(9, 4)]])
    split = temporal(sequences, validation_share=0.3, test_share=0.2)
    assert list(split.test.users) == [2]
    assert split.test.histories.lengths[0] == 0
    assert split.test.items[0] == 4
    assert 4 not in split.train.items
    assert len(split.train) == 3


def test_histories_reach_past_the_cut():
    sequences = build([[(0, 0), (1, 1), (9, 2), (10, 3)]] * 50)
    split = temporal(sequences, validation_share=0.2, test_share=0.5)
    assert {tuple(split.test.histories.row(row)) for row in range(50)} == {(0, 1), (0, 1, 2)}


def test_the_catalogue_may_hold_items_without_events(sequences):
    assert leave_one_out(sequences, catalogue=999).catalogue == 999
    assert leave_one_out(sequences).catalogue == sequences.items.max() + 1
    with pytest.raises(ValueError, match="does not fit a catalogue of 3 items"):
        leave_one_out(sequences, catalogue=3)


def test_sample_is_a_random_subset(sequences):
    targets = leave_one_out(sequences).test
    some = sample(targets, 10, seed=3)
    assert len(some) == 10
    places = np.searchsorted(targets.users, some.users)
    assert np.array_equal(targets.items[places], some.items)
    assert np.array_equal(targets.histories.take(places).items, some.histories.items)
    assert not np.array_equal(some.users, targets.users[:10])
    assert np.array_equal(some.users, sample(targets, 10, seed=3).users)
    assert sample(targets, 41) is targets


@pytest.mark.parametrize("shares", [(0.0, 0.1), (0.1, 0.0), (0.5, 0.5), (-0.1, 0.2)])
def test_temporal_refuses_shares_without_sense(sequences, shares):
    with pytest.raises(ValueError, match="must be above 0"):
        temporal(sequences, validation_share=shares[0], test_share=shares[1])


def test_temporal_refuses_unknown_and_unsorted_times(sequences):
    with pytest.raises(ValueError, match=r"unknown\. Use leave-one-out"):
        temporal(replace(sequences, times=None))
    with pytest.raises(ValueError, match="not in time order: user row 0"):
        temporal(replace(sequences, times=sequences.times[::-1].copy()))


def leak_training_event(split: Split, sequences: Sequences) -> Split:
    """The training rows are the whole rows: they hold the targets."""
    return replace(split, train=sequences)


def leak_foreign_event(split: Split, sequences: Sequences) -> Split:
    train = split.train
    return replace(split, train=replace(train, items=np.roll(train.items, 1)))


def leak_history(split: Split, sequences: Sequences) -> Split:
    """The test histories end with their own targets."""
    starts = sequences.offsets[:-1][split.test.users]
    longer = sequences.slice(starts, starts + split.test.histories.lengths + 1)
    return replace(split, test=replace(split.test, histories=longer))


def leak_order(split: Split, sequences: Sequences) -> Split:
    return replace(split, validation=split.test, test=split.validation)


def leak_item(split: Split, sequences: Sequences) -> Split:
    return replace(split, test=replace(split.test, items=split.test.items + 1), catalogue=split.catalogue + 1)


def leak_user(split: Split, sequences: Sequences) -> Split:
    order = np.arange(len(split.test))[::-1]
    test = Targets(split.test.users[order], split.test.histories.take(order), split.test.items[order])
    return replace(split, test=test)


@pytest.mark.parametrize("make", [leave_one_out, temporal])
@pytest.mark.parametrize(
    "leak", [leak_training_event, leak_foreign_event, leak_history, leak_order, leak_item, leak_user]
)
def test_check_split_finds_a_planted_leak(sequences, make, leak):
    split = make(sequences)
    check_split(split, sequences)
    with pytest.raises(ValueError, match=r"train|history|target|ascending"):
        check_split(leak(split, sequences), sequences)


def test_check_split_finds_a_cut_that_differs_between_users():
    sequences = build([[(0, 0), (1, 1), (2, 2)], [(5, 0), (6, 1), (7, 2)]])
    per_user = leave_one_out(sequences)
    check_split(per_user, sequences)
    with pytest.raises(ValueError, match="overlap in time"):
        check_split(replace(per_user, protocol="temporal"), sequences)


@given(rows=ROWS, seed=st.integers(0, 3), timed=st.booleans())
def test_cold_items_are_never_learnt_from(rows, seed, timed):
    sequences = build(rows)
    used = np.unique(sequences.items)
    if round(0.3 * len(used)) == 0:
        return
    sequences = sequences if timed else replace(sequences, times=None)
    split = cold_items(sequences, share=0.3, seed=seed)
    check_split(split, sequences)
    learnt = set(split.train.items.tolist())
    asked, tested = set(split.validation.items.tolist()), set(split.test.items.tolist())
    assert not learnt & asked
    assert not learnt & tested
    assert not asked & tested
    assert not set(split.test.histories.items.tolist()) & (asked | tested)
    assert not set(split.validation.users.tolist()) & set(split.test.users.tolist())
    if timed:
        born = {item: sequences.times[sequences.items == item].min() for item in used.tolist()}
        assert max((born[item] for item in asked), default=0) <= min((born[item] for item in tested), default=2**62)


def test_every_user_of_a_new_item_is_asked_for_the_last_one():
    sequences = build([[(0, 0), (1, 1), (9, 4), (10, 2)], [(0, 0), (5, 3), (6, 1)], [(0, 1)], [(11, 4)]])
    split = cold_items(sequences, share=0.2)
    assert (split.test.users.tolist(), split.test.items.tolist()) == ([0], [2])
    assert split.test.histories.row(0).tolist() == [0, 1]  # the item for validation is not in it
    assert (split.validation.users.tolist(), split.validation.items.tolist()) == ([3], [4])
    assert split.validation.histories.lengths.tolist() == [0]
    check_split(split, sequences)


def test_cold_items_refuses_shares_and_catalogues_without_sense(sequences):
    with pytest.raises(ValueError, match=r"must be above 0 and below 0\.5"):
        cold_items(sequences, share=0.5)
    with pytest.raises(ValueError, match="too few to hold out"):
        cold_items(build([[(0, 0), (1, 1)]]), share=0.1)


def learn_cold_item(split: Split, sequences: Sequences) -> Split:
    train = split.train
    return replace(
        split, train=replace(train, items=np.where(train.items == train.items[0], split.test.items[0], train.items))
    )


def learn_the_future(split: Split, sequences: Sequences) -> Split:
    warm = np.isin(sequences.items, split.train.items)
    running = np.concatenate([[0], np.cumsum(warm)])
    return replace(split, train=Sequences(sequences.items[warm], running[sequences.offsets]))


@pytest.mark.parametrize("leak", [learn_cold_item, learn_the_future])
def test_check_split_finds_a_leak_between_items(sequences, leak):
    split = cold_items(sequences, share=0.2)
    check_split(split, sequences)
    with pytest.raises(ValueError, match=r"held-out item|is not what came before|history is not the beginning"):
        check_split(leak(split, sequences), sequences)
