"""Where events are cut into segments: the leaves of a trie over time and, within an hour, over users.

The path of an event is its time in steps of 2^12 seconds, then a stable hash of its user. The root holds all events; a
node with more than ``LEAF_ROWS`` is split by the next bit, one with fewer is a leaf. So the leaves depend on the events
alone, those of a day lie in the newest leaves, and each leaf holds ``LEAF_ROWS`` events at most, or those of one user
in an hour. A leaf is told by neighbours: its node is the child of the lowest node that it shares with one of them.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.data import columns

LEAF_ROWS = 1 << 18
STEP = 12  # bits of seconds that a node in time has at least
TIME_BITS, USER_BITS = 64 - STEP, 64
BITS = TIME_BITS + USER_BITS
_OFFSET = 1 << (TIME_BITS - 1)  # so that steps before 1970 sort before those after
_DIGITS = BITS // 4
MICROSECONDS = 1_000_000  # in a second


@dataclass(frozen=True)
class Node:
    """A part of all paths: those that begin with ``prefix``, a number of ``bits`` bits."""

    bits: int
    prefix: int

    @property
    def name(self) -> str:
        """Names sort as the nodes lie, from the oldest."""
        return f"{self.prefix << (BITS - self.bits):0{_DIGITS}x}-{self.bits}"

    def holds(self, path: int) -> bool:
        """Tell whether a path leads through the node."""
        return path >> (BITS - self.bits) == self.prefix


ROOT = Node(0, 0)


def node_named(name: str) -> Node:
    """Return the node of a name.

    Raises:
        ValueError: no node is called so.
    """
    digits, sign, bits = name.partition("-")
    node = Node(int(bits), int(digits, 16) >> (BITS - int(bits)))
    if not sign or node.name != name:
        raise ValueError(f"{name} names no segment")
    return node


def shared_bits(one: int, other: int) -> int:
    """Return how many bits two paths have in common from their beginning."""
    return BITS - (one ^ other).bit_length()


def nodes_of(paths: Sequence[int]) -> list[Node]:
    """Return the nodes of all leaves, given for each the path of any event in it, ascending."""
    shared = [-1, *(shared_bits(one, other) for one, other in pairwise(paths)), -1]
    depths = [max(before, after) + 1 for before, after in pairwise(shared)]
    return [Node(bits, path >> (BITS - bits)) for bits, path in zip(depths, paths, strict=True)]


def steps(times: pl.Series) -> NDArray[np.int64]:
    """Return the part of each path that is in time, as a number of ``TIME_BITS`` bits; times are microseconds."""
    return ((times.to_physical().to_numpy() // MICROSECONDS) >> STEP) + _OFFSET


def users_hashed(users: pl.Series) -> NDArray[np.uint64]:
    """Return 64 bits of each user id, the same ones for ever."""
    ids = users.unique()
    hashes = [int.from_bytes(hashlib.blake2b(one.encode(), digest_size=8).digest(), "big") for one in ids.to_list()]
    return users.replace_strict(ids, pl.Series(hashes, dtype=pl.UInt64), return_dtype=pl.UInt64).to_numpy()


def cuts(events: pl.DataFrame) -> list[tuple[int, NDArray[np.uint32]]]:
    """Return the leaves of some events that are all of a node: for each a path in it, and the rows, ascending."""
    times = steps(events[columns.TIMESTAMP])
    narrow = times - times.min()
    keys = narrow.astype(np.uint16) if narrow.max() < 1 << 16 else narrow  # eight years, which are sorted by counting
    order = np.argsort(keys, kind="stable").astype(np.uint32)
    found: list[tuple[int, NDArray[np.uint32]]] = []
    for start, end in _halved(times[order], 0, events.height, TIME_BITS):
        rows = order[start:end]
        path = int(times[rows[0]]) << USER_BITS
        if end - start <= LEAF_ROWS:
            found.append((path, np.sort(rows)))
            continue
        hashes = users_hashed(events[columns.USER_ID].gather(rows))
        within = np.argsort(hashes, kind="stable")
        for first, last in _halved(hashes[within], 0, len(rows), USER_BITS):
            own = within[first:last]
            found.append((path | int(hashes[own[0]]), np.sort(rows[own])))
    return list(found)


def path_of(events: pl.DataFrame) -> int:
    """Return the path of one of some events."""
    first = events[:1]
    step, user = int(steps(first[columns.TIMESTAMP])[0]), int(users_hashed(first[columns.USER_ID])[0])
    return step << USER_BITS | user


def _halved(keys: NDArray[np.integer], start: int, end: int, bits: int) -> list[tuple[int, int]]:
    """Return where the leaves among sorted keys begin and end; one of equal keys may be larger than a leaf."""
    if end - start <= LEAF_ROWS or keys[start] == keys[end - 1]:
        return [(start, end)]
    low, high = int(keys[start]), int(keys[end - 1])
    bit = (low ^ high).bit_length() - 1
    middle = (high >> bit) << bit
    half = start + int(np.searchsorted(keys[start:end], keys.dtype.type(middle)))
    return _halved(keys, start, half, bit) + _halved(keys, half, end, bit)
