"""Texts of others on a terminal and in Markdown: whatever is in them, they are shown as they are written."""

import io
from typing import Any

import pytest
from rich.console import Console

from flows.commands.tables import show_items
from flows.commands.terminal import Shell, table
from recsys.evaluation.plain import LONGEST, cell, in_markdown, visible

ESCAPE = "\x1b]52;c;ZXZpbA==\x07\x1b[2J"  # writes to the clipboard, and clears the screen


def printed(*parts: Any) -> str:
    shell, out = Shell(), io.StringIO()
    shell.show(*parts)
    shell.print(Console(file=out, width=200, force_terminal=True, color_system=None))
    return out.getvalue()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Amélie (2001)", "Amélie (2001)"),
        ("a\u202eb\u2066c\u200f\u200e", "a[U+202E]b[U+2066]c[U+200F][U+200E]"),
        ("\x1b[31mred\x9b", "[U+001B][31mred[U+009B]"),
        ("one\ntwo\r\u2028", "one[U+000A]two[U+000D][U+2028]"),
        ("1\u200b\ufeff96\U000e0041", "1[U+200B][U+FEFF]96[U+E0041]"),
        ("\ud800", "[U+D800]"),
        ("\U0001f469\u200d\U0001f52c می\u200cخواهم", "\U0001f469\u200d\U0001f52c می\u200cخواهم"),
        ("a\u200d\u200db\u200c", "a[U+200D][U+200D]b[U+200C]"),
        (f"Z{30 * chr(0x301)}.", f"Z{4 * chr(0x301)}…."),
    ],
)
def test_what_cannot_be_seen_is_written_out(text: str, shown: str) -> None:
    assert visible(text) == shown
    assert visible(shown) == shown


def test_a_hostile_title_is_no_markup_and_no_command_of_a_terminal() -> None:
    title = f"\\[red]alarm[/] [link=http://x]{ESCAPE} " + LONGEST * "long "
    item = {"fields": {"title": title}, "score": 1.0, "reasons": [f"because of {title}"]}
    shell = Shell()
    show_items(shell, f"u\x1b[31m[bold]{ESCAPE}", {"items": [item], "fallback": None})
    out = printed(*shell._shown)
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "\\[red]alarm[/]" in out
    assert "[bold]" in out
    assert len(out.splitlines()) < 40


def test_lines_of_a_message_stay_and_its_controls_do_not() -> None:
    assert printed(f"Snapshot [dim]\nof {ESCAPE}").split("\n")[:2] == [
        "Snapshot [dim]",
        "of [U+001B]]52;c;ZXZpbA==[U+0007][U+001B][2J",
    ]
    assert "[U+001B]" in printed(table({"key": ""}, [["\x1b"]], "\x1b"))


def test_markdown_makes_no_link_image_or_html_of_a_title() -> None:
    assert in_markdown("![x](http://x/y.png) <b>&") == r"\!\[x\]\(http\://x/y.png\) &lt;b\>&amp;"
    assert in_markdown("a|b\n# c") == r"a\|b\[U\+000A\]\# c"
    assert len(cell(10_000 * "x")) == LONGEST + 1
