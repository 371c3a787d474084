"""Goodbooks-10k by Zygmunt Zając: people rate books. When they did is unknown; the order of the rows is that of time.

What is on a list to be read is a wish. Of the words that readers put books under, the most frequent that say something
of a book are its tags.
"""

import polars as pl

from recsys.data import columns
from recsys.data.publishers.publisher import Part, Publisher
from recsys.data.publishers.shaping import on_one_line, unknown_times
from recsys.data.publishers.shipment import Shipment

_TAGS = 5  # of a book
# Shelves that say when and how somebody reads, and nothing of the book.
_SHELVES = r"read|own|favou?rite|book|wish|buy|library|shelf|kindle|audio|default|^my-|my-|^i-|tbr|dnf|maybe|^\d|^-"


def _events(shipment: Shipment) -> pl.LazyFrame:
    ratings = shipment.table("ratings").select("user_id", "book_id", pl.col("rating").cast(pl.Float64).alias("value"))
    tables = [ratings.with_columns(pl.lit("rating").alias(columns.EVENT_TYPE))]
    if shipment.has("wishes"):
        wishes = shipment.table("wishes").select("user_id", "book_id", pl.lit(None, pl.Float64).alias("value"))
        tables.append(wishes.with_columns(pl.lit("wishlist").alias(columns.EVENT_TYPE)))
    ordered = [table.with_row_index("row", 1) for table in tables]
    return pl.concat(ordered).select(
        columns.USER_ID,
        pl.col("book_id").alias(columns.ITEM_ID),
        *unknown_times(),
        columns.EVENT_TYPE,
        columns.VALUE,
        pl.col("row").cast(pl.Int64).alias(columns.POSITION),
    )


def _items(shipment: Shipment) -> pl.LazyFrame:
    books = shipment.table("books")
    names = books.collect_schema().names()
    # The first release calls what ratings name "id", and what Goodreads calls a book "book_id".
    own, theirs = ("id", "book_id") if "id" in names else ("book_id", "goodreads_book_id")
    year = pl.col("original_publication_year").cast(pl.Float64, strict=False).cast(pl.Int64, strict=False)
    described = books.select(
        pl.col(own).alias(columns.ITEM_ID),
        pl.coalesce(on_one_line(pl.col("title")), on_one_line(pl.col("original_title"))).alias(columns.TITLE),
        pl.col("authors").str.split(", ").alias("authors"),
        year.alias("year"),
        on_one_line(pl.col("language_code")).alias("language"),
        pl.col(theirs).alias("theirs"),
    )
    if shipment.has("tags") and shipment.has("tag names"):
        described = described.join(_tags(shipment), "theirs", how="left")
    return described.drop("theirs")


def _tags(shipment: Shipment) -> pl.LazyFrame:
    names = shipment.table("tag names").filter(~pl.col("tag_name").str.contains(_SHELVES))
    counted = shipment.table("tags").with_columns(pl.col("count").cast(pl.Int64)).join(names, "tag_id")
    ranked = counted.sort(["goodreads_book_id", "count", "tag_name"], descending=[False, True, False])
    tags = ranked.group_by("goodreads_book_id").agg(pl.col("tag_name").str.replace_all("-", " ").head(_TAGS))
    return tags.select(pl.col("goodreads_book_id").alias("theirs"), pl.col("tag_name").alias("tags"))


PUBLISHERS = (
    Publisher(
        name="goodbooks-10k",
        title="Goodbooks-10k",
        page="https://github.com/zygmuntz/goodbooks-10k",
        terms="Goodbooks-10k is under CC BY-SA 4.0: name its maker, and share what you make of it alike.",
        parts=(
            Part("ratings", "ratings.csv", ("user_id", "book_id", "rating")),
            Part("books", "books.csv", ("book_id", "title", "authors", "original_publication_year", "original_title")),
            Part("wishes", "to_read.csv", ("user_id", "book_id"), optional=True),
            Part("tags", "book_tags.csv", ("goodreads_book_id", "tag_id", "count"), optional=True),
            Part("tag names", "tags.csv", ("tag_id", "tag_name"), optional=True),
        ),
        events=_events,
        items=_items,
        notes=("Nobody knows when books were rated: times are made up, and the order of the rows stands for them.",),
    ),
)
