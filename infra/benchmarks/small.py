"""What small data costs, from files to an answer, by the commands that a person runs.

    python infra/benchmarks/small.py --out infra/results/small.json [--against CHECKOUT] [--rounds 3]

300 users and 200 items are made, a habit to be learnt among them; ingest, train, publish and recommend run in a home of
their own each time. Counted is the processor time of all processes that a command starts. With another checkout both
run by turns. ``tables.py`` makes the table.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from synthetic import write_dataset

from recsys.artifacts import write_json
from recsys.models.devices import device_name

ROOT = Path(__file__).parents[2]
USERS, ITEMS = 300, 200
COMMAND = 'import sys; from flows.cli import app; sys.argv[0] = "recsys"; app()'


def road(tree: Path, data: Path) -> dict[str, dict[str, float]]:
    """Run the four commands of a checkout; return processor and wall seconds of each, and our NDCG@10."""
    python_path = os.pathsep.join(map(str, (tree, tree / "services/python-client")))
    spent: dict[str, dict[str, float]] = {}
    with TemporaryDirectory(prefix="small-") as home:
        environment = os.environ | {"PYTHONPATH": python_path, "RECSYS_HOME": home}
        tables = ("--events", data / "events.parquet", "--items", data / "items.parquet")
        for arguments in (
            ("ingest", *tables),
            ("train",),
            ("publish", "--force", "--reason", "A benchmark."),
            ("recommend", "--user", "u001"),
        ):
            before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
            command = [sys.executable, "-c", COMMAND, *map(str, arguments), "--json"]
            done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"{' '.join(command[3:])} of {tree} failed:\n{done.stderr[-2_000:]}")
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            spent[arguments[0]] = {"cpu": cpu, "wall": time.monotonic() - began}
            if arguments[0] == "train":
                metrics = json.loads(Path(json.loads(done.stdout)["metrics"]).read_text())["protocols"]
                figures = {name: part["systems"]["recsys"]["total"]["ndcg@10"] for name, part in metrics.items()}
    return spent | {"ndcg@10": figures}


def summary(roads: list[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Return minimum, median and maximum over the rounds of each command's seconds and of all, and the figures."""
    commands = [name for name in roads[0] if name != "ndcg@10"]
    whole = [{unit: sum(one[name][unit] for name in commands) for unit in ("cpu", "wall")} for one in roads]
    return {
        name: {
            unit: [round(figure(values), 1) for figure in (min, statistics.median, max)]
            for unit in ("cpu", "wall")
            for values in [[one[unit] for one in ones]]
        }
        for name, ones in {**{name: [one[name] for one in roads] for name in commands}, "together": whole}.items()
    } | {"ndcg@10": roads[0]["ndcg@10"]}


def main() -> None:
    """Measure and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--against", type=Path, help="another checkout, which runs by turns with this one")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    trees = {"now": ROOT} | ({"before": options.against.absolute()} if options.against else {})
    roads: dict[str, list[dict[str, dict[str, float]]]] = {name: [] for name in trees}
    with TemporaryDirectory(prefix="small-data-") as data:
        write_dataset(Path(data), USERS, ITEMS)
        for _ in range(options.rounds):
            for name, tree in trees.items():
                roads[name].append(road(tree, Path(data)))
                print(name, {key: value.get("cpu") for key, value in roads[name][-1].items()}, flush=True)
    document: dict[str, Any] = {
        "task": "small", "users": USERS, "items": ITEMS, "rounds": options.rounds, "processor": device_name(),
        "threads": os.environ.get("OMP_NUM_THREADS", "all"), "cores": os.cpu_count(),
    }  # fmt: skip
    write_json(options.out, document | {name: summary(measured) for name, measured in roads.items()})


if __name__ == "__main__":
    main()
