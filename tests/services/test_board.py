"""The board and the alert rules: whatever they ask for is there, and moves when what it is about happens."""

import json
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import promql_parser as promql
import pytest
import yaml
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from variants import make_variant

from recsys.home import Home
from recsys.store.generations import current_id, promote
from recsys_client.schemas.recommend import MAX_USERS
from services.serve import running
from services.worker.impression_writer import WAITING

INFRA = Path(__file__).parents[2] / "infra"
BOARD = json.loads((INFRA / "grafana/dashboards/recsys.json").read_text())
RULES = [
    rule
    for group in yaml.safe_load((INFRA / "prometheus/alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]
PROMETHEUS_OWN = {"up"}
USER = "a user whom nobody may read of"
WRITERS = 140  # more than may run and wait
Eventually = Callable[[Callable[[], bool]], None]


@dataclass(frozen=True)
class Selector:
    """What an expression reads: a metric and conditions on its labels."""

    name: str
    conditions: tuple[tuple[str, str, str], ...]  # label, operator, value

    def total(self, families: list[Metric]) -> float:
        """Return the sum of the samples that it selects."""
        samples = [sample for family in families for sample in family.samples if sample.name == self.name]
        return sum(one.value for one in samples if all(_holds(*condition, one.labels) for condition in self.conditions))


def _holds(label: str, operator: str, value: str, labels: dict[str, str]) -> bool:
    found = labels.get(label, "")
    matches = bool(re.fullmatch(value, found)) if "~" in operator else found == value
    return matches != operator.startswith("!")


def selectors(expression: str) -> set[Selector]:
    """Return all that a PromQL expression reads; a syntax error is raised."""
    kinds = promql.MatchOp
    operators = [(kinds.Equal, "="), (kinds.NotEqual, "!="), (kinds.Re, "=~"), (kinds.NotRe, "!~")]
    found: set[Selector] = set()

    def visit(node: promql.Expr) -> None:
        vector = node.vector_selector if isinstance(node, promql.MatrixSelector) else node
        if isinstance(vector, promql.VectorSelector):
            conditions = [
                (one.name, sign, one.value)
                for one in vector.matchers.matchers
                for kind, sign in operators
                if one.op == kind
            ]
            found.add(Selector(vector.name, tuple(conditions)))

    # Grafana puts an interval in its variable's place
    promql.walk(promql.parse(expression.replace("$__rate_interval", "5m")), visit)
    return found


PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = {
    **{f"panel {panel['title']}": [target["expr"] for target in panel["targets"]] for panel in PANELS},
    **{f"alert {rule['alert']}": [rule["expr"]] for rule in RULES},
    "annotations": [one["expr"] for one in BOARD["annotations"]["list"]],
}


@dataclass(frozen=True)
class Lived:
    """The numbers of a service when it had just started, and after everything had happened to it."""

    before: list[Metric]
    after: list[Metric]
    log: str


@pytest.fixture(scope="module")
def lived(
    copy_of_home: Callable[[Path], Home],
    known_user: str,
    tmp_path_factory: pytest.TempPathFactory,
    eventually: Eventually,
) -> Iterator[Lived]:
    home = copy_of_home(tmp_path_factory.mktemp("lived"))
    other, _ = make_variant(home, {"content": 1.0})
    broken, adapter = make_variant(home, {"content": 2.0})
    (home.adapters / adapter / "adapter_model.safetensors").unlink()
    with running(home) as url, httpx.Client(base_url=url, timeout=60) as client:

        def numbers() -> list[Metric]:
            return list(text_string_to_metric_families(client.get("/metrics").text))

        def total(name: str, **labels: str) -> float:
            return Selector(name, tuple((label, "=", value) for label, value in labels.items())).total(numbers())

        before = numbers()
        eventually(lambda: client.post(f"/v1/generations/{other}/shadow", json={"share": 1}).is_success)
        for user in (known_user, "stranger"):
            answer = client.post("/v1/recommend", json={"user_id": user, "k": 80}).raise_for_status().json()
        event = {"user_id": USER, "item_id": "i001", "event_id": "once"}
        unknown = {"user_id": USER, "item_id": "no such item"}
        client.post("/v1/events", json={"events": [event, event, unknown]}).raise_for_status()
        eventually(lambda: client.get(f"/v1/recommendations/{answer['rec_id']}").is_success)
        click = {"user_id": "stranger", "item_id": answer["items"][0]["item_id"], "rec_id": answer["rec_id"]}
        client.post("/v1/events", json={"events": [click]}).raise_for_status()
        eventually(lambda: total("recsys_clicks_total", outcome="counted") > 0)
        client.put("/v1/items/new", json={"title": "Of which training saw nothing"})
        assert client.get("/v1/items/none").status_code == 404
        eventually(lambda: total("recsys_shadow_answers_total", outcome="answered") > 0)
        eventually(lambda: total("recsys_live_items_version") > 0)
        client.post("/v1/recommend", json={"user_id": "stranger", "k": 200}).raise_for_status()
        first = str(current_id(home))
        promote(home, broken)
        eventually(lambda: total("recsys_generation_loads_total", outcome="failed") > 0)
        promote(home, first)
        _lock(home, client, total)
        for file in home.root.glob("events.db*"):
            file.unlink()
        eventually(lambda: client.post("/v1/recommend", json={"user_id": USER}).json()["fallback"] == "degraded")
        yield Lived(before, numbers(), next(home.runs.glob("service-*/server.log")).read_text())


def _lock(home: Home, client: httpx.Client, total: Callable[..., float]) -> None:
    """Hold the database's lock while more is asked for than can wait for it."""
    lock = sqlite3.connect(home.events_database, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")

    def write(number: int) -> int:
        event = {"user_id": USER, "item_id": "i001", "event_id": f"locked {number}"}
        return httpx.post(f"{client.base_url}/v1/events", json={"events": [event]}, timeout=60).status_code

    with ThreadPoolExecutor(WRITERS) as threads:
        writers = [threads.submit(write, number) for number in range(WRITERS)]
        users = {"users": [{"history": []}] * MAX_USERS, "k": 1, "fields": []}
        while total("recsys_impressions_total", outcome="dropped") == 0:
            assert total("recsys_answers_total") < 3 * WAITING
            client.post("/v1/recommend/batch", json=users).raise_for_status()
        lock.execute("ROLLBACK")
        lock.close()
        assert 503 in [writer.result() for writer in writers]


@pytest.mark.parametrize("where", EXPRESSIONS)
def test_what_is_asked_for_moves(lived: Lived, where: str) -> None:
    asked = {selector for expression in EXPRESSIONS[where] for selector in selectors(expression)}
    assert asked
    for selector in asked:
        # nothing is in flight when all is answered; test_observed sees something that is
        if selector.name not in {*PROMETHEUS_OWN, "recsys_requests_in_flight"}:
            assert selector.total(lived.after) > 0, selector
            if not selector.name.endswith("_workers"):
                assert selector.total(lived.after) > selector.total(lived.before), selector


def test_every_metric_of_ours_is_on_the_board(lived: Lived) -> None:
    shown = {selector.name for panel in PANELS for target in panel["targets"] for selector in selectors(target["expr"])}
    families = {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in shown}
    assert {family.name for family in lived.after} == families


def test_no_label_holds_an_id_of_a_user_or_an_item(lived: Lived, known_user: str) -> None:
    values = {value for family in lived.after for sample in family.samples for value in sample.labels.values()}
    assert values.isdisjoint({"stranger", USER, known_user, "i001", "new", "no such item"})


def test_the_log_of_all_this_is_json_and_says_nothing_of_what_went_well(lived: Lived) -> None:
    lines = [json.loads(line) for line in lived.log.splitlines() if line]
    assert {"time", "level", "logger", "message"} <= set.intersection(*map(set, lines))
    statuses = {
        line["status"] for line in lines if line["logger"] == "services.requests" and line["level"] != "WARNING"
    }
    assert {404, 503} <= statuses
    assert 200 not in statuses
    assert USER not in lived.log
    failed = [line for line in lines if line["logger"] == "services.worker.current" and line["level"] == "ERROR"]
    assert any("adapter_model.safetensors" in line["message"] for line in failed)


def test_every_alert_says_what_to_do() -> None:
    for rule in RULES:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"].endswith(".")
        assert len(rule["annotations"]["runbook"]) > 50


def test_every_panel_stands_in_the_grid_and_reads_the_provisioned_source() -> None:
    source = yaml.safe_load((INFRA / "grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"][0]
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert place["x"] + place["w"] <= 24
        assert taken.isdisjoint(cells), panel["title"]
        taken |= cells
        assert panel["type"] == "row" or panel["datasource"]["uid"] == source["uid"]
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])


@pytest.mark.parametrize("place", ["", "-here"])
def test_what_compose_mounts_is_there(place: str) -> None:
    services = yaml.safe_load((INFRA / "compose.yaml").read_text())["services"]
    prometheus, grafana = services[f"prometheus{place}"], services[f"grafana{place}"]
    mounts = [volume.split(":") for service in (prometheus, grafana) for volume in service["volumes"]]
    inside = {target: INFRA / source for source, target, *_ in mounts if source.startswith(".")}
    assert all(folder.is_dir() for folder in inside.values())
    provider = yaml.safe_load((INFRA / "grafana/provisioning/dashboards/recsys.yaml").read_text())["providers"][0]
    assert list(inside[provider["options"]["path"]].glob("*.json"))
    source = yaml.safe_load((INFRA / "grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"][0]
    assert source["url"] == "${PROMETHEUS_URL}"
    assert grafana["environment"]["PROMETHEUS_URL"].endswith(":9090")
    (config,) = [one for one in prometheus["command"] if one.startswith("--config.file=")]
    folder, _, name = config.removeprefix("--config.file=").rpartition("/")
    assert (inside[folder] / name).exists()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is in Debian's package prometheus")
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", "prometheus.yaml", "house.yaml"),
        ("test", "rules", "alerts.test.yaml", "slow-alerts.test.yaml"),
    ],
    ids=" ".join,
)
def test_prometheus_accepts_the_rules_and_each_alert_fires(arguments: tuple[str, ...]) -> None:
    checked = subprocess.run(["promtool", *arguments], cwd=INFRA / "prometheus", capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
