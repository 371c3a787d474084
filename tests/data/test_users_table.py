"""Users with attributes: kept as a third table, checked like the others, and without it all is as it was."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from recsys.artifacts import ArtifactError
from recsys.config import IngestConfig
from recsys.data.attributes import MAX_USED, unused
from recsys.data.forgetting import Forgotten, hash_user
from recsys.data.ingest import ingest, validate
from recsys.data.quality import QualityError
from recsys.data.snapshot import Snapshot, open_snapshot
from recsys.data.sources import SourceError
from recsys.home import Home

ANYTHING = IngestConfig(max_quarantined_share=0.99)


@pytest.fixture
def users() -> pl.DataFrame:
    """The ten of the events, and two who have done nothing yet."""
    return pl.DataFrame(
        {
            "user_id": [f"u{n}" for n in range(12)],
            "age": [20 + 2 * n for n in range(12)],
            "sex": ["F", "M"] * 6,
            "pays": [n % 3 == 0 for n in range(12)],
        }
    )


@pytest.fixture
def snapshot(
    tmp_path: Path, good_events: pl.DataFrame, good_items: pl.DataFrame, users: pl.DataFrame, now: datetime
) -> Snapshot:
    return ingest(good_events, good_items, Home(tmp_path / "home"), now=now, users=users)


def test_users_are_a_table_of_the_snapshot(tmp_path: Path, snapshot: Snapshot, users: pl.DataFrame) -> None:
    again = open_snapshot(Home(tmp_path / "home"), snapshot.id)
    found = again.users()
    assert found is not None
    assert found.columns == ["user_id", "age", "pays", "sex"]
    assert found.sort("user_id").equals(users.select(found.columns).sort("user_id"))
    manifest = again.manifest
    assert manifest.described is not None
    assert (manifest.described.rows, manifest.described.unused, manifest.counts.users) == (12, {}, 10)
    assert manifest.quality["users"].rows == 12
    assert manifest.schemas["users"]["sex"] == "String"
    assert "users.parquet" in manifest.files


def test_without_users_everything_is_as_it_was(
    tmp_path: Path, snapshot: Snapshot, good_events: pl.DataFrame, good_items: pl.DataFrame, now: datetime
) -> None:
    bare = ingest(good_events, good_items, Home(tmp_path / "home"), now=now)
    assert bare.id == "c85581ea38417f92"  # of the version before there were users
    assert bare.id != snapshot.id
    assert bare.users() is None
    written = json.loads((bare.path / "manifest.json").read_text())
    assert "described" not in written
    assert sorted(written["schemas"]) == sorted(written["quality"]) == ["events", "items"]
    assert "user_columns" not in written["config"]
    assert sorted(written["files"]) == ["events.parquet", "items.parquet", "quarantine.parquet"]
    assert bare.manifest.content_digest != snapshot.manifest.content_digest


def test_the_attributes_are_part_of_the_name(
    tmp_path: Path, snapshot: Snapshot, good_events: pl.DataFrame, good_items: pl.DataFrame, now: datetime
) -> None:
    users = snapshot.users()
    assert users is not None
    shuffled = users.sample(fraction=1.0, shuffle=True, seed=1).select(reversed(users.columns))
    home = Home(tmp_path / "other")
    assert ingest(good_events, good_items, home, now=now, users=shuffled).id == snapshot.id
    older = users.with_columns(pl.col("age") + 1)
    assert ingest(good_events, good_items, home, now=now, users=older).id != snapshot.id
    older.write_parquet(snapshot.path / "users.parquet")
    with pytest.raises(ArtifactError, match=r"users\.parquet"):
        open_snapshot(Home(tmp_path / "home"), snapshot.id)


def test_bad_users_are_set_aside_with_reasons(
    tmp_path: Path, good_events: pl.DataFrame, good_items: pl.DataFrame, now: datetime
) -> None:
    days = [datetime(2024, 1, day, tzinfo=UTC) for day in (1, 3, 2, 1)]
    users = pl.DataFrame(
        {"user_id": ["u1", "u1", "u1", ""], "sex": ["first", "newest", "middle", "nobody"], "updated_at": days}
    )
    snapshot = ingest(good_events, good_items, Home(tmp_path / "home"), ANYTHING, now, users=users)
    kept = snapshot.users()
    assert kept is not None
    assert kept.select("user_id", "sex").rows() == [("u1", "newest")]
    assert snapshot.quarantine().select("table", "row", "column").rows() == [
        *(("users", 1, "user_id"), ("users", 3, "user_id"), ("users", 4, "user_id"))
    ]
    reasons = snapshot.quarantine()["reason"].to_list()
    assert reasons[0] == "another row has this id: the frame of users, row 2 differs and stays"
    assert reasons[2] == "missing"
    with pytest.raises(QualityError, match="users: 3 of 4 rows are bad"):
        ingest(good_events, good_items, Home(tmp_path / "home"), now=now, users=users)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"id": ["u1"]}, r"has no column 'user_id'.*user_columns="),
        ({"user_id": ["u1"], "likes": [["a", "b"]]}, r"column 'likes' holds List\(String\); scalars can be kept"),
    ],
)
def test_a_table_that_is_none_of_users_is_refused(
    good_events: pl.DataFrame, good_items: pl.DataFrame, now: datetime, columns: dict[str, list], said: str
) -> None:
    with pytest.raises(SourceError, match=said):
        validate(good_events, good_items, now=now, users=pl.DataFrame(columns))


def test_columns_are_mapped(tmp_path: Path, good_events: pl.DataFrame, good_items: pl.DataFrame, now: datetime) -> None:
    file = tmp_path / "people.csv"
    file.write_text("id,zip,age\n1,01002,30\nu2,90210,40\n")
    config = IngestConfig(user_columns={"user_id": "id"})
    snapshot = ingest(good_events, good_items, Home(tmp_path / "home"), config, now, users=file)
    users = snapshot.users()
    assert users is not None
    assert users.rows() == [("1", 30, "01002"), ("u2", 40, "90210")]
    assert snapshot.manifest.config["user_columns"] == {"user_id": "id"}


def test_what_makes_no_segments_is_said(good_events: pl.DataFrame, good_items: pl.DataFrame, now: datetime) -> None:
    count = 3_000
    users = pl.DataFrame(
        {
            "user_id": [f"p{n}" for n in range(count)],
            "address": [f"street {n}" for n in range(count)],
            "street": [f"street {n % 1_200}" for n in range(count)],
            "planet": ["Earth"] * count,
            "born": [datetime(1990, 1, 1, tzinfo=UTC)] * (count - 1) + [datetime(1991, 1, 1, tzinfo=UTC)],
            "story": ["x" * 300, "y"] * (count // 2),
            "income": [float(n) for n in range(count)],
        }
    )
    said = validate(good_events, good_items, now=now, users=users).unused
    assert {name: why.partition(".")[0] for name, why in said.items()} == {
        "address": "it has 3,000 different values; more than 1,000 make no segments",
        "street": "it has 1,200 different values; more than 1,000 make no segments",
        "planet": "it holds the same value everywhere",
        "born": "it holds Datetime(time_unit='us', time_zone='UTC'); segments are made of text, numbers and flags",
        "story": "it holds a text of 300 characters; more than 256 name no segment",
    }
    few = pl.DataFrame({"zip": ["1", "2", "3"]})
    assert "3 different values in 3 rows, nearly one a row" in unused(few, ["zip"])["zip"]
    wide = pl.DataFrame({f"a{n:02}": [0, 1] for n in range(MAX_USED + 2)})
    assert sorted(unused(wide, wide.columns)) == ["a50", "a51"]


def test_the_forgotten_have_no_attributes(
    tmp_path: Path, good_events: pl.DataFrame, good_items: pl.DataFrame, users: pl.DataFrame, now: datetime
) -> None:
    noon = datetime(2024, 5, 1, 12, tzinfo=UTC)
    forgotten = Forgotten(b"salt", {hash_user(b"salt", "u1"): int(noon.timestamp() * 1_000_000)})
    home = Home(tmp_path / "home")
    kept = ingest(good_events, good_items, home, now=now, forgotten=forgotten, users=users).users()
    assert kept is not None
    assert sorted(kept["user_id"]) == sorted(set(users["user_id"]) - {"u1"})
    dated = users.with_columns(updated_at=pl.lit(noon))
    later = dated.with_columns(updated_at=pl.lit(datetime(2024, 5, 2, tzinfo=UTC)))
    for table, there in ((dated, False), (later, True)):  # who came back tells of themselves anew
        kept = ingest(good_events, good_items, home, now=now, forgotten=forgotten, users=table).users()
        assert kept is not None
        assert ("u1" in set(kept["user_id"])) is there
    alone = users.filter(user_id="u1")
    assert ingest(good_events, good_items, home, now=now, forgotten=forgotten, users=alone).users() is None


def test_context_is_declared_and_part_of_the_name(
    tmp_path: Path, good_events: pl.DataFrame, good_items: pl.DataFrame, now: datetime
) -> None:
    events = good_events.with_columns(
        device=pl.Series(["phone", "desk"] * 100), page=pl.Series([f"p{n}" for n in range(200)])
    )
    home, config = Home(tmp_path / "home"), IngestConfig(context_columns=("page", "device"))
    plain, declared = ingest(events, good_items, home, now=now), ingest(events, good_items, home, config, now)
    assert plain.manifest.context is None
    assert declared.manifest.context is not None
    assert declared.manifest.context["device"] == ""
    assert "200 different values in 200 rows" in declared.manifest.context["page"]
    assert declared.id != plain.id
    assert declared.manifest.content_digest != plain.manifest.content_digest
    assert open_snapshot(home, declared.id).manifest.context == declared.manifest.context
    assert "context" not in json.loads((plain.path / "manifest.json").read_text())
    manifest = json.loads((declared.path / "manifest.json").read_text())
    manifest["context"]["page"] = ""
    (declared.path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="other events or items"):
        open_snapshot(home, declared.id)


@pytest.mark.parametrize(
    ("name", "said"),
    [("devise", "Did you mean 'device'?"), ("event_type", "a column of every event"), ("tags", "holds List")],
)
def test_what_can_be_no_context_is_refused(
    good_events: pl.DataFrame, good_items: pl.DataFrame, now: datetime, name: str, said: str
) -> None:
    events = good_events.with_columns(device=pl.lit("phone"), tags=pl.Series([["a"]] * 200))
    with pytest.raises(SourceError, match=re.escape(said)):
        validate(events, good_items, IngestConfig(context_columns=(name,)), now)
