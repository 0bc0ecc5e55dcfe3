"""Documents of remote services, read so that nothing in them can reach out, run or grow."""

from __future__ import annotations

from typing import Any

import orjson
from lxml import etree

from providers.outgoing import Answer, RemoteUnavailable

_SHOWN = 200  # characters of a remote's own words in a message of ours


def json_object(answer: Answer, name: str) -> dict[str, Any]:
    """The JSON object of an answer. Raises RemoteUnavailable where it is none."""
    try:
        document = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        raise RemoteUnavailable(f"{name} answers something that is not JSON") from None
    if not isinstance(document, dict):
        raise RemoteUnavailable(f"{name} answers JSON that is no object")
    return document


def xml_root(body: bytes, name: str) -> etree._Element:
    """The root of an XML document without a DTD, so without entities; nothing is fetched. Raises RemoteUnavailable."""
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(body, parser)
    except (etree.XMLSyntaxError, ValueError):
        raise RemoteUnavailable(f"{name} answers something that is not XML") from None
    if root.getroottree().docinfo.internalDTD is not None:
        raise RemoteUnavailable(f"{name} answers XML with a document type, which is not read")
    return root


def shown(text: Any) -> str:
    """A remote's own words for a message: one line, printable, short."""
    words = " ".join(str(text or "").split())
    return "".join(letter for letter in words if letter.isprintable())[:_SHOWN]


def text_of(value: Any) -> str:
    """A text from a metadata document; "" for anything else. At most 10,000 characters."""
    return value.strip()[:10_000] if isinstance(value, str) else ""


def local_name(element: etree._Element) -> str:
    """The name of an element without its namespace."""
    return etree.QName(element).localname if isinstance(element.tag, str) else ""
