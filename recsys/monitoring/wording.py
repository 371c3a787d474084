"""Texts of items that are new or changed, beside those that were trained on: how long, in which words, which language.

Every figure is one of a text, so the new texts and the old ones are two samples, compared by their ranks (H. B. Mann
and D. R. Whitney, 1947). A text that was trained on is judged without itself, or its own words would be known to it.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse, stats

from recsys.config import MonitorConfig, TextConfig
from recsys.data import columns
from recsys.data.text import chosen_fields, item_texts
from recsys.monitoring.checks import TRAIN, Reading

MOST_TEXTS = 5_000  # of either sample
LEAST_TEXTS = 5  # of the new ones
WORD = r"[\p{L}\p{M}\p{N}]+"
GRAM = 3  # characters
SHINGLES = 4_096  # numbers that runs of characters are hashed to
_ADVICE = (
    "Look whether these texts are meant to be so; a training reads them, and the base may not know their language."
)


def texts_of(trained: pl.DataFrame, items: pl.DataFrame, config: TextConfig) -> tuple[list[str], list[str]]:
    """Return the texts of the items that were trained on, and of those that are new or read otherwise now.

    Both are read by the columns that the training read, as far as the new items have them.
    """
    fields = chosen_fields(trained, config)
    shared = TextConfig(tuple(name for name in fields if name in items.columns), config.max_field_characters)
    before = trained.select(columns.ITEM_ID).with_columns(pl.Series("text", item_texts(trained, shared)))
    now = items.select(columns.ITEM_ID).with_columns(pl.Series("text", item_texts(items, shared)))
    new = now.join(before, on=[columns.ITEM_ID, "text"], how="anti").sort(columns.ITEM_ID)
    return before["text"].to_list(), new["text"].to_list()


def wording(trained: Sequence[str], new: Sequence[str], config: MonitorConfig) -> list[Reading]:
    """Compare the texts that were trained on with new ones, in three checks."""
    random = np.random.default_rng(config.seed)
    before, now = (_some(texts, random) for texts in (trained, new))
    lengths = [np.array([len(text) for text in texts], dtype=float) for texts in (before, now)]
    unknown, alike = _unknown(before, now), _alike(before, now)
    return [
        _compared("length of texts", "characters", lengths, config),
        _compared("unknown words", "of a text's words in no other one", unknown, config, percent=True),
        _compared("language of texts", "likeness of a text's letters to all", alike, config),
    ]


def _some(texts: Sequence[str], random: np.random.Generator) -> list[str]:
    if len(texts) <= MOST_TEXTS:
        return list(texts)
    return [texts[place] for place in np.sort(random.choice(len(texts), MOST_TEXTS, replace=False))]


def _compared(
    name: str, what: str, samples: Sequence[NDArray[np.float64]], config: MonitorConfig, percent: bool = False
) -> Reading:
    before, now = samples
    if len(now) < LEAST_TEXTS or len(before) < LEAST_TEXTS:
        return Reading(name, f"{len(now):,} texts are new or changed, too few for a comparison.", _ADVICE, TRAIN)
    usual, found = float(np.median(before)), float(np.median(now))
    test = stats.mannwhitneyu(now, before, method="asymptotic")
    larger = float(test.statistic) / (len(now) * len(before))  # the chance that a new one has the larger figure
    shown = [f"{100 * one:.0f} %" if percent else f"{one:.3g}" for one in (found, usual)]
    return Reading(
        name,
        f"{shown[0]} {what} in the middle of {len(now):,} new or changed texts, {shown[1]} in those trained on.",
        _ADVICE,
        TRAIN,
        figure=found,
        expected=usual,
        p=float(test.pvalue),
        effect=abs(2 * larger - 1),
        least_effect=config.text_change,
    )


def _unknown(before: Sequence[str], now: Sequence[str]) -> list[NDArray[np.float64]]:
    """Return for each text the share of its different words that no text of before has, but for itself."""
    words = [_words(texts) for texts in (before, now)]
    holding = words[0].group_by("word").len("texts")
    found = []
    for own, most, texts in ((words[0], 1, before), (words[1], 0, now)):
        known = own.join(holding, on="word", how="left")
        share = known.group_by("text").agg((pl.col("texts").fill_null(0) <= most).mean().alias("share"))
        all_texts = pl.DataFrame({"text": np.arange(len(texts))}).join(
            share, on="text", how="left", maintain_order="left"
        )
        found.append(all_texts["share"].fill_null(0.0).to_numpy())
    return found


def _words(texts: Sequence[str]) -> pl.DataFrame:
    """Return ``text``, its place, and each different ``word`` of it, in small letters."""
    found = pl.DataFrame({"text": np.arange(len(texts)), "word": pl.Series(list(texts), dtype=pl.String)})
    found = found.with_columns(pl.col("word").str.to_lowercase().str.extract_all(WORD))
    return found.explode("word").drop_nulls().unique().with_columns(pl.col("text").cast(pl.Int64))


def _alike(before: Sequence[str], now: Sequence[str]) -> list[NDArray[np.float64]]:
    """Return for each text the cosine of its character trigrams with those of all texts of before, but for itself."""
    old, new = (_grams(texts) for texts in (before, now))
    whole = np.asarray(old.sum(axis=0)).ravel()
    inside = (old @ whole) - _norms(old) ** 2
    rest = np.sqrt(np.maximum(1e-12, whole @ whole - 2 * (old @ whole) + _norms(old) ** 2))
    return [
        inside / (np.maximum(1e-12, _norms(old)) * rest),
        (new @ whole) / (np.maximum(1e-12, _norms(new)) * max(1e-12, float(np.linalg.norm(whole)))),
    ]


def _grams(texts: Sequence[str]) -> sparse.csr_matrix:
    """Return how often each text has each run of three characters, (texts, ``SHINGLES``)."""
    rows: list[NDArray[np.int64]] = []
    places: list[NDArray[np.int64]] = []
    for number, text in enumerate(texts):
        codes = np.frombuffer(f" {text.lower()} ".encode("utf-32-le", "replace"), dtype=np.uint32).astype(np.uint64)
        grams = codes[: 1 - GRAM] * np.uint64(0x9E3779B1) ^ codes[1:-1] * np.uint64(0x85EBCA77) ^ codes[2:]
        grams = (grams * np.uint64(0x27D4EB2F165667C5)) >> np.uint64(52)  # the best mixed bits of a product
        places.append((grams % np.uint64(SHINGLES)).astype(np.int64))
        rows.append(np.full(len(grams), number))
    flat = (np.concatenate(rows), np.concatenate(places)) if rows else (np.zeros(0, int), np.zeros(0, int))
    return sparse.csr_matrix((np.ones(len(flat[0])), flat), shape=(len(texts), SHINGLES))


def _norms(counts: sparse.csr_matrix) -> NDArray[np.float64]:
    return np.sqrt(np.asarray(counts.multiply(counts).sum(axis=1)).ravel())
