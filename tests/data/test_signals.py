"""What events mean: rules by type and value, what data suggests, and what is refused."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.config import ModelConfig, SignalConfig, from_dict, to_dict
from recsys.data.sequences import ALIKE, LIKES_ALIKE, EventSignals, Sequences
from recsys.data.signals import Signals, said, suggested
from recsys.errors import DataError, SettingError

START = datetime(2026, 1, 1, tzinfo=UTC)
SHOP = Signals(
    (
        SignalConfig("target", "purchase", per_value=10.0),
        SignalConfig("positive", "view", weight=0.2, half_life_days=10, ttl_days=50),
        SignalConfig("negative", "rating", below=3),
        SignalConfig("target", "rating", at_least=4),
        SignalConfig("seen", "rating"),
        SignalConfig("ignored", "impression"),
    )
)


def table(*rows: tuple[str | None, float | None, float]) -> pl.DataFrame:
    """Events of one user on items of their own: type, value, day."""
    return pl.DataFrame(
        {
            "user_id": ["u"] * len(rows),
            "item_id": [f"i{number}" for number in range(len(rows))],
            "timestamp": [START + timedelta(days=day) for _, _, day in rows],
            "event_type": [name for name, _, _ in rows],
            "value": [value for _, value, _ in rows],
        },
        schema_overrides={"event_type": pl.String, "value": pl.Float64, "timestamp": pl.Datetime("us", "UTC")},
    )


EVENTS = table(
    ("purchase", 25.0, 0),
    ("view", None, 0),  # older than its time to live
    ("view", None, 50),
    ("rating", 2.0, 60),
    ("rating", 5.0, 60),
    ("rating", 3.0, 60),
    ("rating", None, 60),
    ("impression", None, 60),
    (None, None, 60),
    ("newsletter", None, 60),  # of a type that no rule knows
    ("purchase", None, 60),
    ("purchase", 1e9, 60),
)


def test_the_first_rule_that_fits_speaks_for_an_event() -> None:
    found = SHOP.of_events(EVENTS)
    assert found.kinds.tolist() == [0, -1, 1, 2, 3, 4, 4, -1, 6, -1, 0, 0]
    weights = found.weights[found.kinds >= 0]
    assert weights.tolist() == pytest.approx([2.5, 0.1, -1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 100.0])
    meant = found.at(found.kinds >= 0)
    assert meant.targets.tolist() == [True, False, False, True, False, False, True, True, True]
    # a rating takes its film out of lists whatever it is, since ratings have targets; a look leaves it in
    assert meant.taken.tolist() == [True, False, True, True, True, True, True, True, True]


def test_one_history_means_what_the_table_means() -> None:
    times = [int((time - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1e6) for time in EVENTS["timestamp"]]
    kept, meant = SHOP.of_history(EVENTS["event_type"].to_list(), EVENTS["value"].to_list(), times)
    whole = SHOP.of_events(EVENTS)
    assert kept.tolist() == (whole.kinds >= 0).tolist()
    assert meant.kinds.tolist() == whole.kinds[kept].tolist()
    assert meant.weights.tolist() == pytest.approx(whole.weights[kept].tolist())


@given(st.lists(st.tuples(st.sampled_from([None, *"pvrxz"]), st.none() | st.floats(-5, 12), st.floats(0, 90))))
def test_both_ways_to_read_events_agree(rows: list[tuple[str | None, float | None, float]]) -> None:
    rules = Signals(
        (
            SignalConfig("target", "p", per_value=2.0),
            SignalConfig("positive", "v", weight=0.5, half_life_days=7, ttl_days=30),
            SignalConfig("negative", "r", below=0.5),
            SignalConfig("ignored", "x"),
            SignalConfig("seen", at_least=3, below=9),
        )
    )
    events = table(*rows)
    if not rows:
        return
    times = [int(day * 86_400 * 1e6) for _, _, day in rows]
    kept, meant = rules.of_history([name for name, _, _ in rows], [value for _, value, _ in rows], times)
    whole = rules.of_events(events)
    # whole seconds in the one, microseconds in the other
    near = [abs(max(day for *_, day in rows) - day - 30) > 1e-4 for *_, day in rows]
    assert [one for one, far in zip(kept.tolist(), near, strict=True) if far] == [
        one for one, far in zip((whole.kinds >= 0).tolist(), near, strict=True) if far
    ]
    if all(near):
        assert meant.weights.tolist() == pytest.approx(whole.weights[kept].tolist(), rel=1e-4)


def row(items: list[int], weights: list[float]) -> Sequences:
    """One row of events that are likes, looks or dislikes by their weight."""
    kinds = np.array([0 if weight > 0 else 1 if weight < 0 else 2 for weight in weights], dtype=np.int8)
    signals = EventSignals(kinds, np.array(weights, np.float32), ("target", "negative", "seen"), (True, True, True))
    return Sequences(np.array(items, np.int32), np.array([0, len(items)]), signals=signals)


def test_a_dislike_takes_back_what_came_before_and_is_undone_by_what_comes_after() -> None:
    events = row([7, 7, 8, 8, 8, 9, 9], [1, -1, -1, 0, 1, -1, 0])
    assert events.disliked().tolist() == [True, True, False, False, False, True, True]
    assert events.liked().items.tolist() == [8]
    assert sorted(set(events.taken().items.tolist())) == [7, 8, 9]
    alike = events.weighed(ALIKE)
    assert alike.signals is not None
    assert alike.signals.weights.tolist() == [1, 1, 1, 0, 1, 1, 0]
    assert alike.disliked().tolist() == events.disliked().tolist()  # what events mean stays
    softer = row([1, 2, 3], [0.2, -1, 0]).weighed(LIKES_ALIKE)
    assert softer.signals is not None
    assert softer.signals.weights.tolist() == [1, -1, 0]


@pytest.mark.parametrize(
    ("events", "rules"),
    [
        (
            table(("purchase", None, 0), ("view", None, 1), ("return", None, 2)),
            ["purchase: target", "return: negative", "view: positive with weight 0.1"],
        ),
        (
            table(*[("rating", float(value), value) for value in (1, 2, 3, 4, 5)]),
            ["rating of at least 4: target", "rating below 3: negative", "rating: positive with weight 0.3"],
        ),
        (table(("rating", 0.0, 0), ("rating", 1.0, 1)), ["rating of at least 1: target", "rating below 1: negative"]),
        (table(("play", 33.3, 0), ("skip", None, 1)), ["play: target", "skip: ignored"]),
        (
            table(("view", None, 0), ("add-to-cart", None, 1), ("dislike", None, 2)),
            ["add-to-cart: target", "dislike: negative", "view: positive with weight 0.1"],
        ),
    ],
)
def test_types_and_values_suggest_rules(events: pl.DataFrame, rules: list[str]) -> None:
    found = suggested(events)
    assert found is not None
    assert [said(rule) for rule in found] == rules
    Signals(found).check(events)


@pytest.mark.parametrize(
    "events",
    [
        table(("purchase", None, 0)).drop("event_type"),
        table(("purchase", None, 0)).drop("value"),
        table((None, 3.0, 0)),
        table(("interaction", 3.0, 0)),
        table(("a", None, 0), ("b", None, 1)),  # names that nobody knows
        table(("watched", 0.31, 0), ("watched", 0.77, 1)),  # one type whose values are no ratings
    ],
)
def test_where_nothing_is_known_all_events_count_the_same(events: pl.DataFrame) -> None:
    assert suggested(events) is None


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        (
            [SignalConfig("target", "purchas")],
            r"signals\[0\] names the event type 'purchas'; there are .*Did you mean 'purchase'",
        ),
        (
            [SignalConfig("target", "rating", at_least=9)],
            r"signals\[0\], rating of at least 9: target, fits no event. Values reach from 2 to 5",
        ),
        ([SignalConfig("ignored")], "No event has the role target"),
        ([SignalConfig("target", "view"), SignalConfig("seen", "view")], r"signals\[1\], view: seen, fits no event"),
    ],
)
def test_rules_that_fit_nothing_are_refused_in_a_sentence(rules: list[SignalConfig], told: str) -> None:
    with pytest.raises(DataError, match=told):
        Signals(tuple(rules)).check(EVENTS)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([{"role": "tarket"}], "signals\\[0\\].role is \"tarket\".*Did you mean 'target'"),
        ([{"role": "target", "weight": 0}], "signals\\[0\\].weight is 0; it takes a number, above 0"),
        ([{"role": "target", "at_least": 4, "below": 3}], "signals\\[0\\].below is 3 beside at_least 4"),
        ([{"role": "seen", "half_life_days": 3}], "signals\\[0\\].half_life_days says how much an event counts"),
        ([{"role": "target", "at_least": float("inf")}], "signals\\[0\\].at_least is Infinity"),
        ([3], "signals\\[0\\] is 3; it takes an object"),
        ("target", 'signals is "target"'),
        ([{"event_type": "view"}], "signals\\[0\\].role is missing"),
    ],
)
def test_rules_are_settings_like_others(given: object, told: str) -> None:
    with pytest.raises(SettingError, match=told):
        from_dict(ModelConfig, {"signals": given})


def test_rules_are_written_where_there_are_some_and_only_there() -> None:
    config = ModelConfig(signals=SHOP.rules)
    assert from_dict(ModelConfig, to_dict(config)) == config
    assert "signals" not in to_dict(ModelConfig())  # and so ids are what they were
    assert to_dict(ModelConfig(signals=()))["signals"] == []
