"""`recsys prune` and `recsys snapshots`, and the flow behind the first: beside a training that is at work, too."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from small_home import make_all, make_snapshot
from synthetic import SMALL, Dataset
from test_cli import run, shown

from recsys.artifacts import ArtifactError
from recsys.data.snapshot import list_snapshots, open_snapshot
from recsys.home import Home
from recsys.interactive.data import ingest
from recsys.publishing.training_run import train_generation
from recsys.serving.recommender import Recommender
from recsys.store.generations import list_generations, promote
from recsys.store.retention import prune

WITH_IT = {"adapter", "generation", "report", "snapshot", "table"}


@pytest.fixture
def place(tmp_path: Path) -> Home:
    """A home with three generations, none of them old; the last is served."""
    place = Home(tmp_path / "home")
    for seed in (1, 2, 3):
        promote(place, make_all(place, seed)[0])
    return place


def test_what_would_go_is_told_and_then_goes(place: Home, prefect_server: str) -> None:
    given = "--home", place.root, "--keep", 2
    assert run("prune", *given)["goes"] == []  # it is young
    would = run("prune", *given, "--min-age", 0, "--dry-run")
    assert would["dry_run"]
    assert len(list_generations(place)) == 3
    assert sorted({one["kind"] for one in would["goes"]}) == sorted(WITH_IT)
    went = run("prune", *given, "--min-age", 0)
    assert went["goes"] == would["goes"]
    assert went["freed"] == sum(one["bytes"] for one in went["goes"])
    assert len(list_generations(place)) == len(list_snapshots(place)) == 2
    assert "0.0 MB went" in shown("prune", *given)
    assert "at least 2" not in shown("prune", *given[:2])
    shown("prune", *given[:2], "--keep", 1, code=2)


def test_snapshots_are_listed_shown_and_deleted(place: Home) -> None:
    free = make_snapshot(place, 9)
    home = "--home", place.root
    listed = run("snapshots", *home)["snapshots"]
    assert listed[0]["id"] == free  # the newest first
    assert [len(one["generations"]) for one in listed] == [0, 1, 1, 1]
    assert run("snapshots", "show", free[:8], *home)["bytes"] == listed[0]["bytes"] > 0
    assert listed[1]["generations"][0] in shown("snapshots", *home).replace("\n", " ")
    used = listed[1]["id"]
    refused = run("snapshots", "delete", used, *home, code=1)["error"]
    assert f"stands on snapshot {used}" in refused
    assert run("snapshots", "delete", free[:8], *home) == {"deleted": free}
    assert free not in [one["id"] for one in run("snapshots", *home)["snapshots"]]
    for words in (("show",), ("list", used), ("delete",)):
        shown("snapshots", *words, *home, code=2)


def test_a_run_of_the_flow_leaves_an_artifact(place: Home, prefect_server: str) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

    from flows.prune import prune_home

    done = prune_home(str(place.root), keep=2, min_age_hours=0)
    assert {one.kind for one in done.goes} == WITH_IT
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["retention"])))
    assert any(done.goes[0].name in str(artifact.data) for artifact in found)


def test_a_training_at_work_keeps_what_it_needs(dataset: Dataset, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    snapshot = ingest(dataset.events, dataset.items, home=home, progress=False).id
    make_snapshot(home, 1)  # a newer one, or the other would stay anyway
    much_later = datetime.now(UTC) + timedelta(days=365)
    pruned: list[Any] = []

    def beside(stage: Any, /, *args: Any, **kwargs: Any) -> Any:
        pruned.append(prune(home, now=much_later))
        return stage(*args, **kwargs)

    training = train_generation(home, snapshot, SMALL, run=beside)
    assert len(pruned) >= 4
    assert [one for found in pruned for one in found.goes if one.kind in ("snapshot", "adapter")] == []
    assert Recommender.open(home, training.generation).recommend([]).items
    assert prune(home, now=much_later).goes == ()  # it is the newest by now
    for seed in (1, 2, 3):
        make_all(home, seed)
    gone = {one.name for one in prune(home, now=much_later).goes}
    assert {training.generation, training.adapter, snapshot} <= gone
    with pytest.raises(ArtifactError, match="There is no snapshot"):
        open_snapshot(home, snapshot)
    assert not Path(training.metrics).exists()
