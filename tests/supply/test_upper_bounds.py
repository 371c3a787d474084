"""Every upper bound says why it is there, and the page says it as the projects do."""

import pytest

from infra.supply import pins

PROJECT = '[project]\nname = "one"\ndependencies = [\n    {}\n]\n'
SPELLINGS = [
    ('"six>=1,<2",  # 2 is another', "2 is another"),
    ('"six<=1.9",# x', "x"),
    ("\"six[more]<2; python_version>'3'\",   #  a major", "a major"),
]


@pytest.mark.parametrize("project", pins.PROJECTS, ids=lambda path: path.parent.name)
def test_every_bound_of_the_projects_has_its_reason(project) -> None:
    found = pins.bounds(project.read_text())
    assert found
    assert all(len(bound.reason) > 15 for bound in found)


@pytest.mark.parametrize(("line", "reason"), SPELLINGS)
def test_a_reason_is_the_comment_on_the_bounds_line(line: str, reason: str) -> None:
    (bound,) = pins.bounds(PROJECT.format(line))
    assert (bound.reason, bound.name) == (reason, "six")


@pytest.mark.parametrize("line", ['"six<2",', '"six<2",  #', '"six<2", "a<2",  # both', '# two\n    "six<2",'])
def test_a_bound_without_a_reason_is_named(line: str) -> None:
    with pytest.raises(ValueError, match="one keeps newer releases out by 'six<2' and does not say why"):
        pins.bounds(PROJECT.format(line))


def test_what_keeps_nothing_out_needs_no_reason() -> None:
    assert pins.bounds(PROJECT.format('"six>=1", "a==1", "b~=1.0", "c"')) == []


def test_a_lifted_bound_keeps_what_is_below() -> None:
    (bound,) = pins.bounds(PROJECT.format('"six[more]>=1.5,!=1.7,<2",  # a major'))
    assert bound.upper == "<2"
    assert bound.lifted == "six[more]!=1.7,>=1.5"


def test_the_page_has_the_bounds_as_the_projects_do() -> None:
    assert pins.page() == pins.PAGE.read_text(), "run `python infra/supply/pins.py`"
