"""The report of a training: there after every one, written again without one, and safe whatever a title holds."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from variants import make_variant

from recsys.data.columns import TITLE
from recsys.evaluation.charts import Bar, bars, columns, curve, histogram, quoted
from recsys.evaluation.page import SENTENCES
from recsys.home import Home
from recsys.publishing import report as module
from recsys.publishing.report import report, write_report
from recsys.publishing.training_run import try_report
from recsys.ranking.parts import Parts
from recsys.selection.catalogue import Catalogue
from recsys.serving.recommender import Recommender
from recsys.store.generations import current_id, delete_generation, read_generation, report_path
from recsys.store.names import GENERATION, set_alias, set_note
from recsys.training.baselines import SYSTEMS

HOSTILE = "</bdi><script>alert(1)</script> <img src=x onerror=alert(1)> \u202egnp"


@pytest.fixture(scope="module")
def written(home: Home) -> str:
    """What the training that made the home has left."""
    return report_path(home, str(current_id(home))).read_text()


def test_every_training_leaves_a_page_that_needs_no_network(home: Home, written: str) -> None:
    generation_id = str(current_id(home))
    folder, manifest = read_generation(home, generation_id)
    assert f"<h1>Training: {generation_id}</h1>" in written
    assert not re.search(r"<script|<link|(?:src|href|url)\s*[=(]", written)
    assert 'name="viewport"' in written
    parts = Parts.read(folder)
    assert parts is not None
    assert parts.adapter_part.replace("'", "&#x27;") in written
    assert "<p>The gate lets it pass by these figures:</p><ul><li>NDCG@10" in written
    for heading in ("What the lists are made of", "held-out items", "How it learnt", "What is offered", "How long it"):
        assert heading in written
    assert "The adapter&#x27;s loss: from" in written
    assert "The towers&#x27; NDCG@10 on validation: from" in written
    assert all(f">{stage}<" in written for stage in ("read texts", "train and measure", "refit"))
    assert manifest.notes["stage_seconds"].keys() == {"read texts", "train and measure", "refit"}
    assert written.count("<polyline") >= 3
    assert written.count("<h3>Person") == module.SHOWN_PEOPLE


def test_it_is_written_again_without_a_training_and_names_nobody(home: Home, written: str, tmp_path: Path) -> None:
    place = Home(Path(shutil.copytree(home.root, tmp_path / "home")))
    generation_id = str(current_id(place))
    assert report(place, generation_id) == written
    report_path(place, generation_id).unlink()
    set_alias(place, GENERATION, generation_id, "champion")
    set_note(place, GENERATION, generation_id, "For <i>Ann</i>.")
    again = write_report(place, generation_id).read_text()
    assert f"<h1>Training: {generation_id} (champion)</h1>" in again
    assert "For &lt;i&gt;Ann&lt;/i&gt;." in again
    assert not [user for user in Recommender.open(place).users.rows if user in again]
    read_generation(place, generation_id, verify=True)  # it is no part of the generation


def test_lists_stand_beside_those_of_what_is_served(home: Home, tmp_path: Path) -> None:
    place = Home(Path(shutil.copytree(home.root, tmp_path / "home")))
    served = str(current_id(place))
    without, _ = make_variant(place, {"content": 1.0})
    text = report(place, without)
    assert f"Lists of this generation beside the served generation {served}" in text
    assert re.search(r"Of the ten best items of \d+ people \d+ % are in both lists", text)
    assert '<em class="new">new</em>' in text
    assert "The adapter has no part in this generation&#x27;s lists" in text
    (place.generations / "current.json").unlink()
    alone = write_report(place, without).read_text()
    assert "<h2>Lists</h2>" in alone
    assert alone.count("<h4>") == module.SHOWN_PEOPLE  # one list a person
    delete_generation(place, without)
    assert not report_path(place, without).exists()


def test_a_hostile_title_stays_a_title(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Recommender.open(home)
    items = opened.catalogue.items.with_columns(pl.lit(HOSTILE).alias(TITLE))
    monkeypatch.setattr(module.Recommender, "open", lambda *_: replace(opened, catalogue=Catalogue(items)))
    text = report(home, opened.generation_id)
    assert not re.search(r"<script|<img|\u202e", text)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "[U+202E]gnp" in text


def test_pieces_bear_what_is_empty_or_odd() -> None:
    assert "nothing was recorded" in curve("Loss", [], "epoch")
    assert "Loss: 1.0000" in curve("Loss", [(1, 1.0)], "epoch")
    assert 'points="0.00,100.00 100.00,100.00"' in curve("Loss", [(1, 2.0), (2, 2.0)], "epoch")  # a flat line
    assert "there are none" in histogram("Scores", [])
    assert "<i style" in histogram("Scores", [1.0, 1.0])
    assert "height:100.0%" in columns("Places", {"a": [0, 2], "b": [1, 1]}, "1", "2")
    assert "width:0.00%" in bars([Bar("nothing", 0.0, "0")])
    assert quoted("<b>") == "<bdi>&lt;b&gt;</bdi>"
    assert set(SENTENCES) == set(SYSTEMS)


def test_a_page_that_fails_is_told_and_keeps_nobody_from_what_was_trained(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nothing = Home(tmp_path)
    try_report(nothing, "0" * 16)
    assert f"No report of generation {'0' * 16}" in caplog.text
    assert "ArtifactError" in caplog.text
    assert not report_path(nothing, "0" * 16).exists()
