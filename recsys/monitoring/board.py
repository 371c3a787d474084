"""The picture and the table of a run: each check beside its own past, the band in which nothing would be said."""

from io import BytesIO
from typing import TYPE_CHECKING, Any

from recsys.evaluation.page import INK, OTHER_COLOUR, OUR_COLOUR
from recsys.evaluation.plain import in_markdown
from recsys.monitoring.checks import ALARM, NOTICE, OK, Check
from recsys.monitoring.monitor import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {OK: OUR_COLOUR, NOTICE: "#d08a1d", ALARM: "#c2372e"}
ACROSS = 4  # panels


def rows(report: Report) -> list[dict[str, str]]:
    """Return a row a check, the gravest first, then in their order."""
    order = [check for level in (ALARM, NOTICE, OK) for check in report.checks if check.level == level]
    return [
        {
            "level": check.level,
            "check": in_markdown(check.name),
            "figure": shown(check.figure),
            "expected": shown(check.expected),
            "unchanged data": "–" if check.interval is None else " – ".join(map(shown, check.interval)),
            "chance": "–" if check.corrected is None else f"{check.corrected:.2g}",
            "effect": "–" if check.effect is None else f"{check.effect:.3f} of {check.threshold:g}",
            "what it says": in_markdown(check.sentence),
        }
        for check in order
    ]


def rates(report: Report) -> list[dict[str, str]]:
    """Return a row a type of event and generation: of how many of its answers something came, with 95 % intervals."""
    return [
        {
            "what came": in_markdown(event_type),
            "generation": in_markdown(one.generation),
            "answers": f"{one.lists:,}",
            "of which brought it": f"{one.clicked:,}",
            "rate": _percent(one.rate),
            "95 %": " – ".join(map(_percent, one.interval)),
        }
        for event_type, found in report.rates.items()
        for one in found
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def shown(number: float | None) -> str:
    """Return a figure as it is written in a table."""
    if number is None:
        return "–"
    return f"{number:,.0f}" if abs(number) >= 1_000 or number == int(number) else f"{number:.3g}"


def board(report: Report, title: str) -> bytes:
    """Draw a panel a check that has a figure: past weeks, what was expected, and now, coloured by its level.

    Returns:
        A whole PNG file.
    """
    import matplotlib as mpl  # here: a table needs none of it
    from matplotlib.figure import Figure

    told = [check for check in report.checks if check.figure or (check.figure is not None and check.expected)]
    drawn = sorted(told, key=lambda check: not check.past)  # a sort keeps the order of equals
    height = max(1, -(-len(drawn) // ACROSS))
    with mpl.rc_context({"font.size": 8.5, "text.parse_math": False}):
        figure = Figure(figsize=(3.1 * ACROSS, 2.1 * height + 0.5), layout="constrained")
        figure.suptitle(title, x=0.01, ha="left", weight="bold", fontsize=11)
        panels = figure.subplots(height, ACROSS, squeeze=False).ravel()
        for axes, check in zip(panels, drawn, strict=False):
            _panel(axes, check)
        for axes in panels[len(drawn) :]:
            axes.set_visible(False)
        buffer = BytesIO()
        figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _panel(axes: "Axes", check: Check) -> None:
    colour = COLOURS[check.level]
    mark: dict[str, Any] = {"color": colour, "zorder": 3}
    if check.past:
        weeks = range(-len(check.past), 0)
        axes.plot(weeks, check.past, color=OTHER_COLOUR, marker="o", markersize=3, linewidth=1)
        if check.interval is not None:
            axes.fill_between([-0.4, 0.4], *check.interval, color=OTHER_COLOUR, alpha=0.35, linewidth=0)
        axes.plot([0.0], [check.figure or 0.0], marker="D", markersize=6, **mark)
        axes.set_xlabel("weeks before", labelpad=1)
    else:
        values = [0.0 if check.expected is None else check.expected, check.figure or 0.0]
        axes.barh([1, 0], values, color=[OTHER_COLOUR, colour], height=0.6)
        beside = "" if check.expected is None else "limit" if check.p is None else "usual"
        axes.set_yticks([1, 0], [beside, "now"])
        if check.interval is not None:
            axes.plot(check.interval, [0, 0], color=INK, linewidth=1.2, zorder=4)
    level, ink = ("", INK) if check.level == OK else (f": {check.level}", colour)
    axes.set_title(f"{_cut(check.name)}{level}", loc="left", fontsize=9, weight="bold", color=ink)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=7.5)


def _cut(name: str) -> str:
    return name if len(name) <= 32 else f"{name[:31]}…"
