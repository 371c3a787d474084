"""Raw values to typed ones: timestamps, numbers, flags. What cannot be parsed becomes null, never a guess.

Times without a zone are UTC. Numbers as times are Unix seconds, milliseconds, microseconds or nanoseconds, told apart
by magnitude: below 1e11 (the year 5138) seconds, below 1e14 milliseconds, below 1e17 microseconds. If all are written
as dates (``20240131``), they are dates. A ``Notation`` says otherwise.
"""

from typing import Literal

import polars as pl

from recsys.data.notation import PLAIN, Notation, in_zone

UTC_MICROSECONDS = pl.Datetime("us", "UTC")
# What exports write where there is no value; the last only where numbers or flags would stand: "NA" is a country, too.
NULL_IDS = ("", "NULL", "\\N", "<NA>", "#N/A")
NULL_WORDS = (*NULL_IDS, "NaN", "nan")
NO_NUMBERS = (*NULL_WORDS, "NA", "N/A", "n/a", "na", "null", "Null", "None", "none", "-", "?")

# Numbers whose thousands may be parted by points and whose fraction follows a comma, and the other way round; what of
# them has this one meaning alone; and whether there is anything to tell.
_COMMA, _COMMA_SHOWN = r"^-?(0|[1-9]\d{0,17}|[1-9]\d{0,2}(\.\d{3}){1,5})(,\d+)?$", r"^-?\d+,(\d{1,2}|\d{4,})$|\..*,"
_POINT, _POINT_SHOWN = r"^-?(0|[1-9]\d{0,17}|[1-9]\d{0,2}(,\d{3}){1,5})(\.\d+)?$", r",.*[,.]"
DECIMALS = ((",", _COMMA, _COMMA_SHOWN), (".", _POINT, _POINT_SHOWN))  # mark, how numbers are written, what shows it
MARKED, MARKS = r"^-?\d[\d.,]*$", r",|\..*\."


def parse_timestamps(raw: pl.Series, notation: Notation = PLAIN) -> pl.Series:
    """Return instants in UTC with microseconds, null where a value is no time between the years 1 and 9999.

    Takes datetimes, dates, numbers, and strings that hold ISO 8601 (a date, or a date and a time, with or without
    seconds, fraction and offset), a number, or what ``notation.timestamp_format`` describes.
    """
    if raw.dtype.is_temporal() and raw.dtype not in (pl.Time, pl.Duration):
        parsed = _zoned(raw, notation)
    elif raw.dtype.is_numeric():
        parsed = _from_numbers(raw, notation)
    elif raw.dtype == pl.String:
        parsed = _from_strings(raw, notation)
    else:
        parsed = pl.repeat(None, len(raw), dtype=UTC_MICROSECONDS, eager=True)
    # Beyond these years Python has no datetime to show or to compare.
    frame = pl.select(pl.when(parsed.dt.year().is_between(1, 9999)).then(parsed).alias(raw.name))
    return frame.to_series()


def parse_numbers(raw: pl.Series) -> pl.Series:
    """Return float64, null where a value is no number; ``nan`` and ``inf`` stay for the checks to find."""
    return _blank_to_null(raw).cast(pl.Float64, strict=False)


def parse_integers(raw: pl.Series) -> pl.Series:
    """Return int64, null where a value is no whole number."""
    if raw.dtype.is_integer():
        return raw.cast(pl.Int64, strict=False)
    numbers = parse_numbers(raw)
    whole = numbers.is_finite() & (numbers == numbers.floor())
    return pl.select(pl.when(whole).then(numbers).cast(pl.Int64, strict=False).alias(raw.name)).to_series()


def parse_flags(raw: pl.Series) -> pl.Series:
    """Return booleans from booleans, 0 and 1, ``true`` and ``false`` in any case; null elsewhere."""
    if raw.dtype == pl.Boolean:
        return raw
    words = raw.cast(pl.String, strict=False).str.strip_chars().str.to_lowercase()
    return words.replace_strict(
        {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False},
        default=None,
        return_dtype=pl.Boolean,
    )


def may_have_decimals(raw: pl.Series) -> bool:
    """Tell whether a column may hold numbers with a decimal comma or marks of thousands, by its first values."""
    if raw.dtype != pl.String:
        return False
    first = without_null_words(raw.head(1_000), NO_NUMBERS).drop_nulls()
    return bool(first.str.contains(MARKED).all() and raw.str.contains(MARKS).any())


def infer_decimals(raw: pl.Series, mark: Literal[".", ","] | None, local: bool) -> pl.Series:
    """Return a column of strings as numbers where every value is one with a decimal comma, or with marks of thousands.

    Args:
        raw: strings.
        mark: what stands before the fraction; the other one parts thousands. None: what the values themselves show by
            ``1.234,5`` or ``3,95``; ``1,234`` alone could be either, and stays a text.
        local: whether what surrounds the column says that commas stand before fractions: it is of numbers for certain,
            or its file has another separator. ``12,15`` could be two ids otherwise.
    """
    numbers = without_null_words(raw, NO_NUMBERS)
    present = numbers.drop_nulls()
    for one, written, shown in DECIMALS:
        seen = mark is None and (local or one == ".") and present.str.contains(shown).any()
        if (mark == one or seen) and present.str.contains(written).all():
            thousands = "." if one == "," else ","
            plain = numbers.str.replace_all(thousands, "", literal=True).str.replace(one, ".", literal=True)
            return plain.cast(pl.Float64) if plain.str.contains(".", literal=True).any() else plain.cast(pl.Int64)
    return raw


def as_ids(raw: pl.Series) -> pl.Series:
    """Return ids as strings. Whole numbers that were floats somewhere on their way (``12.0``) are whole numbers."""
    if raw.dtype.is_float():
        raw = raw.fill_nan(None)
        whole = raw.drop_nulls().is_finite().all() and (raw.drop_nulls() == raw.drop_nulls().floor()).all()
        return (raw.cast(pl.Int64, strict=False) if whole else raw).cast(pl.String)
    values = raw.drop_nulls()
    if raw.dtype != pl.String or values.is_empty():
        return raw.cast(pl.String)
    pattern = r"^-?\d+\.0+$"
    floats = values.head(100).str.contains(pattern).all() and values.str.contains(pattern).all()
    return raw.str.replace(r"\.0+$", "") if floats else raw


def without_null_words(raw: pl.Series, words: tuple[str, ...] = NULL_WORDS) -> pl.Series:
    """Return a column of strings with null where a value is only a word for none, as exports write it."""
    absent = raw.str.strip_chars().is_in(words)
    return pl.select(pl.when(~absent).then(raw).alias(raw.name)).to_series() if absent.any() else raw


def infer_type(raw: pl.Series, only_beside_null_words: bool = False) -> pl.Series:
    """Return a column of strings as integers, floats or booleans where every value is written like one.

    Words for none are passed over. Numbers with leading zeros or signs, exponents or blanks stay strings: they may be
    codes.

    Args:
        raw: of any type; what is no string stays.
        only_beside_null_words: change a column only where such words stand in it. They alone have made strings of
            numbers that were written as such.
    """
    if raw.dtype != pl.String:
        return raw
    values = raw.drop_nulls()
    first = without_null_words(values.head(1_000), NO_NUMBERS).drop_nulls()
    for pattern, parse in (
        (r"^(0|-?[1-9]\d{0,17})$", lambda numbers: numbers.cast(pl.Int64)),
        (r"^-?(0|[1-9]\d{0,17})(\.\d+)?$", lambda numbers: numbers.cast(pl.Float64)),
        (r"^(?i:true|false)$", parse_flags),
    ):
        # The first values mostly decide; a full scan of a long text column would be wasted.
        if not first.str.contains(pattern).all():
            continue
        numbers = without_null_words(raw, NO_NUMBERS)
        present = numbers.drop_nulls()
        if present.is_empty() or (only_beside_null_words and len(present) == len(values)):
            return raw
        if present.str.contains(pattern).all():
            return parse(numbers)
    return raw


def _blank_to_null(raw: pl.Series) -> pl.Series:
    return raw.str.strip_chars() if raw.dtype == pl.String else raw


def _zoned(raw: pl.Series, notation: Notation) -> pl.Series:
    times = raw.cast(pl.Datetime("us", getattr(raw.dtype, "time_zone", None)))
    zone = getattr(times.dtype, "time_zone", None)
    return in_zone(times, notation.timezone) if zone is None else times.dt.convert_time_zone("UTC")


def _from_numbers(raw: pl.Series, notation: Notation) -> pl.Series:
    if notation.timestamp_unit is None and (dates := _dates_as_numbers(raw)) is not None:
        return in_zone(dates, notation.timezone)
    value = pl.lit(raw) if raw.dtype.is_integer() else pl.when(raw.is_finite()).then(pl.lit(raw))
    if raw.dtype.is_integer():
        value = value.cast(pl.Int64, strict=False)
    size = value.abs()
    microseconds = {
        "s": value * 1_000_000,
        "ms": value * 1_000,
        "us": value,
        "ns": value // 1_000,
        None: pl.when(size < 10**11)
        .then(value * 1_000_000)
        .when(size < 10**14)
        .then(value * 1_000)
        .when(size < 10**17)
        .then(value)
        .otherwise(value // 1_000),
    }[notation.timestamp_unit]
    if notation.timestamp_unit == "s":  # what would leave 64 bits is no time
        microseconds = pl.when(size < 10**12).then(microseconds)
    elif notation.timestamp_unit == "ms":
        microseconds = pl.when(size < 10**15).then(microseconds)
    return pl.select(microseconds.round().cast(pl.Int64, strict=False).cast(UTC_MICROSECONDS)).to_series()


def _dates_as_numbers(raw: pl.Series) -> pl.Series | None:
    """Return the times, without a zone, of numbers that are all written as dates, ``20240131`` or ``20240131235959``.

    As Unix seconds the first would all lie in some weeks of 1970, as milliseconds the second after the year 2600.
    None: they are not all dates.
    """
    present = raw.drop_nulls()
    if present.is_empty():
        return None
    for least, most, rest in ((19_000_101, 21_001_231, "000000"), (19e12, 22e12, "")):
        if present.is_between(least, most).all() and (not raw.dtype.is_float() or (present == present.floor()).all()):
            times = (raw.cast(pl.Int64).cast(pl.String) + rest).str.to_datetime(
                "%Y%m%d%H%M%S", strict=False, time_unit="us"
            )
            if times.null_count() == raw.null_count():
                return times
    return None


def _from_strings(raw: pl.Series, notation: Notation) -> pl.Series:
    text = raw.str.strip_chars()
    parsed = pl.repeat(None, len(text), dtype=pl.Int64, eager=True)
    # From the fastest to the slowest; each sees only what the ones before could not read.
    for parse in (_described_strings, _numeric_strings, _plain_strings, _offset_strings, _other_iso_strings):
        left = (parsed.is_null() & text.is_not_null()).arg_true()
        if left.is_empty():
            break
        parsed = parsed.scatter(left, parse(text.gather(left), notation).to_physical())
    return parsed.cast(UTC_MICROSECONDS)


def _described_strings(text: pl.Series, notation: Notation) -> pl.Series:
    if notation.timestamp_format is None:
        return pl.repeat(None, len(text), dtype=UTC_MICROSECONDS, eager=True)
    times = text.str.to_datetime(notation.timestamp_format, strict=False, time_unit="us")
    return _zoned(times, notation)


def _numeric_strings(text: pl.Series, notation: Notation) -> pl.Series:
    integers = _from_numbers(text.cast(pl.Int64, strict=False), notation)
    if integers.null_count() == 0:
        return integers
    return integers.fill_null(_from_numbers(text.cast(pl.Float64, strict=False), notation))


def _plain_strings(text: pl.Series, notation: Notation) -> pl.Series:
    return in_zone(text.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", strict=False, time_unit="us"), notation.timezone)


def _offset_strings(text: pl.Series, _: Notation = PLAIN) -> pl.Series:
    return text.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", strict=False, time_unit="us", time_zone="UTC")


def _other_iso_strings(text: pl.Series, notation: Notation) -> pl.Series:
    spelled = (
        text.str.replace(r"^(\d{4}-\d{2}-\d{2})[ t]", "${1}T")
        .str.replace(r"^(\d{4}-\d{2}-\d{2})$", "${1}T00:00:00")
        .str.replace(r"^(\d{4}-\d{2}-\d{2}T\d{2}:\d{2})($|[zZ+-])", "${1}:00${2}")
        .str.replace(r"^(.{10}T\d{2}:\d{2}:\d{2}(?:\.\d+)?) ?(?:[zZ]|UTC)$", "${1}+00:00")
        .str.replace(r"([+-]\d{2})$", "${1}:00")
        .str.replace(r"^(.{19}.*) ([+-])", "${1}${2}")
    )
    local = in_zone(spelled.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", strict=False, time_unit="us"), notation.timezone)
    return local if local.null_count() == text.null_count() else local.fill_null(_offset_strings(spelled))
