"""What a request prefers (RFC 7240): to be answered before its work is done, at once or after some seconds."""

import re
from dataclasses import dataclass
from typing import Annotated

from fastapi import Header

Prefer = Annotated[
    str | None,
    Header(
        max_length=256,
        description="`respond-async`: answer 202 at once; `wait=5`: after so many seconds, if it is not done by then.",
    ),
]
_TOKEN = re.compile(r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*(?:=\s*\"?([^\";,]*)\"?)?\s*(?:;[^,]*)?")


@dataclass(frozen=True)
class Preference:
    """For how long a request would have its answer wait.

    Attributes:
        seconds: that it would wait for at most; None: it does not say.
        applied: what of it is followed, as ``Preference-Applied`` says it; empty: there is nothing.
    """

    seconds: float | None = None
    applied: str = ""

    @classmethod
    def of(cls, header: str | None) -> "Preference":
        """Return what a header says; what is unknown in it, or is none, counts as nothing."""
        said = dict[str, str]()
        for part in (header or "").split(","):
            if match := _TOKEN.fullmatch(part):
                said.setdefault(match[1].lower(), match[2] or "")
        wait = said.get("wait", "")
        if wait.isascii() and wait.isdigit() and len(wait) < 10:
            return cls(float(wait), f"wait={wait}")
        return cls(0.0, "respond-async") if "respond-async" in said else cls()
