"""What tests of monitoring are given."""

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from recsys.home import Home


@dataclass(frozen=True)
class Files:
    """What a shop delivers after its last week.

    Attributes:
        home: what has trained on everything before that week.
        until: when it ends.
        write: writes a table into a new file and returns its path.
    """

    home: Home
    until: str
    events: pl.DataFrame
    items: pl.DataFrame
    write: Callable[[pl.DataFrame], str]
