"""From a snapshot to what is served, a function a stage: what the flows do, without a server that records the runs."""

import typing
from collections.abc import Sequence

import polars as pl

from recsys.artifacts import ArtifactError, read_json
from recsys.callbacks import StageProgress, step
from recsys.config import GateConfig, ModelConfig, Protocol
from recsys.data.snapshot import Snapshot, list_snapshots, open_snapshot
from recsys.errors import RefusedError, SettingError
from recsys.evaluation.held_out import allowed_protocols
from recsys.evaluation.report import HEADLINE, METRICS_FILE, Section
from recsys.home import Home, Place
from recsys.interactive.display import reporting
from recsys.publishing import admission
from recsys.publishing.gate import Verdict
from recsys.publishing.training_run import Training, train_generation
from recsys.remote.following import reached
from recsys.store.generations import newest_id, read_generation
from recsys.store.names import GENERATION, meant
from recsys.store.promotions import Cause
from recsys.training.measuring import evaluate_systems

_MODEL = ModelConfig()
_GATE = GateConfig()


class Made(typing.Protocol):
    """What holds the id of a generation, as all that ``train`` and ``load`` give."""

    @property
    def generation(self) -> str: ...


def train(
    snapshot: Snapshot | str | None = None,
    config: ModelConfig = _MODEL,
    *,
    resume_from: str | None = None,
    home: Place = None,
    progress: bool | StageProgress = True,
) -> Training:
    """Fine-tune an adapter and train a generation on a snapshot, or find the one that the same inputs gave before.

    It is not served before it is published. A training that was stopped goes on from where it stood.

    >>> import recsys
    >>> from recsys.config import AdapterConfig, EvaluationConfig, TowerConfig
    >>> quick = recsys.ModelConfig(  # to see it work; the defaults suit real data
    ...     adapter=AdapterConfig(rounds=2, items_per_round=64),
    ...     tower=TowerConfig(dimensions=16, epochs=2),
    ...     evaluation=EvaluationConfig(bootstrap_samples=200),
    ... )
    >>> training = recsys.train(config=quick)
    >>> recsys.train(training.snapshot, quick).reused
    True

    Args:
        snapshot: what to train on, or its id; None: the newest.
        config: all settings.
        resume_from: an adapter, or its alias, to go on from, with newer events and items, by its settings.
        home: the folder of all state; None: RECSYS_HOME, else ``.recsys`` in the working folder.
        progress: True: bars; False: none; or a callback with stage, done and total.

    Raises:
        ArtifactError: there is no such snapshot or adapter.
        DataError: the data allows none of the protocols, holds too few events, or nothing new.
    """
    place = reached(home)
    if snapshot is None:
        snapshots = list_snapshots(place)
        if not snapshots:
            raise ArtifactError(f"There is no snapshot in {place.snapshots}. Ingest events and items first.")
        snapshot = snapshots[-1]
    snapshot_id = snapshot if isinstance(snapshot, str) else snapshot.id
    with reporting(progress) as report:
        return train_generation(place, snapshot_id, config, resume_from, progress=report)


def evaluate(
    generation: Made | str | None = None,
    *,
    protocol: Protocol | None = None,
    systems: Sequence[str] | None = None,
    slice: str = "total",
    home: Place = None,
    progress: bool | StageProgress = True,
) -> pl.DataFrame:
    """Compare a generation with the baselines on held-out events: as measured in training, or trained anew.

    >>> import recsys
    >>> figures = recsys.evaluate()
    >>> figures.columns[:6]
    ['protocol', 'system', 'targets', 'ndcg@10', 'ndcg@10_low', 'ndcg@10_high']
    >>> figures["protocol"].unique(maintain_order=True).to_list()
    ['temporal', 'leave-one-out']
    >>> {"recsys", "popularity", "knn", "bert"} <= set(figures["system"])
    True

    Args:
        generation: its id or alias, or what ``train`` gave; None: the newest.
        protocol: ``temporal``, ``leave-one-out`` or ``cold-items``; None: all that were measured.
        systems: names of systems to train and rank now, by the generation's settings and on its snapshot, ``recsys``
            being ours; None: nothing is trained.
        slice: ``total``, ``cold_items``, ``warm_items``, ``head_items``, ``tail_items`` or ``cold_users``.
        home: the folder of all state; None: RECSYS_HOME, else ``.recsys`` in the working folder.
        progress: True: bars; False: none; or a callback with stage, done and total.

    Returns:
        A row a protocol and system, best first: how many ``targets``, the metrics, and ``gain``: how much of the
        system's ndcg@10 ours has more, from ``gain_low`` to ``gain_high``. Intervals are of 95 %.

    Raises:
        ArtifactError: there is no such generation.
        SettingError: it was not measured by that protocol, or there is no such system or slice.
    """
    place = reached(home)
    folder, manifest = read_generation(place, generation_id(place, generation) or newest_id(place))
    settings = manifest.config
    if systems is None:
        document = read_json(folder / METRICS_FILE)
    else:
        snapshot = open_snapshot(place, manifest.snapshot)
        protocol = protocol or allowed_protocols(snapshot, settings)[0]
        with reporting(progress) as report:
            document, _ = evaluate_systems(place, snapshot, protocol, settings, tuple(systems), progress=report)
    found = document["protocols"]
    wanted = settings.evaluation.protocols if protocol is None else (protocol,)
    measured = [_figures(name, found[name], slice) for name in wanted if name in found]
    if not measured:
        raise SettingError(f"Generation {manifest.id} was not measured by {protocol}. Name systems to train for it.")
    return pl.concat(measured)


def publish(
    generation: Made | str | None = None,
    *,
    force: bool = False,
    reason: str | None = None,
    gate: GateConfig = _GATE,
    home: Place = None,
    progress: bool | StageProgress = True,
) -> Verdict:
    """Serve a generation if the gate lets it pass; running services follow within seconds.

    >>> import recsys
    >>> verdict = recsys.publish(recsys.load(adapter=recsys.adapters()["adapter"][0]))
    >>> verdict.passed, "beats popularity" in verdict.findings[0]
    (True, True)

    Args:
        generation: its id or alias, or what ``train`` or ``load`` gave; None: the newest that is not served.
        force: serve it whatever the gate says, which takes a reason; what is broken is not served even so.
        reason: why, in words; the log of promotions keeps it.
        gate: what the gate lets pass.
        home: the folder of all state; None: RECSYS_HOME, else ``.recsys`` in the working folder.
        progress: True: bars; False: none; or a callback with stage, done and total.

    Returns:
        What the gate found.

    Raises:
        RefusedError: the gate refused; what was served still is.
        ArtifactError: the generation is missing or broken; likewise.
        SettingError: ``force`` has no reason; likewise.
    """
    place = reached(home)
    chosen = generation_id(place, generation) or newest_id(place, served=False)
    with reporting(progress) as report, step(report, "Gate"):
        verdict = admission.publish(place, chosen, force=force, cause=Cause(reason=reason), limits=gate)
    if not verdict.passed and not force:
        raise RefusedError(chosen, verdict.findings, verdict.objections)
    return verdict


def generation_id(home: Home, generation: Made | str | None) -> str | None:
    """Return the id of a generation that is given by it, by an alias, or as what ``train`` or ``load`` gave.

    Raises:
        ArtifactError: nothing is called that.
    """
    if generation is None or not isinstance(generation, str):
        return None if generation is None else generation.generation
    return meant(home, GENERATION, generation)


def _figures(protocol: str, section: Section, slice: str) -> pl.DataFrame:
    """Return one protocol's systems on one slice of its targets, best first."""
    gains = {entry["system"]: entry for entry in section["comparisons"] if entry["slice"] == slice}
    rows = []
    for system, summary in section["systems"].items():
        if slice not in summary or "count" not in summary[slice]:
            known = ", ".join(name for name, part in summary.items() if isinstance(part, dict))
            raise SettingError(f"There is no slice {slice!r}; there are {known}.")
        part = summary[slice]
        low, high = part.get(f"{HEADLINE}_interval") or (None, None)
        gain = gains.get(system)
        ratios = (gain["ratio"], gain["ratio_low"], gain["ratio_high"]) if gain else (None, None, None)
        rows.append(
            {
                "protocol": protocol, "system": system, "targets": part["count"],
                HEADLINE: part[HEADLINE], f"{HEADLINE}_low": low, f"{HEADLINE}_high": high,
                "recall@10": part["recall@10"], "mrr@20": part["mrr@20"],
                **{
                    name: None if ratio is None else ratio - 1
                    for name, ratio in zip(("gain", "gain_low", "gain_high"), ratios, strict=True)
                },
            }
        )  # fmt: skip
    kinds: dict[str, type[pl.DataType]] = dict.fromkeys(rows[0], pl.Float64) | {
        "protocol": pl.String, "system": pl.String, "targets": pl.Int64
    }  # fmt: skip
    return pl.DataFrame(rows, schema=kinds).sort(HEADLINE, "system", descending=[True, False], nulls_last=True)
