"""Longer copies of mapped arrays, whose pages are counted by the kernel."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from recsys.store import mapping
from recsys.store.mapping import grown

ROWS, WIDTH = 20_000, 64  # 5 MB


def values() -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(ROWS, WIDTH)).astype(np.float32)


def from_npy(folder: Path) -> NDArray[np.float32]:
    np.save(folder / "vectors.npy", values())
    return np.asarray(np.load(folder / "vectors.npy", mmap_mode="r"))


def from_safetensors(folder: Path) -> NDArray[np.float32]:
    """A tensor that begins amid a page, with another behind it."""
    tensors = {"a": torch.ones(7), "vectors": torch.from_numpy(values()), "z": torch.ones(300)}
    save_file(tensors, folder / "some towers.safetensors")
    return np.asarray(load_file(folder / "some towers.safetensors")["vectors"].numpy())


def own_bytes() -> int:
    """Return how many bytes of this process's memory no file holds."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    (found,) = [line.split()[1] for line in lines if line.startswith("Anonymous:")]
    return int(found) * 1024


@pytest.mark.parametrize("mapped", [from_npy, from_safetensors])
def test_a_longer_copy_takes_what_is_written_to(mapped, tmp_path: Path) -> None:
    array, expected, before = mapped(tmp_path), values(), own_bytes()
    longer = grown(array, 100)
    longer[5], longer[ROWS:] = 1.0, 2.0
    assert own_bytes() - before < array.nbytes / 5
    assert not longer.flags.owndata
    expected[5] = 1.0
    np.testing.assert_array_equal(longer[:ROWS], expected)
    np.testing.assert_array_equal(longer[ROWS:], np.full((100, WIDTH), 2.0, np.float32))
    np.testing.assert_array_equal(array, values())  # neither the array nor its file has changed
    np.testing.assert_array_equal(mapped(tmp_path), array)


def test_a_copy_outlives_array_and_file(tmp_path: Path) -> None:
    array = from_npy(tmp_path)
    longer = grown(array, 1)
    (tmp_path / "vectors.npy").unlink()
    del array
    np.testing.assert_array_equal(longer[:ROWS], values())


def removed(folder: Path) -> NDArray[np.float32]:
    array = from_npy(folder)
    (folder / "vectors.npy").unlink()
    return array


def replaced(folder: Path) -> NDArray[np.float32]:
    """Another file lies where the array's did, and the path in the kernel's list says so."""
    array = from_npy(folder)
    np.save(folder / "other.npy", np.zeros((ROWS, WIDTH), np.float32))
    os.replace(folder / "other.npy", folder / "vectors.npy")
    return array


def ordinary(_: Path) -> NDArray[np.float32]:
    return values()


def some_columns(folder: Path) -> NDArray[np.float32]:
    return from_npy(folder)[:, 1:]


@pytest.mark.parametrize("unmapped", [removed, replaced, ordinary, some_columns])
def test_what_cannot_be_mapped_is_copied(unmapped, tmp_path: Path) -> None:
    array = unmapped(tmp_path)
    longer = grown(array, 3)
    assert longer.flags.owndata
    np.testing.assert_array_equal(longer[:ROWS], array)
    assert longer.shape == (ROWS + 3, array.shape[1])


def test_a_system_without_proc_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = from_npy(tmp_path)
    monkeypatch.setattr(mapping, "MAPS", tmp_path / "none")
    np.testing.assert_array_equal(grown(array, 0), array)
