"""What a publisher ships, declared: the files of a data set, how they are written, and what is made of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import polars as pl

if TYPE_CHECKING:
    from recsys.data.publishers.shipment import Shipment

Value = Literal["text", "texts", "number", "flag"]
TYPES: Mapping[Value, pl.DataType] = {
    "text": pl.String(),
    "texts": pl.List(pl.String()),
    "number": pl.Float64(),
    "flag": pl.Boolean(),
}


@dataclass(frozen=True)
class Part:
    """One kind of file of a data set.

    Attributes:
        name: what its module calls it.
        file: its name, packed or not; ``*`` stands for what differs.
        columns: of a table with a header those that are needed, of one without all of them, in order.
        form: ``csv`` with a header; ``lines`` without, fields parted by ``separator``, never quoted; ``records``, an
            object a line, as JSON or as Python writes it.
        separator: between the fields of lines.
        encoding: of lines.
        values: of records, what is read of each.
        needed: those of ``values`` that the first record must have.
        inside: a list of objects within each record: each is a record of its own, with what stands beside the list.
        but: names that ``file`` fits and that are of another kind.
        several: whether there may be many, which are one table.
        optional: whether it may be absent.
    """

    name: str
    file: str
    columns: tuple[str, ...] = ()
    form: Literal["csv", "lines", "records"] = "csv"
    separator: str = "\t"
    encoding: str = "utf-8"
    values: Mapping[str, Value] = field(default_factory=dict)
    needed: tuple[str, ...] = ()
    inside: str = ""
    but: str = ""
    several: bool = False
    optional: bool = False


@dataclass(frozen=True)
class Publisher:
    """One data set.

    Attributes:
        name: by which a command names it.
        title: as people call it.
        page: where its publisher has it.
        terms: who may use it, in a sentence.
        parts: its files.
        events: makes the table of events, with the names of the contract.
        items: likewise of items.
        users: likewise of users; None: nothing is known of them.
        notes: what is decided about its content, in sentences.
    """

    name: str
    title: str
    page: str
    terms: str
    parts: tuple[Part, ...]
    events: Callable[["Shipment"], pl.LazyFrame]
    items: Callable[["Shipment"], pl.LazyFrame]
    users: Callable[["Shipment"], pl.LazyFrame] | None = None
    notes: tuple[str, ...] = ()

    @property
    def files(self) -> str:
        """The files that it needs, for a sentence."""
        return ", ".join(part.file for part in self.parts if not part.optional)
