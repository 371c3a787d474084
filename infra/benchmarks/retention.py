"""How much a home holds after 200 publications.

    python infra/benchmarks/retention.py --out infra/results/retention.json

One generation is trained on a made-up shop, or taken from a copy of ``--home``. Each publication binds it once more
with a snapshot, an adapter, an export, a table and a report of its own (``rebinding.py``), checks every file of it,
tags its table and moves the pointer, without the gate, which would have nothing to compare; every tenth is bound and
not published, as if it had been refused. After each the home is pruned as two days later, while a process reads what is
served. The live data are the served generation and all that it stands on. ``tables.py`` makes the table.
"""

import argparse
import shutil
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from infra.benchmarks.rebinding import Trained
from recsys.artifacts import stored_bytes, write_json
from recsys.config import AdapterConfig, ModelConfig, TowerConfig
from recsys.home import Home
from recsys.interactive.data import ingest
from recsys.publishing.training_run import train_generation
from recsys.serving.recommender import Recommender
from recsys.simulation.config import SimulationConfig
from recsys.simulation.world import World
from recsys.simulation.writing import write_world
from recsys.store.exports import list_encoders, open_encoder
from recsys.store.generations import (
    current_id,
    generation_snapshot,
    list_generations,
    promote,
    read_generation,
    report_path,
    rollback,
)
from recsys.store.index import keep_version
from recsys.store.retention import Retention, prune

SHORT = ModelConfig(adapter=AdapterConfig(rounds=4), tower=TowerConfig(epochs=3))  # what it learns is of no interest
WORLD = SimulationConfig(users=500, items=1_000, events=30_000, days=120)
REFUSED = 10  # every so many-th is bound and not published
TWO_DAYS = timedelta(days=2)


def live_bytes(home: Home) -> int:
    """Return the bytes of what is served and of all that it stands on."""
    served = current_id(home)
    assert served is not None
    manifest = read_generation(home, served)[1]
    exports = [name for name, card in list_encoders(home).items() if card.adapter in (manifest.adapter, None)]
    return stored_bytes(
        home.generations / served,
        home.adapters / manifest.adapter,
        home.snapshots / manifest.snapshot,
        *home.lance.glob(f"{manifest.index.table}*"),
        *(home.encoders / name for name in exports),
        report_path(home, served),
    )


def by_kind(found: Retention) -> dict[str, int]:
    """Return the bytes of each kind that stays."""
    counted: Counter[str] = Counter()
    for entry in found.stays:
        counted[entry.kind] += entry.bytes
    return dict(counted)


def train(home: Home, work: Path) -> None:
    """Train on a made-up shop, and serve it."""
    write_world(World(WORLD), work / "shop")
    events, items = str(work / "shop" / "events"), str(work / "shop" / "items.parquet")
    snapshot = ingest(events, items, home=home, progress=False)
    promote(home, train_generation(home, snapshot.id, SHORT).generation)


def measure(home: Home, publications: int, keep: int) -> dict[str, Any]:
    """Publish what is served again and again, and prune; return what the home held."""
    served = read_generation(home, str(current_id(home)))[1]
    text = served.config.text
    open_encoder(home, served.config.adapter.lora.base, text.max_tokens, adapter_id=served.adapter)
    counts = generation_snapshot(home, served).manifest.counts
    with TemporaryDirectory(dir=home.root.parent) as beside:
        trained = Trained(home, served.id, Path(beside) / "trained")
        reader = Recommender.open(home)
        held, live, freed, refused, ratios = 0, 0, 0, 0, []
        kinds: dict[str, int] = {}
        for number in range(1, publications + 1):
            generation_id = trained.bind(number)
            if number % REFUSED == 0:
                refused += 1
            else:
                keep_version(home.lance, read_generation(home, generation_id)[1].index, generation_id)
                promote(home, generation_id)
                reader = Recommender.open(home)  # a service follows, and exports the encoder
                trained.export(reader.adapter_id)
            found = prune(home, keep, now=datetime.now(UTC) + TWO_DAYS)
            freed += found.freed
            held, live, kinds = stored_bytes(home.root), live_bytes(home), by_kind(found)
            ratios.append(held / live)
            assert reader.recommend([]).items
            print(f"{number}: {held / 1e6:.1f} MB held, {live / 1e6:.1f} MB live", flush=True)
        back = rollback(home)
        assert Recommender.open(home, back).recommend([]).items
    return {
        "task": "retention",
        "counts": {"events": counts.events, "items": counts.items, "users": counts.users},
        "publications": publications - refused,
        "refused": refused,
        "keep": keep,
        "held": held,
        "live": live,
        "freed": freed,
        "largest_ratio": max(ratios),
        "last_ratio": ratios[-1],
        "kinds": kinds,
        "generations": len(list_generations(home)),
    }


def main() -> None:
    """Measure, and write down what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("/tmp"), help="where the home is made")
    parser.add_argument("--home", type=Path, help="whose copy is begun with, in the place of a made-up shop")
    parser.add_argument("--publications", type=int, default=200)
    parser.add_argument("--keep", type=int, default=2)
    given = parser.parse_args()
    work = Path(given.work) / "retention"
    home = Home(work / "home").make()
    try:
        if given.home is None:
            train(home, work)
        else:
            shutil.copytree(given.home, home.root, dirs_exist_ok=True)
        document = measure(home, given.publications, given.keep)
        document["data"] = "a made-up shop" if given.home is None else given.home.resolve().name
        write_json(given.out, document)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(f"{document['held'] / 1e6:.1f} MB held, {document['largest_ratio']:.2f} times what is live at most")


if __name__ == "__main__":
    main()
