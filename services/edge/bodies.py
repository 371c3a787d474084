"""How a route's body must be sent and how large it may be: looked at before it is parsed, which holds up everybody.

JSON is parsed on the event loop, by code that lets nothing else run meanwhile, and its time goes by the number of
values more than by that of bytes: 4 MiB of ``{"a":1},`` take a hundred times what 4 MiB of one text take. In JSON every
value but the first of an object or a list stands behind a comma, so counting commas, those in texts among them, bounds
both for less than a thousandth of the time.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from starlette.datastructures import Headers

from recsys_client.schemas.problems import Code
from services.edge.problems import Refused

JSON = re.compile(r"application/([\w.+-]+\+)?json", re.IGNORECASE)
BYTES, COMMAS = "x-max-body-bytes", "x-max-body-commas"  # in the description of a route
ACCEPT = {"Accept": "application/json"}


@dataclass(frozen=True)
class BodyLimit:
    """What a body may have at most.

    Attributes:
        kib: its size as it is sent, in units of 1,024 bytes.
        commas: in texts and between values.
    """

    kib: int
    commas: int

    @property
    def size(self) -> int:
        """The most bytes."""
        return self.kib * 2**10

    def described(self) -> dict[str, int]:
        """Return the limit as a route's description declares it, so that what is described is what is enforced."""
        return {BYTES: self.size, COMMAS: self.commas}

    def check(self, body: bytes) -> None:
        """Check a body that is there, whole, and no larger than it may be.

        Raises:
            Refused: 413, it has too many commas.
        """
        if body.count(b",") > self.commas:
            detail = f"The body has more than {self.commas:,} commas, which are most here; send less."
            raise Refused(Code.TOO_LARGE, detail)


SMALL = BodyLimit(16, 1_000)  # a few words, or none
A_LIST = BodyLimit(1_024, 20_000)  # the longest history, exclusions and filter, of ids of ordinary length
A_QUESTION = BodyLimit(512, 20_000)  # an item or a query, and the longest filter
TEXTS = BodyLimit(4_096, 200_000)
MANY_USERS = BodyLimit(4_096, 300_000)  # 256 of the longest histories
EVENTS = BodyLimit(4_096, 20_000)  # 1,000 events of six fields, with the longest ids, also outside ASCII
ITEMS = BodyLimit(4_096, 100_000)  # of 500 items, a hundred values each
AN_ITEM = BodyLimit(256, 20_000)  # an item of 64 KiB, also where characters are sent as \\u0416


def are_json(media_types: Iterable[str]) -> bool:
    """Tell whether all headers ``content-type`` of a request, of which there may be none, say JSON."""
    return all(JSON.fullmatch(media_type.partition(";")[0].strip()) for media_type in media_types)


def check_sent_as_json(headers: Headers) -> None:
    """Check that a body is sent as JSON, and not compressed.

    Raises:
        Refused: 415, it is not.
    """
    codings = {coding.strip().lower() for coding in ",".join(headers.getlist("content-encoding")).split(",")}
    if packed := sorted(codings - {"", "identity"}):
        detail = f"The body is sent as {packed[0][:40]!r}, which is not unpacked here; send it as it is."
        raise Refused(Code.UNSUPPORTED_ENCODING, detail, {"Accept-Encoding": "identity"})
    media_types = headers.getlist("content-type")
    if not media_types or not are_json(media_types):
        raise Refused(Code.UNSUPPORTED_MEDIA_TYPE, "A body needs `content-type: application/json`.", ACCEPT)


def check_no_null(body: bytes) -> None:
    """Check that a body which may be left out is left out, or is an object.

    Raises:
        Refused: 422, it is null.
    """
    if body.strip() == b"null":
        raise Refused(Code.INVALID_REQUEST, "body: null is none; send an object, or nothing at all.", pointer="")
