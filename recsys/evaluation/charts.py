"""Pieces of a page without network and scripts: bars, curves, columns, tables; by day and by night, at any width.

Charts are HTML and scaled SVG with their words outside of it, so that no label is cut and none shrinks on a phone. All
text is escaped here and nowhere else; what others wrote stands isolated, so that its direction moves nothing beside it.
"""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from recsys.evaluation.plain import cell

STYLE = """
:root { color-scheme: light dark; --ink: #1f2430; --soft: #5b6270; --line: #e3e6ea; --ground: #fff; --tint: #e7f3f2;
  --ours: #12938b; --part: #8cc4be; --other: #b3b9c3; --pre: #f5f6f8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --soft: #a2acbd; --line: #2d3441; --ground: #14171d;
  --tint: #17312f; --ours: #35b5ab; --part: #2f7d76; --other: #5b6474; --pre: #1d222b; } }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground); max-width: 80rem;
  margin: 0 auto; padding: 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: .5rem 0; } h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1rem 0 .25rem; } h4 { font-size: .875rem; margin: .5rem 0 0; } p { margin: .5rem 0; }
.note { color: var(--soft); font-size: .875rem; } code { font-size: .9em; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .875rem; width: 100%; }
.figures td { white-space: nowrap; } .figures th { overflow-wrap: normal; vertical-align: bottom; }
th, td { padding: .3rem .4rem; text-align: right; border-bottom: 1px solid var(--line); vertical-align: top;
  font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { text-align: left; }
.figures th:first-child, .figures td:first-child { position: sticky; left: 0; background: var(--ground); }
tr.ours td, .figures tr.ours td:first-child { font-weight: 600; background: var(--tint); }
.list { margin: .25rem 0 1rem; padding-left: 1.6rem; } .list li { padding: .15rem 0; }
.list .what { display: block; color: var(--soft); font-size: .8125rem; }
.list em { font-style: normal; font-size: .75rem; color: var(--soft); border: 1px solid var(--line);
  border-radius: 1rem; padding: 0 .45rem; white-space: nowrap; } .list em.new { color: var(--ours); }
.bars { margin: .5rem 0 1rem; padding: 0; list-style: none; }
.bars li { display: grid; grid-template-columns: minmax(8rem, 22%) 1fr; column-gap: .75rem; padding: .3rem 0;
  border-bottom: 1px solid var(--line); align-items: center; }
.bars .what { grid-column: 1 / -1; color: var(--soft); font-size: .8125rem; }
.bars .ours b { font-weight: 700; } .bars b { font-weight: 500; }
.track { display: grid; grid-template-columns: 1fr auto; gap: .6rem; align-items: center; }
.lane { position: relative; height: 1.1rem; }
.lane i, .lane u { position: absolute; top: 0; bottom: 0; left: 0; background: var(--other); border-radius: 2px; }
.lane i.ours { background: var(--ours); } .lane i.part { background: var(--part); }
.lane u { background: none; border: 1px solid var(--ink); border-width: 0 1px; top: 25%; bottom: 25%; }
.lane u::after { content: ""; position: absolute; left: 0; right: 0; top: 50%; border-top: 1px solid var(--ink); }
.track span { font-variant-numeric: tabular-nums; font-size: .875rem; min-width: 3.5rem; text-align: right; }
.chart { margin: .5rem 0 1rem; } .chart figcaption { font-weight: 600; font-size: .9375rem; }
.plot { display: grid; grid-template-columns: auto 1fr; gap: 0 .5rem; font-size: .8125rem; color: var(--soft); }
.plot .y { display: flex; flex-direction: column; justify-content: space-between; text-align: right; }
.plot .x { grid-column: 2; } .ends, .plot .x { display: flex; justify-content: space-between; gap: 1rem; }
.ends { font-size: .8125rem; color: var(--soft); }
.plot svg { width: 100%; height: 11rem; display: block; border-left: 1px solid var(--line);
  border-bottom: 1px solid var(--line); overflow: visible; }
.plot polyline { fill: none; stroke: var(--ours); stroke-width: 2; vector-effect: non-scaling-stroke; }
.columns { display: flex; align-items: flex-end; height: 11rem; gap: 2px; border-bottom: 1px solid var(--line);
  border-left: 1px solid var(--line); }
.columns div { flex: 1; height: 100%; display: flex; align-items: flex-end; gap: 1px; min-width: 0; }
.columns i { flex: 1; background: var(--other); min-width: 0; } .columns i:nth-child(1) { background: var(--ours); }
.columns i:nth-child(3) { background: var(--part); }
.legend { display: flex; flex-wrap: wrap; gap: 1rem; font-size: .8125rem; color: var(--soft); }
.legend span::before { content: ""; display: inline-block; width: .8em; height: .8em; margin-right: .4em;
  background: var(--other); }
.legend span:nth-child(1)::before { background: var(--ours); }
.legend span:nth-child(3)::before { background: var(--part); }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 0 2rem; }
pre { background: var(--pre); padding: .75rem; overflow-x: auto; font-size: .8rem; overflow-wrap: normal; }
summary { cursor: pointer; }
"""


NEW = "new"  # the mark of an item that another list does not hold


@dataclass(frozen=True)
class Bar:
    """One row of a chart of bars.

    Attributes:
        label: what it is of.
        value: at least 0.
        shown: the value as it is written.
        interval: low and high, or None.
        kind: ``ours``, ``part`` or nothing, by which it is coloured.
        what: a sentence below it, or nothing.
    """

    label: str
    value: float
    shown: str
    interval: tuple[float, float] | None = None
    kind: str = ""
    what: str = ""


def whole_page(title: str, parts: Sequence[str]) -> str:
    """Return one HTML file of a title and pieces."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escaped(title)}</title><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join([f"<h1>{escaped(title)}</h1>", *parts])
        + "\n</body></html>\n"
    )


def escaped(text: str) -> str:
    """Return a text of ours for HTML."""
    return html.escape(text)


def quoted(text: str) -> str:
    """Return a text of others for HTML: in one line, everything in it to be seen, isolated from what stands beside."""
    return f"<bdi>{html.escape(cell(text))}</bdi>"


def bars(rows: Sequence[Bar]) -> str:
    """Return bars on one scale, from 0 to the highest value or end of an interval."""
    most = max([row.value for row in rows] + [row.interval[1] for row in rows if row.interval], default=0.0) or 1.0
    return f'<ul class="bars">{"".join(_bar(row, most) for row in rows)}</ul>'


def _bar(row: Bar, most: float) -> str:
    spread = ""
    if row.interval is not None:
        low, high = (100 * max(0.0, end) / most for end in row.interval)
        spread = f'<u style="left:{low:.2f}%;width:{max(0.0, high - low):.2f}%"></u>'
    what = f'<span class="what">{escaped(row.what)}</span>' if row.what else ""
    lane = f'<i class="{row.kind}" style="width:{100 * max(0.0, row.value) / most:.2f}%"></i>{spread}'
    track = f'<div class="track"><div class="lane">{lane}</div><span>{escaped(row.shown)}</span></div>'
    return f'<li class="{row.kind}"><b>{quoted(row.label)}</b>{track}{what}</li>'


def curve(caption: str, points: Sequence[tuple[float, float]], x: str, digits: int = 4) -> str:
    """Return a line through some points, with what its ends and its extremes are.

    Args:
        caption: what is drawn.
        points: in the order of ``x``.
        x: what the horizontal axis counts.
        digits: of the values shown.
    """
    if len(points) < 2:
        only = f": {points[0][1]:.{digits}f}" if points else ": nothing was recorded"
        return f'<p class="note">{escaped(caption)}{only}.</p>'
    across, values = (np.array(side, dtype=float) for side in zip(*points, strict=True))
    low, high = float(values.min()), float(values.max())
    places = 100 * (across - across[0]) / ((across[-1] - across[0]) or 1.0)
    heights = 100 - 100 * (values - low) / ((high - low) or 1.0)
    line = " ".join(f"{place:.2f},{height:.2f}" for place, height in zip(places, heights, strict=True))
    told = f"{caption}: from {values[0]:.{digits}f} to {values[-1]:.{digits}f}"
    return (
        f'<figure class="chart"><figcaption>{escaped(told)}</figcaption><div class="plot">'
        f'<div class="y"><span>{high:.{digits}f}</span><span>{low:.{digits}f}</span></div>'
        f'<svg viewBox="0 0 100 100" preserveAspectRatio="none" role="img" aria-label="{escaped(told)}">'
        f'<polyline points="{line}"/></svg>'
        f'<div class="x"><span>{escaped(x)} {across[0]:g}</span><span>{across[-1]:g}</span></div></div></figure>'
    )


def histogram(caption: str, values: ArrayLike, count: int = 24) -> str:
    """Return how many values fall between equally wide bounds."""
    found = np.asarray(values, dtype=float)
    if not len(found):
        return f'<p class="note">{escaped(caption)}: there are none.</p>'
    tally, bounds = np.histogram(found, count)
    return columns(
        f"{caption}; the highest column holds {tally.max():,}", {"": tally}, f"{bounds[0]:.3g}", f"{bounds[-1]:.3g}"
    )


def columns(caption: str, tallies: Mapping[str, ArrayLike], first: str, last: str) -> str:
    """Return columns side by side, all on one scale from 0.

    Args:
        caption: what is counted.
        tallies: how many in each place, by series: ours and up to two others.
        first: what the left end is.
        last: what the right end is.
    """
    counts = np.array([np.asarray(tally, dtype=float) for tally in tallies.values()])
    heights = 100 * counts / (counts.max(initial=0.0) or 1.0)
    places = ["".join(f'<i style="height:{height:.1f}%"></i>' for height in place) for place in heights.T]
    drawn = "".join(f"<div>{place}</div>" for place in places)
    legend = f'<div class="legend">{"".join(f"<span>{quoted(name)}</span>" for name in tallies)}</div>'
    return (
        f'<figure class="chart"><figcaption>{escaped(caption)}</figcaption>{legend if len(tallies) > 1 else ""}'
        f'<div class="columns" role="img" aria-label="{escaped(caption)}">{drawn}</div>'
        f'<div class="ends"><span>{escaped(first)}</span><span>{escaped(last)}</span></div></figure>'
    )


def ranked(heading: str, rows: Sequence[tuple[str, str, str]]) -> str:
    """Return a list of items under a heading: of each its title, a mark beside it and a line below, as others wrote."""
    below = '<span class="what">{}</span>'
    items = "".join(
        f"<li>{quoted(title)}{_mark(mark)}{below.format(quoted(what)) if what else ''}</li>"
        for title, mark, what in rows
    )
    return f'<div><h4>{escaped(heading)}</h4><ol class="list">{items}</ol></div>'


def _mark(mark: str) -> str:
    return f' <em class="{"new" if mark == NEW else ""}">{escaped(mark)}</em>' if mark else ""


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], marked: str | None = None) -> str:
    """Return a table; a row whose first cell is ``marked`` is ours. Cells are texts of others."""
    head = "".join(f"<th>{escaped(heading)}</th>" for heading in headings)
    body = ""
    for cells in rows:
        body += '<tr class="ours">' if cells[0] == marked else "<tr>"
        body += "".join(f"<td>{quoted(one)}</td>" for one in cells) + "</tr>"
    return f'<div class="wide"><table class="figures"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
