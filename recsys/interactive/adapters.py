"""The adapters of a home, side by side."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import polars as pl

from recsys.evaluation.report import HEADLINE, OURS
from recsys.home import Place
from recsys.ranking.parts import Parts
from recsys.remote.following import reached
from recsys.store.adapters import list_adapters, read_card, when_made
from recsys.store.generations import current_id, read_generation
from recsys.store.manifests import AdapterCard
from recsys.store.names import ADAPTER, meant, read_names

_FIGURES = {
    HEADLINE: (OURS, HEADLINE),
    "accuracy": ("dev", "accuracy"),
    "perplexity": ("perplexity", "after"),
}  # by which adapters of each task are judged: where they stand among the metrics of a card


def adapters(*, home: Place = None) -> pl.DataFrame:
    """Return all adapters: what each is for, what it learnt from, its parent, its figures, whether it is served.

    >>> import recsys
    >>> recsys.adapters().select("task", "protocol", "served").row(0)
    ('recommendation', 'temporal', True)

    Args:
        home: the folder of all state; None: RECSYS_HOME, else ``.recsys`` in the working folder.

    Returns:
        ``adapter``, ``task``, ``base``, ``snapshot``, ``protocol``, ``parent``, then ``ndcg@10`` (recommendation),
        ``accuracy`` (classification), ``perplexity`` (pre-training), ``share`` (of the blend's weight: what of the
        lists hangs on it; null where its card does not say), ``served``, ``made``, and their ``aliases``,
        ``tags`` and ``note``, which ``recsys.interactive.names`` gives; sorted by id.
    """
    place = reached(home)
    current, names = current_id(place), read_names(place, ADAPTER)
    served = read_generation(place, current)[1].adapter if current else None
    texts = ("task", "base", "snapshot", "protocol", "parent")
    rows = [
        {
            "adapter": card.id,
            **{name: getattr(card, name) for name in texts},
            **{name: card.metrics.get(group, {}).get(figure) for name, (group, figure) in _FIGURES.items()},
            "share": _share(card),
            "served": card.id == served,
            "made": when_made(place, card),
            **names.of(card.id),
        }
        for card in list_adapters(place)
    ]
    kinds: dict[str, pl.DataType] = dict.fromkeys(("adapter", *texts, "note"), pl.String())
    kinds |= dict.fromkeys((*_FIGURES, "share"), pl.Float64()) | dict.fromkeys(("aliases", "tags"), pl.List(pl.String))
    kinds |= {"served": pl.Boolean(), "made": pl.Datetime(time_zone="UTC")}
    order = ("adapter", *texts, *_FIGURES, "share", "served", "made", "aliases", "tags", "note")
    return pl.DataFrame(rows, schema={name: kinds[name] for name in order})


def _share(card: AdapterCard) -> float | None:
    weights = card.training.get("weights")
    return Parts.of(weights).adapter_share if weights else None


def compare(first: str, second: str, *, home: Place = None) -> pl.DataFrame:
    """Return the settings in which two adapters differ, and all metrics of both.

    >>> import recsys
    >>> one = recsys.adapters()["adapter"][0]
    >>> compared = recsys.compare(one, one)
    >>> compared.columns, compared["name"][0].startswith("metrics.")
    (['name', 'first', 'second', 'difference'], True)

    Metrics can be compared where no row names what draws the targets: ``snapshot``, ``protocol``, and of the settings
    ``seed``, ``evaluation`` and ``signals``.

    Args:
        first: id or alias of an adapter.
        second: of another.
        home: the folder of all state; None: RECSYS_HOME, else ``.recsys`` in the working folder.

    Returns:
        ``name``, with dots (``settings.tower.epochs``); ``first`` and ``second`` as text; ``difference`` of numbers,
        the second minus the first. Settings come before metrics.

    Raises:
        ArtifactError: there is no such adapter.
    """
    place = reached(home)
    one, other = (read_card(place, meant(place, ADAPTER, name)) for name in (first, second))
    rows = compared(one, other)
    words = dict.fromkeys(("name", "first", "second"), pl.String)
    return pl.DataFrame(rows, schema={**words, "difference": pl.Float64})


def import_adapter(folder: str | Path, *, base: str | None = None, max_tokens: int = 64, home: Place = None) -> str:
    """Store a plain PEFT folder as an adapter and return its id; nothing of it is executed.

    A training takes it by ``ModelConfig(adapter=AdapterConfig(pretrained=…, rounds=0))``: as it is, with all else
    fitted on its vectors.

    Args:
        folder: what PEFT's ``save_pretrained`` wrote; LoRA weights in safetensors.
        base: what it was trained on; None: what the folder names, where that is a packaged base.
        max_tokens: of a text that it was trained to read.
        home: the folder of all state; None: RECSYS_HOME, else ``.recsys`` in the working folder.

    Raises:
        ArtifactError, SettingError: as ``recsys.store.imports.import_adapter``.
    """
    from recsys.store.imports import import_adapter as stored  # brings torch

    return stored(reached(home), Path(folder), base, max_tokens).id


def merge(
    *names: str,
    weights: Sequence[float] | None = None,
    method: Literal["cat", "linear", "svd"] = "cat",
    rank: int | None = None,
    home: Place = None,
) -> str:
    """Store the weighted sum of some adapters of one base as another, and return its id.

    Args:
        names: ids or aliases of adapters, two at least.
        weights: one each, above 0; None: equal ones that sum to 1.
        method: ``cat``: the sum exactly; ``svd``: the nearest of a rank; ``linear``: of the factors, at their rank.
        rank: of ``svd``; None: the largest of theirs.
        home: the folder of all state; None: RECSYS_HOME, else ``.recsys`` in the working folder.

    Raises:
        SettingError: they have no base in common, or something does not fit the method.
        ArtifactError: there is no such adapter.
    """
    from recsys.store.merges import merge_adapters  # brings torch

    place = reached(home)
    return merge_adapters(place, [meant(place, ADAPTER, name) for name in names], weights, method, rank).id


def same_targets(first: AdapterCard, second: AdapterCard) -> bool:
    """Tell whether two adapters were asked the same targets, so that the metrics on their cards can be compared."""
    one, other = (
        [card.snapshot, card.protocol, *(card.settings.get(name) for name in ("seed", "evaluation", "signals"))]
        for card in (first, second)
    )
    return one == other


def compared(first: AdapterCard, second: AdapterCard) -> list[dict[str, Any]]:
    """Return a row for each of ``differences``, as ``compare`` has it."""
    return [
        {"name": name, "first": _text(one), "second": _text(other), "difference": _difference(one, other)}
        for name, (one, other) in differences(first, second).items()
    ]


def differences(first: AdapterCard, second: AdapterCard) -> dict[str, tuple[Any, Any]]:
    """Return what two cards differ in, and then all metrics of both, by name with dots."""
    one, other = (_flat(card.summary()) for card in (first, second))
    names = sorted(name for name in one.keys() | other.keys() if name != "id")
    metrics = [name for name in names if name.startswith("metrics.")]
    differing = [name for name in names if name not in metrics and one.get(name) != other.get(name)]
    return {name: (one.get(name), other.get(name)) for name in differing + metrics}


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _difference(one: Any, other: Any) -> float | None:
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (one, other))
    return float(other - one) if numbers else None
