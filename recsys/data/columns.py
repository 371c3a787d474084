"""Column names of the input contract and of a snapshot, written once.

Every other module imports a name from here instead of spelling it, so that a renamed column is one changed line.
"""

USER_ID = "user_id"
ITEM_ID = "item_id"
TIMESTAMP = "timestamp"
TIMESTAMP_KNOWN = "timestamp_known"
EVENT_ID = "event_id"
EVENT_TYPE = "event_type"
VALUE = "value"
POSITION = "position"

TITLE = "title"
AVAILABLE = "available"
UPDATED_AT = "updated_at"

RANK = "rank"
SCORE = "score"
SYSTEM = "system"

SEPARATOR = " | "  # between the columns of an item's text

# Order within a user; a frame of events is always sorted by USER_ID and then by these.
EVENT_ORDER = (TIMESTAMP, POSITION, EVENT_ID)

REQUIRED_EVENT_COLUMNS = (USER_ID, ITEM_ID, TIMESTAMP)
REQUIRED_ITEM_COLUMNS = (ITEM_ID, TITLE)
REQUIRED_USER_COLUMNS = (USER_ID,)
