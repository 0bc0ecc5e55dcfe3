"""What can go wrong with a request, the one table from exception to HTTP status, and the problem+json renderer.

RequestError
├── InvalidParameter      400  a parameter's value, or a parameter nobody knows
├── NotAuthenticated      401  a token that is wrong, or none where one is needed
├── Forbidden             403  who asks may see the resource, and not do this with it
├── NotFound              404  no such resource, or one that is not this client's to see
├── MethodNotAllowed      405
├── NotAcceptable         406  a format that is not offered
├── RequestTimeout        408  the body did not arrive in time
├── PreconditionFailed    412  If-Match or If-None-Match does not hold
├── PayloadTooLarge       413
├── UnsupportedMediaType  415  a body of a type that is not taken here
├── RangeNotSatisfiable   416
├── PreconditionRequired  428  the collection is only edited with If-Match
└── Overloaded            503  a declared limit; Retry-After says when to come back

Errors of the rooms below (`providers.errors`, `tiles.errors`, `server.errors`) are found in the same table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import orjson

from providers import errors as provider_errors
from server.http.answer import Answer, Header


class RequestError(Exception):
    """A request that cannot be answered as asked. The message says what was asked, found, allowed, and what to do.

    `headers` go out with the answer.
    """

    headers: Sequence[Header] = ()

    def __init__(self, message: str, headers: Sequence[Header] = ()) -> None:
        super().__init__(message)
        self.headers = headers


class InvalidParameter(RequestError):
    """A parameter is unknown, malformed or out of range; its name, value and what is allowed, where there is one."""

    def __init__(self, message: str, name: str = "", value: str = "", allowed: str = "") -> None:
        super().__init__(message)
        self.name = name
        self.value = value
        self.allowed = allowed


class NotAuthenticated(RequestError):
    """The Authorization header was given and is not valid."""


class Forbidden(RequestError):
    """Who asks may see this resource, and may not do what was asked with it."""


class NotFound(RequestError):
    """There is no such resource in this view, as far as this client may know."""


class MethodNotAllowed(RequestError):
    """The resource does not know this method."""


class NotAcceptable(RequestError):
    """The format asked for is not offered."""


class PreconditionFailed(RequestError):
    """The resource is not in the state that If-Match or If-None-Match asks for."""


class PreconditionRequired(RequestError):
    """An edit without If-Match, in a collection that demands it."""


class UnsupportedMediaType(RequestError):
    """A request body of a media type that is not taken here."""


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
    Forbidden: 403,
    NotFound: 404,
    MethodNotAllowed: 405,
    NotAcceptable: 406,
    RequestTimeout: 408,
    PreconditionFailed: 412,
    PayloadTooLarge: 413,
    UnsupportedMediaType: 415,
    RangeNotSatisfiable: 416,
    PreconditionRequired: 428,
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
    428: "Precondition required",
    500: "Internal server error",
    503: "Service unavailable",
}
PROBLEM = "application/problem+json"
DEFECT = "the server could not answer this request; its operators find the reason in the log"


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


def members_of(error: BaseException, given: Mapping[str, str] = MappingProxyType({})) -> dict[str, object]:
    """What a problem document says of an error beside its text (RFC 9457, 3.2). `given` are the parameters of the request.

    `parameter`, `value` and `allowed` of a parameter that cannot be used; `errors`, a list of `pointer` (RFC 6901) and `detail`,
    of a feature that does not fit; `edit`, the place in its batch of an edit that cannot be made.
    """
    members: dict[str, object] = {}
    if isinstance(error, InvalidParameter | provider_errors.InvalidParameter) and error.name:
        members = {"parameter": error.name[:200], "value": _shown(error.value), "allowed": error.allowed}
    if isinstance(error, provider_errors.UnsupportedQuery) and error.name:
        value = _shown(given.get(error.name, ""))
        members = {"parameter": error.name[:200], "value": value, "allowed": error.allowed}
    if isinstance(error, provider_errors.InvalidFeature):
        members["errors"] = [{"pointer": pointer, "detail": fault} for pointer, fault in error.faults]
    if (
        isinstance(error, provider_errors.EditError | provider_errors.ItemNotFound)
        and error.index is not None
    ):
        members["edit"] = error.index
    return members


def _shown(value: str) -> str:
    return value if len(value) <= 200 else value[:200] + "…"


def headers_of(error: BaseException) -> list[Header]:
    """The headers an error brings with it: its own, and when a source that does not answer may be asked again."""
    if isinstance(error, RequestError):
        return list(error.headers)
    wait = (
        getattr(error, "retry_after", None) if isinstance(error, provider_errors.SourceUnavailable) else None
    )
    return [] if wait is None else [("Retry-After", str(max(1, math.ceil(wait))))]


def problem_document(
    status: int, detail: str, title: str | None = None, members: Mapping[str, object] = MappingProxyType({})
) -> dict[str, object]:
    """RFC 9457 problem details; `members` stand beside its own."""
    return {
        "type": "about:blank",
        "title": title or _TITLES.get(status, "Error"),
        "status": status,
        "detail": detail,
        **members,
    }


def problem(
    status: int,
    detail: str,
    headers: Sequence[Header] = (),
    members: Mapping[str, object] = MappingProxyType({}),
) -> Answer:
    """An answer that carries a problem document, with `headers` beside those of its status."""
    headers = list(headers)
    if status == 503 and not any(name == "Retry-After" for name, _ in headers):
        headers.append(("Retry-After", "1"))
    if status == 401:
        headers.append(("WWW-Authenticate", 'Bearer realm="chengtu"'))
    document = problem_document(status, detail, members=members)
    return Answer(orjson.dumps(document), PROBLEM, status=status, headers=headers)
