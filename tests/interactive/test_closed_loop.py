"""The loop closes: what a service has collected is trained on, and counts once when the new generation answers."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from synthetic import SMALL, Dataset

import recsys
from recsys.database.engine import Database
from recsys.database.events import Event
from recsys.database.live_items import ItemStore
from recsys.database.live_tables import read_live
from recsys.home import Home
from recsys.serving.live_generation import as_served
from recsys.serving.recommender import Recommender
from recsys.serving.users import SNAPSHOT, Users
from recsys.store.generations import current_id, promote

OLDER = timedelta(days=400)  # than any event of the files


@pytest.fixture(scope="module")
def looped(trained: Home, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home of which a service has collected something since."""
    copied = Home(Path(shutil.copytree(trained.root, tmp_path_factory.mktemp("loop") / "home")))
    database = Database.of(copied)
    users, items = Users(database), ItemStore(database)
    first = datetime(2024, 1, 1, tzinfo=UTC)
    users.events.add([Event("u000", "i000", first - OLDER, "older"), Event("u000", "looped", first, "new")])
    users.events.add([Event(f"v{number}", "looped", first + timedelta(days=number)) for number in range(5)])
    items.put("looped", {"title": "Saddle Outlaw Canyon", "genres": ["Western"], "year": 2031})
    items.put("i001", {"title": "Kiss Garden Summer", "genres": ["Romance"], "year": 2032})
    items.put("i002", None)
    database.close()
    return copied


def test_what_was_collected_is_trained_on_and_counts_once(looped: Home, dataset: Dataset) -> None:
    before, database = Recommender.open(looped), Database.of(looped)
    users = Users(database)
    beside = as_served(looped, before, database)
    old = users.history(beside.users, beside.catalogue, "u000")
    assert old.item_ids[0] == "i000"
    snapshot = recsys.ingest(dataset.events, dataset.items, live=True, home=looped, progress=False)
    mark = snapshot.manifest.live
    assert mark is not None
    assert (mark.events, mark.items) == (7, 3)
    training = recsys.train(snapshot, SMALL, home=looped, progress=False)
    promote(looped, training.generation)
    made = Recommender.open(looped)
    assert as_served(looped, made, database) is not made  # the deleted item, which the snapshot keeps for histories
    after = as_served(looped, made, database)
    new = users.history(after.users, after.catalogue, "u000")
    assert (new.item_ids, new.times) == (old.item_ids, old.times)
    assert {event.source for event in users.past(after.users, "u000")} == {SNAPSHOT}
    assert after.scoring is made.scoring  # what the catalogue holds is not put again
    row = after.catalogue.row("looped")
    assert made.scoring.system.popularity.counts[row] >= 5
    assert after.catalogue.titles[after.catalogue.row("i001")] == "Kiss Garden Summer"
    assert not after.known_item("i002")
    assert after.rank(["i000"], ["looped", "i002"]).missing_ids == ["i002"]
    live = {item.item_id: after.standing(item) for item in ItemStore(database).changed()}
    assert [item_id for item_id, item in live.items() if item is not None] == ["i002"]
    again = recsys.ingest(dataset.events, dataset.items, live=True, home=looped, progress=False)
    assert again.id == snapshot.id
    ItemStore(database).put("i001", {"title": "Prank Uncle"})  # after what the snapshot holds
    newest = as_served(looped, made, database)
    assert newest.catalogue.titles[newest.catalogue.row("i001")] == "Prank Uncle"
    database.close()


def test_a_catalogue_that_says_it_is_newer_wins(looped: Home, dataset: Dataset, trained: Home) -> None:
    """A row is newer by ``updated_at`` than a change, and than a deletion; an older row is not."""
    from variants import rewritten

    database, changed = Database.of(looped), datetime.now(UTC)
    items = ItemStore(database)
    for item_id in ("i010", "i011"):
        items.put(item_id, {"title": "Changed"})
    for item_id in ("i012", "i013"):
        items.put(item_id, None)
    newer = pl.col("item_id").is_in(["i010", "i012"])
    hours = pl.when(newer).then(pl.lit(changed + timedelta(hours=1))).otherwise(pl.lit(changed - timedelta(days=1)))
    served = Recommender.open(looped)
    made = rewritten(looped, served.catalogue.items.with_columns(updated_at=hours))
    answering = as_served(looped, Recommender.open(looped, made), database)
    titles = [answering.catalogue.titles[answering.catalogue.row(item_id)] for item_id in ("i010", "i011")]
    assert titles == [served.catalogue.titles[served.catalogue.row("i010")], "Changed"]
    assert [answering.known_item(item_id) for item_id in ("i012", "i013")] == [True, False]
    assert bool(answering.catalogue.available[answering.catalogue.row("i012")])
    assert current_id(looped) != made
    assert read_live(database).batch > 0
    database.close()
