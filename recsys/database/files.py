"""How a SQLite file is named to what opens it by a URL: in a plain one a ``?`` of its path would end the path."""

from pathlib import Path
from urllib.parse import quote


def sqlite_url(path: Path, driver: str = "sqlite") -> str:
    """Return the SQLAlchemy URL of a SQLite file, whatever its path has in it: SQLite's own URI, in one.

    Args:
        path: absolute.
        driver: of SQLAlchemy.
    """
    return f"{driver}:///file:{quote(str(path))}?uri=true"
