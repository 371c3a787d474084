"""Binding: what is indexed is safe from a clean-up before the generation that will name it is there."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recsys.config import LEAVE_ONE_OUT, ModelConfig
from recsys.data.snapshot import open_snapshot
from recsys.evaluation.full_ranking import evaluate
from recsys.evaluation.held_out import make_split
from recsys.evaluation.report import OURS
from recsys.experts.content import Content
from recsys.home import Home
from recsys.publishing import binding
from recsys.publishing.binding import HELD_OUT, bind_generation
from recsys.ranking.system import POPULARITY, System
from recsys.ranking.text_maps import TextMaps
from recsys.serving.recommender import Recommender
from recsys.store.generations import clean_up, current_id, read_generation
from recsys.store.manifests import GenerationManifest


def test_a_clean_up_between_index_and_generation_takes_neither(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Home(Path(shutil.copytree(home.root, tmp_path / "home")))
    folder, manifest = read_generation(place, str(current_id(place)))
    snapshot, system = open_snapshot(place, manifest.snapshot), System.load(folder)
    items = snapshot.item_ids()
    split = make_split(snapshot.sequences(), len(items), LEAVE_ONE_OUT, ModelConfig())
    rankings = [evaluate(name, system.popularity, split.test, k=20) for name in (OURS, POPULARITY)]
    content = Content(np.ascontiguousarray(system.content.vectors[:, ::-1]), system.content.decay)  # another table
    commit, removed = binding.commit_generation, []

    def committing(at: Home, staging: Path, bound: GenerationManifest) -> str:
        removed.append(clean_up(at))
        return commit(at, staging, bound)

    monkeypatch.setattr(binding, "commit_generation", committing)
    generation_id = bind_generation(
        place, snapshot, manifest.adapter, TextMaps.load(folder), replace(system, content=content), rankings,
        {}, {"data": {}, "settings": {}, "protocols": {}}, manifest.config, {"flow_run": None},
    )  # fmt: skip
    assert removed == [0]
    bound = Recommender.open(place, generation_id)
    assert bound.manifest.index.table != manifest.index.table
    assert (place.generations / generation_id / HELD_OUT).is_file()
    assert bound.recommend([], k=5).items
