"""How often new items were shown since they are little known, and what that has brought: counts by item, no users.

Only items of which little is known are counted, so the table stays small; nobody is named in it, so nobody who is
forgotten leaves anything there.
"""

from collections.abc import Mapping

import sqlalchemy as sql

from recsys.database.engine import METADATA, TEXT, Database

AT_ONCE = 500  # ids in one statement
_EXPOSURES = sql.Table(
    "exposures",
    METADATA,
    sql.Column("item_id", TEXT, primary_key=True),
    sql.Column("shown", sql.BigInteger, nullable=False),  # lists
    sql.Column("brought", sql.BigInteger, nullable=False),  # events that name these lists
)


class ExposureStore:
    """The exposures of a database; one object serves all threads of a process.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database cannot be reached; every method raises it likewise.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def show(self, counts: Mapping[str, int]) -> None:
        """Count in how many lists more each of some items was shown."""
        rows = [{"item_id": item_id, "shown": count, "brought": 0} for item_id, count in sorted(counts.items())]
        insert = self._database.insert(_EXPOSURES)
        grown = insert.on_conflict_do_update(
            index_elements=["item_id"], set_={"shown": _EXPOSURES.c.shown + insert.excluded.shown}
        )
        with self._database.engine.begin() as connection:
            for start in range(0, len(rows), AT_ONCE):
                connection.execute(grown.values(rows[start : start + AT_ONCE]))

    def bring(self, counts: Mapping[str, int]) -> None:
        """Count how many events more name lists that held each of some items; of those that were never new, nothing."""
        more: sql.BindParameter[int] = sql.bindparam("more")
        grown = sql.update(_EXPOSURES).where(_EXPOSURES.c.item_id == sql.bindparam("item"))
        rows = [{"item": item_id, "more": count} for item_id, count in sorted(counts.items())]
        if rows:
            with self._database.engine.begin() as connection:
                connection.execute(grown.values(brought=_EXPOSURES.c.brought + more), rows)

    def read(self) -> dict[str, tuple[int, int]]:
        """Return how many lists showed each item, and how many events they brought it, by item id."""
        with self._database.engine.connect() as connection:
            return {row.item_id: (row.shown, row.brought) for row in connection.execute(sql.select(_EXPOSURES))}
