"""Rules about the texts of items: damage of encodings, what is there many times, what says nothing, marks of HTML."""

import re
from collections.abc import Iterator

import polars as pl

from recsys.data import columns
from recsys.data.findings.finding import ERROR, EXAMPLES, WARNING, Finding, cut

DAMAGED = 0.01  # share of the items from which damage is an error
REPEATED = 0.01  # share of the items whose title another one has
BOILERPLATE, BOILERPLATE_ITEMS, BOILERPLATE_LENGTH = 0.01, 5, 80  # share, items and characters of one text
MARKUP = 0.01
# UTF-8 that was read as Latin-1 or Windows-1252. What is written in Latin letters shows by these beginnings alone, and
# ``NESCAFÉ®`` is none; other scripts show by many such pairs in a row.
_HIGH = "[\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]"
_READ_WRONG = re.compile(f"(?:[\u00c2-\u00f4]{_HIGH}{{1,3}}){{2,}}|[ÂÃ]{_HIGH}|â{_HIGH}{{2}}|ð{_HIGH}{{3}}")
_LOST = "\N{REPLACEMENT CHARACTER}"
_MARKUP = r"&(?:[a-z]{2,8}|#\d{2,5});|</?(?:b|i|p|br|div|span|strong|em|li|ul|a)\b[^<>]*>"
_NOTHING = (
    "n/a",
    "na",
    "none",
    "null",
    "nan",
    "unknown",
    "untitled",
    "test",
    "tbd",
    "todo",
    "title",
    "no title",
    "xxx",
)


def text_findings(items: pl.DataFrame) -> list[Finding]:
    """Return what the texts of good items show."""
    if items.is_empty():
        return []
    found = [
        _damaged(items),
        _lost(items),
        _repeated(items),
        *_boilerplate(items),
        _says_nothing(items),
        _marked(items),
    ]
    return [one for one in found if one is not None]


def is_read_wrong(text: str) -> bool:
    """Tell whether a text holds UTF-8 that was read by another encoding: ``CafÃ©`` for ``Café``."""
    return any(_decodes(one) for one in _READ_WRONG.findall(text))


def _around(text: str, wanted: re.Pattern[str]) -> str:
    """Return what stands around the first place that a pattern finds."""
    found = wanted.search(text)
    place = found.start() if found else 0
    return text[max(0, place - 20) : place + 30]


def _decodes(part: str) -> bool:
    try:
        b"".join(map(_byte, part)).decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _byte(character: str) -> bytes:
    try:
        return character.encode("cp1252")
    except UnicodeEncodeError:
        return character.encode("latin-1")


def _damaged(items: pl.DataFrame) -> Finding | None:
    wrong = pl.Series([False]).new_from_index(0, items.height)
    shown: list[str] = []
    for name in _texts(items):
        likely = items[name].str.contains(_READ_WRONG.pattern).fill_null(False)
        sure = [is_read_wrong(text) for text in items[name].filter(likely)]
        places = likely.arg_true().filter(pl.Series(sure, dtype=pl.Boolean))
        wrong = wrong | pl.int_range(items.height, eager=True).is_in(places.implode())
        shown += [cut(_around(text, _READ_WRONG)) for text in items[name].gather(places.head(EXAMPLES))]
    count = int(wrong.sum())
    if not count:
        return None
    said = (
        f"Texts of {count:,} of {items.height:,} items were written as UTF-8 and read as something else: BERT reads "
        "other words. Export them again, and name UTF-8 where they are read."
    )
    severity = ERROR if count > DAMAGED * items.height else WARNING
    return Finding("encoding-damage", severity, "items", count, items.height, said, tuple(shown[:EXAMPLES]))


def _lost(items: pl.DataFrame) -> Finding | None:
    names = _texts(items)
    hit = items.select(pl.any_horizontal(pl.col(name).str.contains(_LOST, literal=True) for name in names)).to_series()
    rows = items.filter(hit.fill_null(False))
    if rows.is_empty():
        return None
    texts = (_around(text, re.compile(_LOST)) for name in names for text in rows[name] if text and _LOST in text)
    said = (
        f"Texts of {rows.height:,} of {items.height:,} items hold {_LOST}, which stands where a character was lost. No "
        "program brings it back: export them again from where they come."
    )
    severity = ERROR if rows.height > DAMAGED * items.height else WARNING
    return Finding("lost-characters", severity, "items", rows.height, items.height, said, _first(map(cut, texts)))


def _repeated(items: pl.DataFrame) -> Finding | None:
    plain = items[columns.TITLE].str.to_lowercase().str.strip_chars()
    counts = plain.drop_nulls().value_counts().filter(pl.col("count") > 1)
    count = int(counts["count"].sum())
    if count <= REPEATED * items.height or not count:
        return None
    most = counts.sort(["count", plain.name], descending=[True, False]).head(EXAMPLES)
    said = (
        f"Titles of {count:,} of {items.height:,} items are those of others, too. What parts them should stand in "
        "further columns."
    )
    examples = tuple(f"{cut(title)} {count:,} times" for title, count in most.iter_rows())
    return Finding("repeated-titles", WARNING, "items", count, items.height, said, examples)


def _boilerplate(items: pl.DataFrame) -> Iterator[Finding]:
    for name in _texts(items):
        long = items[name].filter((items[name].str.len_chars() >= BOILERPLATE_LENGTH).fill_null(False))
        counts = long.str.strip_chars().value_counts()
        least = max(BOILERPLATE_ITEMS, BOILERPLATE * items.height)
        often = counts.filter(pl.col("count") >= least).sort(["count", name], descending=[True, False])
        if name != columns.TITLE and not often.is_empty():
            count = int(often["count"].sum())
            said = (
                f"Long texts in {name} of {count:,} of {items.height:,} items are those of many: they say nothing of "
                "them. Leave them out, or read other columns (text.fields of the training)."
            )
            examples = tuple(f"{cut(text)} {times:,} times" for text, times in often.head(EXAMPLES).iter_rows())
            yield Finding("boilerplate", WARNING, "items", count, items.height, said, examples)


def _says_nothing(items: pl.DataFrame) -> Finding | None:
    plain = pl.col(columns.TITLE).str.to_lowercase().str.strip_chars()
    empty = plain.is_in(_NOTHING) | ~plain.str.contains(r"[\p{L}\p{N}]")
    rows = items.filter(empty)[columns.TITLE]
    if rows.is_empty():
        return None
    said = f"Titles of {len(rows):,} of {items.height:,} items say nothing. Give them a name, or leave them out."
    shown = rows.unique().sort().head(EXAMPLES)
    return Finding("titles-without-words", WARNING, "items", len(rows), items.height, said, tuple(map(cut, shown)))


def _marked(items: pl.DataFrame) -> Finding | None:
    rows = items[columns.TITLE].filter(items[columns.TITLE].str.contains(f"(?i){_MARKUP}").fill_null(False))
    if len(rows) <= MARKUP * items.height or rows.is_empty():
        return None
    said = f"Titles of {len(rows):,} of {items.height:,} items hold marks of HTML, which BERT reads. Take them out."
    return Finding("markup-in-titles", WARNING, "items", len(rows), items.height, said, _first(map(cut, rows)))


def _texts(items: pl.DataFrame) -> list[str]:
    others = [name for name, kind in items.schema.items() if kind == pl.String and name != columns.ITEM_ID]
    return sorted(others, key=lambda name: (name != columns.TITLE, name))


def _first(texts: Iterator[str]) -> tuple[str, ...]:
    return tuple(text for text, _ in zip(texts, range(EXAMPLES), strict=False))
