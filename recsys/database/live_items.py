"""Live items: what was put or deleted since the snapshot, durable, with a counter that every worker follows.

A text's vector is computed once for each adapter and kept beside the item.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sql
from numpy.typing import NDArray

from recsys.artifacts import canonical_json
from recsys.database.engine import TEXT, Database

CHANGE = "items"
_METADATA = sql.MetaData()
_ITEMS = sql.Table(
    "live_items",
    _METADATA,
    sql.Column("item_id", TEXT, primary_key=True),
    sql.Column("version", sql.BigInteger, nullable=False),  # of the change that made it what it is
    sql.Column("record", TEXT),  # JSON columns; null: deleted
)
sql.Index("live_items_by_version", _ITEMS.c.version)
_VECTORS = sql.Table(
    "live_item_vectors",
    _METADATA,
    sql.Column("item_id", TEXT, primary_key=True),
    sql.Column("adapter", TEXT, primary_key=True),
    sql.Column("text_digest", TEXT, nullable=False),
    sql.Column("vector", sql.LargeBinary, nullable=False),  # float32, little-endian
)


@dataclass(frozen=True)
class LiveItem:
    """An item as it was last put, ``columns`` None where it was deleted."""

    item_id: str
    version: int
    columns: dict[str, Any] | None


class ItemStore:
    """The live items of a database; one object serves all threads of a process.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database cannot be reached; every method raises it likewise.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._engine = database.engine
        database.create([_ITEMS, _VECTORS])

    def version(self) -> int:
        """Return how many changes there were."""
        return self._database.versions().get(CHANGE, 0)

    def put(self, item_id: str, columns: Mapping[str, Any] | None) -> int:
        """Store an item whole, or with None delete it; return the version of the change, which is then on disk."""
        with self._engine.begin() as connection:
            version = self._database.bump(connection, CHANGE)
            record = None if columns is None else canonical_json(dict(columns)).decode()
            row = {"item_id": item_id, "version": version, "record": record}
            insert = self._database.insert(_ITEMS).values(row)
            connection.execute(insert.on_conflict_do_update(index_elements=["item_id"], set_=row))
            if columns is None:
                connection.execute(sql.delete(_VECTORS).where(_VECTORS.c.item_id == item_id))
        return version

    def find(self, item_id: str) -> LiveItem | None:
        """Return what was last put under an id."""
        with self._engine.connect() as connection:
            found = sql.select(_ITEMS).where(_ITEMS.c.item_id == item_id)
            row = connection.execute(found).mappings().one_or_none()
        return None if row is None else _item(row)

    def changed(self, since: int = 0) -> list[LiveItem]:
        """Return the items that changed after a version, in the order of their changes."""
        newer = sql.select(_ITEMS).where(_ITEMS.c.version > since).order_by(_ITEMS.c.version)
        with self._engine.connect() as connection:
            return [_item(row) for row in connection.execute(newer).mappings()]

    def vectors(self, adapter: str) -> dict[str, tuple[str, NDArray[np.float32]]]:
        """Return digest of the text and vector by item id, of all items that an adapter's encoder has encoded."""
        own = sql.select(_VECTORS).where(_VECTORS.c.adapter == adapter)
        with self._engine.connect() as connection:
            rows = connection.execute(own).mappings().all()
        return {row["item_id"]: (row["text_digest"], np.frombuffer(row["vector"], dtype="<f4")) for row in rows}

    def add_vectors(
        self, adapter: str, item_ids: Sequence[str], digests: Sequence[str], vectors: NDArray[np.float32]
    ) -> None:
        """Store what an adapter's encoder made of some items' texts, in the place of what it made before."""
        rows = [
            {"item_id": item_id, "adapter": adapter, "text_digest": digest, "vector": vector.astype("<f4").tobytes()}
            for item_id, digest, vector in zip(item_ids, digests, vectors, strict=True)
        ]
        insert = self._database.insert(_VECTORS)
        new = {name: insert.excluded[name] for name in ("text_digest", "vector")}
        with self._engine.begin() as connection:
            connection.execute(insert.on_conflict_do_update(index_elements=["item_id", "adapter"], set_=new), rows)


def _item(row: sql.RowMapping) -> LiveItem:
    return LiveItem(row["item_id"], row["version"], None if row["record"] is None else json.loads(row["record"]))
