"""H&M by the H&M Group, for a competition on Kaggle: what customers bought on which day.

A row is one piece, so that three of a kind are three equal rows: here they are one purchase with their number and what
was paid for them. Ids of articles begin with zeros.
"""

import polars as pl

from recsys.data import columns
from recsys.data.publishers.publisher import Part, Publisher
from recsys.data.publishers.shaping import on_one_line
from recsys.data.publishers.shipment import Shipment

_WORDS = {
    "product_type_name": "product_type",
    "product_group_name": "product_group",
    "graphical_appearance_name": "pattern",
    "colour_group_name": "colour",
    "department_name": "department",
    "index_name": "index",
    "section_name": "section",
    "garment_group_name": "garment_group",
    "detail_desc": "description",
}


def _events(shipment: Shipment) -> pl.LazyFrame:
    day = pl.col("t_dat").str.to_datetime("%Y-%m-%d", time_unit="us").dt.replace_time_zone("UTC")
    bought = shipment.table("transactions").select(
        pl.col("customer_id").alias(columns.USER_ID),
        pl.col("article_id").alias(columns.ITEM_ID),
        day.alias(columns.TIMESTAMP),
        pl.col("price").cast(pl.Float64).alias("price"),
        pl.when(pl.col("sales_channel_id") == "2").then(pl.lit("online")).otherwise(pl.lit("store")).alias("channel"),
    )
    keys = (columns.USER_ID, columns.ITEM_ID, columns.TIMESTAMP)
    # cents of their unit, so that a sum does not depend on the order of rows
    paid = (pl.col("price") * 1e12).round().cast(pl.Int64).sum() / 1e12
    return (
        bought.group_by(keys)
        .agg(
            pl.lit("purchase").first().alias(columns.EVENT_TYPE),
            paid.alias(columns.VALUE),
            pl.len().cast(pl.Int64).alias("quantity"),
            pl.col("channel").min(),
        )
        .sort(keys)
    )


def _items(shipment: Shipment) -> pl.LazyFrame:
    articles = shipment.table("articles")
    there = [name for name in _WORDS if name in articles.collect_schema().names()]
    return articles.select(
        pl.col("article_id").alias(columns.ITEM_ID),
        on_one_line(pl.col("prod_name")).alias(columns.TITLE),
        *(on_one_line(pl.col(name)).alias(_WORDS[name]) for name in there),
    )


def _users(shipment: Shipment) -> pl.LazyFrame:
    news = pl.col("fashion_news_frequency").str.to_titlecase()  # "NONE" and "None" are one
    return shipment.table("customers").select(
        pl.col("customer_id").alias(columns.USER_ID),
        pl.col("age").cast(pl.Float64).cast(pl.Int64),
        pl.col("club_member_status").alias("club"),
        news.alias("news"),
    )


PUBLISHERS = (
    Publisher(
        name="hm",
        title="H&M Personalized Fashion Recommendations",
        page="https://www.kaggle.com/competitions/h-and-m-personalized-fashion-recommendations/data",
        terms="H&M lets its data be used for the competition, research and teaching, not to earn; see Kaggle's rules.",
        parts=(
            Part(
                "transactions",
                "transactions_train.csv",
                ("t_dat", "customer_id", "article_id", "price", "sales_channel_id"),
            ),
            Part("articles", "articles.csv", ("article_id", "prod_name")),
            Part("customers", "customers.csv", ("customer_id", "age", "club_member_status", "fashion_news_frequency")),
        ),
        events=_events,
        items=_items,
        users=_users,
        notes=("Equal rows are one purchase of several pieces: its value is what they cost together.",),
    ),
)
