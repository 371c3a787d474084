"""What was done, as the events of the input contract."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.data import columns
from recsys.simulation.behaviour import KINDS, Actions, Visits
from recsys.simulation.catalogue import item_ids
from recsys.simulation.draws import uniform
from recsys.simulation.people import user_ids
from recsys.simulation.preferences import Preferences
from recsys.simulation.words import ATTRIBUTES, DEVICES

DEVICE, COUNTRY, HOUR = "device", "country", "hour"
EVENT_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    columns.USER_ID: pl.String,
    columns.ITEM_ID: pl.String,
    columns.TIMESTAMP: pl.Datetime("us", "UTC"),
    columns.EVENT_ID: pl.String,
    columns.EVENT_TYPE: pl.String,
    columns.VALUE: pl.Float64,
    columns.POSITION: pl.Int64,
    DEVICE: pl.String,
    COUNTRY: pl.String,
    HOUR: pl.Int64,
}
_AT_HOME = 0.95  # of visits are made from one's own country


def event_frame(preferences: Preferences, visits: Visits, acted: Actions, numbers: pl.Series) -> pl.DataFrame:
    """Return actions as events, in their order, in ``EVENT_SCHEMA``; an id is the user's with one of the numbers."""
    rows = visits.crowd.rows[acted.visits]
    users = user_ids(rows)
    first = np.datetime64(preferences.config.start, "s").astype(np.int64)
    countries = _countries(preferences, visits)
    frame = pl.DataFrame(
        {
            columns.USER_ID: users,
            columns.ITEM_ID: item_ids(acted.items),
            columns.TIMESTAMP: pl.Series((first + acted.moments) * 1_000_000).cast(EVENT_SCHEMA[columns.TIMESTAMP]),
            columns.EVENT_ID: pl.select(pl.concat_str(users, numbers, separator="-")).to_series(),
            columns.EVENT_TYPE: pl.Series(KINDS).gather(acted.kinds),
            columns.VALUE: pl.Series(acted.values).fill_nan(None),
            columns.POSITION: acted.positions,
            DEVICE: pl.Series(DEVICES).gather(visits.devices[acted.visits]),
            COUNTRY: pl.Series(list(ATTRIBUTES["country"])).gather(countries[acted.visits]),
            HOUR: acted.moments // 3_600 % 24,
        }
    )
    shown = pl.col(columns.POSITION)
    return frame.with_columns(pl.when(shown > 0).then(shown)).cast(EVENT_SCHEMA)  # type: ignore[arg-type]


def _countries(preferences: Preferences, visits: Visits) -> NDArray[np.int64]:
    """Return the number of the country of each visit."""
    own = preferences.people.attribute(visits.crowd.rows, "country")
    anywhere = np.floor(uniform(visits.hashes, "any country") * len(ATTRIBUTES["country"])).astype(np.int64)
    return np.where(uniform(visits.hashes, "at home") < _AT_HOME, own, anywhere)
