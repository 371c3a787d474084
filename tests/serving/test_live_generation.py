"""A generation with live items beside its own shares with it, and with other processes, what has not changed."""

import numpy as np
import pytest

from recsys.data.columns import TITLE
from recsys.database.live_items import LiveItem
from recsys.home import Home
from recsys.models import tensors
from recsys.serving.live_generation import with_live_items
from recsys.serving.new_texts import Encoder
from recsys.serving.recommender import Recommender
from recsys.store import index, mapping
from recsys.store.generations import current_id


def test_the_catalogues_vectors_stay_in_their_files(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((mapping, "LEAST_BYTES"), (index, "MAPPED_FROM"), (tensors, "MAPPED_FROM")):
        monkeypatch.setattr(module, name, 0)  # as if the catalogue were large
    base = Recommender.open(home)
    encoder = Encoder.open(home, str(current_id(home)))
    known = base.catalogue.ids[3]
    live = [
        LiveItem(item_id, number, {TITLE: title})
        for number, (item_id, title) in enumerate([(known, "quite another title"), ("fresh", "a new thing")], start=1)
    ]
    vectors = dict(zip((known, "fresh"), encoder.encode([item.columns[TITLE] for item in live]), strict=True))
    extended = with_live_items(base, encoder, live, vectors, version=2)
    pairs = [
        (one.scoring.source.vectors, one.scoring.system.content.vectors, one.scoring.system.towers.vectors.numpy())
        for one in (base, extended)
    ]
    for own, longer in zip(*pairs, strict=True):
        assert not longer.flags.owndata
        same = np.arange(len(own)) != 3
        np.testing.assert_array_equal(longer[: len(own)][same], own[same])
        assert not np.array_equal(longer[3], own[3])
        assert len(longer) == len(own) + 1
    assert len(extended.similar("fresh", k=5).items) == 5
