"""Times as runs are given them."""

from datetime import MAXYEAR, UTC, datetime

from recsys.errors import SettingError


def moment(text: str, name: str) -> datetime:
    """Return a time; one without a zone is UTC.

    Args:
        text: a date, or a time as ISO 8601 writes it.
        name: of what is given, for messages.

    Raises:
        SettingError: it is none.
    """
    try:
        found = datetime.fromisoformat(text)
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise SettingError(f"{name} is {text!r}; it takes a time such as 2026-03-01T00:00Z.") from None
    if not 1970 <= found.year < MAXYEAR:
        raise SettingError(f"{name} is {text!r}; it takes a time from 1970 on.")
    return found
