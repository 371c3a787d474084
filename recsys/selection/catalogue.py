"""The items that a generation ranks: ids and rows, who may be offered, and the columns that rules and answers read."""

import copy
import re
import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.artifacts import canonical_json, digest
from recsys.data.columns import AVAILABLE, ITEM_ID, TITLE
from recsys.selection.filters import Condition, compile_filter
from recsys.selection.scales import robust
from recsys.selection.values import in_words

WORD = re.compile(r"\w+")
KEPT_MASKS = 32  # of the filters used last; a byte an item each


class Catalogue:
    """Items by row. Safe to share between threads.

    Attributes:
        ids: of all items, by row.
        titles: of all items, by row.
        available: (items,) bool; only ``available: false`` takes an item out of what is offered, a null does not.
        gone: ids of items that were deleted: they are there for histories alone.
    """

    def __init__(self, items: pl.DataFrame, hidden: Iterable[str] = (), gone: Iterable[str] = ()) -> None:
        """Read the items.

        Args:
            items: a row an item, with ``item_id``, ``title`` and any other columns.
            hidden: ids of items that are not available whatever their row says.
            gone: ids of items that were deleted, not available either.
        """
        self.ids: list[str] = items[ITEM_ID].to_list()
        self.titles: list[str] = items[TITLE].to_list()
        self.available: NDArray[np.bool_] = np.ones(len(items), dtype=bool)
        if items.schema.get(AVAILABLE) == pl.Boolean:
            self.available = items[AVAILABLE].fill_null(True).to_numpy().copy()
        self.items = items
        self._rows = {item_id: row for row, item_id in enumerate(self.ids)}
        self.gone = frozenset(gone)
        self.available[self.split([*hidden, *self.gone])[0]] = False
        self._masks: OrderedDict[str, NDArray[np.bool_]] = OrderedDict()
        self._scales: dict[str, NDArray[np.float32]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, item_id: object) -> bool:
        return item_id in self._rows

    def without(self, item_ids: Iterable[str], gone: Iterable[str] = ()) -> "Catalogue":
        """Return the same items, with some more of them not available, or deleted."""
        other = copy.copy(self)
        other.gone = self.gone.union(gone)
        other.available = self.available.copy()
        other.available[self.split([*item_ids, *other.gone])[0]] = False
        return other

    @property
    def fields(self) -> list[str]:
        """Names of the columns."""
        return self.items.columns

    def row(self, item_id: str) -> int:
        """Return an item's row.

        Raises:
            KeyError: there is no such item.
        """
        return self._rows[item_id]

    def find(self, item_id: str) -> int | None:
        """Return an item's row, or None where there is no such item."""
        return self._rows.get(item_id)

    def exists(self, item_id: str) -> bool:
        """Tell whether there is an item, available or not, that was not deleted."""
        return item_id in self._rows and item_id not in self.gone

    def existing(self, item_ids: Iterable[str]) -> tuple[list[int], list[str]]:
        """Return what ``split`` does, with deleted items among the unknown ones."""
        rows, missing = [], []
        for item_id in item_ids:
            if self.exists(item_id):
                rows.append(self._rows[item_id])
            else:
                missing.append(item_id)
        return rows, missing

    def split(self, item_ids: Iterable[str]) -> tuple[list[int], list[str]]:
        """Return the rows of the known ids and the unknown ids, each in the given order."""
        rows, missing = [], []
        for item_id in item_ids:
            row = self._rows.get(item_id)
            if row is None:
                missing.append(item_id)
            else:
                rows.append(row)
        return rows, missing

    def allowed(self, condition: Condition | None) -> NDArray[np.bool_]:
        """Return (items,) bool, the caller's to change: available and, where there is a filter, matching it.

        Raises:
            FilterError: the filter does not fit the columns.
        """
        return self.available.copy() if condition is None else self.available & self.matching(condition)

    def matching(self, condition: Condition) -> NDArray[np.bool_]:
        """Return (items,) bool, not to be changed: which items match a filter, available or not.

        Raises:
            FilterError: the filter does not fit the columns.
        """
        expression = compile_filter(condition, self.items.schema)  # also what is cached is checked: it costs little
        key = digest(canonical_json(condition))
        with self._lock:
            if key in self._masks:
                self._masks.move_to_end(key)
                return self._masks[key]
        mask = self.items.select(expression.alias("matches"))["matches"].to_numpy()
        with self._lock:
            self._masks[key] = mask
            while len(self._masks) > KEPT_MASKS:
                self._masks.popitem(last=False)
        return mask

    def titled(self, title: str) -> list[int]:
        """Return the rows of the items with a title, whatever its case and punctuation."""
        with self._lock:
            return self._titled.get(_plain(title), [])

    def values(self, field: str, rows: NDArray[np.integer]) -> list[tuple[Hashable, ...]]:
        """Return what a field holds in some rows: the members of a list, one value, or nothing where it is null.

        Raises:
            KeyError: there is no such field.
            TypeError: its values cannot be counted.
        """
        kind = self._kind(field)
        cells = self.items[field][rows.tolist()].to_list()
        if isinstance(kind, pl.List):
            return [tuple(dict.fromkeys(value for value in cell or () if value is not None)) for cell in cells]
        return [() if cell is None else (cell,) for cell in cells]

    def holding(self, field: str, values: Sequence[Hashable]) -> NDArray[np.bool_]:
        """Return (items,) bool: where a field is, or as a list holds, one of some values."""
        kind, column = self._kind(field), pl.col(field)
        if isinstance(kind, pl.List):
            wanted = pl.Series(list(values), dtype=kind.inner)
            found = column.list.set_intersection(pl.lit(wanted.implode())).list.len() > 0
        else:
            found = column.is_in(pl.Series(list(values), dtype=kind).implode())
        return self.items.select(found.fill_null(False).alias("found"))["found"].to_numpy()

    def standardised(self, field: str) -> NDArray[np.float32]:
        """Return how far each item's number is above the median of all, (items,), see ``recsys.selection.scales``.

        Raises:
            KeyError: there is no such field.
            TypeError: it holds no numbers.
        """
        kind = self._kind(field)
        if not kind.is_numeric():
            raise TypeError(f"{field!r} is {in_words(kind)}; an objective takes a number.")
        with self._lock:
            if field not in self._scales:
                self._scales[field] = robust(self.items[field].cast(pl.Float64).fill_null(np.nan).to_numpy())
            return self._scales[field]

    def records(self, rows: NDArray[np.integer], fields: Sequence[str]) -> list[dict[str, Any]]:
        """Return some columns of some rows.

        Raises:
            KeyError: a field does not exist.
        """
        for name in fields:
            self._kind(name)
        # by columns: a frame would hand so small a task to the threads of Polars, and wait for them
        columns = [
            [self.titles[row] for row in rows.tolist()] if name == TITLE else self.items[name].gather(rows).to_list()
            for name in fields
        ]
        return [dict(zip(fields, cells, strict=True)) for cells in zip(*columns, strict=True)] or [{} for _ in rows]

    @cached_property
    def _titled(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for row, title in enumerate(self.titles):
            found.setdefault(_plain(title), []).append(row)
        return found

    def _kind(self, field: str) -> pl.DataType:
        kind = self.items.schema.get(field)
        if kind is None:
            raise KeyError(f"There is no item field {field!r}; there are {', '.join(self.fields)}.")
        return kind


def _plain(title: str) -> str:
    return " ".join(WORD.findall(title.casefold()))
