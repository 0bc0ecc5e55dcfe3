"""WFS requests in XML, read into the parameters of their KVP form (09-025r2 table 2 correlates the two)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from lxml import etree

from server.http.wfs.errors import NO_OPTION, NOT_SUPPORTED, PARSING_FAILED, WfsError
from server.http.wfs.names import FES, OWS, WFS
from server.http.wfs.parameters import SERVICE, Parameters

type Element = Any  # lxml's elements are not declared as a type
type Values = dict[str, str]

OPERATIONS: Final = (
    "GetCapabilities",
    "DescribeFeatureType",
    "GetFeature",
    "GetPropertyValue",
    "ListStoredQueries",
    "DescribeStoredQueries",
)
"""The operations of this server."""

OTHER_OPERATIONS: Final = (
    "GetFeatureWithLock",
    "LockFeature",
    "CreateStoredQuery",
    "DropStoredQuery",
    "GetGmlObject",
    "Transaction",
)
"""Operations of the standard, or of an older one, that it does not have."""


def parse_document(body: bytes) -> Element:
    """The root of a request, read without DTD, entities and network. Raises WfsError."""
    from providers.features.cql2.fes import read_xml  # the parsers take a third of a second to load
    from providers.features.cql2.limits import Refusal

    try:
        return read_xml(body)
    except Refusal as refusal:
        raise WfsError(
            PARSING_FAILED, f"the body is {refusal.found!r}; allowed: {refusal.allowed}", "request"
        ) from None


def read_request(root: Element) -> Parameters:
    """The parameters of a request element, `request` among them. Raises WfsError."""
    name = etree.QName(root)
    if name.namespace == WFS and name.localname in _READERS:
        values: Values = {"service": SERVICE, "request": name.localname, **_attributes(root, _COMMON)}
        _READERS[name.localname](root, values)
        return Parameters(values)
    if name.localname in OTHER_OPERATIONS:
        raise WfsError(
            NOT_SUPPORTED,
            f"there is no {name.localname} here; there are: {', '.join(OPERATIONS)}",
            name.localname,
        )
    raise WfsError(
        PARSING_FAILED,
        f"the root element is {str(root.tag)[:200]!r}; allowed: {', '.join(_READERS)} of the namespace {WFS}",
        "request",
    )


_COMMON: Final = ("service", "version", "outputFormat", "startIndex", "count", "resultType", "resolve", "resolveDepth",
                  "resolveTimeout", "valueReference", "resolvePath", "handle")  # fmt: skip


def _attributes(element: Element, allowed: tuple[str, ...]) -> Values:
    """The attributes without a namespace, by their names in lower case. Raises WfsError for one that is not known."""
    values: Values = {}
    for name, value in element.attrib.items():
        if name.startswith("{"):
            continue  # xsi:schemaLocation and the like
        if name not in allowed:
            raise _unknown(element, f"the attribute {name!r}", allowed)
        values[name.lower()] = value
    return values


def _unknown(element: Element, found: str, allowed: tuple[str, ...]) -> WfsError:
    where = etree.QName(element).localname
    return WfsError(PARSING_FAILED, f"{found[:200]} in {where}; allowed: {', '.join(allowed)}", where)


def _children(element: Element, *allowed: str) -> list[tuple[str, Element]]:
    """Child elements by their local names. Raises WfsError for one that is not known."""
    found = []
    for child in element.iterchildren(tag=etree.Element):
        name = etree.QName(child)
        if name.localname not in allowed or name.namespace not in (WFS, OWS, FES):
            raise _unknown(element, f"the element {str(child.tag)!r}", allowed)
        found.append((str(name.localname), child))
    return found


def _text(element: Element) -> str:
    return (element.text or "").strip()


def _bind(element: Element, values: Values) -> None:
    """The prefixes that are in force at an element, as NAMESPACES."""
    bound = ",".join(
        f"xmlns({prefix or ''},{uri})" for prefix, uri in element.nsmap.items() if "(" not in uri
    )
    if bound:
        values["namespaces"] = bound


def _list(values: Values, name: str, items: list[str]) -> None:
    if items:
        values[name] = ",".join(items)


def _capabilities(root: Element, values: Values) -> None:
    lists: dict[str, list[str]] = {
        "AcceptVersions": [],
        "Sections": [],
        "AcceptFormats": [],
        "AcceptLanguages": [],
    }
    inside = ("Version", "Section", "OutputFormat", "Language")
    for name, child in _children(root, *lists):
        lists[name] += [_text(item) for _, item in _children(child, *inside)]
    for name, items in lists.items():
        _list(values, name.lower(), items)


def _describe(root: Element, values: Values) -> None:
    elements = [child for _, child in _children(root, "TypeName")]
    if elements:
        _bind(elements[0], values)
    _list(values, "typenames", [_text(element) for element in elements])


def _queries(root: Element, values: Values) -> None:
    queries = _children(root, "Query", "StoredQuery")
    if len(queries) > 1:
        raise WfsError(
            NO_OPTION, f"the request has {len(queries)} queries; this server answers one a request", "Query"
        )
    for name, query in queries:
        (_stored_query if name == "StoredQuery" else _query)(query, values)


def _query(query: Element, values: Values) -> None:
    values.update(_attributes(query, ("typeNames", "aliases", "srsName", "featureVersion", "handle")))
    _bind(query, values)
    properties = []
    for name, child in _children(query, "PropertyName", "Filter", "SortBy"):
        if name == "PropertyName":
            properties.append(_text(child))
        elif name == "Filter":
            values["filter"] = etree.tostring(child, encoding="unicode", with_tail=False)
        else:
            _sort(child, values)
    _list(values, "propertyname", properties)


def _sort(element: Element, values: Values) -> None:
    keys = []
    for _, key in _children(element, "SortProperty"):
        parts = {name: _text(part) for name, part in _children(key, "ValueReference", "SortOrder")}
        keys.append(f"{parts.get('ValueReference', '')} {parts.get('SortOrder', 'ASC')}")
    _list(values, "sortby", keys)


def _stored_query(query: Element, values: Values) -> None:
    values["storedquery_id"] = _attributes(query, ("id", "handle")).get("id", "")
    for _, child in _children(query, "Parameter"):
        values[_attributes(child, ("name",)).get("name", "").lower()] = _text(child)


def _stored_ids(root: Element, values: Values) -> None:
    _list(values, "storedquery_id", [_text(child) for _, child in _children(root, "StoredQueryId")])


def _nothing(root: Element, values: Values) -> None:
    _children(root)


_READERS: Final[dict[str, Callable[[Element, Values], None]]] = {
    "GetCapabilities": _capabilities,
    "DescribeFeatureType": _describe,
    "GetFeature": _queries,
    "GetPropertyValue": _queries,
    "ListStoredQueries": _nothing,
    "DescribeStoredQueries": _stored_ids,
}
