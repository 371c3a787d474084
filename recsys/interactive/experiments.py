"""All experiments of a home in one frame: a row a generation, an adapter and a trial of a search, with what was set.

Only settings that are not the default have a column, so that rows differ in what somebody changed.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from recsys.artifacts import ArtifactError
from recsys.config import ModelConfig, to_dict
from recsys.evaluation.headline import HEADLINE, OURS, measured_by
from recsys.home import Home, Place
from recsys.remote.following import reached
from recsys.store.adapters import list_adapters
from recsys.store.adapters import when_made as adapter_made
from recsys.store.generations import current_id, newest_last, when_made
from recsys.store.manifests import AdapterCard, GenerationManifest
from recsys.store.names import ADAPTER, GENERATION, read_names

GENERATIONS, ADAPTERS, TRIALS = "generation", "adapter", "trial"
SETTING = "settings."
_TEXTS = ("experiment", "kind", "task", "snapshot", "adapter", "parent", "protocol", "note")
_NUMBERS = (HEADLINE, f"{HEADLINE}_low", f"{HEADLINE}_high", "recall@10", "accuracy", "perplexity", "seconds")
_KINDS: dict[str, Any] = {
    **dict.fromkeys(_TEXTS, pl.String), **dict.fromkeys(_NUMBERS, pl.Float64),
    **dict.fromkeys(("seed", "targets"), pl.Int64), **dict.fromkeys(("aliases", "tags"), pl.List(pl.String)),
    "served": pl.Boolean, "made": pl.Datetime(time_zone="UTC"),
}  # fmt: skip
COLUMNS = (
    "experiment", "kind", "task", "made", "aliases", "tags", "note", "served", "snapshot", "adapter", "parent", "seed",
    "protocol", "targets", *_NUMBERS,
)  # fmt: skip


def experiments(*, home: Place = None) -> pl.DataFrame:
    """Return all generations, adapters and trials of searches, the newest first: settings, metrics, times and names.

    >>> import recsys
    >>> tried = recsys.experiments()
    >>> tried.filter(kind="generation").select("protocol", "served").row(0)
    ('temporal', True)
    >>> tried["settings.tower.epochs"].drop_nulls().unique().to_list()
    [2]

    Args:
        home: the folder of all state; None: RECSYS_HOME, else ``.recsys`` in the working folder.

    Returns:
        ``experiment`` (an id; of a trial its search and number), ``kind``, ``task``, when ``made``, the names that
        people gave, ``served``, ``snapshot``, ``adapter``, ``parent`` (of a merged adapter several), ``seed``,
        ``protocol``, ``targets``, our metrics with the 95 % interval of ``ndcg@10`` (of a trial on validation targets),
        ``seconds`` of a training, then a column ``settings.…`` for each setting that anywhere is not the default: null
        where it is. What is no number or flag everywhere is text.
    """
    place = reached(home)
    rows = [*_generations(place), *_adapters(place), *_trials(place)]
    rows.sort(key=lambda row: row["experiment"])
    rows.sort(key=lambda row: row["made"].timestamp() if row["made"] else 0.0, reverse=True)
    settings = sorted({name for row in rows for name in row if name.startswith(SETTING)})
    columns = {name: pl.Series(name, [row.get(name) for row in rows], _KINDS[name]) for name in COLUMNS}
    columns |= {name: _series(name, [row.get(name) for row in rows]) for name in settings}
    return pl.DataFrame(columns)


def changed(settings: Mapping[str, Any], default: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings, by their names with dots, that are not the default."""
    given, usual = _flat(settings), _flat(default)
    return {name: value for name, value in sorted(given.items()) if name not in usual or usual[name] != value}


def _generations(home: Home) -> Iterator[dict[str, Any]]:
    names, served = read_names(home, GENERATION), current_id(home)
    for one in newest_last(home):
        protocol, part = _measured(home, one)
        total = part.get("total", {})
        low, high = total.get(f"{HEADLINE}_interval") or (None, None)
        yield {
            "experiment": one.id, "kind": GENERATIONS, "task": "recommendation", "made": when_made(home, one),
            **names.of(one.id), "served": one.id == served, "snapshot": one.snapshot, "adapter": one.adapter,
            "seed": one.settings.get("seed"), "protocol": protocol, "targets": total.get("count"),
            HEADLINE: total.get(HEADLINE), f"{HEADLINE}_low": low, f"{HEADLINE}_high": high,
            "recall@10": total.get("recall@10"), "seconds": one.notes.get("seconds"), **_named(one.settings),
        }  # fmt: skip


def _measured(home: Home, manifest: GenerationManifest) -> tuple[str | None, dict[str, Any]]:
    """Return the first protocol by which a generation was measured, and our part of its document."""
    document = measured_by(home.generations / manifest.id)
    protocols = manifest.settings.get("evaluation", {}).get("protocols") or list(document)
    name = next((one for one in protocols if one in document), None)
    return name, document[name]["systems"].get(OURS, {}) if name else {}


def _adapters(home: Home) -> Iterator[dict[str, Any]]:
    names = read_names(home, ADAPTER)
    for card in list_adapters(home):
        merged = card.training.get("merged", {}).get("parents")
        yield {
            "experiment": card.id, "kind": ADAPTERS, "task": card.task, "made": adapter_made(home, card),
            **names.of(card.id), "snapshot": card.snapshot, "adapter": card.id,
            "parent": " ".join(merged) if merged else card.parent, "seed": card.settings.get("seed"),
            "protocol": card.protocol, HEADLINE: _figure(card, OURS, HEADLINE),
            "recall@10": _figure(card, OURS, "recall@10"), "accuracy": _figure(card, "dev", "accuracy"),
            "perplexity": _figure(card, "perplexity", "after"),
            **(_named(card.settings) if card.task == "recommendation" else _flat(card.settings, SETTING)),
        }  # fmt: skip


def _figure(card: AdapterCard, group: str, name: str) -> float | None:
    found = card.metrics.get(group, {}).get(name)
    return None if found is None else float(found)


def _trials(home: Home) -> Iterator[dict[str, Any]]:
    """Yield the trials of every search whose file can be read; what another program holds or broke is left out."""
    files = sorted(home.runs.glob("tune-*.db"))
    if not files:
        return
    from recsys.training.tuning import read_trials

    for file in files:
        try:
            found = read_trials(file)
        except ArtifactError:
            continue
        for told in found:
            yield {
                "experiment": f"{file.stem}/{told.trial.number}", "kind": TRIALS, "task": told.trial.state,
                "made": told.ended, HEADLINE: told.trial.value, "seconds": told.seconds,
                **{f"{SETTING}{name}": value for name, value in told.trial.settings.items()},
            }  # fmt: skip


def _named(settings: Mapping[str, Any]) -> dict[str, Any]:
    own = {name: value for name, value in settings.items() if name != "seed"}  # has a column of its own
    return {f"{SETTING}{name}": value for name, value in changed(own, to_dict(ModelConfig())).items()}


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _series(name: str, values: list[Any]) -> pl.Series:
    """Return a column of numbers or flags where all are, else of texts."""
    given = [value for value in values if value is not None]
    for kinds, wanted in ((bool, pl.Boolean), (int, pl.Int64), (int | float, pl.Float64)):
        if all(isinstance(value, kinds) and (kinds is bool or not isinstance(value, bool)) for value in given):
            return pl.Series(name, values, wanted(), strict=False)
    return pl.Series(
        name, [value if value is None or isinstance(value, str) else json.dumps(value) for value in values], pl.String
    )
