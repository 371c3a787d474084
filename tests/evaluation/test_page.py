"""What people see: every system and figure is there, nothing is fetched, hostile names stay text."""

import copy
import re
from io import StringIO

import pytest
from rich.console import Console

from recsys.evaluation.page import markdown, page, plot, table


def test_table_orders_systems_and_shows_the_gain(document):
    console = Console(file=StringIO(), width=200)
    console.print(table(document, "temporal"))
    text = console.file.getvalue()
    places = [text.index(name) for name in ("recsys ", "recsys.text", "blend", "popularity")]
    assert places == sorted(places)
    for name in ("recsys", "blend"):
        assert f"{document['protocols']['temporal']['systems'][name]['total']['ndcg@10']:.4f}" in text
    ratio = next(entry for entry in document["protocols"]["temporal"]["comparisons"] if entry["system"] == "blend")
    assert f"{100 * (ratio['ratio'] - 1):+.1f} %" in text


def test_markdown_is_a_table(document):
    lines = markdown(document, "temporal").splitlines()
    assert "better beyond chance" in lines[0]
    widths = {line.count("|") for line in lines[2:]}
    assert len(widths) == 1
    assert len(lines) == 2 + 2 + 4


def test_columns_without_figures_are_left_out(document):
    emptied = copy.deepcopy(document)
    for summary in emptied["protocols"]["temporal"]["systems"].values():
        summary["cold_users"] = {"count": 0, "ndcg@10": None}
    assert "new users" in markdown(document, "temporal")
    assert "new users" not in markdown(emptied, "temporal")


def test_a_page_says_where_seen_items_were_kept_and_shows_repeats_apart(document):
    kept = copy.deepcopy(document)
    kept["protocols"]["temporal"]["repeats"] = "kept"
    for summary in kept["protocols"]["temporal"]["systems"].values():
        summary |= {"repeats": {"ndcg@10": 0.5}, "firsts": {"ndcg@10": 0.25}}
    for text in (page(kept), markdown(kept, "temporal")):
        assert "N@10 repeats" in text
        assert "N@10 firsts" in text
    assert page(kept).count("Seen items were kept here") == 1
    assert "Seen items were kept" not in page(document)
    assert "repeats" not in markdown(document, "temporal")


def test_a_page_says_how_many_of_the_targets_were_asked(document):
    sampled = copy.deepcopy(document)
    sampled["protocols"]["temporal"]["sampled"] = {"asked": 25_000, "of": 400_000, "share": 0.0625}
    for text in (page(sampled), markdown(sampled, "temporal")):
        assert text.count("Asked were 25,000 of 400,000 test targets (6.2%)") == 1
    assert "Asked were" not in page(document) + markdown(document, "temporal")


def test_plot_is_deterministic_and_self_contained(document):
    drawing = plot(document)
    assert drawing == plot(document)
    assert b"<svg" in drawing
    assert plot(document, "png").startswith(b"\x89PNG")


def test_page_needs_no_network(document):
    text = page(document)
    assert "<script" not in text
    assert "<link" not in text
    assert not re.search(r"(?:src|href)=\"(?!#)", text.replace("xlink:", ""))
    assert 'name="viewport"' in text
    assert "toy &lt;data&gt;" in text


def test_names_are_never_markup(document):
    hostile = copy.deepcopy(document)
    for section in hostile["protocols"].values():
        section["systems"]["<b>[red]$x$|y"] = section["systems"].pop("popularity")
    assert "<b>[red]" not in page(hostile)
    assert "&lt;b&gt;[red]$x$|y" in page(hostile)
    assert r"\|y" in markdown(hostile, "temporal")
    console = Console(file=StringIO(), width=200)
    console.print(table(hostile, "temporal"))
    assert "<b>[red]$x$|y" in console.file.getvalue()


def test_without_ours_the_best_is_named(document):
    part = copy.deepcopy(document["protocols"]["temporal"])
    part["systems"] = {name: part["systems"][name] for name in ("blend", "popularity")}
    part["comparisons"] = []
    alone = {**document, "protocols": {"temporal": part}}
    assert markdown(alone, "temporal").startswith("Best: blend.")
    assert "gain" not in markdown(alone, "temporal")


def test_an_unknown_protocol_is_named(document):
    with pytest.raises(ValueError, match="no protocol 'weekly'; it has temporal, leave-one-out"):
        table(document, "weekly")
