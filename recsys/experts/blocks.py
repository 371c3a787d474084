"""Statistics of items by blocks of rows: made by this process one after another, or by a cluster where they are many.

A block is fixed by what its rows may hold and each row is counted alone, so that all ways give the same matrix.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recsys.distributed.cluster import executor_at
from recsys.distributed.executor import Advance, InProcess, Work
from recsys.experts.sparse import row_blocks, stacked

BLOCKS_A_SHARD = 4
SHARED_FROM = 32  # blocks: half a minute of work and more, so that a cluster's start is worth it

Counted = Callable[[slice], sparse.csr_matrix]  # the kept entries of some rows


@dataclass(frozen=True)
class BlocksJob:
    """The job whose shards are runs of blocks of rows; see ``recsys.distributed.executor.Job``.

    Attributes:
        begun: returns what counts the rows of a block; it travels with all that it counts.
        columns: of the matrix.
    """

    begun: Callable[[], Counted]
    columns: int

    def files(self) -> list[Path]:
        """See ``Job``: none."""
        return []

    @contextmanager
    def opened(self) -> Iterator[Work[Sequence[slice], sparse.csr_matrix]]:
        """See ``Job``."""
        counted = self.begun()

        def work(blocks: Sequence[slice], advance: Advance) -> sparse.csr_matrix:
            made = stacked(map(counted, blocks), self.columns)
            advance(len(blocks))
            return made

        yield work


def by_blocks(begun: Callable[[], Counted], entries: NDArray[np.integer], columns: int) -> sparse.csr_matrix:
    """Return all rows of a matrix, float32, of each of which a block keeps some entries.

    Args:
        begun: returns what counts the rows of a block; picklable.
        entries: (rows,) that each row holds at most before some are kept.
        columns: of the matrix.

    Raises:
        ClusterError: there are many blocks, and the cluster that is to count them cannot.
    """
    blocks = list(row_blocks(entries))
    shards = [blocks[first : first + BLOCKS_A_SHARD] for first in range(0, len(blocks), BLOCKS_A_SHARD)]
    with executor_at() if len(blocks) >= SHARED_FROM else nullcontext(InProcess()) as executor:
        return stacked(executor.map(BlocksJob(begun, columns), shards, lambda _: None), columns)
