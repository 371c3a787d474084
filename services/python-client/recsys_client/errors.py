"""What the service refuses, as exceptions: one for each case in which a caller would do something else."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import httpx
from pydantic import ValidationError

from recsys_client.schemas.problems import Code, Problem, Violation, violation

MAX_DETAIL = 500  # characters of an error that is no problem+json, such as a proxy's page


class ServiceError(Exception):
    """The service did not do what was asked; subclasses say why, where that makes a difference.

    Attributes:
        status: of the HTTP response.
        title: the status in words.
        detail: what is wrong, and what to do about it.
        retry_after: seconds after which to ask again, where the service says so.
        request_id: under which the service's log knows it, where the service says so.
        code: why, for programs to switch on: one of ``schemas.problems.Code``, or a newer service's. None where
            something between here and the service has answered.
        errors: what is wrong where, of a request that does not fit.
    """

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        retry_after: float | None = None,
        request_id: str | None = None,
        code: str | None = None,
        errors: Sequence[Violation] = (),
    ) -> None:
        # all of them, so that it can be pickled
        super().__init__(status, title, detail, retry_after, request_id, code, errors)
        self.status = status
        self.title = title
        self.detail = detail
        self.retry_after = retry_after
        self.request_id = request_id
        self.code = code
        self.errors = tuple(errors)

    def __str__(self) -> str:
        return f"{self.status} {self.title}: {self.detail}"


class Unauthorised(ServiceError):
    """401: the key is missing, unknown or revoked."""


class Forbidden(ServiceError):
    """403: the key does not have the scope that this needs."""


class NotFound(ServiceError):
    """404: there is no such item, adapter, generation or answer."""


class Conflict(ServiceError):
    """409: what was asked for exists and cannot be served (refused by the gate, broken), or there is no room for it."""


class Invalid(ServiceError):
    """422: the request does not fit its schema or the catalogue. One that cannot fit any catalogue is never sent."""


class RateLimited(ServiceError):
    """429: the key asks too often; ``retry_after`` says when it may again."""


class NotReady(ServiceError):
    """503: nothing is served, a store cannot be reached, or there is too much to do; ask again later."""


BY_STATUS: dict[int, type[ServiceError]] = {
    401: Unauthorised,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    422: Invalid,
    429: RateLimited,
    503: NotReady,
}


def error_of(response: httpx.Response) -> ServiceError:
    """Return the exception for a response that is not a success, whoever sent it."""
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:  # of something between here and the service
        detail = response.text.strip()[:MAX_DETAIL] or "The response says nothing more."
        problem = Problem(title=response.reason_phrase, status=response.status_code, detail=detail)
    kind = BY_STATUS.get(response.status_code, ServiceError)
    return kind(
        response.status_code,
        problem.title,
        problem.detail,
        retry_after(response),
        problem.request_id,
        problem.code,
        problem.errors or (),
    )


def error_in(status: int, code: str, detail: str) -> ServiceError:
    """Return the exception for an error that an answer tells of."""
    return BY_STATUS.get(status, ServiceError)(status, HTTPStatus(status).phrase, detail, code=code)


def retry_after(response: httpx.Response) -> float | None:
    """Return the seconds that a response asks to wait; None where it does not say, or names a date."""
    value = response.headers.get("retry-after", "")
    return float(value) if value.isascii() and value.isdigit() else None


def invalid(error: ValidationError, schema: Any = None) -> Invalid:
    """Return the exception for a request that its schema, a model, refuses before it is sent."""
    entries = error.errors(include_url=False, include_input=False)
    found = [violation(entry, entry["loc"], schema) for entry in entries]
    told = [
        f"{'.'.join(map(str, entry['loc'])) or 'request'}: {one.detail}"
        for entry, one in zip(entries, found, strict=True)
    ]
    return _unsent("; ".join(told), found)


def invalid_parameter(name: str, code: str, detail: str) -> Invalid:
    """Return the exception for a parameter of a path that breaks a rule, which its code names."""
    return _unsent(f"{name}: {detail}", [Violation(parameter=name, code=code, detail=detail)])


def _unsent(detail: str, errors: Sequence[Violation]) -> Invalid:
    return Invalid(422, "Unprocessable Content", detail, code=Code.INVALID_REQUEST, errors=errors)
