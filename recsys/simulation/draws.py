"""Random numbers that are a function of what they are for: the same in whatever order, chunk or company they are drawn.

A number is a hash of a seed and of keys (which user, which visit, which item, what for), by the finaliser of SplitMix64
(Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014). So one list shown in two orders meets
the same luck, and a world is written in parts of any size.
"""

import zlib
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Keys = NDArray[Any] | int
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@cache
def purpose(name: str) -> int:
    """Return the key of what a number is for."""
    return zlib.crc32(name.encode())


def hashed(hashes: Hashes | int, keys: Keys) -> Hashes:
    """Return hashes that go on from others with more keys; both are broadcast."""
    further = (np.atleast_1d(np.asarray(keys)).astype(np.uint64) + np.uint64(1)) * _GOLDEN
    mixed = np.asarray(hashes, np.uint64) + further
    mixed = mixed ^ (mixed >> np.uint64(30))
    mixed *= _FIRST
    mixed ^= mixed >> np.uint64(27)
    mixed *= _SECOND
    mixed ^= mixed >> np.uint64(31)
    return mixed


def uniform(hashes: Hashes | int, what_for: str, keys: Keys = 0) -> NDArray[np.float64]:
    """Return numbers in [0, 1), one for each pair of hash and key."""
    bits = hashed(hashed(hashes, purpose(what_for)), keys) >> np.uint64(11)
    return bits * np.float64(2.0**-53)


def normal(hashes: Hashes | int, what_for: str, keys: Keys = 0) -> NDArray[np.float64]:
    """Return standard normal numbers, by the transform of Box and Muller (1958)."""
    length = np.sqrt(-2.0 * np.log1p(-uniform(hashes, what_for, keys)))
    return length * np.cos(2 * np.pi * uniform(hashes, f"{what_for}, angle", keys))


def directions(hashes: Hashes, what_for: str, dimensions: int) -> NDArray[np.float32]:
    """Return one unit vector of a uniformly random direction for each hash, (n, dimensions)."""
    return unit(normal(hashes[:, None], what_for, np.arange(dimensions)[None, :]))


def unit(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return vectors at length one, along the last axis."""
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def chosen(numbers: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return for each uniform number a place, as often as its weight says.

    Args:
        numbers: (n,) or (n, m) in [0, 1).
        weights: (places,) for all, or (n, places) for each row of its own.
    """
    running = np.cumsum(weights, axis=-1)
    if weights.ndim == 1:
        return np.minimum(np.searchsorted(running, numbers * running[-1], side="right"), len(weights) - 1)
    running /= running[:, -1:]
    wide = numbers if numbers.ndim == 2 else numbers[:, None]
    # every row's sums in an interval of its own, so that one search serves all rows
    places = np.arange(len(running))[:, None]
    found = np.searchsorted((running + places).ravel(), wide + places, side="right") - places * weights.shape[1]
    found = np.clip(found, 0, weights.shape[1] - 1)
    return found if numbers.ndim == 2 else found[:, 0]
