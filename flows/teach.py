"""The flow from pairs of queries and choices to a generation whose search has learnt from them, where that pays."""

from pathlib import Path

from flows import progress
from flows.forms import Folder, Named, Seed
from flows.locations import TableLocation, located_flow
from flows.reports import report_epochs, report_found
from flows.runs import as_tasks, run_id, stage
from flows.runtime import open_home
from flows.work import TRAINING
from recsys.config import PairsConfig
from recsys.evaluation import curves
from recsys.publishing.search_run import SearchTraining, teach_search
from recsys.training import pairs as training

_DEFAULT = PairsConfig()

learn_pairs = stage("learn from pairs")(training.learn_pairs)


@located_flow("teach", TRAINING, about={"pairs": "", "generation_id": ""})
def teach_generation(
    pairs: TableLocation,
    generation_id: Named,
    home: Folder | None = None,
    config: PairsConfig = _DEFAULT,
    seed: Seed = 0,
    keep: bool = False,
) -> SearchTraining:
    """Teach a generation's search by what people chose after a query, or find what the same pairs gave before.

    A training that was killed goes on from its last whole epoch and ends with the same weights.

    Args:
        pairs: a table with query and item_id, and weight if pairs do not count alike: Parquet, CSV, TSV or NDJSON.
        generation_id: id or alias of the generation whose items are searched; the new generation recommends as it does.
        home: the folder of all state; empty: RECSYS_HOME of whoever runs this.
        config: settings of the training.
        seed: fixes what is held out, initialisation and order.
        keep: bind the generation whether or not it pays.

    Raises:
        ArtifactError: there is no such generation.
        SourceError, DataError: the pairs cannot be read, or there are too few of the catalogue's items.
    """
    done = teach_search(
        open_home(home), generation_id, Path(pairs), config, seed, keep,
        notes={"flow_run": run_id()}, progress=progress.report, run=as_tasks(learn_pairs),
    )  # fmt: skip
    if done.reused:
        report_found(f"what the search learns from these pairs, {done.adapter}")
    report_epochs(curves.SEARCH, done.history, verdict(done))
    return done


def verdict(done: SearchTraining) -> str:
    """Say whether what was learnt pays, and what became of it."""
    figures = done.figures
    without, given, difference = figures["without"], figures["given"], figures["mrr_difference"]
    says = (
        f"Of {figures['queries']:,} held-out queries, by meaning: hit@1 {without['hit@1']:.3f} without, "
        f"{given['hit@1']:.3f} with; MRR@10 {without['mrr@10']:.3f} and {given['mrr@10']:.3f}, "
        f"{difference['mean_difference']:+.3f} ({difference['low']:+.3f} to {difference['high']:+.3f}): "
    )
    if figures["pays"]:
        return f"{says}it pays. Generation {done.generation} searches by adapter {done.adapter}."
    kept = "nothing is kept" if done.generation is None else f"generation {done.generation} is bound all the same"
    return f"{says}it does not pay; {kept}."
