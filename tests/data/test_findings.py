"""What is odd about good rows: each rule on a table that has it, on one that has not, and fed part by part."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from recsys.data.distributions import distributions
from recsys.data.findings.drift import Profile, drift_findings
from recsys.data.findings.events import BUSY, IN_A_MINUTE, IN_A_SECOND, EventRules
from recsys.data.findings.finding import ERROR, WARNING, Finding
from recsys.data.findings.gathered import snapshot_findings
from recsys.data.findings.look import Look
from recsys.data.findings.texts import is_read_wrong, text_findings
from recsys.data.ingest import ingest, validate
from recsys.evaluation.data_page import data_page
from recsys.home import Home

START = datetime(2024, 1, 1, 0, 0, 1, tzinfo=UTC)


def events(*parts: tuple[str, int, float], kind: str = "view", values: list[float] | None = None) -> pl.DataFrame:
    """Events of some users: how many, and how many seconds apart."""
    rows = [
        (user, f"i{n % 7}", START + timedelta(seconds=n * apart), kind)
        for user, count, apart in parts
        for n in range(count)
    ]
    frame = pl.DataFrame(rows, ["user_id", "item_id", "timestamp", "event_type"], orient="row")
    frame = frame.with_columns(pl.col("timestamp").cast(pl.Datetime("us", "UTC")))
    return frame if values is None else frame.with_columns(pl.Series("value", values, pl.Float64))


def items(**others: Any) -> pl.DataFrame:
    return pl.DataFrame({"item_id": [f"i{n}" for n in range(7)], "title": [f"Thing {n}" for n in range(7)], **others})


def rules(found: list[Finding]) -> dict[str, Finding]:
    return {one.rule: one for one in found}


def findings(good: pl.DataFrame, catalogue: pl.DataFrame) -> tuple[Finding, ...]:
    look = Look()
    look.update(good)
    return look.findings(catalogue, None)


def event_findings(parts: list[pl.DataFrame], catalogue: pl.DataFrame) -> list[Finding]:
    found = EventRules()
    for part in parts:
        found.update(part)
    return found.result(catalogue)


def usual(count: int = 50) -> list[tuple[str, int, float]]:
    return [(f"u{n}", 20, 3600.0) for n in range(count)]


def test_nothing_is_odd_about_usual_tables(movielens: tuple[Path, Path]) -> None:
    assert findings(events(*usual()), items()) == ()
    assert {one.severity for one in findings(*map(pl.read_parquet, movielens))} == {WARNING}


@pytest.mark.parametrize(
    ("apart", "count", "told"),
    [(0.01, IN_A_SECOND + 5, "in one second"), (0.6, IN_A_MINUTE + 5, "in one minute"), (30.0, 200, None)],
)
def test_bursts_of_one_user(apart: float, count: int, told: str | None) -> None:
    found = rules(event_findings([events(*usual(), ("secret-name", count, apart))], items()))
    assert ("bursts" in found) is (told is not None)
    if told:
        assert told in found["bursts"].told
        assert found["bursts"].count >= IN_A_SECOND
        assert "secret-name" not in found["bursts"].told


def test_what_comes_at_once_by_its_nature_is_no_burst() -> None:
    shown = events(*usual(), ("u", 300, 0.001), kind="impression")
    assert event_findings([shown], items()) == []
    days = events(("u", 300, 0.0), *usual()).with_columns(pl.col("timestamp").dt.truncate("1d"))
    assert event_findings([days], items()) == []  # of times that know no seconds
    made_up = events(("u", 300, 0.001)).with_columns(pl.lit(False).alias("timestamp_known"))
    assert event_findings([made_up], items()) == []


def test_users_of_too_many_events() -> None:
    found = rules(event_findings([events(*usual(500), ("secret-name", 2 * BUSY + 1, 61.0))], items()))
    one = found["users-of-too-many-events"]
    assert (one.severity, one.count) == (ERROR, 2 * BUSY + 1)
    assert "one user with 2,001 events, 16.7% of all" in one.examples
    assert "secret-name" not in one.told


def test_values_out_of_the_usual() -> None:
    values = [float(n % 5 + 1) for n in range(1000)]
    values[3], values[5] = 99_999.0, -1.0
    found = rules(event_findings([events(*usual(), values=values)], items()))
    assert found["values-out-of-the-usual"].count == 1
    assert found["values-out-of-the-usual"].examples == ("99999",)
    assert found["rare-negative-values"].examples == ("-1",)
    plain = [float(n % 5 + 1) for n in range(1000)]
    assert event_findings([events(*usual(), values=plain)], items()) == []


def test_items_without_events() -> None:
    lonely = pl.DataFrame({"item_id": [f"i{n}" for n in range(20)], "title": [f"Thing {n}" for n in range(20)]})
    assert rules(event_findings([events(*usual())], lonely))["items-without-events"].count == 13


def test_events_part_by_part_are_as_all_at_once() -> None:
    values = [float(n % 5 + 1) for n in range(4 * 1000 + 80 + 2500)]
    values[7] = -5e4
    whole = events(*usual(200), ("fast", 80, 0.1), ("robot", 2500, 61.0), values=values)
    parts = EventRules()
    for part in whole.sample(fraction=1.0, shuffle=True, seed=1).with_columns(
        bucket=pl.col("timestamp").dt.truncate("1h").hash(1) % 7
    ).partition_by("bucket", include_key=False):  # fmt: skip
        parts.update(part)
    found = parts.result(items())
    assert found == event_findings([whole], items())
    assert len(found) == 4


def test_a_look_at_parts_shows_what_a_snapshot_does(
    tmp_path: Path, good_events: pl.DataFrame, good_items: pl.DataFrame, now: datetime
) -> None:
    snapshot = ingest(good_events, good_items, Home(tmp_path), now=now)
    look = Look()
    for part in snapshot.events().sample(fraction=1.0, shuffle=True, seed=2).iter_slices(7):
        look.update(part)
    assert list(look.distributions(snapshot.items())) == distributions(snapshot)
    assert look.findings(snapshot.items(), None) == ()


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("CafÃ© crÃ¨me", True), ("itâ€™s", True), ("Ã˜ 1.75", True), ("ÑˆÐ°Ð¿ÐºÐ°", True), ("Â£5", True),
        ("Café crème", False), ("Ångström Â", False), ("SÃO PAULO", False), ("шапка", False), ("Ã", False),
        ("NESCAFÉ®", False), ("Ñ®", False), ("í®í®", False), ("ðŸ˜€", True), ("ä¸‰ä½“", True), ("PokÃ©mon", True),
    ],
)  # fmt: skip
def test_utf_8_that_was_read_as_something_else(text: str, wrong: bool) -> None:
    assert is_read_wrong(text) is wrong


@pytest.mark.parametrize(
    ("title", "rule", "severity"),
    [
        ("Caf\u00c3\u00a9", "encoding-damage", ERROR),
        ("Caf\ufffd", "lost-characters", ERROR),
        ("thing 1", "repeated-titles", WARNING),
        ("N/A", "titles-without-words", WARNING),
        ("--", "titles-without-words", WARNING),
        ("<b>Bold</b>", "markup-in-titles", WARNING),
        ("Tom &amp; Jerry", "markup-in-titles", WARNING),
        ("1917", None, None),
        ("Tom & Jerry < 3", None, None),
        ("三体", None, None),
    ],
)
def test_titles(title: str, rule: str | None, severity: str | None) -> None:
    table = items().with_columns(
        pl.when(pl.col("item_id") == "i0").then(pl.lit(title)).otherwise("title").alias("title")
    )
    found = text_findings(table)
    assert [one.rule for one in found] == ([rule] if rule else [])
    assert [one.severity for one in found] == ([severity] if severity else [])


def test_the_same_long_text_of_many_items() -> None:
    text = "Free shipping on all orders above fifty, and thirty days to send it back for nothing, all year round."
    many = pl.DataFrame({"item_id": [f"i{n}" for n in range(9)], "title": [f"Thing {n}" for n in range(9)]})
    told = [text] * 6 + [
        "Its own words, of which each item has others, so that they say what it is. " + c for c in "abc"
    ]
    (found,) = text_findings(many.with_columns(pl.Series("about", told)))
    assert (found.rule, found.count) == ("boilerplate", 6)
    short = many.with_columns(pl.Series("category", ["Clothing > Women > Dresses"] * 9))
    assert text_findings(short) == []


def test_the_page_has_every_rule() -> None:
    root = Path(__file__).parents[2] / "recsys"
    section = (root / "README.md").read_text().partition("### What is odd")[2].partition("\n## ")[0]
    listed = {
        name for row in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE) for name in re.findall(r"`([a-z-]+)`", row)
    }
    code = "".join(path.read_text() for path in (root / "data" / "findings").glob("*.py"))
    assert listed == set(re.findall(r'Finding\(\s*"([a-z-]+)"', code))


def drift(before: pl.DataFrame, now: pl.DataFrame) -> dict[str, str]:
    one: Mapping[str, Profile] = {"items": Profile.of(before)}
    return {found.rule: found.told for found in drift_findings(one, {"items": Profile.of(now)})}


def test_what_is_other_than_in_the_last_snapshot() -> None:
    before = items(price=[1.0] * 7, brand=["x"] * 7)
    assert drift(before, before) == {}
    found = drift(before, items(price=["1"] * 7, colour=["red"] * 7))
    assert set(found) == {"columns-gone", "columns-new", "types-changed"}
    assert "brand" in found["columns-gone"]
    assert "price: Float64, now String" in found["types-changed"]
    assert set(drift(before, items(price=[None, None, *[1.0] * 5], brand=["x"] * 7))) == {"missing-values-changed"}
    assert set(drift(before, before.head(5))) == {"fewer-rows"}
    assert set(drift(before.head(1), pl.concat([before] * 2))) == {"many-more-rows"}
    assert Profile.of(before.head(3)).with_more(Profile.of(before.tail(4))) == Profile.of(before)


def test_a_snapshot_is_compared_with_the_one_before_and_a_raw_table_with_the_newest(
    tmp_path: Path, good_events: pl.DataFrame, good_items: pl.DataFrame, now: datetime
) -> None:
    home = Home(tmp_path)
    first = ingest(good_events, good_items, home, now=now)
    assert snapshot_findings(home, first) == ()
    second = ingest(good_events, good_items.drop("year"), home, now=now)
    assert [one.rule for one in snapshot_findings(home, second)] == ["columns-gone"]
    report = validate(good_events, good_items, now=now, before=second)
    assert [one.rule for one in report.findings] == ["columns-new"]
    page = data_page(report, second.id)
    assert second.id in page
    assert "columns-new" in page
    assert "Good enough to ingest." in page


def test_the_page_runs_nothing_and_names_nobody(
    good_events: pl.DataFrame, good_items: pl.DataFrame, now: datetime
) -> None:
    hostile = good_items.with_columns(pl.lit("<script>alert(1)</script>\u202e").alias("title"))
    bad = pl.concat([good_events, good_events.head(5).with_columns(item_id=pl.lit("<img src=x>"))])
    report = validate(bad.with_columns(user_id="secret-" + pl.col("user_id")), hostile, now=now)
    page = data_page(report)
    assert report.refusal() is not None
    assert [one for one in ("<script", "<img", "\u202e", "secret-") if one in page] == []
    assert "Nothing would be ingested." in page
