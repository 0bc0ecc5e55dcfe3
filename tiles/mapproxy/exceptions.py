"""Refusals of map requests, and how each protocol family writes them down."""

from __future__ import annotations

from enum import Enum
from html import escape


class Protocol(Enum):
    """The families of answers to a map request."""

    WMS_111 = "WMS 1.1.1"
    WMS_130 = "WMS 1.3.0"
    WMTS = "WMTS 1.0.0"
    TMS = "TMS 1.0.0"
    KML = "KML 2.2"


class MapRequestRefused(Exception):
    """A request that is not passed on. `code` is the protocol's exception code, `locator` the parameter at fault.

    `retry_after` is in seconds, for a request that may be asked again then.
    """

    def __init__(
        self,
        message: str,
        code: str = "",
        locator: str = "",
        status: int = 400,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.locator = locator
        self.status = status
        self.retry_after = retry_after


def render_exception(protocol: Protocol, error: MapRequestRefused) -> tuple[str, bytes]:
    """(media type, document): ServiceExceptionReport, ows:ExceptionReport, TileMapServerError, or plain text for KML."""
    message = escape("".join(letter for letter in str(error) if letter >= " "))
    code, locator = escape(error.code), escape(error.locator)
    if protocol is Protocol.KML:
        return "text/plain; charset=utf-8", f"{error}\n".encode("utf-8", "replace")
    if protocol is Protocol.WMTS:
        place = f' locator="{locator}"' if locator else ""
        document = (
            '<ows:ExceptionReport xmlns:ows="http://www.opengis.net/ows/1.1" version="1.0.0" xml:lang="en">'
            f'<ows:Exception exceptionCode="{code or "NoApplicableCode"}"{place}>'
            f"<ows:ExceptionText>{message}</ows:ExceptionText></ows:Exception></ows:ExceptionReport>"
        )
        media_type = "text/xml; charset=utf-8"
    elif protocol is Protocol.TMS:
        document = f"<TileMapServerError><Message>{message}</Message></TileMapServerError>"
        media_type = "text/xml; charset=utf-8"
    else:
        named = f' code="{code}"' if code else ""
        space = ' xmlns="http://www.opengis.net/ogc"' if protocol is Protocol.WMS_130 else ""
        version = "1.3.0" if protocol is Protocol.WMS_130 else "1.1.1"
        document = (
            f'<ServiceExceptionReport version="{version}"{space}>'
            f"<ServiceException{named}>{message}</ServiceException></ServiceExceptionReport>"
        )
        old = "application/vnd.ogc.se_xml"
        media_type = "text/xml; charset=utf-8" if protocol is Protocol.WMS_130 else old
    return media_type, b'<?xml version="1.0" encoding="UTF-8"?>\n' + document.encode("utf-8", "replace")
