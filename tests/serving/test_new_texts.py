"""New texts get the vectors that the generation's items have."""

import copy
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.artifacts import ArtifactError, read_json, write_json
from recsys.data.snapshot import open_snapshot
from recsys.home import Home
from recsys.models.encoder.backbone import BaseModelError
from recsys.ranking.system import CONTENT, TOWERS, System
from recsys.serving.new_texts import Encoder
from recsys.store.generations import current_id, read_generation
from recsys.texts.vectors import TextVectors

pytestmark = pytest.mark.processor


@pytest.fixture(scope="module")
def encoder(home: Home) -> Encoder:
    return Encoder.open(home, str(current_id(home)))


@pytest.fixture(scope="module")
def items(home: Home) -> pl.DataFrame:
    _, manifest = read_generation(home, str(current_id(home)))
    return open_snapshot(home, manifest.snapshot).items()


def test_an_item_of_the_catalogue_gets_its_own_vectors_again(home: Home, encoder: Encoder, items: pl.DataFrame) -> None:
    folder, _ = read_generation(home, str(current_id(home)))
    system = System.load(folder)
    rows = encoder.dense_vectors(encoder.encode(encoder.item_texts(items)))
    assert np.abs(rows[CONTENT] - system.content.vectors).max() < 1e-3
    text = system.towers.items.projection.weight.detach().numpy()
    assert rows[TOWERS].shape == (len(items), text.shape[0] + 1)
    # The catalogue's rows have an id residual of bounded length on top of the same text.
    old = system.dense_vectors()[TOWERS][:, :-1]
    cosines = (rows[TOWERS][:, :-1] * old).sum(1) / np.linalg.norm(rows[TOWERS][:, :-1], axis=1)
    assert (cosines / np.linalg.norm(old, axis=1)).min() > 0.8


def test_a_text_has_the_same_vector_alone_as_among_others(encoder: Encoder, items: pl.DataFrame) -> None:
    texts = encoder.item_texts(items[:20])
    together = encoder.encode(texts)
    assert together.shape == (20, encoder.dimensions)
    half = encoder.dimensions // 2
    for number in (0, 7, 19):
        alone = encoder.encode([texts[number]])[0]
        assert min(alone[:half] @ together[number, :half], alone[half:] @ together[number, half:]) > 0.9999


def test_a_query_finds_the_item_whose_text_it_is(home: Home, encoder: Encoder, items: pl.DataFrame) -> None:
    folder, _ = read_generation(home, str(current_id(home)))
    vectors = System.load(folder).content.vectors
    meaning = encoder.meaning(vectors)
    for row, text in enumerate(encoder.item_texts(items)):
        cosines = meaning.cosines(encoder.query(text))
        assert cosines[row] == pytest.approx(1, abs=1e-3)
        assert cosines.argmax() == row


def test_a_query_is_compared_as_the_base_has_learnt(home: Home, encoder: Encoder, items: pl.DataFrame) -> None:
    folder, _ = read_generation(home, str(current_id(home)))
    vectors = System.load(folder).content.vectors
    query, half = "a spooky basement", encoder.dimensions // 2
    base = encoder.encode([*encoder.item_texts(items), query])[:, :half]
    found = encoder.meaning(vectors).cosines(encoder.query(query))
    np.testing.assert_allclose(found, base[:-1] @ base[-1], atol=5e-3)


def test_columns_that_a_new_item_lacks_are_left_out_of_its_text(encoder: Encoder, items: pl.DataFrame) -> None:
    assert encoder.item_texts(pl.DataFrame({"item_id": ["new"], "title": ["A new one"]})) == ["A new one"]
    assert encoder.item_texts(items)[0].startswith(items["title"][0])


def test_another_base_under_the_same_name_is_refused(home: Home, tmp_path: Path) -> None:
    place = Home(Path(shutil.copytree(home.root, tmp_path / "home", ignore=shutil.ignore_patterns("runs", "cache"))))
    generation = str(current_id(place))
    _, manifest = read_generation(place, generation)
    card = place.adapters / manifest.adapter / "card.json"
    write_json(card, read_json(card) | {"base_digest": "0" * 64})
    with pytest.raises(BaseModelError):
        TextVectors.of_adapter(place, manifest.adapter)
    with pytest.raises(ArtifactError, match=r"card\.json has changed"):
        Encoder.open(place, generation)


def test_vectors_of_another_adapter_are_told_apart_though_the_dimensions_agree(
    encoder: Encoder, items: pl.DataFrame
) -> None:
    encoder.check(items)
    other = copy.copy(encoder)
    towers = encoder._maps.towers  # as another adapter's texts would come out of its own map
    other._maps = replace(encoder._maps, towers=replace(towers, matrix=np.roll(towers.matrix, 1, axis=0)))
    with pytest.raises(ArtifactError, match="was not made by adapter"):
        other.check(items)
