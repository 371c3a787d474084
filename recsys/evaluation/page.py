"""Show a metrics document to people: a table for the terminal, Markdown, a picture, one HTML page without network.

Everything here reads the document of ``report.metrics_document`` and nothing else, so an old ``metrics.json`` can be
shown again at any time.
"""

import json
from collections.abc import Mapping
from io import BytesIO
from typing import Any, Literal

from rich.table import Table
from rich.text import Text

from recsys.errors import SettingError
from recsys.evaluation import charts
from recsys.evaluation.charts import Bar, escaped, quoted
from recsys.evaluation.report import BEYOND_ACCURACY, HEADLINE, KEPT, OURS

PAGE_FILE = "report.html"
Document = Mapping[str, Any]

# heading → (slice, metric); slice "" is the system's summary itself
COLUMNS = {
    "N@10": ("total", HEADLINE),
    "R@10": ("total", "recall@10"),
    "MRR@20": ("total", "mrr@20"),
    "N@10 cold": ("cold_items", HEADLINE),
    "N@10 tail": ("tail_items", HEADLINE),
    "N@10 new users": ("cold_users", HEADLINE),
    "N@10 repeats": ("repeats", HEADLINE),
    "N@10 firsts": ("firsts", HEADLINE),
} | {name.removesuffix("@10"): ("", name) for name in BEYOND_ACCURACY}
OUR_COLOUR, PART_COLOUR, OTHER_COLOUR, INK = "#12938b", "#9fd0ca", "#b9bec6", "#1f2430"
EMPTY = "–"
TERMINAL = ("system", "N@10", "R@10", "N@10 cold", "N@10 tail", "gain of recsys")  # what 80 characters hold
SENTENCES = {
    "recsys": "The whole, as it is served: towers and experts, blended by weights that validation chose.",
    "recsys.towers": "The towers alone: item texts as the adapter reads them beside the base, and what each item adds.",
    "recsys.text": "The towers over the adapter's text alone.",
    "recsys.content": "Nearness to the history by the text that the towers read, the adapter's beside the base's.",
    "recsys.frozen-towers": "The towers on the base model, without any adapter.",
    "recsys.frozen-text": "The towers over the base model's text alone.",
    "blend": "The strongest without our towers: all simple components and the baselines here, by the same search.",
    "popularity": "What is chosen most, newer events counting more; the same for everybody.",
    "rules": "What follows what, newer events counting more.",
    "knn": "What the same people chose (ItemKNN).",
    "ease": "What goes together, in closed form (EASE).",
    "ease-undecayed": "EASE as published: every event of a history weighs the same.",
    "ials": "Matrix factors by implicit alternating least squares.",
    "again": "What the history holds, by how likely and how soon it is taken again.",
    "lexical": "Words in common with the history's items (BM25).",
    "bert": "Nearness to the history by the frozen base's text.",
    "bert-whitened": "Nearness to the history by the frozen base's text, whitened: the component content.",
    "sasrec": "A Transformer over item ids alone.",
}  # what each system is
NOTE = (
    "Full ranking over the whole catalogue, seen items removed; one held-out item a user. N is NDCG, R is recall; "
    "cold: items without a training event; tail: all but the most popular fifth; new users: no history. Intervals are "
    "95 % bootstrap intervals over users; gain is the mean of recsys over the mean of the other system, less one."
)
KEPT_NOTE = "Seen items were kept here, of all systems: repeats are targets that the history holds, firsts the others."


def table(document: Document, protocol: str) -> Table:
    """Return one protocol's systems as a table for the terminal, best first.

    Raises:
        SettingError: the document has no such protocol.
    """
    columns = _columns(document, protocol)
    shown = Table(title=f"{protocol}: test", caption=_verdict(document, protocol))
    for heading in (heading for heading in TERMINAL if heading in columns):
        shown.add_column(heading, justify="left" if heading == "system" else "right")
    for name, *cells in _rows({heading: columns[heading] for heading in TERMINAL if heading in columns}):
        shown.add_row(Text(name), *cells, style="bold" if name == OURS else None)
    return shown


def markdown(document: Document, protocol: str) -> str:
    """Return one protocol's systems as a Markdown table with the verdict above it.

    Raises:
        SettingError: the document has no such protocol.
    """
    columns = _columns(document, protocol)
    lines = [list(columns), ["---"] + ["---:"] * (len(columns) - 1)]
    lines += [[f"**{name}**" if name == OURS else name, *cells] for name, *cells in _rows(columns)]
    body = "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)
    drawn = _section(document, protocol).get("sampled")
    said = _verdict(document, protocol) + ("" if drawn is None else f" {_sampled(drawn)}")
    return f"{said}\n\n{body}\n"


def plot(document: Document, kind: Literal["svg", "png"] = "svg") -> bytes:
    """Draw NDCG@10 of every system with its 95 % interval, one panel a protocol, best on top, ours highlighted.

    Returns:
        A whole SVG or PNG file; the same document gives the same SVG.
    """
    import matplotlib as mpl  # here: a table needs none of it
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    names = {protocol: _ordered(document, protocol) for protocol in document["protocols"]}
    heights = [len(systems) + 2.2 for systems in names.values()]
    # text as paths and a fixed salt: the drawing needs no font on the reader's side and no id is random
    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": OURS, "font.size": 9.5, "text.parse_math": False}):
        figure = Figure(figsize=(5.2, 0.27 * sum(heights)), layout="constrained")
        panels = figure.subplots(len(names), 1, squeeze=False, height_ratios=heights)[:, 0]
        for axes, (protocol, systems) in zip(panels, names.items(), strict=True):
            totals = [document["protocols"][protocol]["systems"][name]["total"] for name in systems]
            values = [total[HEADLINE] or 0.0 for total in totals]
            bounds = [total[f"{HEADLINE}_interval"] or [0.0, 0.0] for total in totals]
            errors = [
                [max(0.0, value - low) for value, (low, _) in zip(values, bounds, strict=True)],
                [max(0.0, high - value) for value, (_, high) in zip(values, bounds, strict=True)],
            ]
            places = range(len(systems))
            style = {"elinewidth": 1.1, "ecolor": INK, "capsize": 2}
            axes.barh(
                places, values, xerr=errors, color=[_colour(name) for name in systems], height=0.72, error_kw=style
            )
            edge = max([high for _, high in bounds], default=0.0) or 1.0
            for place, (value, (_, high)) in enumerate(zip(values, bounds, strict=True)):
                weight = "bold" if systems[place] == OURS else "normal"
                axes.text(max(value, high) + 0.015 * edge, place, f"{value:.4f}", va="center", weight=weight, color=INK)
            axes.set_yticks(places, systems)
            axes.set_xlim(0, 1.2 * edge)
            axes.set_ylim(-0.6, len(systems) - 0.4)
            axes.xaxis.set_major_locator(MaxNLocator(5))
            axes.invert_yaxis()
            axes.set_title(f"{protocol}: NDCG@10", loc="left", weight="bold", fontsize=10.5, pad=8)
            axes.spines[["top", "right", "left"]].set_visible(False)
            axes.tick_params(axis="y", length=0)
        buffer = BytesIO()
        figure.savefig(buffer, format=kind, dpi=160, metadata={"Date": None} if kind == "svg" else None)
    return buffer.getvalue()


def page(document: Document) -> str:
    """Return one HTML file that shows the whole document, needs no network and fits a phone."""
    name = document["data"].get("name", "recsys")
    return charts.whole_page(f"Evaluation: {name}", [*verdicts(document), *measured(document), *settings(document)])


def verdicts(document: Document) -> list[str]:
    """Return what one would say of each protocol, as HTML."""
    return [
        f"<p><b>{escaped(protocol)}.</b> {escaped(_verdict(document, protocol))}</p>"
        for protocol in document["protocols"]
    ]


def measured(document: Document) -> list[str]:
    """Return the bars and the table of every protocol as HTML."""
    parts = []
    for protocol, section in document["protocols"].items():
        bars = []
        for system in _ordered(document, protocol):
            total = section["systems"][system]["total"]
            value, interval = total[HEADLINE] or 0.0, total.get(f"{HEADLINE}_interval")
            pair = None if interval is None else (interval[0], interval[1])
            bars.append(Bar(system, value, f"{value:.4f}", pair, kind_of(system), SENTENCES.get(system, "")))
        columns = _columns(document, protocol)
        counts = ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in section["counts"].items())
        parts += [
            f"<h2>{escaped(protocol)}: NDCG@10 with its 95 % interval</h2>{charts.bars(bars)}",
            charts.table(list(columns), _rows(columns), OURS),
            f'<p class="note">{escaped(counts)}.</p>',
            *_trade_off(section),
        ]
        if "sampled" in section:
            parts.append(f'<p class="note">{escaped(_sampled(section["sampled"]))}</p>')
        if section.get("repeats") == KEPT:
            parts.append(f'<p class="note">{escaped(KEPT_NOTE)}</p>')
    return [*parts, f'<p class="note">{escaped(NOTE)}</p>']


def _sampled(drawn: Mapping[str, Any]) -> str:
    """Return a sentence about a sample of the targets; the intervals beside the figures are what it leaves open."""
    return (
        f"Asked were {drawn['asked']:,} of {drawn['of']:,} test targets ({drawn['share']:.1%}), drawn at random and "
        "the same for all systems; the intervals hold what that leaves open."
    )


def _trade_off(section: Mapping[str, Any]) -> list[str]:
    """Return the curve of a second objective, if one was measured: NDCG@10 against the mean value of the lists."""
    found = section.get("objective")
    if found is None:
        return []
    field = found["field"]
    drawn = sorted((point["mean"], point["ndcg"]) for point in found["points"] if point["mean"] is not None)
    rows = [
        (f"{point['weight']:g}", f"{point['ndcg']:.4f}", EMPTY if point["mean"] is None else f"{point['mean']:.4g}")
        for point in found["points"]
    ]
    return [
        f"<h3>What {quoted(field)} costs as an objective</h3>",
        charts.curve("NDCG@10 by the mean value of the first ten items", drawn, "mean"),
        charts.table(("weight", "N@10", "mean value"), rows),
        f'<p class="note">The weight is that of a request\'s objective, over {found["targets"]:,} held-out items.</p>',
    ]


def settings(document: Document) -> list[str]:
    """Return data, settings and environment, folded up, as HTML."""
    parts = []
    for name in ("data", "settings", "environment"):
        content = escaped(json.dumps(document[name], indent=2, ensure_ascii=False))
        parts.append(f"<details><summary>{name.capitalize()}</summary><pre>{content}</pre></details>")
    return parts


def kind_of(system: str) -> str:
    """Return how a system is coloured: ours, a part of ours, or another."""
    return "ours" if system == OURS else "part" if system.startswith(f"{OURS}.") else ""


def _section(document: Document, protocol: str) -> Mapping[str, Any]:
    try:
        return document["protocols"][protocol]
    except KeyError:
        known = ", ".join(document["protocols"]) or "none"
        raise SettingError(f"The document has no protocol {protocol!r}; it has {known}.") from None


def _ordered(document: Document, protocol: str) -> list[str]:
    systems = _section(document, protocol)["systems"]
    return sorted(systems, key=lambda name: (-(systems[name]["total"][HEADLINE] or 0.0), name))


def _gains(document: Document, protocol: str) -> dict[str, Mapping[str, Any]]:
    comparisons = _section(document, protocol)["comparisons"]
    return {entry["system"]: entry for entry in comparisons if entry["slice"] == "total"}


def _columns(document: Document, protocol: str) -> dict[str, list[str]]:
    """Return a text a system by heading, best system first; columns that hold no figure are left out."""
    systems = _section(document, protocol)["systems"]
    names = _ordered(document, protocol)
    summaries = [systems[name] for name in names]
    gains = [_gains(document, protocol).get(name) for name in names]
    columns = {"system": names}
    for heading, (part, metric) in COLUMNS.items():
        values = [(summary.get(part, {}) if part else summary).get(metric) for summary in summaries]
        digits = 2 if metric == "novelty@10" else 4
        columns[heading] = [EMPTY if value is None else f"{value:.{digits}f}" for value in values]
        if heading == "N@10":
            bounds = [summary["total"][f"{HEADLINE}_interval"] for summary in summaries]
            columns["95 %"] = [EMPTY if pair is None else f"{pair[0]:.4f}–{pair[1]:.4f}" for pair in bounds]
            columns["gain of recsys"] = [EMPTY if gain is None else _percent(gain["ratio"]) for gain in gains]
            columns["gain 95 %"] = [EMPTY if gain is None else _range(gain) for gain in gains]
    return {heading: cells for heading, cells in columns.items() if set(cells) != {EMPTY}}


def _rows(columns: Mapping[str, list[str]]) -> list[tuple[str, ...]]:
    return list(zip(*columns.values(), strict=True))


def _percent(ratio: float | None) -> str:
    return EMPTY if ratio is None else f"{100 * (ratio - 1):+.1f} %"


def _range(gain: Mapping[str, Any]) -> str:
    low, high = gain["ratio_low"], gain["ratio_high"]
    return EMPTY if low is None else f"{_percent(low)} to {_percent(high)}"


def _verdict(document: Document, protocol: str) -> str:
    """Return what one would say in a sentence: our figure against the best baseline's."""
    section = _section(document, protocol)
    best = section["best_baseline"]
    if OURS not in section["systems"] or best is None:
        return f"Best: {_ordered(document, protocol)[0]}."
    ours, theirs = (section["systems"][name]["total"][HEADLINE] or 0.0 for name in (OURS, best))
    gain = _gains(document, protocol).get(best)
    if gain is None:
        return f"{OURS} and {best} were asked nothing."
    if gain["low"] > 0:
        sure = "better beyond chance"
    else:
        sure = "worse beyond chance" if gain["high"] < 0 else "not beyond chance"
    change = f"{_percent(gain['ratio'])} ({_range(gain)})"
    return f"{OURS} has NDCG@10 {ours:.4f}, the best baseline ({best}) {theirs:.4f}: {change}, {sure}."


def _colour(name: str) -> str:
    return {"ours": OUR_COLOUR, "part": PART_COLOUR}.get(kind_of(name), OTHER_COLOUR)
