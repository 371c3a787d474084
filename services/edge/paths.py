"""Paths of this machine in sentences that leave it: only the last part stays, which says what is wrong.

Whoever asks over HTTP has no use for the rest; the log has the sentence whole.
"""

import os
import re

_FOLDER = rf"/(?:{'|'.join(sorted(map(re.escape, os.listdir('/')), key=len, reverse=True))})"
_PATH = re.compile(rf"(?<=['\"]){_FOLDER}/[^'\"\n]*(?=['\"])|(?<![\w.…-]){_FOLDER}(?:/[^\s'\",;:()\[\]]*)+")


def without_paths(sentence: str) -> str:
    """Return a sentence with every path below a folder that this machine has cut to its last part."""
    return _PATH.sub(lambda found: _cut(found[0]), sentence)


def _cut(path: str) -> str:
    inner = path.rstrip("/.")
    return f"…/{inner.rpartition('/')[2]}{path[len(inner) :]}"
