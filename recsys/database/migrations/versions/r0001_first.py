"""The tables of 0.1.0. Databases that were made before versions were kept may have some of them, and older ones.

So each table is made where it is missing; one that is there is checked, and gets the columns and the indexes that it
lacks. Rows stay as they are, and a table that is somebody else's is refused before anything has changed.
"""

from typing import Any

import sqlalchemy as sql
from alembic import op

from recsys.artifacts import ArtifactError

revision = "0001"
down_revision = None

TEXT = sql.String().with_variant(sql.String(collation="C"), "postgresql")
KINDS = (sql.String, sql.Boolean, sql.BigInteger, sql.Integer, sql.Float, sql.LargeBinary)  # the narrower one first
TABLES = sql.MetaData()


def _table(name: str, *columns: sql.Column[Any]) -> sql.Table:
    return sql.Table(name, TABLES, *columns)


def _key(name: str, kind: sql.types.TypeEngine[Any] = TEXT) -> sql.Column[Any]:
    return sql.Column(name, kind, primary_key=True)


def _given(name: str, kind: sql.types.TypeEngine[Any] = TEXT) -> sql.Column[Any]:
    return sql.Column(name, kind, nullable=False)


def _maybe(name: str, kind: sql.types.TypeEngine[Any] = TEXT) -> sql.Column[Any]:
    return sql.Column(name, kind)


LONG = sql.BigInteger()
FLOAT: sql.types.TypeEngine[Any] = sql.Double()
_table("changes", _key("name"), _given("version", LONG))
_EVENTS = _table(
    "events",
    *(_key("event_id"), _given("user_id"), _given("item_id"), _given("timestamp", LONG), _given("event_type")),
    *(_maybe("value", FLOAT), _maybe("position", LONG), _maybe("sender"), _maybe("rec_id"), _maybe("context")),
    *(_maybe("batch", LONG), _maybe("received", LONG)),
)
_BROUGHT = _EVENTS.c.rec_id.is_not(None)
sql.Index(
    "events_by_rec_id",
    *(_EVENTS.c.rec_id, _EVENTS.c.item_id, _EVENTS.c.timestamp),
    sqlite_where=_BROUGHT,
    postgresql_where=_BROUGHT,
)
sql.Index("events_by_batch", _EVENTS.c.batch)
sql.Index("events_by_user", _EVENTS.c.user_id, _EVENTS.c.timestamp, _EVENTS.c.position, _EVENTS.c.event_id)
_REPEATED = _table(
    "repeated_events",
    *(_key("event_id"), _key("sender"), _given("user_id"), _maybe("content"), _maybe("timestamp", LONG)),
)
sql.Index("repeated_events_by_user", _REPEATED.c.user_id)
_IMPRESSIONS = _table(
    "impressions",
    *(_key("rec_id"), _given("time", LONG), _maybe("user_id"), _given("generation"), _given("adapter")),
    *(_given("record"), _maybe("options"), _maybe("shown", sql.Boolean())),
)
sql.Index("impressions_by_user", _IMPRESSIONS.c.user_id)
sql.Index("impressions_by_time", _IMPRESSIONS.c.time)
sql.Index("impressions_by_origin", *(_IMPRESSIONS.c[name] for name in ("time", "generation", "adapter", "shown")))
sql.Index("impressions_by_options", _IMPRESSIONS.c.options)
_table("impression_options", _key("hash"), _maybe("content"))
_table("impression_size", _key("id", sql.Integer()), _given("characters", LONG))
_ITEMS = _table(
    "live_items",
    *(_key("item_id"), _given("version", LONG), _maybe("record"), _maybe("bytes", LONG), _maybe("sender")),
    _maybe("time", LONG),
)
sql.Index("live_items_by_version", _ITEMS.c.version)
sql.Index("live_items_by_sender", _ITEMS.c.sender, _ITEMS.c.bytes)
_table(
    "live_item_vectors",
    *(_key("item_id"), _key("adapter"), _given("text_digest"), _given("vector", sql.LargeBinary())),
)
_SHADOWS = _table(
    "shadow_answers",
    *(_key("rec_id"), _key("shadow"), _given("live"), _given("time", LONG), _given("k", sql.Integer())),
    *(_given("overlap", FLOAT), _given("live_ms", FLOAT), _given("shadow_ms", FLOAT), _given("live_cold", FLOAT)),
    *(_given("shadow_cold", FLOAT), _maybe("shared")),
)
sql.Index("shadow_answers_by_shadow", _SHADOWS.c.shadow, _SHADOWS.c.time)
_table("forgotten", _key("user_hash"), _given("time", LONG))
_table("forgotten_salt", _key("id", sql.Integer()), _maybe("salt"))
_table("exposures", _key("item_id"), _given("shown", LONG), _given("brought", LONG))
_table("user_attributes", _key("user_id"), _given("record"), _given("time", LONG), _maybe("sender"))
_table("user_attributes_size", _key("id", sql.Integer()), _given("users", LONG))


def upgrade() -> None:
    """Make the tables, or complete those that are there.

    Raises:
        ArtifactError: a table of one of these names is none of recsys's.
    """
    inspector = sql.inspect(op.get_bind())
    there = set(inspector.get_table_names())
    for table in TABLES.sorted_tables:
        if table.name in there:
            _complete(inspector, table)
        else:
            op.get_bind().execute(sql.schema.CreateTable(table))
            for index in sorted(table.indexes, key=lambda index: str(index.name)):
                op.get_bind().execute(sql.schema.CreateIndex(index))


def _complete(inspector: sql.Inspector, table: sql.Table) -> None:
    wrong = _differences(inspector, table)
    if wrong:
        raise ArtifactError(
            f"The database has a table {table.name} that recsys has not made: {'; '.join(wrong)}. Nothing was changed. "
            "Give recsys a database of its own, or restore this one from a backup."
        )
    columns = {column["name"] for column in inspector.get_columns(table.name)}
    for column in table.columns:
        if column.name not in columns:
            op.add_column(table.name, sql.Column(column.name, column.type))
    indexes = {index["name"]: index["column_names"] for index in inspector.get_indexes(table.name)}
    for index in sorted(table.indexes, key=lambda index: str(index.name)):
        found = indexes.get(index.name)
        if found is not None and found != [column.name for column in index.columns]:  # what follows from rows is remade
            op.drop_index(str(index.name), table.name)
        if found != [column.name for column in index.columns]:
            op.get_bind().execute(sql.schema.CreateIndex(index))


def _differences(inspector: sql.Inspector, table: sql.Table) -> list[str]:
    """Return in what a table is not one that a version of recsys has made."""
    there, key = {column["name"]: column for column in inspector.get_columns(table.name)}, table.primary_key.columns
    keyed = inspector.get_pk_constraint(table.name)["constrained_columns"]
    wrong = [] if set(keyed) == {column.name for column in key} else [f"its key is {', '.join(keyed) or 'none'}"]
    for column in table.columns:
        found = there.get(column.name)
        if found is None:
            wrong += [] if column.nullable else [f"it lacks {column.name}"]
        elif _kind(found["type"]) is not _kind(column.type):
            wrong.append(f"{column.name} is {found['type']}")
    for name in sorted(set(there) - set(table.columns.keys())):
        if not there[name]["nullable"] and there[name]["default"] is None:
            wrong.append(f"it wants a {name}, which recsys does not give")
    return wrong


def _kind(type_: sql.types.TypeEngine[Any]) -> type | None:
    return next((kind for kind in KINDS if isinstance(type_, kind)), None)
