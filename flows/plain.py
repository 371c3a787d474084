"""Texts of others in the Markdown of a run's artifacts: shown as they are, see ``recsys/plain.py``."""

import re

from recsys.plain import LONGEST, cell, visible

__all__ = ["LONGEST", "cell", "in_markdown", "visible"]

MARKUP = re.compile(r"[\\`*_{}\[\]<>()#+!|~$&:@-]")


def in_markdown(text: str) -> str:
    """Return a text that Markdown shows as it is, without links, images and HTML."""
    return MARKUP.sub(r"\\\g<0>", cell(text)).replace(r"\<", "&lt;").replace(r"\&", "&amp;")
