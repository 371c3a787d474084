"""What the pages say was measured is what the result files say, and the pictures show it."""

import shutil
from pathlib import Path

import pytest

from infra.benchmarks import pictures, tables

PAGES = {
    name: tables.ROOT / place / "README.md"
    for name, place in {"readme": "", "infra": "infra", "results": "infra/results"}.items()
}


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_the_tables_are_what_the_result_files_give(page: Path) -> None:
    assert page.read_text() == tables.pages()[page]


def test_a_result_file_that_no_table_knows_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = shutil.copytree(tables.RESULTS, tmp_path / "results")
    monkeypatch.setattr(tables, "RESULTS", results)
    assert results / "README.md" in tables.pages()
    (results / "strange.json").write_text('{"task": "guessing"}')
    with pytest.raises(ValueError, match=r"strange\.json belongs to no table"):
        tables.pages()


def test_a_page_without_its_markers_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- quality -->\nold\n")
    with pytest.raises(ValueError, match="<!-- /quality --> once each"):
        tables.filled(page, {"quality": "new\n"})
    page.write_text("before\n<!-- quality -->\nold\n<!-- /quality -->\nafter\n")
    assert tables.filled(page, {"quality": "new\n"}) == "before\n<!-- quality -->\nnew\n<!-- /quality -->\nafter\n"


@pytest.mark.parametrize("theme", pictures.THEMES)
@pytest.mark.parametrize("name", pictures.DRAWN)
def test_a_drawing_is_what_its_command_gives(name: str, theme: str) -> None:
    assert (pictures.PICTURES / f"{name}-{theme}.svg").read_text() == pictures.DRAWN[name](theme)
