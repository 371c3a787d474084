"""Where lists lie that nobody has named a folder for: below the home's runs, one folder a day for what is asked."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from recsys.home import Home
from recsys.serving.batch.manifest import Inputs
from recsys.serving.batch.unfinished import UNFINISHED
from recsys.store.retention import LISTS

DIGITS = 8  # of what was asked for


def place_of(home: Home, inputs: Inputs, now: int) -> Path:
    """Return the folder of what is asked for today, or yesterday's where that was not finished.

    Args:
        home: where state lives.
        inputs: what is asked for.
        now: Unix seconds.
    """
    moment = datetime.fromtimestamp(now, UTC)
    today, yesterday = (
        home.runs / f"{LISTS}{inputs.generation}-{day:%Y-%m-%d}-{inputs.id[:DIGITS]}"
        for day in (moment, moment - timedelta(days=1))
    )
    return yesterday if (yesterday / UNFINISHED).exists() and not today.exists() else today
