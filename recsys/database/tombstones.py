"""Forgetting a user: what the database holds of them goes for good, and a tombstone hides the rest.

The served snapshot is immutable; its events of a forgotten user are invisible from now on, and the next ingest leaves
them out.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sql

from recsys.data.forgetting import Forgotten, hash_user
from recsys.database.engine import METADATA, TEXT, Database
from recsys.database.moments import microseconds
from recsys.database.salt import agreed_salt

CHANGE = "forgotten"
FORGET_ROWS = 5_000  # deleted in one transaction, so that other writers wait for it but shortly
Deletion = Callable[[sql.Connection, str, int], int]  # deletes so many of a user's rows at most, returns how many
_FORGOTTEN = sql.Table(
    "forgotten",
    METADATA,
    sql.Column("user_hash", TEXT, primary_key=True),
    sql.Column("time", sql.BigInteger, nullable=False),  # microseconds since 1970, UTC
)


@dataclass(frozen=True)
class Removal:
    """What forgetting a user removed.

    Attributes:
        time: up to which the user is forgotten.
        rows: how many went, in the order of the deletions.
        erased: whether their bytes are gone from the files already.
    """

    time: datetime
    rows: tuple[int, ...]
    erased: bool


class Tombstones:
    """Who is forgotten, by a database; one object serves all threads of a process.

    Raises:
        ArtifactError: this machine lacks the salt of the database's hashes; the message says where it belongs.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._read: tuple[int, Forgotten] = (-1, Forgotten())
        with database.engine.begin() as connection:
            database.count_from_zero(connection, CHANGE)
        self._salt = agreed_salt(database)

    def read(self) -> Forgotten:
        """Return all tombstones; they are read again only after a change."""
        version = self._database.versions().get(CHANGE, 0)
        with self._database.engine.connect() as connection:
            return self._of(connection, version)

    def hold(self, connection: sql.Connection) -> Forgotten:
        """Return all tombstones and let nobody be forgotten until the transaction ends; call it first of all."""
        return self._of(connection, self._database.hold(connection, CHANGE))

    def forget(self, user_id: str, deletions: Sequence[Deletion]) -> Removal:
        """Leave a tombstone, delete a user's rows, and overwrite what was deleted.

        The first of the rows, for most users all, go with the tombstone; the rest a few thousand a transaction, so that
        others may write between. Where that is cut short, the user is forgotten all the same, and asking again ends it.
        """
        with self._database.engine.begin() as connection:
            self._database.bump(connection, CHANGE)  # from here on nobody else holds the tombstones
            now = datetime.now(UTC)
            tombstone = {"user_hash": hash_user(self._salt, user_id), "time": microseconds(now)}
            insert = self._database.insert(_FORGOTTEN).values(tombstone)
            connection.execute(insert.on_conflict_do_update(index_elements=["user_hash"], set_=tombstone))
            rows = [delete(connection, user_id, FORGET_ROWS) for delete in deletions]
        return Removal(now, self._rest(user_id, deletions, rows), self._database.erase())

    def join(self, times: Mapping[str, int], user_ids: Iterable[str], deletions: Sequence[Deletion]) -> None:
        """Take over tombstones of a later database with the same salt, and delete what this one has of those users.

        Args:
            times: microseconds since 1970 by hash of the user id.
            user_ids: everybody whom the database may hold rows of.
            deletions: as for ``forget``.
        """
        rows = [{"user_hash": user_hash, "time": time} for user_hash, time in times.items()]
        with self._database.engine.begin() as connection:
            self._database.bump(connection, CHANGE)
            for row in rows:
                insert = self._database.insert(_FORGOTTEN).values(row)
                connection.execute(insert.on_conflict_do_update(index_elements=["user_hash"], set_=row))
        for user_id in user_ids:
            if hash_user(self._salt, user_id) in times:
                self._rest(user_id, deletions, [FORGET_ROWS] * len(deletions))
        self._database.erase()

    def _rest(self, user_id: str, deletions: Sequence[Deletion], done: list[int]) -> tuple[int, ...]:
        """Delete what is left of a user's rows, a few thousand a transaction; return how many went in all.

        Args:
            done: rows that the first transaction has deleted; less than ``FORGET_ROWS``: no more are left.
        """
        rows = list(done)
        for place, delete in enumerate(deletions):
            went = rows[place]
            while went == FORGET_ROWS:
                with self._database.engine.begin() as connection:
                    self._database.hold(connection, CHANGE)
                    went = delete(connection, user_id, FORGET_ROWS)
                rows[place] += went
        return tuple(rows)

    def _of(self, connection: sql.Connection, version: int) -> Forgotten:
        known, forgotten = self._read
        if known != version:
            times = {row.user_hash: row.time for row in connection.execute(sql.select(_FORGOTTEN))}
            forgotten = Forgotten(self._salt, times)
            self._read = version, forgotten
        return forgotten
