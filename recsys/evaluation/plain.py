"""Texts of others, as they are shown to people: a title is data, and moves, hides and colours nothing around it.

On a terminal a control character can clear the screen, write to the clipboard or set a link; characters of direction
turn round what stands beside them, and those without a width make two ids look like one. They are written out.
"""

import re
import unicodedata

LONGEST = 500  # characters of a cell
MOST_READ = 5_000  # of a text, of which accents and the like take most
MOST_MARKS = 4  # accents on one character; more of them grow over the lines above and below
UNSEEN = {"Cc", "Cf", "Zl", "Zp", "Cs"}  # controls, what has no form, line ends, halves of characters
FILLERS = "\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0"  # letters without a form
JOINERS = "\u200c\u200d"  # between two characters they spell words and emoji
MARKUP = re.compile(r"[\\`*_{}\[\]<>()#+!|~$&:@-]")


def visible(text: str, lines: bool = False) -> str:
    """Return a text with everything in it to be seen: U+202E is written out, and a heap of accents ends.

    Args:
        text: of others.
        lines: whether line ends may stay, in a text of several lines.
    """
    shown, marks = [], 0
    for place, character in enumerate(text):
        marks = marks + 1 if unicodedata.category(character).startswith("M") else 0
        if marks > MOST_MARKS:
            shown.append("…" if marks == MOST_MARKS + 1 else "")
        elif (lines and character == "\n") or not _is_unseen(character) or _joins(text, place):
            shown.append(character)
        else:
            shown.append(f"[U+{ord(character):04X}]")
    return "".join(shown)


def cell(text: str) -> str:
    """Return a text for a cell of a table: in one line, and cut where it is long."""
    shown = visible(text[:MOST_READ])
    return shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}…"


def in_markdown(text: str) -> str:
    """Return a text that Markdown shows as it is, without links, images and HTML."""
    return MARKUP.sub(r"\\\g<0>", cell(text)).replace(r"\<", "&lt;").replace(r"\&", "&amp;")


def _is_unseen(character: str) -> bool:
    return unicodedata.category(character) in UNSEEN or character in FILLERS


def _joins(text: str, place: int) -> bool:
    """Tell whether a character is a joiner with something to join."""
    beside = text[place - 1 : place] + text[place + 1 : place + 2] if place else ""
    joined = len(beside) == 2 and not any(one.isspace() or _is_unseen(one) for one in beside)
    return text[place] in JOINERS and joined
