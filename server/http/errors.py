"""What can go wrong with a request, the one table from exception to HTTP status, and the problem+json renderer.

RequestError
├── InvalidParameter      400  a parameter's value, or a parameter nobody knows
├── NotAuthenticated      401  a token that is wrong
├── NotFound              404  no such resource, or one that is not this client's to see
├── MethodNotAllowed      405
├── NotAcceptable         406  a format that is not offered
├── RequestTimeout        408  the body did not arrive in time
├── PayloadTooLarge       413
├── RangeNotSatisfiable   416
└── Overloaded            503  a declared limit; Retry-After says when to come back

Errors of the rooms below (`providers.errors`, `tiles.errors`, `server.errors`) are found in the same table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import orjson

from server.http.answer import Answer, Header


class RequestError(Exception):
    """A request that cannot be answered as asked. The message says what was asked, found, allowed, and what to do."""


class InvalidParameter(RequestError):
    """A parameter is unknown, malformed or out of range."""


class NotAuthenticated(RequestError):
    """The Authorization header was given and is not valid."""


class NotFound(RequestError):
    """There is no such resource in this view, as far as this client may know."""


class MethodNotAllowed(RequestError):
    """The resource does not know this method."""


class NotAcceptable(RequestError):
    """The format asked for is not offered."""


class PayloadTooLarge(RequestError):
    """The request body is larger than the server takes."""


class RequestTimeout(RequestError):
    """The request body did not arrive in time."""


class RangeNotSatisfiable(RequestError):
    """The Range header lies outside the file, which has `size` bytes."""

    def __init__(self, message: str, size: int) -> None:
        super().__init__(message)
        self.size = size


class Overloaded(RequestError):
    """A bounded resource is in use; come back later."""


_STATUS: dict[type[Exception], int] = {
    InvalidParameter: 400,
    NotAuthenticated: 401,
    NotFound: 404,
    MethodNotAllowed: 405,
    NotAcceptable: 406,
    RequestTimeout: 408,
    PayloadTooLarge: 413,
    RangeNotSatisfiable: 416,
    Overloaded: 503,
}
_TITLES: Mapping[int, str] = {
    400: "Bad request",
    401: "Not authenticated",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    406: "Not acceptable",
    408: "Request timeout",
    409: "Conflict",
    410: "Gone",
    412: "Precondition failed",
    413: "Content too large",
    415: "Unsupported media type",
    416: "Range not satisfiable",
    422: "Unprocessable content",
    500: "Internal server error",
    503: "Service unavailable",
}
PROBLEM = "application/problem+json"


def register_status(error: type[Exception], status: int) -> None:
    """Give an exception of another room its status. Raises ValueError where it has one already."""
    if _STATUS.setdefault(error, status) != status:
        raise ValueError(f"{error.__name__} already means {_STATUS[error]}")


def status_of(error: BaseException) -> int | None:
    """The HTTP status of an exception, by its nearest class in the table; None where it has none (a defect: 500)."""
    for ancestor in type(error).__mro__:
        if ancestor in _STATUS:
            return _STATUS[ancestor]
    return None


def problem_document(status: int, detail: str, title: str | None = None) -> dict[str, object]:
    """RFC 9457 problem details."""
    return {
        "type": "about:blank",
        "title": title or _TITLES.get(status, "Error"),
        "status": status,
        "detail": detail,
    }


def problem(status: int, detail: str, headers: Sequence[Header] = ()) -> Answer:
    """An answer that carries a problem document, with `headers` beside those of its status."""
    headers = list(headers)
    if status == 503:
        headers.append(("Retry-After", "1"))
    if status == 401:
        headers.append(("WWW-Authenticate", 'Bearer realm="chengtu"'))
    return Answer(orjson.dumps(problem_document(status, detail)), PROBLEM, status=status, headers=headers)
