"""Times in the database: whole microseconds since 1970, UTC, which every database sorts alike."""

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(9999, 1, 1, tzinfo=UTC)  # a day or more before what Python can no longer move between time zones


def microseconds(moment: datetime) -> int:
    """Return a time with a time zone as microseconds since 1970."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def moment(microseconds_since_1970: int) -> datetime:
    """Return the time, in UTC, that ``microseconds`` was given."""
    return EPOCH + timedelta(microseconds=microseconds_since_1970)
