"""How a training learnt, as curves: loss and validation by round of the adapter, and by epoch of everything else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO

from recsys.evaluation.page import INK, OUR_COLOUR

# caption, part of a training, what is counted, what was recorded; what has not been trained by ids has no curve of them
_CURVES = (
    ("The adapter's loss", "adapter", "round", "loss"),
    ("The towers' loss", "towers", "epoch", "loss"),
    ("The towers' NDCG@10 on validation", "towers", "epoch", "validation"),
    ("The loss of towers over ids", "ids", "epoch", "loss"),
)
_OPTIONAL = "ids"
CLASSIFIER, PRETRAINING, SEARCH = "classifier", "pretraining", "search"
# of a training that records one history by epoch: caption, what was recorded
_BY_EPOCH = {
    CLASSIFIER: (
        ("The loss on texts of the training", "train_loss"),
        ("The loss on development texts", "dev_loss"),
        ("The accuracy on development texts", "dev_accuracy"),
    ),
    PRETRAINING: (("The loss of masked words", "loss"), ("The perplexity of held-out texts", "perplexity")),
    SEARCH: (("The loss of pairs", "loss"),),
}
Records = Sequence[Mapping[str, float]]


@dataclass(frozen=True)
class Curve:
    """One figure of a training as it went on.

    Attributes:
        caption: what it is.
        x: what the horizontal axis counts.
        points: in the order of ``x``; none where nothing was recorded.
    """

    caption: str
    x: str
    points: tuple[tuple[float, float], ...]


def curves(learning: Mapping[str, Records]) -> list[Curve]:
    """Return the curves of a training, from its records by part: ``adapter``, ``towers`` and ``ids``."""
    return [
        Curve(caption, x, tuple((row[x], row[y]) for row in learning.get(part, ()) if {x, y} <= set(row)))
        for caption, part, x, y in _CURVES
        if learning.get(part) or part != _OPTIONAL
    ]


def curves_by_epoch(training: str, history: Records) -> list[Curve]:
    """Return the curves of a training of one history: of ``CLASSIFIER``, ``PRETRAINING`` or ``SEARCH``."""
    return [
        Curve(caption, "epoch", tuple((row["epoch"], row[name]) for row in history if name in row))
        for caption, name in _BY_EPOCH[training]
    ]


def plot(drawn: Sequence[Curve]) -> bytes:
    """Draw curves above one another, those without a point left out, as a PNG file."""
    import matplotlib as mpl  # here: a report without pictures needs none of it
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    shown = [one for one in drawn if one.points]
    with mpl.rc_context({"font.size": 9.5, "text.parse_math": False}):
        figure = Figure(figsize=(6.4, max(1, len(shown)) * 2.1), layout="constrained")
        panels = figure.subplots(max(1, len(shown)), 1, squeeze=False)[:, 0]
        for axes, one in zip(panels, shown, strict=False):
            across, values = zip(*one.points, strict=True)
            axes.plot(across, values, color=OUR_COLOUR, marker="o", markersize=3)
            axes.set_title(one.caption, loc="left", weight="bold", fontsize=10.5, color=INK)
            axes.set_xlabel(one.x)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.spines[["top", "right"]].set_visible(False)
        file = BytesIO()
        figure.savefig(file, format="png", dpi=110)
    return file.getvalue()
