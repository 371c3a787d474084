"""Text classifiers through the flow and the command, and what they fill in when raw files are ingested."""

import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from synthetic import HEADLINES, SMALL_CLASSIFIER, TICKETS, write_dataset, write_labelled
from test_cli import run, shown
from test_pipeline import artifact

from flows.classify import train_text_classifier
from recsys.artifacts import ArtifactError
from recsys.config import CategoryConfig, IngestConfig, ReviewConfig, to_dict
from recsys.home import Home
from recsys.models.optimisation import DivergedError
from recsys.store.adapters import list_adapters
from recsys.store.names import ADAPTER, set_alias
from recsys.texts.labels import newest_classifier, open_classifier


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("classifiers"))


def train(place: Home, folder: Path, templates: dict[str, tuple[str, ...]], *more: object) -> dict[str, object]:
    learnt, judged = write_labelled(folder, templates)
    (folder / "settings.json").write_text(json.dumps(to_dict(SMALL_CLASSIFIER)))
    settings = folder / "settings.json"
    given = ["--train", learnt, "--dev", judged, "--config", settings, "--home", place.root, *more]
    result: dict[str, object] = run("classify", *given)
    return result


@pytest.fixture(scope="module")
def sentiment(place: Home, prefect_server: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    folder = tmp_path_factory.mktemp("headlines")
    return train(place, folder, HEADLINES, "--test", write_labelled(folder, HEADLINES)[1])


def test_a_classifier_is_stored_listed_and_found_again(place: Home, sentiment: dict, tmp_path: Path) -> None:
    assert sentiment["labels"] == ["negative", "positive"]
    assert len(sentiment["history"]) == 3
    # the same texts, so the epoch that was kept scores the same
    assert sentiment["test"]["accuracy"] == sentiment["history"][sentiment["epochs"] - 1]["dev_accuracy"]
    assert newest_classifier(place) == sentiment["adapter"]
    (card,) = run("adapters", "list", "--home", place.root)["adapters"]
    assert card["task"] == "classification"
    assert "accuracy" in shown("adapters", "list", "--home", place.root)
    again = train(place, tmp_path, HEADLINES, "--test", write_labelled(tmp_path, HEADLINES)[1])
    assert again["reused"]
    assert again["adapter"] == sentiment["adapter"]
    assert artifact("found-done", holding=f"classifier {again['adapter']}")
    assert "dev_accuracy" in artifact("classifier", holding=f"Adapter {again['adapter']}: ").data
    drawn = artifact("classifier-curves", holding=f"Adapter {again['adapter']}: ").data
    assert str(drawn).startswith("data:image/png;base64,")
    assert not list(place.runs.glob("*.checkpoint"))


def test_a_training_that_diverges_leaves_no_adapter_and_says_why(prefect_server: str, tmp_path: Path) -> None:
    learnt, judged = write_labelled(tmp_path, HEADLINES)
    config = replace(SMALL_CLASSIFIER, learning_rate=1e30)
    with pytest.raises(DivergedError, match="Lower learning_rate; nothing was saved"):
        train_text_classifier(str(learnt), str(judged), home=str(tmp_path / "home"), config=config)
    assert list_adapters(Home(tmp_path / "home")) == []


def test_another_seed_is_another_classifier_and_a_table_shows_its_epochs(
    place: Home, sentiment: dict, tmp_path: Path
) -> None:
    learnt, judged = write_labelled(tmp_path, HEADLINES)
    output = shown("classify", "--train", learnt, "--dev", judged, "--epochs", 1, "--seed", 1, "--home", place.root)
    assert "dev accuracy" in output
    assert newest_classifier(place) != sentiment["adapter"]


def test_reviews_become_values_and_titles_become_categories(place: Home, sentiment: dict, tmp_path: Path) -> None:
    from flows.ingest import ingest_tables
    from recsys.data.snapshot import open_snapshot

    events, items = write_dataset(tmp_path / "data")
    told = pl.read_parquet(events).with_row_index().with_columns(
        pl.when(pl.col("index") % 3 == 0).then(pl.lit("Record profit, sales soar"))
        .when(pl.col("index") % 3 == 1).then(pl.lit("Losses, weak demand, jobs cut")).alias("review"),
        pl.when(pl.col("index") < 9).then(0.25).alias("value"),
    )  # fmt: skip
    told.drop("index").write_parquet(events)
    known = pl.read_parquet(items).with_row_index()
    known.with_columns(pl.when(pl.col("index") < 5).then(pl.lit("Film")).alias("category")).drop("index").write_parquet(
        items
    )
    adapter = str(sentiment["adapter"])
    set_alias(place, ADAPTER, adapter, "moods")
    config = IngestConfig(reviews=ReviewConfig(adapter), categories=CategoryConfig("moods"))
    snapshot = open_snapshot(place, ingest_tables(str(events), str(items), str(place.root), config))

    table = snapshot.events().filter(pl.col("value_predicted"))
    means = dict(table.group_by("review").agg(pl.col("value").mean()).iter_rows())
    assert means["Record profit, sales soar"] > 0.5 > means["Losses, weak demand, jobs cut"]
    rest = snapshot.events().filter(~pl.col("value_predicted"))
    assert set(rest["value"].drop_nulls()) == {0.25}
    assert rest.filter(pl.col("value").is_null())["review"].null_count() == rest["value"].null_count()
    catalogue = snapshot.items()
    assert catalogue.filter(~pl.col("category_predicted"))["category"].to_list() == ["Film"] * 5
    assert set(catalogue.filter(pl.col("category_predicted"))["category"]) <= {"negative", "positive"}
    same = ingest_tables(str(events), str(items), str(place.root), config)
    assert same == snapshot.id


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (IngestConfig(reviews=ReviewConfig("{}", column="nothing")), "no column 'nothing'"),
        (IngestConfig(reviews=ReviewConfig("{}", column="item_id", positive="good")), "no label 'good'"),
        (IngestConfig(categories=CategoryConfig("{}", column="year")), "a category is text"),
        (IngestConfig(categories=CategoryConfig("0" * 16)), "no adapter"),
    ],
)
def test_what_cannot_be_filled_in_is_refused(
    place: Home, sentiment: dict, tmp_path: Path, config: IngestConfig, message: str
) -> None:
    from dataclasses import replace

    from flows.ingest import ingest_tables

    events, items = write_dataset(tmp_path)
    for name in ("reviews", "categories"):
        part = getattr(config, name)
        if part is not None:
            config = replace(config, **{name: replace(part, adapter=part.adapter.format(sentiment["adapter"]))})
    before = set(place.snapshots.glob("*")) if place.snapshots.exists() else set()
    with pytest.raises((ValueError, ArtifactError), match=message):
        ingest_tables(str(events), str(items), str(place.root), config)
    assert (set(place.snapshots.glob("*")) if place.snapshots.exists() else set()) == before


def test_bad_texts_are_named(place: Home, prefect_server: str, tmp_path: Path) -> None:
    learnt, judged = write_labelled(tmp_path, TICKETS)
    judged.write_text("parking My car\n")
    output = shown("classify", "--train", learnt, "--dev", judged, "--home", place.root, code=1)
    assert "'parking'" in output
    assert "no training text has" in output


def test_an_adapter_of_another_task_is_no_classifier(home: Home) -> None:
    from recsys.store.adapters import list_adapters

    card = next(card for card in list_adapters(home) if card.task == "recommendation")
    with pytest.raises(ArtifactError, match="not for classification"):
        open_classifier(home, card.id)
