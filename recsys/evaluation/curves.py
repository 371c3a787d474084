"""How a training learnt: loss and validation by round of the adapter and by epoch of the towers, as curves."""

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
