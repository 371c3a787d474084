"""The commands that the service's page shows, one for every route."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "services" / "README.md").read_text()
(SCRIPT,) = re.findall(r"<!-- curl -->\n```bash\n(.*?)```", PAGE, re.DOTALL)


@dataclass(frozen=True)
class Command:
    """A curl command of the page, its variables set."""

    method: str
    url: str
    body: str | None
    json: bool

    @classmethod
    def parse(cls, line: str) -> "Command":
        program, *words = shlex.split(line, comments=True)
        assert program == "curl"
        options = {"-X": None, "-d": None, "-H": None}
        urls = []
        rest = iter(words)
        for word in rest:
            if word in options:
                options[word] = next(rest)
            else:
                urls.append(word)
        (url,) = urls
        body = options["-d"]
        method = options["-X"] or ("POST" if body else "GET")
        return cls(method, url, body, options["-H"] == "content-type: application/json")
