"""Every link of every page leads somewhere: to a file, to a heading, to a picture that is small enough to be shown."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

CLONE = Path(__file__).parents[2]
FENCE = re.compile(r"^(```+)[^\n]*\n.*?^\1$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"")
HEADING = re.compile(r"^#{1,6} (.+?)\s*$", re.MULTILINE)
PICTURE_BYTES = 150_000


def pages() -> list[Path]:
    """Return the Markdown of the project; folders of tools, whose names begin with a dot, are none of it."""
    found = [path for depth in ("*.md", "*/*.md", "*/*/*.md") for path in CLONE.glob(depth)]
    return sorted(path for path in found if not str(path.relative_to(CLONE)).startswith("."))


def prose(page: Path) -> str:
    """Return a page without its fenced code, in which a # is no heading and a bracket no link."""
    return FENCE.sub("", page.read_text())


def links(page: Path) -> list[str]:
    """Return all targets of a page's links and pictures, code spans left out."""
    return [first or second for first, second in LINK.findall(re.sub(r"`[^`\n]*`", "", prose(page)))]


def anchors(page: Path) -> set[str]:
    """Return what GitHub calls the headings of a page: lower case, no punctuation, hyphens for spaces, numbered."""
    found: set[str] = set()
    for heading in HEADING.findall(prose(page)):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        base = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        times = 0
        while (anchor := f"{base}-{times}" if times else base) in found:
            times += 1
        found.add(anchor)
    return found


def broken(page: Path, root: Path = CLONE) -> list[str]:
    """Return the links of a page that lead nowhere below a root. Those to other hosts are not followed."""
    wrong = []
    for target in links(page):
        parts = urlsplit(target)
        if parts.scheme in ("http", "https"):
            continue
        there = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        found = not parts.scheme and there.is_relative_to(root) and there.exists()
        if not found or (parts.fragment and (there.suffix != ".md" or parts.fragment not in anchors(there))):
            wrong.append(target)
    return wrong


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(CLONE)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    assert broken(page) == []


def test_what_leads_nowhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# Some `code`, and more\n\n## Twice\n\n## Twice\n")
    good = ["other.md", "other.md#some-code-and-more", "other.md#twice-1", "#a-page", "https://example.org/x#y"]
    bad = ["nothing.md", "other.md#twice-2", "#not-a-heading", "../outside.md", "ftp://x/y", "nothing.svg"]
    page = tmp_path / "page.md"
    written = " ".join(f"[to `it`]({target})" for target in [*good, *bad[:-1]])
    page.write_text(
        f'# A page\n\n{written} <img src="{bad[-1]}"> `[no](link)`\n\n```bash\n# not a heading\n[no](link)\n```\n'
    )
    (tmp_path.parent / "outside.md").write_text("exists, and is none of the project's\n")
    assert broken(page, tmp_path) == bad


def test_the_readme_leads_to_every_page() -> None:
    readme = CLONE / "README.md"
    reached = {(readme.parent / urlsplit(target).path).resolve() for target in links(readme) if ":" not in target}
    assert set(pages()) - {readme} <= reached


def test_every_picture_is_shown_and_small() -> None:
    pictures = set((CLONE / "infra" / "pictures").iterdir())
    shown = {(page.parent / target).resolve() for page in pages() for target in links(page) if ":" not in target}
    assert pictures <= shown
    assert all(path.stat().st_size < PICTURE_BYTES for path in pictures)
