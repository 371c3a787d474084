"""Rates of answers over a made-up shop: a worse generation is found, and of two equal ones neither."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from typer.testing import CliRunner

from flows.cli import app
from infra.benchmarks.monitoring import Shop
from infra.benchmarks.shown_lists import BOUGHT, Policy, Showing, compared
from recsys.config import MonitorConfig
from recsys.data import columns
from recsys.database.engine import Database
from recsys.database.rates import Rate
from recsys.home import Home
from recsys.monitoring.answers import ANY
from recsys.monitoring.checks import ALARM, NOTICE, OK
from recsys.store.generations import current_id

CONFIG = MonitorConfig()
FIRST, DAYS = 100, 7
LATER = 150  # when the last event that the home has learnt from is past
Opened = Callable[[Home], Showing]


@pytest.fixture
def showing(shop: Shop) -> Iterator[Opened]:
    """The shop with all that was bought there before its day 100, writing into the database of a home."""
    opened: list[Database] = []

    def of(home: Home) -> Showing:
        opened.append(Database.of(home))
        found = Showing(shop.world, opened[-1])
        return Showing(shop.world, opened[-1], shop.events.filter(shop.events[columns.TIMESTAMP] < found.moment(FIRST)))

    yield of
    for database in opened:
        database.close()


def test_of_two_generations_side_by_side_the_worse_one_is_found(showing: Opened, tmp_path: Path) -> None:
    shown = showing(Home(tmp_path))
    shown.side_by_side([Policy("better"), Policy("worse", taste=0)], range(FIRST, FIRST + CONFIG.rate_days), seed=1)
    rates = shown.rates(FIRST)
    by_name = {one.generation: one for one in rates[BOUGHT]}
    assert {name: one.lists > 1_000 for name, one in by_name.items()} == {"better": True, "worse": True}
    assert by_name["worse"].interval[1] < by_name["better"].interval[0]
    found = {check.name: check for check in compared(rates, "worse", CONFIG)}
    assert set(found) == {"click rate", f"rate of {BOUGHT}"}
    assert found[f"rate of {BOUGHT}"].level == ALARM
    assert found[f"rate of {BOUGHT}"].figure == by_name["worse"].rate
    assert found[f"rate of {BOUGHT}"].expected == pytest.approx(by_name["better"].rate, rel=0.05)
    assert all(check.level == OK for check in compared(rates, "better", CONFIG))


def test_of_equal_generations_neither_is_found_whether_side_by_side_or_in_turn(showing: Opened, tmp_path: Path) -> None:
    shown, chances = showing(Home(tmp_path)), []
    for window in range(4):
        first = FIRST + 2 * DAYS * window
        policies = [Policy(f"{name} {window}") for name in ("one", "other")]
        if window % 2:
            middle = first + DAYS + 2  # weekends weigh more in one of both
            halves = {policies[0]: range(first, middle), policies[1]: range(middle, first + 2 * DAYS)}
            shown.one_after_the_other(halves, window)
        else:
            shown.side_by_side(policies, range(first, first + DAYS), window)
        for policy in policies:
            checks = compared(shown.rates(first), policy.generation, CONFIG)
            chances += [check.p for check in checks if check.p is not None]
            assert [check.sentence for check in checks if check.level != OK] == []
    assert len(chances) == 16
    assert max(chances) > 0.5  # neither is it that nothing can be found


def test_the_command_shows_rates_by_generation_and_finds_the_worse_one(
    home: Home, showing: Opened, tmp_path: Path
) -> None:
    place = Home(Path(shutil.copytree(home.root, tmp_path / "home", ignore=shutil.ignore_patterns("prefect", "cache"))))
    served, before = str(current_id(place)), "f" * 16
    shown = showing(place)
    shown.side_by_side([Policy(before), Policy(served, taste=-1)], range(LATER, LATER + DAYS), seed=1)
    given = ["monitor", "--home", str(place.root), "--until", (shown.moment(LATER + DAYS)).isoformat()]
    result = CliRunner().invoke(app, [*given, "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    rates = {(one["event_type"], one["generation"]): one for one in found["answers"]}
    assert {name for kind, name in rates if kind == ANY} == {served, before}
    brought = shown.rates(LATER)[ANY]
    assert [one.clicked for one in brought] == [rates[ANY, one.generation]["brought"] for one in brought]
    for one in found["answers"]:
        low, high = one["interval"]
        assert low < one["rate"] < high
    (check,) = [one for one in found["checks"] if one["name"] == "click rate"]
    assert check["level"] in (NOTICE, ALARM)
    assert check["figure"] == rates[ANY, served]["rate"] < rates[ANY, before]["interval"][0]
    asked = ArtifactFilter(key=ArtifactFilterKey(any_=["rates"]))
    with get_client(sync_client=True) as client:
        tables = [str(one.data) for one in client.read_artifacts(artifact_filter=asked)]
    assert any(served in one and before in one for one in tables)
    said = CliRunner().invoke(app, given, terminal_width=160).output
    assert "answers that brought" in said
    assert before in said


def rate(name: str, weekdays: dict[int, tuple[int, int]]) -> Rate:
    lists, clicked = (sum(side) for side in zip(*weekdays.values(), strict=True))
    return Rate(name, "an adapter", lists, clicked, clicked, weekdays)


def test_a_day_of_the_week_is_compared_with_the_same_one() -> None:
    """As where a generation is served on Monday that follows another's good weekend."""
    before = rate("before", {day: (1_000, 200 if day >= 5 else 100) for day in range(7)})
    (alike,) = compared({ANY: [rate("served", {0: (1_000, 100), 1: (1_000, 100)}), before]}, "served", CONFIG)
    assert (alike.level, alike.figure, alike.expected, alike.p) == (OK, 0.1, 0.1, 0.5)
    (worse,) = compared({ANY: [rate("served", {5: (1_000, 100)}), before]}, "served", CONFIG)
    assert (worse.level, worse.figure, worse.expected) == (ALARM, 0.1, 0.2)
    never = rate("before", dict.fromkeys((5, 6), (1000, 200)))
    (apart,) = compared({ANY: [rate("served", {0: (1_000, 100)}), never]}, "served", CONFIG)
    assert (apart.level, apart.p) == (OK, None)
    assert "on the same days of the week" in apart.sentence
    (some,) = compared({ANY: [rate("served", {0: (1_000, 100), 5: (1_000, 200)}), never]}, "served", CONFIG)
    assert (some.figure, some.expected, some.p) == (0.15, 0.2, 0.5)
    assert "20.00 % on the days of the week that both have answered on" in some.sentence
