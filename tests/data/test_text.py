"""Item texts: what is read, in which order, and how it is spelled."""

from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.config import TextConfig
from recsys.data.text import chosen_fields, item_texts

DEFAULT = TextConfig()


@pytest.fixture
def catalogue() -> pl.DataFrame:
    """Forty items with columns of every kind that shops have."""
    count = range(40)
    return pl.DataFrame(
        {
            "item_id": [str(n) for n in count],
            "title": [f"Title {n}" for n in count],
            "asin": [f"B00{n:04}" for n in count],
            "director": [f"Ann Example {n}" for n in count],
            "brand": [["Acme Inc", None, "Foo Bar"][n % 3] for n in count],
            "genres": [["Animation", "Comedy"][: n % 3] for n in count],
            "year": [1990 + n % 9 for n in count],
            "stock": [n * 1000 for n in count],
            "price": [1.5] * 40,
            "image": ["https://example.org/same.png"] * 40,
            "description": ["words and more words " * 20] * 40,
            "empty": pl.Series([None] * 40, dtype=pl.String),
            "updated_at": [datetime(2024, 1, 1, tzinfo=UTC)] * 40,
            "available": [True] * 40,
        }
    )


def test_short_words_and_years_are_read_and_codes_links_and_long_texts_are_not(catalogue: pl.DataFrame) -> None:
    assert chosen_fields(catalogue, DEFAULT) == ("year", "brand", "genres", "director")
    texts = item_texts(catalogue, DEFAULT)
    assert texts[0] == "Title 0 | year: 1990 | brand: Acme Inc | director: Ann Example 0"
    assert texts[2] == "Title 2 | year: 1992 | brand: Foo Bar | genres: Animation, Comedy | director: Ann Example 2"


def test_the_limit_of_characters_is_a_setting(catalogue: pl.DataFrame) -> None:
    assert "description" in chosen_fields(catalogue, TextConfig(max_field_characters=1_000))
    assert chosen_fields(catalogue, TextConfig(max_field_characters=8)) == ("year", "brand")


def test_named_fields_are_read_in_their_order(catalogue: pl.DataFrame) -> None:
    config = TextConfig(fields=("stock", "title", "price", "asin", "available"))
    assert item_texts(catalogue, config)[3] == "Title 3 | stock: 3000 | price: 1.5 | asin: B000003 | available: true"
    assert item_texts(catalogue, TextConfig(fields=()))[3] == "Title 3"


def test_an_unknown_field_is_named(catalogue: pl.DataFrame) -> None:
    with pytest.raises(ValueError, match="no column 'plot' to read; they have item_id, title"):
        item_texts(catalogue, TextConfig(fields=("plot",)))


def test_a_small_catalogue_may_have_all_different_values() -> None:
    items = pl.DataFrame({"item_id": ["1", "2"], "title": ["A", "B"], "main_genre": ["Drama", "Comedy"]})
    assert item_texts(items, DEFAULT) == ["A | main genre: Drama", "B | main genre: Comedy"]


def test_a_title_alone_is_enough() -> None:
    items = pl.DataFrame({"item_id": ["1"], "title": ["  A\n strange   title "]})
    assert item_texts(items, DEFAULT) == ["A strange title"]


@settings(max_examples=40)
@given(
    rows=st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp")), min_size=1),
            st.none() | st.text(),
            st.none() | st.lists(st.none() | st.text()),
        ),
        min_size=1,
    )
)
def test_every_item_has_one_text_that_depends_on_nothing_but_itself(rows: list) -> None:
    config = TextConfig(fields=("brand", "tags"))
    schema = {"title": pl.String, "brand": pl.String, "tags": pl.List(pl.String)}
    items = pl.DataFrame(rows, schema=schema, orient="row")
    texts = item_texts(items, config)
    assert len(texts) == len(rows)
    assert texts[::-1] == item_texts(items[::-1], config)
    assert texts[0] == item_texts(items[:1], config)[0]
    assert all(line.splitlines() in ([line], []) for line in texts if line)
