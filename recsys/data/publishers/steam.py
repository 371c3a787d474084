"""Steam by the McAuley Lab: who reviewed which games after how many hours, and what Australian players own.

Lines are Python. Reviews name their writer by ``username``, most without a ``user_id``, and their day. What people own
has no times: a game that was played is a play of so many minutes, another a purchase.
"""

import polars as pl

from recsys.data import columns
from recsys.data.publishers.publisher import Part, Publisher
from recsys.data.publishers.shaping import rated_once, unknown_times
from recsys.data.publishers.shipment import Shipment

_TERMS = "The McAuley Lab offers its Steam data for research and asks to be cited."
_PAGE = "https://cseweb.ucsd.edu/~jmcauley/datasets.html#steam_data"


def _reviews(shipment: Shipment) -> pl.LazyFrame:
    day = pl.col("date").str.to_date("%Y-%m-%d", strict=False)
    return rated_once(
        shipment.table("reviews").select(
            pl.col("username").alias(columns.USER_ID),
            pl.col("product_id").alias(columns.ITEM_ID),
            day.cast(pl.Datetime("us")).dt.replace_time_zone("UTC").alias(columns.TIMESTAMP),
            pl.lit("play").alias(columns.EVENT_TYPE),
            pl.col("hours").alias(columns.VALUE),
        )
    )


def _owned(shipment: Shipment) -> pl.LazyFrame:
    played = pl.col("playtime_forever") > 0
    games = shipment.table("owners").select(
        pl.coalesce("user_id", "steam_id").alias(columns.USER_ID),
        pl.col("item_id").alias(columns.ITEM_ID),
        *unknown_times(),
        pl.when(played).then(pl.lit("play")).otherwise(pl.lit("purchase")).alias(columns.EVENT_TYPE),
        pl.when(played).then(pl.col("playtime_forever")).alias(columns.VALUE),
    )
    return rated_once(games)


def _items(shipment: Shipment) -> pl.LazyFrame:
    return shipment.table("games").select(
        pl.col("id").alias(columns.ITEM_ID),
        pl.coalesce("title", "app_name").alias(columns.TITLE),
        pl.col("genres"),
        pl.col("tags"),
        pl.col("developer"),
        pl.col("publisher"),
        pl.col("release_date").str.extract(r"((?:19|20)\d\d)").cast(pl.Int64).alias("year"),
        pl.col("price"),
    )


_GAMES = Part(
    "games",
    "*steam_games.json",  # some who pass it on call it output_steam_games
    form="records",
    values={
        "id": "text", "title": "text", "app_name": "text", "genres": "texts", "tags": "texts", "developer": "text",
        "publisher": "text", "release_date": "text", "price": "number",
    },
    needed=("id",),
)  # fmt: skip

PUBLISHERS = (
    Publisher(
        name="steam",
        title="Steam reviews",
        page=_PAGE,
        terms=_TERMS,
        parts=(
            Part(
                "reviews",
                "steam_reviews.json",
                form="records",
                values={"username": "text", "product_id": "text", "date": "text", "hours": "number"},
                needed=("username", "product_id", "date"),
            ),
            _GAMES,
        ),
        events=_reviews,
        items=_items,
        notes=("People are told apart by username, which every review has; values are hours played.",),
    ),
    Publisher(
        name="steam-australia",
        title="Steam's Australian players",
        page=_PAGE,
        terms=_TERMS,
        parts=(
            Part(
                "owners",
                "australian_users_items.json",
                form="records",
                values={"user_id": "text", "steam_id": "text", "item_id": "text", "playtime_forever": "number"},
                needed=("user_id", "items"),
                inside="items",
            ),
            _GAMES,
        ),
        events=_owned,
        items=_items,
        notes=("Nobody knows when games were bought: times are made up. Values are minutes played.",),
    ),
)
