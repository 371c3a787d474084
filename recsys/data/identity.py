"""The id of a snapshot: a hash over the values of its tables, whatever their bytes are."""

import hashlib
from collections.abc import Mapping, Sequence

import polars as pl

from recsys.artifacts import ID_DIGITS, canonical_json, digest
from recsys.data.content import feed_table, schema_of, table_hash
from recsys.data.manifest import used
from recsys.data.segments.building import segments_of
from recsys.data.segments.leaf import Segment

FORMAT = 1  # one file of events
SEGMENTED = 2  # of more events: files that other snapshots share


def content_id(
    events: pl.DataFrame,
    items: pl.DataFrame,
    users: pl.DataFrame | None = None,
    context: Mapping[str, str] | None = None,
) -> str:
    """Return the id of the tables: 16 digits of a SHA-256 over schemas and values, in the order given.

    ``context`` is as in the manifest: what is declared is a part of what a snapshot says.
    """
    segments = segments_of(events)
    if segments is not None:
        return merkle_id(schema_of(events), segments, items, users, context)
    return whole_id(events, items, users, context)


def merkle_id(
    schema: Mapping[str, str],
    segments: Sequence[Segment],
    items: pl.DataFrame,
    users: pl.DataFrame | None = None,
    context: Mapping[str, str] | None = None,
) -> str:
    """Return the id of events in segments and the other tables: a SHA-256 over the hashes of all of them."""
    tables = [items] if users is None else [items, users]
    leaves = [(one.node, one.rows, one.hash) for one in segments]
    rest = [(schema_of(table), table.height, table_hash(table)) for table in tables]
    said = [SEGMENTED, dict(schema), leaves, rest, *([] if context is None else [used(context)])]
    return digest(canonical_json(said))[:ID_DIGITS]


def whole_id(
    events: pl.DataFrame, items: pl.DataFrame, users: pl.DataFrame | None, context: Mapping[str, str] | None
) -> str:
    """Return the id of tables of which each is one file, whatever their size: those of older versions are."""
    tables = [events, items] if users is None else [events, items, users]
    shapes = [part for table in tables for part in (schema_of(table), table.height)]
    sha = hashlib.sha256(canonical_json([FORMAT, *shapes, *([] if context is None else [used(context)])]))
    for table in tables:
        feed_table(sha, table)
    return sha.hexdigest()[:ID_DIGITS]
