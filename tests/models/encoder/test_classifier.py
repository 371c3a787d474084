"""The text classifier: it learns, repeats itself, goes on after a kill, and tells alone what it tells in a batch."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from synthetic import HEADLINES, SMALL_CLASSIFIER, TICKETS, write_labelled

from recsys.artifacts import ArtifactError
from recsys.models.checkpoints import Checkpoint
from recsys.models.encoder import classifier_training as module
from recsys.models.encoder.classifier import Classifier, LabelledTexts, numbered
from recsys.models.encoder.classifier_training import train_classifier
from recsys.models.optimisation import DivergedError

pytestmark = pytest.mark.processor
CONFIG = replace(SMALL_CLASSIFIER, dropout=0.1)


def parts(folder, templates):
    read = []
    for path in write_labelled(folder, templates):
        rows = [line.partition(" ") for line in path.read_text().splitlines()]
        read.append(LabelledTexts([text for _, _, text in rows], [label for label, _, _ in rows]))
    return read


@pytest.fixture(scope="module")
def tickets(tmp_path_factory):
    return parts(tmp_path_factory.mktemp("tickets"), TICKETS)


@pytest.fixture(scope="module")
def run(tickets):
    return train_classifier(*tickets, CONFIG, seed=0)


def test_it_learns_what_the_texts_are(run):
    assert run.classifier.labels == ("billing", "login", "shipping")
    assert run.history[-1]["train_loss"] < run.history[0]["train_loss"]
    assert max(row["dev_accuracy"] for row in run.history) >= 0.9
    assert run.history[run.epochs - 1]["dev_accuracy"] == max(row["dev_accuracy"] for row in run.history)


def test_probabilities_sum_to_one_and_do_not_depend_on_the_batch(run, tickets):
    texts = [*tickets[1].texts[:5], "", "é\u0000🎬", "word " * 500]
    together = run.classifier.probabilities(texts)
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-6)
    for row, text in zip(together, texts, strict=True):
        np.testing.assert_allclose(run.classifier.probabilities([text])[0], row, atol=2e-2)  # bf16 where there is any


def test_the_stored_one_says_the_same(run, tickets, tmp_path):
    run.classifier.save(tmp_path)
    assert {"adapter_model.safetensors", "head.safetensors", "labels.json"} <= {
        path.name for path in tmp_path.iterdir()
    }
    loaded = Classifier.load(tmp_path, CONFIG.lora.base)
    texts = tickets[1].texts
    wanted, found = run.classifier.probabilities(texts), loaded.probabilities(texts)
    assert (wanted.argmax(1) == found.argmax(1)).mean() >= 0.95
    np.testing.assert_allclose(found, wanted, atol=0.1)  # merging rounds where the processor computes in bf16


def test_a_folder_without_a_head_is_refused(run, tmp_path):
    with pytest.raises(ArtifactError, match="no classifier"):
        Classifier.load(tmp_path, CONFIG.lora.base)
    run.classifier.save(tmp_path)
    (tmp_path / "head.safetensors").unlink()
    with pytest.raises(ArtifactError, match="Train it again"):
        Classifier.load(tmp_path, CONFIG.lora.base)


def test_a_killed_training_goes_on_to_the_same_weights(run, tickets, tmp_path):
    def kill(record):
        if record["epoch"] == 2:
            raise KeyboardInterrupt

    checkpoint = Checkpoint(tmp_path / "checkpoint", "key")
    with pytest.raises(KeyboardInterrupt):
        train_classifier(*tickets, CONFIG, seed=0, each_epoch=kill, checkpoint=checkpoint)
    resumed_from = []
    again = train_classifier(
        *tickets, CONFIG, seed=0, checkpoint=checkpoint, progress=lambda done, _: resumed_from.append(done)
    )
    steps = -(-len(tickets[0]) // CONFIG.batch_size)
    assert resumed_from[0] == steps + 1  # the first epoch was kept
    assert again.history == run.history
    for name, weight in run.classifier.head.state_dict().items():
        assert torch.equal(weight, again.classifier.head.state_dict()[name])
    weights, others = (dict(one.classifier.backbone.model.named_parameters()) for one in (run, again))
    assert weights.keys() == others.keys()
    assert all(torch.equal(weight, others[name]) for name, weight in weights.items())


def test_averaging_changes_what_is_judged_and_kept_but_not_what_is_learnt(run, tickets):
    plain = train_classifier(*tickets, replace(CONFIG, averaging=0.0), seed=0)
    for one, other in zip(run.history, plain.history, strict=True):
        assert one["train_loss"] == other["train_loss"]
        assert one["dev_loss"] != other["dev_loss"]


def test_a_checkpoint_of_other_inputs_or_a_damaged_one_counts_for_nothing(tmp_path, caplog):
    Checkpoint(tmp_path / "checkpoint", "key").save({"step": 3})
    assert Checkpoint(tmp_path / "checkpoint", "key").load() == {"step": 3}
    assert Checkpoint(tmp_path / "checkpoint", "other").load() is None
    (tmp_path / "checkpoint").write_bytes((tmp_path / "checkpoint").read_bytes()[:100])
    assert Checkpoint(tmp_path / "checkpoint", "key").load() is None
    assert "begins anew" in caplog.text


def test_training_stops_when_nothing_gets_better(tmp_path):
    # Steps of no length: no epoch can be better than the first, however a processor rounds.
    still = replace(CONFIG, epochs=8, patience=2, learning_rate=0.0)
    run = train_classifier(*parts(tmp_path, HEADLINES), still, seed=0)
    assert [row["dev_loss"] for row in run.history] == [run.history[0]["dev_loss"]] * 3
    assert run.epochs == 1


@pytest.mark.parametrize(("broken", "message"), [(float("nan"), "The loss became nan"), (0.0, "The gradient became")])
def test_a_loss_or_a_gradient_that_is_no_number_ends_the_training(tickets, monkeypatch, broken, message):
    real = module.functional.cross_entropy

    def loss(logits, wanted):
        # the root of nothing is nothing, but its slope is infinite
        return real(logits, wanted) * broken + (logits.sum() * broken).abs().sqrt()

    monkeypatch.setattr(module.functional, "cross_entropy", loss)
    with pytest.raises(DivergedError, match=rf"{message}.* in epoch 1\. Lower learning_rate; nothing was saved"):
        train_classifier(*tickets, CONFIG, seed=0)


def test_bad_labels_are_named(tickets):
    with pytest.raises(ValueError, match="one label only"):
        train_classifier(LabelledTexts(["a", "b"], ["x", "x"]), tickets[1], CONFIG, seed=0)
    with pytest.raises(ValueError, match="Text 2 has the label 'z'"):
        numbered(LabelledTexts(["a", "b"], ["x", "z"]), ["x", "y"])
