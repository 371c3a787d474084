"""What the words of object stores mean for people."""

import re

# The first that fits.
_ADVICE = {
    r"ExpiredToken|TokenRefreshRequired|expired": "The credentials have expired. Renew them where this runs.",
    r"InvalidAccessKeyId|SignatureDoesNotMatch|InvalidToken|\b401\b|Unauthenticated|Unauthorized": (
        "The credentials are none that the store knows. Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or what "
        "your store has in their place, where this runs."
    ),
    r"AccessDenied|Forbidden|\b403\b|PermissionDenied": (
        "The credentials may not read it, or there are none. Ask for the right to read and to list, or set them where "
        "this runs."
    ),
    r"NoSuchBucket": "There is no such bucket, or it is another store's. Check the URL and AWS_ENDPOINT_URL.",
    r"169\.254\.169\.254|metadata/|credential|No provider": (
        "There are no credentials. Set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION, or what your store has "
        "in their place, where this runs."
    ),
    r"NoSuchKey|NotFound|not found|No such file|expanded paths were empty": "There is no such file. Check the URL.",
}


def advice(failure: str) -> str | None:
    """Return what an object store's words mean for people; None: nobody knows."""
    return next((said for pattern, said in _ADVICE.items() if re.search(pattern, failure)), None)
