"""Pieces of events, from the oldest, become leaves: neighbours that are few enough together are one."""

from dataclasses import dataclass
from typing import Protocol

import polars as pl

from recsys.data import columns
from recsys.data.segments import trie
from recsys.data.segments.leaf import Segment
from recsys.data.segments.trie import shared_bits


class Keeper(Protocol):
    """What happens to leaves."""

    def write(self, path: int, events: pl.DataFrame, ordered: bool = True) -> None:
        """Take a leaf: a path in it, and its events; ``ordered``: they are in their order."""

    def keep(self, path: int, segment: Segment) -> None:
        """Take a leaf that is a segment already."""

    def load(self, segment: Segment) -> pl.DataFrame:
        """Return the events of a segment, which is to be another leaf."""


@dataclass
class _Piece:
    """A node of which all is known. One that has more than a leaf holds is settled, as is a leaf that was written."""

    path: int
    events: pl.DataFrame | None = None
    stored: Segment | None = None

    @property
    def rows(self) -> int:
        """How many events there are; 0: it is settled."""
        return self.stored.rows if self.stored else 0 if self.events is None else self.events.height


class Settling:
    """Puts pieces together as they come.

    What is held in memory are two leaves at most: of older pieces it is known then that they will not grow.

    Args:
        keeper: takes the leaves.
    """

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._open: list[_Piece] = []

    def add(self, path: int, events: pl.DataFrame) -> None:
        """Take all events of a node behind all that came before; if they are no more than a leaf's, in their order."""
        self._close(path)
        if events.height <= trie.LEAF_ROWS:
            self._push(_Piece(path, events))
            return
        for inner, rows in trie.cuts(events):
            self._keeper.write(inner, events[rows], ordered=False)
        self._push(_Piece(path))

    def add_stored(self, path: int, segment: Segment) -> None:
        """Take a node that is a segment already, likewise."""
        self._close(path)
        self._push(_Piece(path, stored=segment))
        if segment.rows > trie.LEAF_ROWS:
            self._finish(self._open[-1])

    def _push(self, piece: _Piece) -> None:
        self._open.append(piece)
        total = 0
        for one in reversed(self._open):
            total += one.rows or trie.LEAF_ROWS + 1
            if total > trie.LEAF_ROWS and one is not piece:
                self._finish(one)

    def end(self) -> pl.DataFrame | None:
        """Write what is left; return the events if all of them are one leaf, which is not written."""
        self._close(None)
        return self._loaded(self._open[0]) if self._open and self._open[0].rows else None

    def _close(self, path: int | None) -> None:
        """Settle the nodes that a path has left behind."""
        while len(self._open) > 1:
            one, other = self._open[-2:]
            shared = shared_bits(one.path, other.path)
            if path is not None and shared_bits(other.path, path) >= shared:
                return
            del self._open[-2:]
            if one.rows and other.rows and one.rows + other.rows <= trie.LEAF_ROWS:
                parts = [self._loaded(one), self._loaded(other)]
                together = pl.concat(parts, how="diagonal_relaxed").sort(columns.USER_ID, maintain_order=True)
                self._open.append(_Piece(one.path, together))  # of one user the older piece has the older events
                continue
            self._finish(one)
            self._finish(other)
            self._open.append(_Piece(one.path))

    def _loaded(self, piece: _Piece) -> pl.DataFrame:
        if piece.stored is not None:
            return self._keeper.load(piece.stored)
        return piece.events if piece.events is not None else pl.DataFrame()

    def _finish(self, piece: _Piece) -> None:
        if piece.stored is not None:
            self._keeper.keep(piece.path, piece.stored)
        elif piece.events is not None:
            self._keeper.write(piece.path, piece.events)
        piece.events = piece.stored = None
