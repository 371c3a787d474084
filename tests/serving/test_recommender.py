"""One answer from a real generation: what is served is what was measured."""

import copy
import shutil
from dataclasses import replace

import numpy as np
import pytest

from recsys.artifacts import ArtifactError, staged_folder
from recsys.config import TowerConfig
from recsys.data.sequences import Sequences
from recsys.data.snapshot import open_snapshot
from recsys.home import Home
from recsys.models.towers.training import train_towers
from recsys.ranking.blend import Blend
from recsys.ranking.system import System
from recsys.selection.filters import FilterError
from recsys.serving import listing as module
from recsys.serving.explanation import without_history
from recsys.serving.recommender import Recommender
from recsys.store.generations import MANIFEST, commit_generation, current_id, read_generation
from recsys.store.index import build_index


@pytest.fixture(scope="module")
def recommender(home):
    return Recommender.open(home)


@pytest.fixture(scope="module")
def system(home):
    return System.load(read_generation(home, current_id(home))[0])


@pytest.fixture(scope="module")
def everything(system, snapshot):
    """The system with every component in its blend, whatever validation thought of them, and towers over ids."""
    shape = TowerConfig(dimensions=8, epochs=1)
    ids = train_towers(None, snapshot.sequences(), len(snapshot.item_ids()), shape, seed=0).towers
    system = replace(system, ids=ids)
    names = sorted(system.components)
    powers = {name: 1.0 if name in ("towers", "ids", "content") else 0.5 for name in names}
    return replace(system, blend=Blend(dict.fromkeys(names, 0.7), powers))


@pytest.fixture(scope="module")
def blended(recommender, everything, snapshot):
    return answering_from(everything, recommender, snapshot)


def answering_from(system, recommender, snapshot):
    """Return a recommender of another system over the same catalogue."""
    source = copy.copy(recommender.scoring.source)
    source.vectors = np.concatenate(list(system.dense_vectors().values()), axis=1)
    return Recommender.of(recommender.manifest, system, source, snapshot.items(), recommender.users)


@pytest.fixture(scope="module")
def snapshot(home, recommender):
    return open_snapshot(home, recommender.snapshot_id)


@pytest.mark.parametrize("whole", [False, True])
def test_an_answer_is_the_evaluated_ranking(request, snapshot, whole):
    recommender = request.getfixturevalue("blended" if whole else "recommender")
    system = request.getfixturevalue("everything" if whole else "system")
    sequences, item_ids = snapshot.sequences(), snapshot.item_ids()
    for user, user_id in enumerate(snapshot.user_ids()[:20]):
        history = sequences.take(np.array([user]))
        scores = system.score(history)[0]
        scores[history.items] = -np.inf
        expected = np.lexsort((np.arange(len(scores)), -scores))[:10]
        answer = recommender.recommend(recommender.history(user_id), k=10)
        np.testing.assert_allclose([item.score for item in answer.items], scores[expected], rtol=1e-3, atol=1e-3)
        assert {item.item_id for item in answer.items[:5]} <= {item_ids[item] for item in expected}


def test_few_candidates_still_find_the_best(blended, snapshot, monkeypatch):
    recommender = blended
    history = recommender.history(snapshot.user_ids()[0])
    whole = [item.item_id for item in recommender.recommend(history, k=5).items]
    monkeypatch.setattr(module, "CANDIDATES", 15)
    assert len(set(whole) & {item.item_id for item in recommender.recommend(history, k=5).items}) >= 4


def test_seen_and_excluded_items_stay_away(recommender, snapshot):
    history = recommender.history(snapshot.user_ids()[0])
    first = recommender.recommend(history, k=3).items[0].item_id
    answer = recommender.recommend(history, k=60, exclude_ids=[first, "no-such-item"])
    offered = {item.item_id for item in answer.items}
    assert not offered & {first, *history}
    assert answer.missing_ids == ["no-such-item"]
    seen_too = recommender.recommend(history, k=80, exclude_seen=False)
    assert {item.item_id for item in seen_too.items} >= set(history)


def test_a_filter_holds_and_still_fills_the_list(recommender, snapshot):
    history = recommender.history(snapshot.user_ids()[0])
    year = snapshot.items()["year"].median()
    answer = recommender.recommend(history, k=5, filter={"field": "year", "gte": year}, fields=["year", "title"])
    assert len(answer.items) == 5
    assert all(item.fields["year"] >= year for item in answer.items)
    with pytest.raises(FilterError, match="no item field 'colour'"):
        recommender.recommend(history, filter={"field": "colour", "eq": "red"})
    with pytest.raises(KeyError, match="no item field"):
        recommender.recommend(history, fields=["colour"])


def test_nobody_gets_what_is_popular(recommender, snapshot):
    answer = recommender.recommend([], k=5)
    counts = snapshot.events()["item_id"].value_counts().sort("count", descending=True)["count"].head(5).to_list()
    assert answer.fallback == "popular"
    assert [item.score for item in answer.items] == counts


def test_a_history_of_unknown_items_falls_back_and_says_which(recommender):
    answer = recommender.recommend(["x", "y"])
    assert (answer.fallback, answer.missing_ids) == ("popular", ["x", "y"])


def test_reasons_name_items_of_the_history(blended, snapshot):
    recommender = blended
    history = recommender.history(snapshot.user_ids()[3])
    titles = dict(snapshot.items().select("item_id", "title").iter_rows())
    answer = recommender.recommend(history, k=5, explain=True)
    named = [reason for item in answer.items for reason in item.reasons]
    assert named
    assert all(reason == "popular" or any(titles[item] in reason for item in history) for reason in named)
    assert all(item.reasons == () for item in recommender.recommend(history, k=5).items)


def test_every_component_can_say_why(recommender, everything, snapshot):
    history = recommender.history(snapshot.user_ids()[3])
    for name in everything.components:
        alone = replace(everything, blend=Blend({name: 1.0}, {name: 1.0}))
        (item,) = answering_from(alone, recommender, snapshot).recommend(history, k=1, explain=True).items
        assert len(item.reasons) == 1
        (hidden,), _ = without_history(item.explanation)
        assert hidden == item.reasons[0] if name == "popularity" else "an earlier choice" in hidden


def test_a_new_event_moves_the_vector(recommender, snapshot):
    history = recommender.history(snapshot.user_ids()[0])
    more = recommender.recommend(history, k=1).items[0].item_id
    rows = [recommender.catalogue.split(one)[0] for one in (history, [*history, more], [])]
    before, after, nothing = recommender.scoring.system.towers.queries(Sequences.from_lists(rows))
    assert np.linalg.norm(before) == pytest.approx(1, abs=1e-4)
    assert before @ after < 0.9999
    assert not nothing.any()


def test_similar_items_are_the_nearest_vectors(recommender, system, snapshot):
    item_ids = snapshot.item_ids()
    answer = recommender.similar(item_ids[7], k=4)
    cosines = system.towers.vectors.numpy() @ system.towers.vectors.numpy()[7]
    cosines[7] = -np.inf
    assert [item.item_id for item in answer.items] == [item_ids[row] for row in np.argsort(-cosines)[:4]]
    with pytest.raises(KeyError):
        recommender.similar("no-such-item")


def test_the_moments_give_the_deviation_of_the_scores(blended, everything, snapshot):
    history = snapshot.sequences().take(np.array([2]))
    queries = blended.scoring._dense_queries(history)
    assert set(queries) == {"towers", "ids", "content"}
    for name, query in queries.items():
        scores = everything.components[name].score(history)[0]
        expected = everything.blend.weights[name] * scores / scores.std()
        found = blended.scoring.source.vectors[:, blended.scoring.block(name)] @ query[0]
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("what", ["towers.safetensors", "system.json", "adapter_model.safetensors"])
def test_a_changed_file_is_refused_by_name(home, tmp_path, what):
    copy = Home(tmp_path / "home")
    shutil.copytree(home.root, copy.root, ignore=shutil.ignore_patterns("prefect", "runs"))
    (path,) = [*copy.generations.rglob(what), *copy.adapters.rglob(what)][:1]
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(ArtifactError, match=what):
        Recommender.open(copy)


def test_nothing_published_says_what_to_do(tmp_path):
    with pytest.raises(ArtifactError, match="recsys publish"):
        Recommender.open(Home(tmp_path))


def test_histories_are_the_snapshots_rows(recommender, snapshot):
    sequences = snapshot.sequences()
    item_ids = snapshot.item_ids()
    user_id = snapshot.user_ids()[5]
    assert recommender.history(user_id) == [item_ids[item] for item in sequences.row(5)]
    assert user_id in recommender.users
    assert recommender.history("nobody") == []
    assert isinstance(sequences, Sequences)


def test_an_index_of_another_model_is_refused_though_its_dimensions_agree(
    home, recommender, system, snapshot, tmp_path
):
    place = Home(tmp_path / "home")
    shutil.copytree(home.root, place.root, ignore=shutil.ignore_patterns("prefect", "runs"))
    folder, manifest = read_generation(place, recommender.generation_id)
    vectors = np.concatenate(list(system.dense_vectors().values()), axis=1)
    index = build_index(
        place.lance, snapshot.item_ids(), np.roll(vectors, 1, axis=0), snapshot.items()["title"].to_list()
    )
    with staged_folder(place.generations) as staging:
        shutil.copytree(folder, staging, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST))
        forged = commit_generation(place, staging, replace(manifest, index=index, notes={}))
    Recommender.open(place, recommender.generation_id)
    with pytest.raises(ArtifactError, match="was not made by its adapter"):
        Recommender.open(place, forged)
