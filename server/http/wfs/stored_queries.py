"""Stored queries: GetFeatureById, the one that every WFS has (09-025r2 clause 7.9.3.6)."""

from __future__ import annotations

from typing import Final

from lxml import etree

from server.http.answer import Answer
from server.http.wfs.errors import INVALID_VALUE, MEDIA_TYPE, WfsError
from server.http.wfs.feature_types import Service
from server.http.wfs.names import PREFIX, WFS, XS

GET_FEATURE_BY_ID: Final = "urn:ogc:def:query:OGC-WFS::GetFeatureById"
_SAME: Final = (GET_FEATURE_BY_ID, "http://www.opengis.net/def/query/OGC-WFS/0/GetFeatureById")
"""WFS 2.0.2 knows it by a URI too."""

_TITLE: Final = "The feature with an id"
_LANGUAGE: Final = "urn:ogc:def:queryLanguage:OGC-WFS::WFSQueryExpression"


def is_get_feature_by_id(identifier: str) -> bool:
    """True for GetFeatureById. Raises WfsError for any other stored query."""
    if identifier not in _SAME:
        raise WfsError(
            INVALID_VALUE,
            f"there is no stored query {identifier[:200]!r}; allowed: {GET_FEATURE_BY_ID}",
            "storedquery_id",
        )
    return True


def list_stored_queries(service: Service) -> Answer:
    """ListStoredQueries."""
    root = _root("ListStoredQueriesResponse", service)
    query = etree.SubElement(root, f"{{{WFS}}}StoredQuery", {"id": GET_FEATURE_BY_ID})
    etree.SubElement(query, f"{{{WFS}}}Title").text = _TITLE
    for collection in service.collections():
        returned = etree.SubElement(query, f"{{{WFS}}}ReturnFeatureType")
        returned.text = f"{PREFIX}:{service.type_name(collection)}"
    return _answer(root, service)


def describe_stored_queries(service: Service) -> Answer:
    """DescribeStoredQueries, for those asked for or all."""
    wanted = service.parameters.get("storedquery_id")
    for identifier in (wanted or "").split(","):
        if identifier.strip():
            is_get_feature_by_id(identifier.strip())
    root = _root("DescribeStoredQueriesResponse", service)
    query = etree.SubElement(root, f"{{{WFS}}}StoredQueryDescription", {"id": GET_FEATURE_BY_ID})
    etree.SubElement(query, f"{{{WFS}}}Title").text = _TITLE
    parameter = etree.SubElement(query, f"{{{WFS}}}Parameter", {"name": "id", "type": "xs:string"})
    etree.SubElement(parameter, f"{{{WFS}}}Title").text = "The gml:id of the feature"
    attributes = {"isPrivate": "true", "language": _LANGUAGE, "returnFeatureTypes": ""}
    etree.SubElement(query, f"{{{WFS}}}QueryExpressionText", attributes)
    return _answer(root, service)


def _root(name: str, service: Service) -> etree._Element:
    return etree.Element(f"{{{WFS}}}{name}", nsmap={"wfs": WFS, "xs": XS, PREFIX: service.namespace})


def _answer(root: etree._Element, service: Service) -> Answer:
    body = etree.tostring(root, xml_declaration=True, encoding="UTF-8")
    return Answer(body, MEDIA_TYPE, private=service.here.who.operator)
