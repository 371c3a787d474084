"""Draw the trials of a search for settings: how it went, and what each setting had to do with it."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any, Protocol

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from recsys.evaluation.page import INK, OTHER_COLOUR, OUR_COLOUR

COLUMNS = 4


class Trial(Protocol):
    """What is drawn of a trial."""

    @property
    def state(self) -> str: ...
    @property
    def value(self) -> float: ...
    @property
    def settings(self) -> Mapping[str, Any]: ...


def plot(trials: Sequence[Trial]) -> bytes:
    """Return a PNG: validation NDCG@10 by trial with the best so far, and by each setting; pruned trials are grey."""
    names = list(trials[0].settings)
    values = np.array([one.value for one in trials])
    complete = np.array([one.state == "complete" for one in trials])
    colours = [OUR_COLOUR if whole else OTHER_COLOUR for whole in complete]
    rows = -(-(len(names) + 1) // COLUMNS)
    with mpl.rc_context({"font.size": 9, "text.parse_math": False}):
        figure = Figure(figsize=(3 * COLUMNS, 2.6 * rows), layout="constrained")
        panels = figure.subplots(rows, COLUMNS, sharey=True, squeeze=False).flatten()
        panels[0].scatter(range(len(trials)), values, c=colours, s=18)
        best = np.maximum.accumulate(np.where(complete, values, -np.inf))
        panels[0].step(range(len(trials)), np.where(np.isfinite(best), best, np.nan), where="post", color=INK, lw=1)
        panels[0].set_title("trial", loc="left", weight="bold")
        for axes, name in zip(panels[1:], names, strict=False):
            axes.scatter([one.settings[name] for one in trials], values, c=colours, s=18)
            axes.set_title(name, loc="left", weight="bold")
            if name.endswith("rate"):
                axes.set_xscale("log")
        for axes in panels[len(names) + 1 :]:
            axes.set_visible(False)
        for axes in panels:
            axes.spines[["top", "right"]].set_visible(False)
        figure.supylabel("validation NDCG@10")
        buffer = BytesIO()
        figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()
