"""What a protocol reads of a snapshot: times that are made up, and the order of events at the same time."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from synthetic import write_dataset

from recsys.config import EvaluationConfig, ExpertsConfig, ModelConfig, Protocol
from recsys.data.ingest import ingest
from recsys.data.snapshot import Snapshot
from recsys.errors import DataError
from recsys.evaluation.held_out import allowed_protocols, allows, make_split, read_sequences
from recsys.evaluation.leaks import check_split
from recsys.home import Home
from recsys.training.measuring import encode_texts

CONFIG = ModelConfig()


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """Days in the place of moments, so that times tie, and one time in fifty made up."""
    folder = tmp_path_factory.mktemp("data")
    events, items = write_dataset(folder)
    table = pl.read_parquet(events).with_columns(pl.col("timestamp").dt.truncate("1mo"))
    table.with_columns(timestamp_known=pl.int_range(pl.len()) % 50 != 7).write_parquet(events)
    return ingest(events, items, Home(folder / "home"))


def test_a_split_by_time_leaves_a_few_made_up_times_out_and_counts_them(snapshot: Snapshot) -> None:
    sequences, special = read_sequences(snapshot, "temporal", CONFIG)
    unknown = snapshot.unknown_times()
    assert 0 < unknown < 0.05 * len(snapshot.events())
    assert special == {"events_of_unknown_time_left_out": unknown}
    assert len(sequences.items) == len(snapshot.events()) - unknown
    assert len(sequences) == len(snapshot.user_ids())
    split = make_split(sequences, len(snapshot.item_ids()), "temporal", CONFIG)
    check_split(split, sequences)
    whole, special = read_sequences(snapshot, "leave-one-out", CONFIG)
    assert (len(whole.items), special) == (len(snapshot.events()), {})


def test_more_made_up_times_are_refused(snapshot: Snapshot) -> None:
    strict = replace(CONFIG, evaluation=EvaluationConfig(max_unknown_times=0.01))
    assert not allows(snapshot, "temporal", strict)
    assert allows(snapshot, "leave-one-out", strict)
    with pytest.raises(ValueError, match=r"made-up timestamps \(\d+ events\).*max_unknown_times"):
        read_sequences(snapshot, "temporal", strict)
    # the last fit reads all events and could not tell how old they are
    assert not allows(snapshot, "temporal", replace(CONFIG, experts=ExpertsConfig(popularity_half_life_days=9)))


@pytest.mark.parametrize("protocol", ["temporal", "leave-one-out", "cold-items"])
def test_ties_are_shuffled_by_the_seed_under_every_protocol(snapshot: Snapshot, protocol: str) -> None:
    plain, _ = read_sequences(snapshot, protocol, CONFIG)
    first, special = read_sequences(snapshot, protocol, CONFIG, shuffle_ties=True)
    again, _ = read_sequences(snapshot, protocol, CONFIG, shuffle_ties=True)
    other, _ = read_sequences(snapshot, protocol, replace(CONFIG, seed=1), shuffle_ties=True)
    assert special["tied_events_shuffled"] == snapshot.tied_events() > 100
    assert np.array_equal(first.items, again.items)
    for one, two in ((plain, first), (first, other)):
        assert not np.array_equal(one.items, two.items)
        assert all(sorted(one.row(user)) == sorted(two.row(user)) for user in range(len(one)))
    check_split(make_split(first, len(snapshot.item_ids()), protocol, CONFIG), first)


def test_without_ties_there_is_nothing_to_shuffle(tmp_path: Path) -> None:
    untied = ingest(*write_dataset(tmp_path / "data", users=12, items=12), Home(tmp_path / "home"))
    with pytest.raises(ValueError, match="no ties to shuffle"):
        read_sequences(untied, "leave-one-out", CONFIG, shuffle_ties=True)


EACH: tuple[Protocol, ...] = ("temporal", "leave-one-out")
NOW = 1_700_000_000
FEW = "No user has two events left to learn from"


@pytest.mark.parametrize(
    ("times", "each", "allowed", "told"),
    [
        (lambda n: [NOW] * n, 4, ["leave-one-out"], "temporal: .*three different times"),
        (lambda n: [*range(NOW, NOW + n)], 2, ["temporal"], "leave-one-out: .*longest .* has 2"),
        (lambda n: [*range(NOW, NOW + n)], 1, [], FEW),
        (lambda n: [NOW] * n, 2, [], "temporal: .*leave-one-out: "),
        (lambda n: [NOW] * n, 3, [], f"leave-one-out: {FEW}"),
    ],
)  # fmt: skip
def test_a_protocol_that_data_does_not_allow_is_left_out_before_anything_is_trained(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    times: Callable[[int], list[int]],
    each: int,
    allowed: list[str],
    told: str,
) -> None:
    rows = [(f"u{user}", f"i{(3 * user + place) % 7}") for place in range(each) for user in range(20)]
    events = pl.DataFrame(rows, schema=["user_id", "item_id"], orient="row").with_columns(
        timestamp=pl.Series(times(len(rows)))
    )
    items = pl.DataFrame({"item_id": [f"i{row}" for row in range(7)], "title": ["The same"] * 7})
    events.write_parquet(tmp_path / "events.parquet")
    items.write_parquet(tmp_path / "items.parquet")
    made = ingest(tmp_path / "events.parquet", tmp_path / "items.parquet", Home(tmp_path / "home"))
    config = replace(CONFIG, evaluation=EvaluationConfig(protocols=EACH))
    if allowed:
        assert allowed_protocols(made, config) == allowed
        assert re.search(f"is not measured by the protocol {told}", caplog.text)
    else:
        with pytest.raises(DataError, match=rf"allows none of evaluation\.protocols\. .*{told}"):
            allowed_protocols(made, config)
    with pytest.raises(DataError, match=r"All items of snapshot .*, 7, have one text, 'The same'"):
        encode_texts(made, config)
