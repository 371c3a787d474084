"""Amazon Reviews by the McAuley Lab: people rate products. 2014's metadata are Python, 2018's and 2023's are JSON.

What an item is called comes from its title; where that is absent, from brand and category. Of a person's reviews of one
product at one time the best rating stays: the files hold many twice.
"""

from collections.abc import Callable

import polars as pl

from recsys.data import columns
from recsys.data.publishers.publisher import Part, Publisher, Value
from recsys.data.publishers.shaping import rated_once, since_1970
from recsys.data.publishers.shipment import Shipment

_TERMS = "The McAuley Lab offers Amazon Reviews for research and asks to be cited; the reviews are their writers'."
_DESCRIPTION = 1_000  # characters of a description that are kept: many times what a base reads
_SCRIPT = "getTime"  # 2018's titles that are a page's script, as its publisher says


def _rated(user: str, item: str, rating: str, time: str, unit: float) -> Callable[[Shipment], pl.LazyFrame]:
    """Return what makes events of reviews: the names of columns, and how many units of time a second has."""

    def events(shipment: Shipment) -> pl.LazyFrame:
        return rated_once(
            shipment.table("reviews").select(
                pl.col(user).alias(columns.USER_ID),
                pl.col(item).alias(columns.ITEM_ID),
                since_1970(pl.col(time) / unit).alias(columns.TIMESTAMP),
                pl.lit("rating").alias(columns.EVENT_TYPE),
                pl.col(rating).alias(columns.VALUE),
            )
        )

    return events


def _named(item: str, brand: str, categories: str) -> Callable[[Shipment], pl.LazyFrame]:
    """Return what makes items of metadata: the names of the columns of ids, brands and categories."""

    def items(shipment: Shipment) -> pl.LazyFrame:
        products = shipment.table("products")
        title = pl.when(~pl.col("title").str.contains(_SCRIPT, literal=True)).then(pl.col("title"))
        own = pl.concat_str(pl.col(brand), pl.col(categories).list.last(), separator=" ", ignore_nulls=True)
        return products.select(
            pl.col(item).alias(columns.ITEM_ID),
            pl.coalesce(title, pl.when(own != "").then(own)).alias(columns.TITLE),
            pl.col(brand).alias("brand"),
            pl.col(categories).alias("categories"),
            pl.col("description").str.slice(0, _DESCRIPTION),
            pl.col("price"),
        )

    return items


def _values(item: str, brand: str, categories: str) -> dict[str, Value]:
    named: dict[str, Value] = {item: "text", "title": "text", brand: "text", categories: "texts"}
    return named | {"description": "text", "price": "number"}


def _reviews(file: str, values: dict[str, Value]) -> Part:
    return Part("reviews", file, form="records", values=values, needed=tuple(values), but="meta_*", several=True)


def _products(file: str, values: dict[str, Value], needed: tuple[str, ...]) -> Part:
    return Part("products", file, form="records", values=values, needed=needed, several=True)


_OLD: dict[str, Value] = {"reviewerID": "text", "asin": "text", "overall": "number", "unixReviewTime": "number"}
_NEW: dict[str, Value] = {"user_id": "text", "parent_asin": "text", "rating": "number", "timestamp": "number"}

PUBLISHERS = (
    Publisher(
        name="amazon-2014",
        title="Amazon Reviews 2014",
        page="https://cseweb.ucsd.edu/~jmcauley/datasets/amazon/links.html",
        terms=_TERMS,
        parts=(
            _reviews("reviews_*.json", _OLD),
            _products("meta_*.json", _values("asin", "brand", "categories"), ("asin", "categories")),
        ),
        events=_rated("reviewerID", "asin", "overall", "unixReviewTime", 1),
        items=_named("asin", "brand", "categories"),
    ),
    Publisher(
        name="amazon-2018",
        title="Amazon Reviews 2018",
        page="https://cseweb.ucsd.edu/~jmcauley/datasets/amazon_v2/",
        terms=_TERMS,
        parts=(
            _reviews("*.json", _OLD),
            _products("meta_*.json", _values("asin", "brand", "category"), ("asin", "category")),
        ),
        events=_rated("reviewerID", "asin", "overall", "unixReviewTime", 1),
        items=_named("asin", "brand", "category"),
    ),
    Publisher(
        name="amazon-2023",
        title="Amazon Reviews 2023",
        page="https://amazon-reviews-2023.github.io/",
        terms=_TERMS,
        parts=(
            _reviews("*.jsonl", _NEW),
            _products("meta_*.jsonl", _values("parent_asin", "store", "categories"), ("parent_asin", "title")),
        ),
        events=_rated("user_id", "parent_asin", "rating", "timestamp", 1_000),
        items=_named("parent_asin", "store", "categories"),
        notes=("Items are by parent_asin: the colours and sizes of a product are one.",),
    ),
)
