"""MIND by Microsoft News: what readers were shown and what of it they opened.

``behaviors.tsv`` has a list of articles a visit, ``N1-1 N2-0``: opened or not. The clicks of the weeks before, in its
column of histories, have no times and are left out; so are the lists of the test part, which do not say what was
opened. Tables have no header, and quotation marks in titles are a part of them.
"""

import polars as pl

from recsys.data import columns
from recsys.data.publishers.publisher import Part, Publisher
from recsys.data.publishers.shaping import on_one_line
from recsys.data.publishers.shipment import Shipment

_TIME = "%m/%d/%Y %I:%M:%S %p"


def _events(shipment: Shipment) -> pl.LazyFrame:
    visits = shipment.table("visits").with_columns(pl.col("shown").str.split(" "))
    slots = visits.with_columns(pl.int_ranges(1, pl.col("shown").list.len() + 1).alias(columns.POSITION))
    shown = slots.explode("shown", columns.POSITION).filter(pl.col("shown").str.contains(r"-[01]$"))
    opened = pl.col("shown").str.ends_with("-1")
    return shown.select(
        columns.USER_ID,
        pl.col("shown").str.replace(r"-[01]$", "").alias(columns.ITEM_ID),
        pl.col("time").str.to_datetime(_TIME, time_unit="us").dt.replace_time_zone("UTC").alias(columns.TIMESTAMP),
        pl.when(opened).then(pl.lit("click")).otherwise(pl.lit("impression")).alias(columns.EVENT_TYPE),
        columns.POSITION,
    )


def _items(shipment: Shipment) -> pl.LazyFrame:
    return shipment.table("articles").select(
        columns.ITEM_ID,
        on_one_line(pl.col("title")).alias(columns.TITLE),
        on_one_line(pl.col("category")).alias("category"),
        on_one_line(pl.col("subcategory")).alias("subcategory"),
        on_one_line(pl.col("abstract")).alias("abstract"),
    )


PUBLISHERS = (
    Publisher(
        name="mind",
        title="MIND",
        page="https://msnews.github.io/",
        terms="Microsoft licenses MIND for research under the Microsoft Research License Terms, which its page shows.",
        parts=(
            Part("visits", "behaviors.tsv", ("visit", "user_id", "time", "history", "shown"), "lines", several=True),
            Part(
                "articles",
                "news.tsv",
                ("item_id", "category", "subcategory", "title", "abstract", "url", "of title", "of abstract"),
                "lines",
                several=True,
            ),
        ),
        events=_events,
        items=_items,
        notes=(
            "Clicks before the first visit have no times and are left out, and so are lists that do not say what was "
            "opened. Times are read as UTC.",
        ),
    ),
)
