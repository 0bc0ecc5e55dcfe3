"""Exceptions of WFS (OGC 09-025r2 clause 7.5 and annex D) and of OWS Common, and the document they are told in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from lxml import etree
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from providers import errors as provider_errors
from server.errors import IdentityError, RegistryUnavailable
from server.http import errors as http_errors
from server.http.answer import Answer, Header
from server.http.health import log_defect
from server.http.wfs.names import OWS, legal_text

MEDIA_TYPE: Final = "text/xml; charset=utf-8"
_XML_LANG: Final = "{http://www.w3.org/XML/1998/namespace}lang"

INVALID_VALUE: Final = "InvalidParameterValue"
MISSING_VALUE: Final = "MissingParameterValue"
NOT_SUPPORTED: Final = "OperationNotSupported"
NO_OPTION: Final = "OptionNotSupported"
NO_VERSION: Final = "VersionNegotiationFailed"
PARSING_FAILED: Final = "OperationParsingFailed"
PROCESSING_FAILED: Final = "OperationProcessingFailed"
CACHE_EXPIRED: Final = "ResponseCacheExpired"
NOT_FOUND: Final = "NotFound"
NO_CODE: Final = "NoApplicableCode"

# 09-025r2 table D.2; what is not here is 400.
_STATUS: Final = {PROCESSING_FAILED: 403, CACHE_EXPIRED: 403, NOT_FOUND: 404, NO_CODE: 500}


class WfsError(http_errors.RequestError):
    """A request that WFS refuses: its exception code, and the parameter or operation it is about."""

    def __init__(self, code: str, message: str, locator: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.locator = locator


def invalid(locator: str, value: str, allowed: str) -> WfsError:
    """The refusal of a parameter's value."""
    shown = value if len(value) <= 200 else value[:200] + "…"
    return WfsError(INVALID_VALUE, f"{locator} is {shown!r}; allowed: {allowed}", locator)


def missing(locator: str, allowed: str) -> WfsError:
    """The refusal of a request that lacks a parameter."""
    return WfsError(MISSING_VALUE, f"the parameter {locator} is missing; allowed: {allowed}", locator)


_CODES: Final[tuple[tuple[type[Exception], str], ...]] = (
    (provider_errors.StaleCursor, CACHE_EXPIRED),
    (provider_errors.InvalidParameter, INVALID_VALUE),
    (provider_errors.UnknownReferenceSystem, INVALID_VALUE),
    (provider_errors.UnsupportedQuery, NO_OPTION),
    (provider_errors.AnswerTooLarge, PROCESSING_FAILED),
    (provider_errors.InvalidFeature, "InvalidValue"),
    (provider_errors.ItemNotFound, INVALID_VALUE),
    (provider_errors.EditError, PROCESSING_FAILED),
    (http_errors.InvalidParameter, INVALID_VALUE),
    (http_errors.NotFound, NOT_FOUND),
    (http_errors.MethodNotAllowed, NOT_SUPPORTED),
)


def _code_and_status(error: Exception) -> tuple[str, int]:
    if isinstance(error, WfsError):
        return error.code, _STATUS.get(error.code, 400)
    if isinstance(error, HTTPException) and error.code is not None and error.code < 500:
        return (NOT_SUPPORTED if isinstance(error, MethodNotAllowed) else NO_CODE), error.code
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code, _STATUS.get(code, 400)
    return NO_CODE, http_errors.status_of(error) or 500


def _locator(error: Exception) -> str:
    if isinstance(error, WfsError):
        return error.locator
    name = getattr(error, "name", "")
    known = isinstance(error, provider_errors.InvalidParameter | http_errors.InvalidParameter)
    return name if known and isinstance(name, str) else ""


def exception_answer(error: Exception) -> Answer:
    """Any error as an ows:ExceptionReport; a defect is logged, and nothing of it is told."""
    code, status = _code_and_status(error)
    text = str(error.description) if isinstance(error, HTTPException) else str(error)
    if status == 500:
        log_defect(error)
        text = "the server could not answer this request; its operators find the reason in the log"
    headers = [*http_errors.headers_of(error), *_headers_of(error, status)]
    return Answer(
        exception_report([(code, _locator(error), text)]), MEDIA_TYPE, status=status, headers=headers
    )


def _headers_of(error: Exception, status: int) -> list[Header]:
    """What a status demands beside its text (RFC 9110, 10.2.3, 11.6.1 and 15.5.6)."""
    if isinstance(error, MethodNotAllowed):
        return [("Allow", ", ".join(sorted(error.valid_methods or ())))]
    if status == 401 and isinstance(error, IdentityError | http_errors.NotAuthenticated):
        return [("WWW-Authenticate", 'Bearer realm="chengtu"')]
    if status == 503 and isinstance(error, RegistryUnavailable | http_errors.Overloaded):
        return [("Retry-After", "1")]
    return []


def exception_report(exceptions: Sequence[tuple[str, str, str]]) -> bytes:
    """An ows:ExceptionReport of (code, locator, text)."""
    root = etree.Element(f"{{{OWS}}}ExceptionReport", {"version": "2.0.0", _XML_LANG: "en"}, {"ows": OWS})
    for code, locator, text in exceptions:
        attributes = {"exceptionCode": code, **({"locator": legal_text(locator[:200])} if locator else {})}
        element = etree.SubElement(root, f"{{{OWS}}}Exception", attributes)
        etree.SubElement(element, f"{{{OWS}}}ExceptionText").text = legal_text(text)
    return bytes(etree.tostring(root, xml_declaration=True, encoding="UTF-8"))
