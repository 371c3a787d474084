"""Settings, sequences and atomic files: the ground that everything stands on."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys import artifacts
from recsys.artifacts import ArtifactError, canonical_json, short_id, verify_folder, write_atomic
from recsys.config import (
    AdapterConfig,
    CategoryConfig,
    ClassifierConfig,
    IngestConfig,
    LoraConfig,
    ModelConfig,
    PretrainConfig,
    TextConfig,
    from_dict,
    to_dict,
)
from recsys.data.sequences import Sequences

rows_of_items = st.lists(st.lists(st.integers(0, 20), max_size=8), max_size=8)


LORA = LoraConfig(base="a folder", rank=4, alpha=8.0, rslora=True, targets=("query", "value"))
FLAT = {"base": "a folder", "rank": 4, "alpha": 8.0, "rslora": True, "targets": ["query", "value"]}


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(text=TextConfig(fields=("title", "brand")), adapter=AdapterConfig(LORA, rounds=3), seed=7),
        PretrainConfig(LORA, text=TextConfig(max_tokens=9)),
        ClassifierConfig(LORA, dropout=0.2),
        IngestConfig(categories=CategoryConfig("a" * 16)),
    ],
)
def test_settings_survive_json(config):
    assert from_dict(type(config), json.loads(json.dumps(to_dict(config)))) == config
    assert from_dict(type(config), {}) == type(config)()


def test_what_a_nested_setting_leaves_open_is_as_it_stood_there():
    assert from_dict(ClassifierConfig, {"lora": {"rank": 4}}).lora == LoraConfig(rank=4, alpha=32.0)
    changed = from_dict(ModelConfig, {"adapter": {"rounds": 3}}, ModelConfig(adapter=AdapterConfig(LORA), seed=7))
    assert changed == ModelConfig(adapter=AdapterConfig(LORA, rounds=3), seed=7)


def test_an_unknown_setting_is_named():
    with pytest.raises(ValueError, match="LoraConfig has no setting 'ranks'; it has alpha, base"):
        from_dict(ModelConfig, {"adapter": {"lora": {"ranks": 3}}})
    with pytest.raises(ValueError, match="AdapterConfig has no setting 'rank'; it has items_per_round"):
        from_dict(ModelConfig, {"adapter": {"lora": {}, "rank": 3}})


def test_settings_of_before_lora_had_a_place_of_its_own_are_read():
    idle = {"dropout": 0.1}
    adapter = from_dict(ModelConfig, {"adapter": FLAT | idle | {"rounds": 3}, "seed": 7})
    assert adapter == ModelConfig(adapter=AdapterConfig(LORA, rounds=3), seed=7)
    assert from_dict(PretrainConfig, FLAT | idle) == PretrainConfig(LORA)
    assert from_dict(ClassifierConfig, FLAT | idle) == ClassifierConfig(LORA, dropout=0.1)
    assert from_dict(ClassifierConfig, {"rank": 4}) == ClassifierConfig(LoraConfig(rank=4, alpha=32.0))


def test_settings_cannot_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ModelConfig().seed = 1


@given(rows_of_items)
def test_sequences_are_their_rows(rows):
    sequences = Sequences.from_lists(rows)
    assert [sequences.row(index).tolist() for index in range(len(sequences))] == rows
    assert sequences.lengths.tolist() == [len(row) for row in rows]


@given(rows_of_items, st.integers(0, 5))
def test_last_keeps_the_newest(rows, count):
    cut = Sequences.from_lists(rows).last(count)
    assert [cut.row(index).tolist() for index in range(len(cut))] == [row[max(0, len(row) - count) :] for row in rows]


@given(rows_of_items.filter(len), st.data())
def test_take_picks_rows_in_order(rows, data):
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=6))
    taken = Sequences.from_lists(rows).take(np.array(chosen, dtype=np.int64))
    assert [taken.row(index).tolist() for index in range(len(taken))] == [rows[index] for index in chosen]


def test_ages_count_newer_events():
    assert Sequences.from_lists([[5, 6, 7], [], [8]]).ages().tolist() == [2, 1, 0, 0]


def test_times_follow_their_events():
    sequences = Sequences(np.array([1, 2, 3], np.int32), np.array([0, 2, 3]), np.array([10, 20, 30]))
    assert sequences.take(np.array([1])).times.tolist() == [30]
    assert sequences.last(1).times.tolist() == [20, 30]


def test_one_value_has_one_spelling():
    assert canonical_json({"b": 1, "a": "é"}) == canonical_json({"a": "é", "b": 1}) == '{"a":"é","b":1}'.encode()
    assert short_id(1, "2") != short_id("1", 2)
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(float("nan"))


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomic(path, b"old")
    monkeypatch.setattr(artifacts.os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_verification_names_the_file_that_is_wrong(tmp_path):
    (tmp_path / "a").write_text("1")
    expected = artifacts.digest_folder(tmp_path)
    verify_folder(tmp_path, expected)
    (tmp_path / "a").write_text("2")
    with pytest.raises(ArtifactError, match=r"a has changed"):
        verify_folder(tmp_path, expected)
