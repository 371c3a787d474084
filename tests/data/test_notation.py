"""Times and numbers as a table's makers write them: zones, changes of clocks, units, formats, decimal commas."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.config import IngestConfig, from_dict, to_dict
from recsys.data.ingest import ingest
from recsys.data.notation import PLAIN, Notation
from recsys.data.parsing import infer_decimals, parse_timestamps
from recsys.data.sources import read_table
from recsys.errors import SettingError
from recsys.home import Home

BERLIN = Notation(timezone="Europe/Berlin")


def instant(text: str, notation: Notation) -> str:
    found = parse_timestamps(pl.Series([text]), notation)[0]
    return "" if found is None else f"{found:%Y-%m-%dT%H:%M:%S}"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2024-01-31 12:00:00", "2024-01-31T11:00:00"),
        ("2024-07-31T12:00:00", "2024-07-31T10:00:00"),
        ("2024-07-31T12:00", "2024-07-31T10:00:00"),
        ("2024-07-31", "2024-07-30T22:00:00"),
        ("20240731", "2024-07-30T22:00:00"),
        ("2024-10-27 02:30:00", "2024-10-27T00:30:00"),  # twice on that night: the first
        ("2024-03-31 02:30:00", "2024-03-31T01:30:00"),  # not on that night: by the offset before
        ("2024-03-31 01:59:59", "2024-03-31T00:59:59"),
        ("2024-03-31 03:00:00", "2024-03-31T01:00:00"),
        ("2024-07-31T12:00:00Z", "2024-07-31T12:00:00"),  # it names its own
        ("2024-07-31 12:00:00+05:30", "2024-07-31T06:30:00"),
        ("2024-07-31T12:00:00 UTC", "2024-07-31T12:00:00"),
        ("1706702400", "2024-01-31T12:00:00"),  # seconds since 1970 have no zone
        ("soon", ""),
    ],
)
def test_times_without_a_zone_are_those_of_the_one_that_is_named(text: str, found: str) -> None:
    assert instant(text, BERLIN) == found


@pytest.mark.parametrize(
    ("zone", "text", "found"),
    [
        ("Pacific/Apia", "2011-12-30 12:00:00", "2011-12-30T22:00:00"),  # a day that Samoa left out
        ("Australia/Lord_Howe", "2024-10-06 02:15:00", "2024-10-05T15:45:00"),  # half an hour
        ("America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00:00"),  # midnight itself
        ("UTC", "2024-03-31 02:30:00", "2024-03-31T02:30:00"),
    ],
)
def test_a_time_that_clocks_left_out_moves_by_the_change(zone: str, text: str, found: str) -> None:
    assert instant(text, Notation(timezone=zone)) == found


@given(st.datetimes(datetime(1990, 1, 1), datetime(2035, 1, 1)), st.sampled_from(["Europe/Berlin", "America/New_York"]))
def test_a_zone_is_read_as_python_reads_it(local: datetime, zone: str) -> None:
    """``fold=0`` of PEP 495 is the first of two times, and the offset before a change where there is none."""
    wanted = local.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    assert parse_timestamps(pl.Series([local]), Notation(timezone=zone))[0] == wanted
    assert parse_timestamps(pl.Series([str(local)]), Notation(timezone=zone))[0] == wanted


@pytest.mark.parametrize("value", [20240131, "20240131", 20240131.0])
def test_a_unit_says_what_numbers_are(value: Any) -> None:
    for unit, size in (("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)):
        found = parse_timestamps(pl.Series([value]), Notation(timestamp_unit=unit))[0]  # type: ignore[arg-type]
        assert abs(found - datetime(1970, 1, 1, tzinfo=UTC) - timedelta(seconds=20240131 / size)) < timedelta(
            microseconds=1
        )
    assert parse_timestamps(pl.Series([value]), PLAIN)[0] == datetime(2024, 1, 31, tzinfo=UTC)


@pytest.mark.parametrize("unit", ["s", "ms"])
def test_a_number_beyond_all_times_is_none(unit: Any) -> None:
    assert parse_timestamps(pl.Series([2**62, -(2**62)]), Notation(timestamp_unit=unit)).to_list() == [None, None]


@pytest.mark.parametrize(
    ("form", "text", "found"),
    [
        ("%d.%m.%Y %H:%M", "03.02.2024 14:30", "2024-02-03T13:30:00"),
        ("%d.%m.%Y", "03.02.2024", "2024-02-02T23:00:00"),
        ("%m/%d/%Y %I:%M:%S %p", "11/13/2019 8:36:57 AM", "2019-11-13T07:36:57"),
        ("%d.%m.%Y %H:%M %z", "03.02.2024 14:30 +0530", "2024-02-03T09:00:00"),
        ("%d.%m.%Y", "2024-02-03", "2024-02-02T23:00:00"),  # as without it
        ("%d.%m.%Y", "31.02.2024", ""),
    ],
)
def test_a_format_says_how_times_are_written(form: str, text: str, found: str) -> None:
    assert instant(text, Notation("Europe/Berlin", timestamp_format=form)) == found


def test_settings_reach_every_table_and_leave_bad_values_to_be_found(tmp_path: Path) -> None:
    times = ["03.02.2024 14:30", "04.02.2024 14:30"] * 60
    pl.DataFrame(
        {"user_id": [f"u{n // 2}" for n in range(120)], "item_id": ["1", "2"] * 60, "timestamp": [*times[:-1], "soon"]}
    ).write_csv(tmp_path / "events.csv")
    (tmp_path / "items.csv").write_text("item_id,title,updated_at\n1,A,01.01.2024 00:00\n2,B,NA\n")
    config = IngestConfig(timezone="Europe/Berlin", timestamp_format="%d.%m.%Y %H:%M")
    snapshot = ingest(tmp_path / "events.csv", tmp_path / "items.csv", Home(tmp_path / "home"), config)
    assert snapshot.events()["timestamp"].min() == datetime(2024, 2, 3, 13, 30, tzinfo=UTC)
    assert snapshot.items()["updated_at"].to_list() == [datetime(2023, 12, 31, 23, tzinfo=UTC), None]
    assert '"timestamp":"soon"' in snapshot.quarantine()["content"][0]


def test_settings_that_say_nothing_are_not_written() -> None:
    assert "timezone" not in to_dict(IngestConfig())
    given = {"timezone": "Asia/Tokyo", "timestamp_unit": "ms", "timestamp_format": "%Y/%m/%d", "decimal": ","}
    assert Notation.of(from_dict(IngestConfig, given)) == Notation("Asia/Tokyo", "ms", "%Y/%m/%d", ",")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"timestamp_unit": "m"}, 'timestamp_unit is "m"; it takes "s", "ms", "us", "ns" or null'),
        ({"timestamp_format": "yyyy"}, "timestamp_format is 'yyyy', which says no year"),
        ({"decimal": ";"}, 'decimal is ";"'),
        ({"timezone": " "}, "timezone is "),
    ],
)
def test_settings_that_mean_nothing_are_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingError, match=told):
        from_dict(IngestConfig, given)


def test_a_zone_that_does_not_exist_is_told_with_the_nearest() -> None:
    with pytest.raises(SettingError, match=r"no time zone 'Europe/Berln'. Did you mean 'Europe/Berlin'\?"):
        Notation.of(IngestConfig(timezone="Europe/Berln"))


@pytest.mark.parametrize(
    ("values", "mark", "local", "found"),
    [
        (["3,95", "12", None], None, True, [3.95, 12.0, None]),
        (["3,95", "NA"], None, True, [3.95, None]),
        (["1.234,5", "12"], None, True, [1234.5, 12.0]),
        (["1,234", "5,678"], None, True, ["1,234", "5,678"]),  # either
        (["1,234", "5,67"], None, True, [1.234, 5.67]),
        (["12,15", "7"], None, False, ["12,15", "7"]),  # two ids, perhaps
        (["12,15", "7"], ",", False, [12.15, 7.0]),
        (["1,234", "5"], ",", False, [1.234, 5.0]),
        (["1,234", "5"], ".", False, [1234, 5]),
        (["1,234.50", "5"], None, False, [1234.5, 5.0]),
        (["1,234,567", "5"], None, False, [1234567, 5]),
        (["3,95", "a"], ",", True, ["3,95", "a"]),
        (["007,5", "1,5"], ",", True, ["007,5", "1,5"]),  # codes
        (["192.168.1.1", "1,5"], None, True, ["192.168.1.1", "1,5"]),
    ],
)
def test_decimal_commas_are_read_where_they_have_one_meaning(
    values: list[str | None], mark: Any, local: bool, found: list[Any]
) -> None:
    assert infer_decimals(pl.Series(values), mark, local).to_list() == found


def test_a_file_parted_by_semicolons_has_commas_in_its_numbers(tmp_path: Path) -> None:
    (tmp_path / "i.csv").write_text("item_id;title;price;related\n1;A, or B;3,95;x\n2;C;12,00;y\n")
    (tmp_path / "j.csv").write_text('item_id,title,price\n1,A,"3,95"\n2,C,"12,00"\n')
    assert read_table(tmp_path / "i.csv", "items")["price"].to_list() == [3.95, 12.0]
    assert read_table(tmp_path / "j.csv", "items")["price"].to_list() == ["3,95", "12,00"]
    found = read_table(tmp_path / "j.csv", "items", notation=Notation(decimal=","))
    assert found["price"].to_list() == [3.95, 12.0]
    events = pl.DataFrame({"user_id": ["u"], "item_id": ["1"], "timestamp": [5], "value": ["4,5"]})
    assert read_table(events, "events")["value"].to_list() == [4.5]
