"""MovieLens by GroupLens: people rate films. 100K and 1M are texts of Latin-1 without a header, 32M is CSV.

Links to other catalogues are ids, which no model reads. Tags are left out: most were given after the ratings, and
would tell a training what it is asked later.
"""

import polars as pl

from recsys.data import columns
from recsys.data.movielens import GENRES, film_title, film_year
from recsys.data.publishers.publisher import Part, Publisher
from recsys.data.publishers.shaping import since_1970
from recsys.data.publishers.shipment import Shipment

_TERMS = "GroupLens lets MovieLens be used for research, and neither redistributed nor used to earn without asking."
_RATING = ("user_id", "item_id", "rating", "seconds")
_NO_GENRES = ("unknown", "(no genres listed)")
# Of the 1M's readme: what its numbers stand for.
_AGES = {"1": "under 18", "18": "18-24", "25": "25-34", "35": "35-44", "45": "45-49", "50": "50-55", "56": "56 or more"}
_OCCUPATIONS = (
    "other or not specified", "academic or educator", "artist", "clerical or admin", "college or grad student",
    "customer service", "doctor or health care", "executive or managerial", "farmer", "homemaker", "K-12 student",
    "lawyer", "programmer", "retired", "sales or marketing", "scientist", "self-employed", "technician or engineer",
    "tradesman or craftsman", "unemployed", "writer",
)  # fmt: skip


def _events(shipment: Shipment) -> pl.LazyFrame:
    ratings = shipment.table("ratings").rename({"userId": "user_id", "movieId": "item_id"}, strict=False)
    seconds = "timestamp" if "timestamp" in ratings.collect_schema() else "seconds"
    return ratings.select(
        columns.USER_ID,
        columns.ITEM_ID,
        since_1970(pl.col(seconds)).alias(columns.TIMESTAMP),
        pl.lit("rating").alias(columns.EVENT_TYPE),
        pl.col("rating").cast(pl.Float64).alias(columns.VALUE),
    )


def _items(shipment: Shipment) -> pl.LazyFrame:
    films = shipment.table("films").rename({"movieId": "item_id"}, strict=False)
    return _described(films.with_columns(pl.col("genres").str.split("|")))


def _flagged_items(shipment: Shipment) -> pl.LazyFrame:
    flags = [pl.when(pl.col(f"is {name}") == "1").then(pl.lit(name)) for name in GENRES]
    return _described(shipment.table("films").with_columns(pl.concat_list(flags).list.drop_nulls().alias("genres")))


def _described(films: pl.LazyFrame) -> pl.LazyFrame:
    """Return items of an id, a title with the year in brackets, and a list of genres."""
    genres = pl.col("genres").list.set_difference(list(_NO_GENRES)).list.drop_nulls().list.sort()
    return films.select(
        columns.ITEM_ID,
        pl.col("title").map_elements(film_title, pl.String).alias(columns.TITLE),
        pl.col("title").map_elements(film_year, pl.Int64).alias("year"),
        genres.alias("genres"),
    )


def _users_100k(shipment: Shipment) -> pl.LazyFrame:
    return shipment.table("users").with_columns(pl.col("age").cast(pl.Int64))


def _users_1m(shipment: Shipment) -> pl.LazyFrame:
    occupations = {str(number): name for number, name in enumerate(_OCCUPATIONS)}
    return shipment.table("users").with_columns(pl.col("age").replace(_AGES), pl.col("occupation").replace(occupations))


PUBLISHERS = (
    Publisher(
        name="movielens-100k",
        title="MovieLens 100K",
        page="https://grouplens.org/datasets/movielens/100k/",
        terms=_TERMS,
        parts=(
            Part("ratings", "u.data", _RATING, "lines"),
            Part(
                "films",
                "u.item",
                ("item_id", "title", "released", "released on video", "imdb", *(f"is {name}" for name in GENRES)),
                "lines",
                "|",
                "latin-1",
            ),
            Part("users", "u.user", ("user_id", "age", "sex", "occupation", "zip"), "lines", "|", "latin-1"),
        ),
        events=_events,
        items=_flagged_items,
        users=_users_100k,
    ),
    Publisher(
        name="movielens-1m",
        title="MovieLens 1M",
        page="https://grouplens.org/datasets/movielens/1m/",
        terms=_TERMS,
        parts=(
            Part("ratings", "ratings.dat", _RATING, "lines", "::", "latin-1"),
            Part("films", "movies.dat", ("item_id", "title", "genres"), "lines", "::", "latin-1"),
            Part("users", "users.dat", ("user_id", "sex", "age", "occupation", "zip"), "lines", "::", "latin-1"),
        ),
        events=_events,
        items=_items,
        users=_users_1m,
    ),
    Publisher(
        name="movielens-32m",
        title="MovieLens 32M",
        page="https://grouplens.org/datasets/movielens/32m/",
        terms=_TERMS,
        parts=(
            Part("ratings", "ratings.csv", ("userId", "movieId", "rating", "timestamp")),
            Part("films", "movies.csv", ("movieId", "title", "genres")),
        ),
        events=_events,
        items=_items,
        notes=("links.csv and tags.csv are left out: ids of other catalogues, and words given after most ratings.",),
    ),
)
