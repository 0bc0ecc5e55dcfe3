"""XML of styles: read without entities and within bounds, looked at by local names, so that all versions are read alike."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from tiles.errors import StyleError

_MOST_ELEMENTS = 50_000
_MOST_DEPTH = 60


def parse_xml(document: str) -> Element:
    """The root element. Raises StyleError for what is no XML, or has a DTD, entities, or too many or too deep elements."""
    try:
        root: Element = fromstring(document.encode(), forbid_dtd=True)
    except DefusedXmlException as error:
        raise StyleError("the style has a DTD or entities, which are not read") from error
    except (ParseError, ValueError, LookupError, UnicodeError) as error:
        raise StyleError(f"the style is not XML: {error}") from error
    count = 0
    waiting = [(root, 1)]
    while waiting:
        element, depth = waiting.pop()
        count += 1
        if count > _MOST_ELEMENTS or depth > _MOST_DEPTH:
            raise StyleError(
                f"the style has more than {_MOST_ELEMENTS} elements, or nests them deeper than {_MOST_DEPTH}"
            )
        waiting += [(child, depth + 1) for child in element]
    return root


def local(element: Element) -> str:
    """The name without its namespace; "" for comments."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def children(element: Element | None, *names: str) -> Iterator[Element]:
    """The children of these local names, all without any."""
    for child in element if element is not None else ():
        if local(child) and (not names or local(child) in names):
            yield child


def child(element: Element | None, *path: str) -> Element | None:
    """The first child along a path of local names."""
    for name in path:
        element = next(children(element, name), None)
    return element


def text(element: Element | None, *path: str) -> str:
    """The text of an element along a path, without the space around it; "" where there is none."""
    found = child(element, *path) if path else element
    return (found.text or "").strip() if found is not None else ""


def number(content: str, what: str) -> float:
    """A finite number. Raises StyleError."""
    try:
        value = float(content)
    except ValueError as error:
        raise StyleError(f"{what} is {content[:40]!r}, which is not a number") from error
    if not -1e15 < value < 1e15:
        raise StyleError(f"{what} is {content[:40]!r}, which is out of range")
    return value
