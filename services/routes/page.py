"""The page that users look at: a few static files of the package, which call the routes as any client does.

Nothing on it comes from elsewhere, and the headers make the browser hold it to that: scripts, styles, pictures and
requests of this origin alone, no markup made from text (trusted types), no form that is sent, no frame around it. The
key that somebody types stays in the page's scripts; the page itself is open, since it shows nothing without one.
"""

from dataclasses import dataclass
from pathlib import Path

from fastapi import Response

from recsys_client.schemas.problems import Code
from services.edge.auth import OPEN, guarded_router
from services.edge.problems import Refused
from services.edge.representations import etag_of

FOLDER = Path(__file__).parent.parent / "page"
INDEX = "index.html"
MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # Modules import each other by name, so a kept one must never meet those of another version: always ask, by ETag.
    "Cache-Control": "no-cache",
}

router = guarded_router()


@dataclass(frozen=True)
class PageFile:
    """A file as it is sent."""

    content: bytes
    media_type: str
    etag: str


def read_files(folder: Path) -> dict[str, PageFile]:
    """Return a folder's files by name; nothing else can be asked for, whatever a path says."""
    files = {}
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        files[path.name] = PageFile(content, f"{MEDIA_TYPES[path.suffix]}; charset=utf-8", etag_of(content))
    return files


def answer_with(file: PageFile) -> Response:
    """Return a file; to a browser that has it ``Representations`` says so instead."""
    return Response(file.content, headers=HEADERS | {"ETag": file.etag, "Content-Type": file.media_type})


FILES = read_files(FOLDER)


@router.get("/", include_in_schema=False, **OPEN)
async def page() -> Response:
    """Return the page; without this route users would get BentoML's, which loads a tracker."""
    return answer_with(FILES[INDEX])


@router.get("/page/{name}", include_in_schema=False, **OPEN)
async def part_of_page(name: str) -> Response:
    """Return one of the page's own files."""
    if name not in FILES:
        raise Refused(Code.NOT_FOUND, f"The page has no file {name!r}.")
    return answer_with(FILES[name])
