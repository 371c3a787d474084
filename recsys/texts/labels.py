"""Stored text classifiers at work: opened from the home, and put to use where a table lacks what they can tell."""

from typing import Any

import numpy as np
import polars as pl

from recsys.artifacts import ArtifactError
from recsys.config import CategoryConfig, ReviewConfig, TextConfig
from recsys.data import columns
from recsys.data.text import item_texts
from recsys.errors import DataError, SettingError
from recsys.home import Home
from recsys.models.encoder.classifier import Classifier
from recsys.store.adapters import list_adapters, read_card, verify_adapter, when_made
from recsys.store.manifests import CLASSIFICATION

PREDICTED = "_predicted"  # behind a column's name: whether its value is a prediction


def open_classifier(home: Home, adapter_id: str) -> Classifier:
    """Load a stored classifier, every file of it checked.

    Raises:
        ArtifactError: there is no such adapter, or it is no classifier.
        BaseModelError: the base is not the one of its card.
    """
    card = read_card(home, adapter_id)
    if card.task != CLASSIFICATION:
        raise ArtifactError(
            f"Adapter {adapter_id} is for {card.task}, not for classification. "
            "Train a classifier with `recsys classify`, or name one that `recsys adapters` lists."
        )
    return Classifier.load(verify_adapter(home, adapter_id), card.base, expected=card.base_digest)


def newest_classifier(home: Home) -> str | None:
    """Return the id of the classifier that was stored last, or None where there is none; of two at once the larger."""
    found = [(when_made(home, card), card.id) for card in list_adapters(home) if card.task == CLASSIFICATION]
    return max(found, default=(None, None))[1]


def rate_reviews(events: pl.DataFrame, classifier: Classifier, config: ReviewConfig) -> pl.DataFrame:
    """Give events without a value the probability that their review is of the positive label.

    Returns:
        The events with ``value`` filled and a column ``value_predicted`` that says where.

    Raises:
        DataError, SettingError: there is no column of reviews, or the classifier has no such label.
    """
    if config.column not in events.columns:
        raise DataError(f"The events have no column {config.column!r} of reviews; they have {_names(events)}.")
    if config.positive not in classifier.labels:
        raise SettingError(f"The classifier has no label {config.positive!r}; it has {', '.join(classifier.labels)}.")
    value = _column(events, columns.VALUE, pl.Float64())
    reviews = events[config.column].cast(pl.String).fill_null("")
    rows = np.flatnonzero((value.is_null() & (reviews.str.strip_chars() != "")).to_numpy())
    texts = reviews.gather(rows).to_list()
    values = value.to_list()
    if texts:
        chances = classifier.probabilities(texts)[:, classifier.labels.index(config.positive)]
        for row, chance in zip(rows, chances.tolist(), strict=True):
            values[row] = round(chance, 6)
    return _completed(events, columns.VALUE, pl.Series(values, dtype=pl.Float64), rows)


def fill_categories(items: pl.DataFrame, classifier: Classifier, config: CategoryConfig) -> pl.DataFrame:
    """Give items without a category the likeliest label of their text.

    Returns:
        The items with the column filled and another, ``<column>_predicted``, that says where.

    Raises:
        DataError: the column holds something other than text.
    """
    known = _column(items, config.column, pl.String())
    if known.dtype != pl.String:
        raise DataError(f"The items' column {config.column!r} holds {known.dtype}; a category is text.")
    rows = np.flatnonzero((known.fill_null("").str.strip_chars() == "").to_numpy())
    values = known.to_list()
    if len(rows):
        lacking = items.drop(config.column, strict=False)[rows.tolist()]
        best = classifier.probabilities(item_texts(lacking, TextConfig())).argmax(axis=1)
        for row, label in zip(rows, best.tolist(), strict=True):
            values[row] = classifier.labels[label]
    return _completed(items, config.column, pl.Series(values, dtype=pl.String), rows)


def _column(table: pl.DataFrame, name: str, kind: pl.DataType) -> pl.Series:
    """Return a column, or one of nulls where it is absent or holds nothing."""
    if name in table.columns and table.schema[name] != pl.Null:
        return table[name]
    return pl.repeat(None, len(table), dtype=kind, eager=True)


def _completed(table: pl.DataFrame, name: str, values: pl.Series, rows: np.ndarray[Any, Any]) -> pl.DataFrame:
    predicted = np.zeros(len(table), dtype=bool)
    predicted[rows] = True
    return table.with_columns(values.alias(name), pl.Series(name + PREDICTED, predicted))


def _names(table: pl.DataFrame) -> str:
    return ", ".join(table.columns)
