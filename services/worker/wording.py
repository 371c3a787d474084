"""Reasons in other languages: tables of sentences from an operator's file, beside English, which is always there.

The file is JSON, a table a language: a template for each component, and what stands for a title that is not told.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import Formatter

from recsys.artifacts import ArtifactError, read_json
from recsys.errors import SettingError
from recsys_client.schemas.recommend import LANGUAGE

REASONS = "RECSYS_REASONS"  # names the file


@dataclass(frozen=True)
class Wording:
    """The tables by language, in lower case; English has none here unless the file says it otherwise."""

    tables: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def of(self, language: str | None) -> Mapping[str, str] | None:
        """Return the table of a language or, of de-AT, that of de; None: the reasons stay as they are, in English."""
        tag = (language or "en").lower()
        while tag not in self.tables and "-" in tag:
            tag = tag.rpartition("-")[0]
        return self.tables.get(tag)

    @classmethod
    def from_environment(cls) -> "Wording":
        """Return what the file holds that the environment names; nothing where it names none.

        Raises:
            SettingError: it cannot be read, or a table lacks a template, has one too many, or a wrong placeholder.
        """
        value = os.environ.get(REASONS)
        if not value:
            return cls()
        path = Path(value).expanduser()
        try:
            content = read_json(path)
        except (ArtifactError, OSError) as error:
            raise SettingError(f"{REASONS} names {path}, which cannot be read: {error}") from None
        if not isinstance(content, dict) or not content:
            raise SettingError(f'{path} must hold a table of sentences for each language, such as {{"de": {{…}}}}.')
        for language, table in content.items():
            if not re.fullmatch(LANGUAGE, language):
                raise SettingError(f"{path}: {language!r} is no language; write it as in de or pt-BR.")
            _check(f"{path}: {language}", table)
        return cls({language.lower(): table for language, table in content.items()})


def _check(where: str, table: object) -> None:
    """Check that a table has a template for each code, later ones or not, with the placeholders of the English one."""
    from recsys.serving.explanation import ENGLISH, LATER  # brings torch, for which BentoML's supervisor has no use

    if not isinstance(table, dict):
        raise SettingError(f"{where} must be a table with {', '.join(sorted(ENGLISH))}.")
    for names, what in (
        (ENGLISH.keys() - LATER - table.keys(), "lacks"),
        (table.keys() - ENGLISH.keys(), "has, unknown here,"),
    ):
        if names:
            raise SettingError(f"{where} {what} {', '.join(sorted(names))}; there are {', '.join(sorted(ENGLISH))}.")
    for code, template in table.items():
        if not isinstance(template, str) or not template.strip():
            raise SettingError(f"{where}.{code} must be a sentence.")
        wanted, found = _placeholders(ENGLISH[code]) or [], _placeholders(template)
        if found is None or sorted(found) != sorted(wanted):
            needs = " and ".join(f"{{{name}}} once" for name, _, _ in wanted) or "no placeholder"
            raise SettingError(f"{where}.{code} is {template!r}; it must have {needs}, and no other braces.")


def _placeholders(template: str) -> list[tuple[str, str, str]] | None:
    """Return name, format and conversion of what a template leaves open; None where it is no template."""
    try:
        parts = list(Formatter().parse(template))
    except ValueError:
        return None
    return [(name, kind or "", turned or "") for _, name, kind, turned in parts if name is not None]
