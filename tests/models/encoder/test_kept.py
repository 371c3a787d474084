"""Encodings that were killed go on with the texts that are missing, and each different text is encoded once."""

import signal
import subprocess
import sys

import numpy as np
import pytest
from families import WORDS, tiny_base

from recsys.config import LoraConfig
from recsys.models.encoder import export, kept
from recsys.models.encoder.backbone import add_lora, load_backbone
from recsys.models.encoder.export import ExportedEncoder, encode_texts

TOKENS, AT_ONCE = 16, 16
KILLED = """
import os, signal, sys
from pathlib import Path
from recsys.models.encoder import export, kept, runtimes
from recsys.models.encoder.backbone import load_backbone

kept.TEXTS_AT_ONCE = export.TEXTS_AT_ONCE = int(sys.argv[1])
runtimes.OpenVinoRuntime.budget = 64

def progress(done, total):
    if done >= 50:
        os.kill(os.getpid(), signal.SIGKILL)

texts, folder, tokens = sys.stdin.read().splitlines(), Path(sys.argv[3]), int(sys.argv[4])
export.encode_texts(load_backbone(sys.argv[2]), texts, tokens, progress, folder)
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_base("bert", tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def texts() -> list[str]:
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(WORDS, rng.integers(1, 12))) for _ in range(120)]


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of texts of every call of a runtime, and few texts between two marks."""
    counts: list[int] = []
    opened = ExportedEncoder.open

    def counting(*args, **kwargs):
        encoder = opened(*args, **kwargs)
        run = encoder._runtime.run

        def counted(tokens, batches, vectors):
            counts.append(sum(map(len, batches)))
            yield from run(tokens, batches, vectors)

        encoder._runtime.run = counted
        return encoder

    monkeypatch.setattr(ExportedEncoder, "open", counting)
    monkeypatch.setattr(kept, "TEXTS_AT_ONCE", AT_ONCE)
    monkeypatch.setattr(export, "TEXTS_AT_ONCE", AT_ONCE)
    monkeypatch.setattr("recsys.models.encoder.runtimes.OpenVinoRuntime.budget", 64)  # a few texts a batch
    return counts


def test_a_killed_encoding_goes_on_with_what_is_missing(base, texts, encoded, tmp_path):
    whole = encode_texts(load_backbone(base), texts, TOKENS)
    assert encoded == [120]
    command = [sys.executable, "-c", KILLED, str(AT_ONCE), base, str(tmp_path), str(TOKENS)]
    done = subprocess.run(command, input="\n".join(texts), text=True, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    encoded.clear()
    told: list[int] = []
    found = encode_texts(load_backbone(base), texts, TOKENS, lambda done, _: told.append(done), tmp_path)
    assert 0 < sum(encoded) <= 120 - 32
    assert told[0] > 120 - sum(encoded)
    assert told[-1] == 120
    np.testing.assert_array_equal(found, whole)
    encoded.clear()
    np.testing.assert_array_equal(encode_texts(load_backbone(base), texts, TOKENS, keep=tmp_path), whole)
    assert encoded == []


def test_other_texts_another_adapter_and_a_damaged_file_begin_anew(base, texts, encoded, tmp_path):
    backbone = load_backbone(base)
    whole = encode_texts(backbone, texts, TOKENS, keep=tmp_path)
    [folder] = tmp_path.iterdir()
    encode_texts(backbone, [*texts, "w1 w2 w3 w4"], TOKENS, keep=tmp_path)
    encode_texts(add_lora(load_backbone(base), LoraConfig(rank=2), seed=0), texts, TOKENS, keep=tmp_path)
    encode_texts(backbone, texts, TOKENS + 1, keep=tmp_path)
    assert sum(encoded) == 120 + 121 + 120 + 120
    (folder / "vectors.npy").write_bytes(b"cut")
    encoded.clear()
    np.testing.assert_array_equal(encode_texts(backbone, texts, TOKENS, keep=tmp_path), whole)
    assert sum(encoded) == 120


def test_each_different_text_is_encoded_once(base, texts, encoded, tmp_path):
    twice = [*texts, *reversed(texts)]
    found = encode_texts(load_backbone(base), twice, TOKENS, keep=tmp_path)
    assert sum(encoded) == 120
    np.testing.assert_array_equal(found[:120], found[120:][::-1])
    assert len(np.unique(found, axis=0)) == 120


def test_what_is_kept_stays_as_it_is_when_the_vectors_are_written_to(base, texts, encoded, tmp_path):
    found = encode_texts(load_backbone(base), texts, TOKENS, keep=tmp_path)
    before = found.copy()
    found[:] = 0
    np.testing.assert_array_equal(encode_texts(load_backbone(base), texts, TOKENS, keep=tmp_path), before)


def test_what_is_large_lies_in_a_file_without_a_name(monkeypatch, tmp_path):
    monkeypatch.setattr(kept, "MAPPED_FROM", 100)
    small, large = kept.roomy((3, 5), tmp_path), kept.roomy((30, 5), tmp_path / "deeper")
    assert [_is_mapped(one) for one in (small, large, kept.roomy((30, 5), None))] == [False, True, False]
    large[:] = 7
    assert float(large.sum()) == 7 * 150
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def _is_mapped(array: np.ndarray) -> bool:
    return isinstance(array.base, np.memmap)
