"""The pipeline: what it serves, what it leaves in the UI, what it does not do twice, and what the gate stops."""

import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.objects import Artifact
from rich.console import Console
from synthetic import SMALL, Dataset

from flows import progress
from flows.demo import UNKNOWN_USER, ask_service
from flows.evaluate import allowed_protocols, measure
from flows.ingest import ingest_tables
from flows.pipeline import pipeline
from flows.publish import publish_generation
from flows.rollback import rollback_generation
from flows.train import recorded
from recsys.artifacts import STAGING_PREFIX, read_json, staged_folder
from recsys.config import EvaluationConfig, IngestConfig, ModelConfig
from recsys.data.ingest import ingest
from recsys.data.quality import QualityError
from recsys.data.snapshot import open_snapshot
from recsys.errors import RefusedError, SettingError
from recsys.evaluation.report import OURS
from recsys.home import Home
from recsys.publishing.binding import HELD_OUT
from recsys.serving.recommender import Recommender
from recsys.store.adapters import read_card
from recsys.store.generations import commit_generation, current_id, list_generations, read_generation, report_path
from recsys.store.index import build_index
from recsys.store.pointer import list_promotions

KILLED = """
import os, signal, sys
from pathlib import Path
from recsys.artifacts import staged_folder

with staged_folder(Path(sys.argv[1])):
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def copied_home(home: Home, tmp_path: Path) -> Home:
    """A home of one's own with a served generation."""
    return Home(Path(shutil.copytree(home.root, tmp_path / "home")))


def hopeless_generation(home: Home) -> str:
    """Bind a generation like the served one, but whose held-out figures are all zero."""
    folder, manifest = read_generation(home, str(current_id(home)))
    with staged_folder(home.generations) as staging:
        for name in manifest.files:
            shutil.copy(folder / name, staging / name)
        pl.read_parquet(folder / HELD_OUT).with_columns(pl.lit(0.0).alias(OURS)).write_parquet(staging / HELD_OUT)
        return commit_generation(home, staging, replace(manifest, notes={}))


def artifact(key: str, holding: str = "") -> Artifact:
    """Return the newest artifact of a key, or one that holds a text: other tests leave some too, of the same ids."""
    asked = ArtifactFilter(key=ArtifactFilterKey(any_=[key]))
    with get_client(sync_client=True) as client:
        found = (
            client.read_artifacts(artifact_filter=asked)
            if holding
            else client.read_latest_artifacts(artifact_filter=asked)
        )
    return next(one for one in found if holding in f"{one.description} {one.data}")


def test_the_pipeline_serves_what_it_trained(home: Home) -> None:
    _, manifest = read_generation(home, str(current_id(home)), verify=True)
    card = read_card(home, manifest.adapter)
    recommender = Recommender.open(home)
    assert manifest.snapshot == card.snapshot == recommender.snapshot_id
    assert card.protocol == "temporal"
    assert card.training["rounds"] == SMALL.adapter.rounds
    answer = recommender.recommend(recommender.history("u000"), k=10)
    assert len(answer.items) == 10
    assert answer.fallback is None


def test_both_protocols_are_measured_against_the_baselines(home: Home) -> None:
    folder, _ = read_generation(home, str(current_id(home)))
    protocols = read_json(folder / "metrics.json")["protocols"]
    assert set(protocols) == {"temporal", "leave-one-out"}
    for figures in protocols.values():
        assert {"recsys", "popularity", "rules", "knn", "ease", "blend", "bert"} <= set(figures["systems"])
        assert figures["best_baseline"] != "recsys"


def test_a_second_run_finds_its_work_done(home: Home, dataset: Dataset) -> None:
    before = [manifest.id for manifest in list_generations(home)]
    again = pipeline(dataset.events, dataset.items, str(home.root), model=SMALL)
    assert again.reused
    assert again.generation == current_id(home)
    told = f"Generation {again.generation}, adapter {again.adapter}. It is what is served."
    assert "before" not in artifact("sample-recommendations", holding=told).data
    assert [manifest.id for manifest in list_generations(home)] == before


def test_what_a_crash_has_left_goes_when_the_next_pipeline_starts(copied_home: Home, dataset: Dataset) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(copied_home.adapters)], timeout=60)
    assert done.returncode == -signal.SIGKILL
    build_index(copied_home.lance, ["x"], np.ones((1, 4), dtype=np.float32), ["a generation that was never bound"])
    assert len(list(copied_home.lance.glob("*.lance"))) == 2
    assert list(copied_home.adapters.glob(f"{STAGING_PREFIX}*"))
    assert pipeline(dataset.events, dataset.items, str(copied_home.root), model=SMALL).reused
    assert list(copied_home.adapters.glob(f"{STAGING_PREFIX}*")) == []
    assert len(list(copied_home.lance.glob("*.lance"))) == 1
    assert Recommender.open(copied_home).recommend([], k=5).items


@pytest.mark.parametrize("room", ["snapshots", "adapters", "generations", "lance"])
def test_a_record_whose_work_is_gone_is_not_believed(copied_home: Home, room: str) -> None:
    (record,) = copied_home.runs.glob("train-*.json")
    with progress.shown(Console(quiet=True)):
        assert recorded(copied_home, record) is not None
        shutil.rmtree(copied_home.root / room)
        assert recorded(copied_home, record) is None


def test_the_run_leaves_artifacts(home: Home) -> None:
    generation_id = str(current_id(home))
    _, manifest = read_generation(home, generation_id)
    table = artifact("metrics-temporal").data
    assert "| **recsys** |" in table
    assert "| popularity |" in table
    assert str(artifact("ours-against-baselines").data).startswith("data:image/png;base64,")
    told = f"Generation {generation_id}, adapter {manifest.adapter}."
    samples = artifact("sample-recommendations", holding=f"{told} Nothing is served yet.").data
    assert "before" not in samples
    assert generation_id in samples
    assert samples.count("### User") == 3
    quality = str(artifact("quality", holding=manifest.snapshot).data)
    assert "| table | rows | set aside | reasons |" in quality
    assert "### Events by week" in quality
    assert "### Users by events" in quality
    learnt = artifact("learning-curves")
    assert str(learnt.data).startswith("data:image/png;base64,")
    gate = str(artifact("gate", holding=f"{generation_id}: **passed**").data)
    assert "beats popularity" in gate
    assert "the blend of its own parts" in gate
    assert "| passed | recall of the index | 1.000 | at least 0.95 |" in gate
    report = report_path(home, generation_id)
    assert generation_id in artifact("training-report", holding=report.as_uri()).data
    assert report.is_file()


def test_the_gate_stops_a_worse_generation(copied_home: Home) -> None:
    served, worse = current_id(copied_home), hopeless_generation(copied_home)
    with pytest.raises(RefusedError, match=f"refused generation {worse}.*popularity"):
        publish_generation(worse, str(copied_home.root))
    assert current_id(copied_home) == served
    with pytest.raises(SettingError, match="takes a reason"):
        publish_generation(worse, str(copied_home.root), force=True)
    publish_generation(worse, str(copied_home.root), force=True, reason="a test")
    assert current_id(copied_home) == worse
    assert rollback_generation(home=str(copied_home.root), reason="Lists of nothing.") == served
    back, forced, refused = list_promotions(copied_home)[:3]
    assert [one.action for one in (back, forced, refused)] == ["rollback", "publish", "refused"]
    table = artifact("promotions", holding=str(back.run)).data
    assert all(part in table for part in ("Lists of nothing", str(forced.run), str(refused.run), "rolled back", worse))


def test_bad_rows_stop_the_pipeline_and_leave_nothing(prefect_server: str, dataset: Dataset, tmp_path: Path) -> None:
    events = tmp_path / "events.csv"
    rows = pl.read_parquet(dataset.events).with_columns(pl.col("timestamp").cast(pl.String)).head(20)
    rows.with_columns(
        pl.when(pl.int_range(pl.len()) == 6).then(pl.lit("soon")).otherwise("timestamp").alias("timestamp")
    ).write_csv(events)
    with pytest.raises(QualityError, match=r"events\.csv, row 7 \(line 8\), column timestamp: unparsable"):
        pipeline(str(events), dataset.items, str(tmp_path / "home"))
    assert not list((tmp_path / "home").rglob("*.parquet"))
    snapshot_id = ingest_tables(
        str(events), dataset.items, str(tmp_path / "home"), IngestConfig(max_quarantined_share=0.1)
    )
    assert open_snapshot(Home(tmp_path / "home"), snapshot_id).quarantine()["row"].to_list() == [7]


def test_one_table_alone_is_refused(prefect_server: str, dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="both events and items"):
        pipeline(events=dataset.events, home=str(tmp_path))


def test_made_up_times_are_not_split_by_time(home: Home, dataset: Dataset, tmp_path: Path) -> None:
    events = pl.read_parquet(dataset.events).with_columns(timestamp_known=False)
    events.write_parquet(tmp_path / "events.parquet")
    snapshot = ingest(tmp_path / "events.parquet", dataset.items, Home(tmp_path / "home"))
    assert allowed_protocols(snapshot, ModelConfig()) == ["leave-one-out"]
    with pytest.raises(ValueError, match="Add leave-one-out"):
        allowed_protocols(snapshot, ModelConfig(evaluation=EvaluationConfig(protocols=("temporal",))))
    with pytest.raises(ValueError, match="made-up timestamps"):
        measure.fn(snapshot, "temporal", [], None, ModelConfig(), ())


def test_the_service_answers_known_and_unknown_people(copied_home: Home) -> None:
    with progress.shown(Console(quiet=True)):
        answers = ask_service.fn(copied_home, ["u000", UNKNOWN_USER])
    assert answers["u000"]["fallback"] is None
    assert answers["u000"]["generation"] == current_id(copied_home)
    assert all(item["fields"]["title"] and item["reasons"] for item in answers["u000"]["items"])
    assert answers[UNKNOWN_USER]["fallback"] == "popular"


def test_the_same_inputs_settings_and_seed_give_the_same_ids(home: Home, dataset: Dataset, tmp_path: Path) -> None:
    pipeline(dataset.events, dataset.items, str(tmp_path), model=SMALL)
    again = Home(tmp_path)
    assert current_id(again) == current_id(home)
    _, manifest = read_generation(home, str(current_id(home)))
    _, repeated = read_generation(again, str(current_id(again)), verify=True)
    assert (repeated.snapshot, repeated.adapter) == (manifest.snapshot, manifest.adapter)
    assert repeated.files == manifest.files
