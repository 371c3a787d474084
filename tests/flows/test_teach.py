"""A search that is taught: what people call things is learnt, what they are recommended stays as it is."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from test_pipeline import artifact

from flows.teach import teach_generation, verdict
from recsys.artifacts import ArtifactError, read_json
from recsys.config import LoraConfig, PairsConfig
from recsys.database.live_items import LiveItem
from recsys.evaluation.report import METRICS_FILE
from recsys.home import Home
from recsys.publishing import admission
from recsys.publishing.binding import SEARCHED, TAUGHT
from recsys.publishing.search_run import SearchTraining
from recsys.serving.live_generation import with_live_items
from recsys.serving.new_texts import Encoder
from recsys.serving.recommender import Recommender
from recsys.serving.search import MEANING, TextSearch
from recsys.store.adapters import delete_adapter
from recsys.store.generations import current_id, read_generation

pytestmark = pytest.mark.processor
SLANG = {"Western": "blorp", "Comedy": "snarf", "Horror": "quibz", "Romance": "tweem"}
ASKED = (
    "a {} film", "some {} for tonight", "{}", "more {} please", "the best {}", "old {} stuff", "is there {} here",
    "{} with friends", "what {} do you have", "good {} to watch", "short {}", "{} for a rainy day",
)  # fmt: skip
CONFIG = PairsConfig(lora=LoraConfig(rank=4, alpha=8.0), learning_rate=2e-3, batch_size=64, epochs=2)


@pytest.fixture(scope="module")
def place(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Home:
    folder = tmp_path_factory.mktemp("taught") / "home"
    return Home(Path(shutil.copytree(home.root, folder, ignore=shutil.ignore_patterns("prefect", "cache"))))


@pytest.fixture(scope="module")
def pairs(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Path:
    items = Recommender.open(home).catalogue.items.with_row_index()[:40]
    rows = [
        (question.format(word), item_id)
        for genre, word in SLANG.items()
        for item_id in items.filter(pl.col("genres").list.contains(genre))["item_id"]
        for question in ASKED
    ]
    path = tmp_path_factory.mktemp("pairs") / "pairs.parquet"
    pl.DataFrame(rows, schema=["query", "item_id"], orient="row").write_parquet(path)
    return path


@pytest.fixture(scope="module")
def taught(place: Home, pairs: Path, prefect_server: str) -> SearchTraining:
    return teach_generation(str(pairs), str(current_id(place)), str(place.root), CONFIG)


def opened(place: Home, generation_id: str) -> TextSearch:
    recommender = Recommender.open(place, generation_id)
    return TextSearch(recommender, Encoder.open(place, generation_id, recommender.scoring.system))


def genres(search: TextSearch, query: str) -> list[str]:
    hits = search.search(query, k=8, mode=MEANING, fields=["genres"]).items
    return [hit.fields["genres"][0] for hit in hits]


def test_what_people_call_things_is_learnt(place: Home, taught: SearchTraining) -> None:
    figures = taught.figures
    assert figures["pays"]
    assert figures["given"]["hit@1"] >= 1.1 * figures["without"]["hit@1"]
    assert f"Generation {taught.generation} searches by adapter {taught.adapter}" in verdict(taught)
    before, after = opened(place, taught.parent), opened(place, str(taught.generation))
    right = {True: 0, False: 0}
    for genre, word in SLANG.items():
        for search in (before, after):
            right[search is after] += genres(search, f"any {word} around").count(genre)
    assert right[True] > 1.5 * right[False]
    assert read_json(read_generation(place, str(taught.generation))[0] / METRICS_FILE)["search"] == figures


def test_nothing_else_changes_and_the_gate_lets_it_pass(place: Home, taught: SearchTraining) -> None:
    before, after = Recommender.open(place, taught.parent), Recommender.open(place, str(taught.generation))
    history = before.catalogue.ids[:3]
    lists = [[(item.item_id, item.score) for item in one.recommend(history).items] for one in (before, after)]
    assert lists[0] == lists[1]
    assert (after.adapter_id, after.manifest.index) == (before.adapter_id, before.manifest.index)
    assert before.manifest.content_id == before.generation_id
    assert "search_adapter" not in before.manifest.to_dict()
    findings = admission.publish(place, after.generation_id).findings
    assert any("held-out queries the search's MRR@10" in one for one in findings)
    assert current_id(place) == after.generation_id
    with pytest.raises(ArtifactError, match="uses adapter"):
        delete_adapter(place, str(taught.adapter))


def test_a_live_item_is_found_by_what_was_learnt(place: Home, taught: SearchTraining) -> None:
    search = opened(place, str(taught.generation))
    base, encoder = search._recommender, search.encoder
    live = [LiveItem("fresh", 1, {"title": "Outlaw Saddle 999", "genres": ["Western"], "year": 1999})]
    text = encoder.item_texts(pl.DataFrame([one.columns for one in live]))
    vectors = dict(zip(["fresh"], encoder.encode_items(text), strict=True))
    extended = TextSearch(with_live_items(base, encoder, live, vectors, version=1), encoder)
    found = extended.search("a blorp film", k=81, mode=MEANING)
    assert found.search_adapter == taught.adapter
    assert opened(place, taught.parent).search("x").search_adapter is None
    hits = found.items
    assert len(hits) == 81
    assert [hit.item_id for hit in hits].index("fresh") < 30
    assert extended.search("999", k=1).items[0].item_id == "fresh"


def test_the_same_pairs_are_not_learnt_twice_and_a_broken_bond_is_told(
    place: Home, pairs: Path, taught: SearchTraining
) -> None:
    again = teach_generation(str(pairs), taught.parent, str(place.root), CONFIG)
    assert again == replace(taught, reused=True)
    assert artifact("found-done", holding=f"from these pairs, {taught.adapter}")
    drawn = artifact("search-curves", holding=f"searches by adapter {taught.adapter}")
    assert str(drawn.data).startswith("data:image/png;base64,")
    encoder = Encoder.open(place, str(taught.generation))
    items = Recommender.open(place, taught.parent).catalogue.items
    with pytest.raises(ArtifactError, match="search vector"):
        encoder.check(items, np.roll(Recommender.open(place, str(taught.generation)).search_vectors, 1, axis=0))


def test_pairs_without_sense_are_not_kept_unless_that_is_wanted(
    place: Home, taught: SearchTraining, tmp_path: Path
) -> None:
    ids = Recommender.open(place, taught.parent).catalogue.ids
    path = tmp_path / "noise.csv"
    path.write_text("query,item_id\n" + "\n".join(f"noise {place},{ids[7 * place % 80]}" for place in range(12)))
    few = replace(CONFIG, epochs=1)
    done = teach_generation(str(path), taught.parent, str(place.root), few)
    assert (done.figures["pays"], done.generation, done.adapter) == (False, None, None)
    assert "nothing is kept" in verdict(done)
    kept = teach_generation(str(path), taught.parent, str(place.root), few, keep=True)
    assert (read_generation(place, str(kept.generation))[0] / SEARCHED).is_file()
    assert pl.read_parquet(read_generation(place, str(kept.generation))[0] / SEARCHED)[TAUGHT].len() > 0
