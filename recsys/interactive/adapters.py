"""The adapters of a home, side by side."""

import json
from typing import Any

import polars as pl

from recsys.evaluation.report import HEADLINE, OURS
from recsys.home import Home, Place
from recsys.ranking.parts import Parts
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
    place = Home.of(home)
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

    Metrics can be compared where no row names snapshot or protocol: both were then asked the same targets.

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
    place = Home.of(home)
    cards = [read_card(place, meant(place, ADAPTER, name)) for name in (first, second)]
    rows = [
        {"name": name, "first": _text(one), "second": _text(other), "difference": _difference(one, other)}
        for name, (one, other) in differences(*cards).items()
    ]
    words = dict.fromkeys(("name", "first", "second"), pl.String)
    return pl.DataFrame(rows, schema={**words, "difference": pl.Float64})


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
