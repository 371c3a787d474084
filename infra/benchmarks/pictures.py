"""Make the README's pictures: ``python infra/benchmarks/pictures.py [--home .recsys]``.

The road of the data is drawn here, the chart of quality from the result files; both are SVG, and the same input gives
the same file. With the home of ``recsys demo`` the service is started and its page photographed, which needs
playwright and Chromium (``apt-get install chromium``). Every picture comes twice, for light and for dark pages.
"""

import argparse
import json
import shutil
from collections.abc import Iterable, Iterator
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from recsys.evaluation.report import HEADLINE, OURS

INFRA = Path(__file__).parents[1]
PICTURES, RESULTS = INFRA / "pictures", INFRA / "results"
THEMES = {
    "light": {"ink": "#1b2230", "soft": "#586173", "line": "#8791a5", "band": "#eef1f6", "card": "#ffffff",
              "accent": "#2b5cc7", "tint": "#dfe8fb", "mark": "#0f7f78", "other": "#a8afbb"},
    "dark": {"ink": "#e6e9ef", "soft": "#a2acbd", "line": "#7a8599", "band": "#1a1f28", "card": "#242b37",
             "accent": "#8fb1ff", "tint": "#263556", "mark": "#45c4ba", "other": "#6d7789"},
}  # fmt: skip
# result file and protocol → what its row is called
ROWS = {
    ("beauty", "leave-one-out"): "Beauty, next item",
    ("scientific", "leave-one-out"): "Scientific, next item",
    ("ml-1m", "leave-one-out"): "MovieLens 1M, next item",
    ("ml-100k", "leave-one-out"): "MovieLens 100K, next item",
    ("beauty-temporal", "temporal"): "Beauty, later in time",
    ("ml-1m-temporal", "temporal"): "MovieLens 1M, later in time",
    ("ml-100k", "temporal"): "MovieLens 100K, later in time",
    ("scientific-cold-items", "cold-items"): "Scientific, items without events",
}
OTHERS = {  # system → marker, colour, name
    "bert-whitened": ("|", "soft", "frozen BERT"),
    "sasrec": ("o", "other", "SASRec"),
    "blend": ("D", "accent", "blend of all baselines"),
}
PAGE = {"width": 1280, "height": 980}
DIVERSITY = "0.5"


def main() -> None:
    """Write all pictures that can be made."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--home", type=Path, help="a home that serves MovieLens 100K; without, the page is left as it is"
    )
    options = parser.parse_args()
    for name, draw in DRAWN.items():
        for theme in THEMES:
            (PICTURES / f"{name}-{theme}.svg").write_text(draw(theme))
    if options.home is not None:
        for name, photo in photographs(options.home):
            (PICTURES / name).write_bytes(photo)


def road(theme: str) -> str:
    """Draw the road that data takes: from raw files to a generation, and from a request to an answer."""
    colours = THEMES[theme]
    parts = [
        _band(8, 214, "Training: recsys/, run by flows/", colours),
        _box(24, 86, 148, 76, "Your data", ("events and items:", "Parquet, CSV, NDJSON"), colours),
        _box(206, 86, 130, 76, "Snapshot", ("checked by Polars,", "named by its hash"), colours),
        _box(374, 42, 226, 48, "Item vectors", ("BERT + LoRA, in LanceDB",), colours),
        _box(374, 100, 226, 48, "User tower", ("a history becomes one vector",), colours),
        _box(374, 158, 226, 48, "Experts", ("rules, ItemKNN, EASE, BM25 …",), colours),
        _box(646, 86, 124, 76, "Generation", ("all of it, blended,", "bound by hash"), colours),
        _box(798, 86, 66, 76, "Gate", ("is it", "worse?"), colours, True),
        _arrow([(172, 124), (204, 124)], colours),
        *(_arrow([(336, 124), (354, 124), (354, y), (372, y)], colours) for y in (66, 124, 182)),
        *(_arrow([(600, y), (622, y), (622, 124), (644, 124)], colours) for y in (66, 124, 182)),
        _arrow([(770, 124), (796, 124)], colours),
        _band(234, 138, "Serving: recsys/, asked through services/", colours),
        _box(24, 272, 148, 84, "Your backend", ("HTTP, or the", "Python client"), colours),
        _box(526, 272, 338, 84, "Service", ("one generation answers, wholly:",
             "candidates, blend, filters, diversity, reasons"), colours, True),
        _arrow([(831, 162), (831, 270)], colours),
        _words(822, 228, "pointer", colours["soft"], 12, "end"),
        _arrow([(172, 288), (524, 288)], colours),
        _words(348, 283, "recommend, similar, search, rank", colours["ink"], 12, "middle"),
        _arrow([(526, 314), (174, 314)], colours),
        _words(348, 309, "items with scores and reasons", colours["ink"], 12, "middle"),
        _arrow([(172, 340), (524, 340)], colours),
        _words(348, 335, "events and new items, live", colours["ink"], 12, "middle"),
    ]  # fmt: skip
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 888 380" width="888" height="380" role="img"\n'
        "  font-family=\"-apple-system, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif\">\n"
        "<title>The road of the data: from events and items to a generation, and from a request to an answer</title>\n"
        f'<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        f'<path d="M0 0 8 4 0 8z" fill="{colours["line"]}"/></marker></defs>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def chart(theme: str) -> str:
    """Draw NDCG@10 of the whole system, with its 95 % interval, beside three systems that it is compared with."""
    colours = THEMES[theme]
    # text as paths and a fixed salt: no font is needed on the reader's side, and no id is random
    settings = {"svg.fonttype": "path", "svg.hashsalt": OURS, "font.size": 10, "text.color": colours["ink"]}
    with mpl.rc_context(settings):
        figure = Figure(figsize=(9.2, 3.8), facecolor="none")
        axes = figure.add_axes((0.255, 0.13, 0.565, 0.76), facecolor="none")
        for place, (name, protocol) in enumerate(ROWS):
            section = json.loads((RESULTS / f"{name}.json").read_text())["protocols"][protocol]
            _row(axes, place, section, colours)
        for system, (marker, colour, label) in OTHERS.items():
            axes.plot([], [], marker, color=colours[colour], label=label, **_mark(system))
        axes.plot([], [], "-o", color=colours["mark"], markersize=8, linewidth=2.2, label="recsys, 95 % interval")
        axes.legend(
            loc="lower left", bbox_to_anchor=(-0.44, 1.0), ncols=4, frameon=False, fontsize=9.5, columnspacing=1.4
        )
        for x, heading in ((1.06, "recsys"), (1.21, "over the blend")):
            axes.text(x, 1.045, heading, transform=axes.transAxes, ha="center", color=colours["soft"], size=9)
        axes.set_yticks(range(len(ROWS)), ROWS.values(), color=colours["ink"])
        axes.set_ylim(len(ROWS) - 0.4, -0.6)
        axes.set_xlim(left=0)
        axes.tick_params(axis="y", length=0)
        axes.tick_params(axis="x", colors=colours["soft"])
        axes.set_xlabel("NDCG@10 by full ranking", color=colours["soft"])
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(colours["line"])
        buffer = BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue().decode()


def _row(axes: Axes, place: int, section: dict[str, Any], colours: dict[str, str]) -> None:
    """Draw one data set; the gain over the blend is bold where it is more than chance."""
    totals = {system: part["total"] for system, part in section["systems"].items()}
    (gain,) = (one for one in section["comparisons"] if one["system"] == "blend" and one["slice"] == "total")
    axes.axhline(place, color=colours["line"], linewidth=0.4, alpha=0.6, zorder=0)
    axes.plot(totals[OURS][f"{HEADLINE}_interval"], [place, place], color=colours["mark"], linewidth=2.2)
    axes.plot(totals[OURS][HEADLINE], place, "o", color=colours["mark"], markersize=8)
    for system, (marker, colour, _) in OTHERS.items():
        if system in totals:
            axes.plot(totals[system][HEADLINE], place, marker, color=colours[colour], **_mark(system))
    across = axes.get_yaxis_transform()
    axes.text(1.06, place, f"{totals[OURS][HEADLINE]:.3f}", transform=across, ha="center", va="center")
    weight = "bold" if gain["low"] > 0 else "normal"
    change = f"{100 * (gain['ratio'] - 1):+.1f} %"
    axes.text(1.21, place, change, transform=across, ha="center", va="center", weight=weight)


def _mark(system: str) -> dict[str, Any]:
    hollow = {"markerfacecolor": "none"} if system == "blend" else {}  # it often lies on ours
    return {"markersize": 8, "markeredgewidth": 1.6, "linestyle": "none", "zorder": 5, **hollow}


def photographs(home: Path) -> Iterator[tuple[str, bytes]]:
    """Start the service of a home, open its page on one user, and yield a PNG of it for each theme."""
    from PIL import Image
    from playwright.sync_api import sync_playwright

    from recsys.home import Home
    from services.serve import running

    with running(Home(home.absolute())) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        for theme in THEMES:
            page = browser.new_page(viewport=PAGE, color_scheme=theme)
            page.goto(url)
            page.locator("#list-B .items > li").first.wait_for()
            page.fill("#user", "196")
            with page.expect_response(lambda response: "196" in (response.request.post_data or "")):
                page.click("#user-form button")
            page.locator("#history li").first.wait_for()
            # so that list A differs from list B, which goes without
            with page.expect_response(
                lambda response: f'"diversity":{DIVERSITY}' in (response.request.post_data or "")
            ):
                page.fill("#diversity", DIVERSITY)
            for name in ("A", "B"):
                page.locator(f"#list-{name}[aria-busy=false]").wait_for(state="attached")
            page.evaluate("scrollTo(0, 0)")
            picture = Image.open(BytesIO(page.screenshot())).convert("RGB").quantize(128)  # a third of the bytes
            buffer = BytesIO()
            picture.save(buffer, "png", optimize=True)
            yield f"page-{theme}.png", buffer.getvalue()
        browser.close()


def _band(y: int, height: int, name: str, colours: dict[str, str]) -> str:
    return f'<rect x="8" y="{y}" width="872" height="{height}" rx="12" fill="{colours["band"]}"/>' + _words(
        24, y + 24, name, colours["soft"], 13, "start", 600
    )


def _box(
    x: int,
    y: int,
    width: int,
    height: int,
    title: str,
    lines: Iterable[str],
    colours: dict[str, str],
    strong: bool = False,
) -> str:
    lines = tuple(lines)
    fill, edge = (colours["tint"], colours["accent"]) if strong else (colours["card"], colours["line"])
    first = y + height / 2 - 8 * len(lines) + 4
    middle = x + width / 2
    return "\n".join(
        [
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8" fill="{fill}" stroke="{edge}"/>',
            _words(middle, first, title, colours["ink"], 14, "middle", 600),
            *(_words(middle, first + 17 * n, line, colours["soft"], 12, "middle") for n, line in enumerate(lines, 1)),
        ]
    )


def _words(x: float, y: float, words: str, colour: str, size: int, anchor: str, weight: int = 400) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" fill="{colour}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}">'
        f"{escape(words)}</text>"
    )


def _arrow(points: list[tuple[int, int]], colours: dict[str, str]) -> str:
    path = "M" + " L".join(f"{x} {y}" for x, y in points)
    return f'<path d="{path}" fill="none" stroke="{colours["line"]}" stroke-width="1.5" marker-end="url(#tip)"/>'


DRAWN = {"road": road, "quality": chart}  # file name → who draws it, for a theme


if __name__ == "__main__":
    main()
