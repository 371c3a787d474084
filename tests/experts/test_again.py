"""Buying again: what is planted is found, and the laws that its chances obey."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.data.sequences import UNKNOWN_TIME, Sequences
from recsys.experts.again import BuyAgain, fit_again

DAY = 86_400
INTERVALS = np.array([5, 14, 30, 60]) * DAY
CHANCES = np.array([0.8, 0.6, 0.5, 0.3])
NEVER, CATALOGUE = 4, 6


def timed(rows):
    """Return sequences of rows of (time, item)."""
    plain = Sequences.from_lists([[item for _, item in row] for row in rows])
    times = np.array([time for row in rows for time, _ in row], dtype=np.int64)
    return Sequences(plain.items, plain.offsets, times)


@pytest.fixture(scope="module")
def train():
    """People who buy four things each at its own interval, and a fifth once, on the day when all is looked at."""
    random = np.random.default_rng(0)
    rows = []
    for _ in range(400):
        row = [(365 * DAY, NEVER)]
        for item, interval in enumerate(INTERVALS):
            time, own = random.uniform(0, 200 * DAY), interval * np.exp(random.normal(0, 0.3))
            while time < 365 * DAY:
                row.append((int(time), item))
                if random.random() > CHANCES[item]:
                    break
                time += own * np.exp(random.normal(0, 0.1))
        rows.append(sorted(row))
    return timed(rows)


@pytest.fixture(scope="module")
def again(train):
    return fit_again(train, CATALOGUE)


def test_what_is_planted_is_found(again):
    np.testing.assert_allclose(again.chances[:4], CHANCES, atol=0.06)
    np.testing.assert_allclose(np.exp(again.means[:4]), INTERVALS, rtol=0.15)
    assert again.chances[NEVER] < again.chances[:4].min()
    assert again.person_strength < 1  # people differ more than a person does from one time to the next


def test_a_thing_is_due_when_its_interval_ends_and_given_up_when_it_is_long_over(again):
    history = timed([[(0, 2)]])
    chances = [again.due(history, day * DAY).chances[0] for day in (1, 28, 300)]
    assert chances[1] > 10 * chances[0]
    assert chances[1] > 10 * chances[2]


def test_a_persons_own_interval_speaks_the_louder_the_longer_the_run(again):
    weekly = [(7 * DAY * week, 2) for week in range(6)]  # of what others buy every 30 days
    found = [again.due(timed([weekly[:count]])).intervals[0] / DAY for count in (1, 2, 6)]
    assert 25 < found[0] < 35
    assert found[0] > found[1] > found[2] > 7
    assert found[2] == pytest.approx(7, rel=0.3)


def test_a_run_makes_the_next_time_likelier(again):
    histories = [Sequences.from_lists([[3] * count]) for count in (1, 2, 5)]  # without times: at any moment
    chances = [again.due(history).chances[0] for history in histories]
    assert chances[0] == pytest.approx(again.chances[3] * again.window / np.exp(again.means[3]))
    assert chances[0] < chances[1] < chances[2] < 1


def test_some_times_may_be_unknown(again):
    history = timed([[(UNKNOWN_TIME, 0), (UNKNOWN_TIME, 1), (3 * DAY, 1), (5 * DAY, 2)]])
    due = again.due(history, 30 * DAY)
    place = {item: number for number, item in enumerate(due.items.tolist())}
    assert np.isnan(due.ago[place[0]])
    assert due.ago[place[1]] == 27 * DAY
    assert due.chances[place[0]] == again.due(Sequences.from_lists([[0]])).chances[0]


def test_in_all_of_time_it_is_taken_again_as_often_as_it_ever_is(again):
    patient = replace(again, window=1e15)
    for item in range(CATALOGUE):
        assert patient.due(timed([[(0, item)]])).chances[0] == pytest.approx(again.chances[item])


def test_events_of_one_moment_are_one(again):
    once, twice = timed([[(0, 0), (5 * DAY, 0)]]), timed([[(0, 0), (0, 0), (5 * DAY, 0), (5 * DAY, 0)]])
    np.testing.assert_array_equal(again.score(once), again.score(twice))


def test_nobody_has_taken_anything_twice():
    assert fit_again(timed([[(0, 1), (5, 2)], [], [(3, 1)]]), 4) is None
    assert fit_again(timed([[(7, 1), (7, 1)]]), 4) is None  # at one moment


def test_without_times_chances_are_learnt_alone():
    again = fit_again(Sequences.from_lists([[1, 1, 2], [1, 2], [1, 1, 1]]), 4)
    assert again.chances[1] > again.chances[2]
    due = again.due(Sequences.from_lists([[1, 2]]))
    assert due.items.tolist() == [1, 2]
    assert np.isnan(due.ago).all()
    assert np.isnan(due.intervals).all()


def test_a_new_item_is_taken_to_be_like_all(again):
    wider = again.extended(CATALOGUE + 2)
    history = timed([[(0, CATALOGUE + 1), (9 * DAY, 0)]])
    scores = wider.score(history)
    assert scores.shape == (1, CATALOGUE + 2)
    assert scores[0, CATALOGUE + 1] > 0
    np.testing.assert_array_equal(scores[0, :CATALOGUE], again.score(timed([[(9 * DAY, 0)]]))[0])


def test_save_and_load_keep_every_score(again, train, tmp_path):
    again.save(tmp_path, "again")
    np.testing.assert_array_equal(BuyAgain.load(tmp_path, "again").score(train), again.score(train))


def test_fitting_twice_gives_the_same(again, train):
    np.testing.assert_array_equal(fit_again(train, CATALOGUE).score(train), again.score(train))


@st.composite
def histories(draw):
    rows = draw(
        st.lists(st.lists(st.tuples(st.integers(0, 400 * DAY), st.integers(0, CATALOGUE - 1)), max_size=8), max_size=5)
    )
    return timed([sorted(row) for row in rows]), draw(st.integers(0, 2_000 * DAY))


@given(histories())
def test_chances_are_chances_of_what_was_taken_and_do_not_depend_on_the_batch(again, asked):
    rows, later = asked
    now = np.full(len(rows), later)
    scores = np.asarray(again.sparse_scores(rows, now).todense())
    assert scores.shape == (len(rows), CATALOGUE)
    assert ((scores >= 0) & (scores <= 1)).all()
    for row in range(len(rows)):
        own = rows.take(np.array([row]))
        untaken = np.setdiff1d(np.arange(CATALOGUE), own.items)
        assert (scores[row, untaken] == 0).all()
        np.testing.assert_array_equal(again.sparse_scores(own, now[:1]).todense(), scores[[row]])
        due = again.due(own, later)
        assert sorted(due.items) == sorted(set(own.items.tolist()))
        np.testing.assert_array_equal(due.chances.astype(np.float32), scores[row, due.items])
        assert (np.diff(due.chances) <= 0).all()


@given(st.sampled_from([2, 60, 3_600]))
def test_the_unit_of_time_does_not_matter(again, train, unit):
    slower = fit_again(Sequences(train.items, train.offsets, train.times * unit), CATALOGUE)
    np.testing.assert_allclose(slower.score(Sequences(train.items, train.offsets, train.times * unit)),
                               again.score(train), atol=1e-5)  # fmt: skip
