"""GetFeature and GetPropertyValue (09-025r2 clauses 10 and 11)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

import orjson
from flask import Response

from providers.features.cursors import cursor_mark, encode_cursor
from providers.formatters.gml import gml_id
from providers.formatters.registry import ITEM_FORMATS, ItemFormat
from providers.formatters.xml_text import escaped
from server.http.answer import Answer, not_modified
from server.http.context import respond
from server.http.features import state_etag, timestamp
from server.http.wfs.errors import NOT_FOUND, WfsError, invalid
from server.http.wfs.feature_types import Service
from server.http.wfs.formats import (
    GEOJSON,
    GML,
    GML_TYPE,
    chosen_format,
    geojson_bodies,
    geojson_system,
    gml_elements,
    media_type_of,
    registered_chunks,
)
from server.http.wfs.names import GML as GML_NAMESPACE
from server.http.wfs.names import PREFIX, WFS, XSI
from server.http.wfs.query import FeatureQuery, property_name, read_query
from server.http.wfs.reading import Reading
from server.http.wfs.spool import respond_with, spooled

_WFS_SCHEMA: Final = "http://schemas.opengis.net/wfs/2.0/wfs.xsd"
_GML_SCHEMA: Final = "http://schemas.opengis.net/gml/3.2.1/gml.xsd"
_DECLARATION: Final = '<?xml version="1.0" encoding="UTF-8"?>\n'
_UNKNOWN: Final = "unknown"


def get_feature(service: Service) -> Response:
    """GetFeature. Raises WfsError and what a store raises."""
    form = chosen_format(service)
    query = read_query(service, hits_only=_hits_only(service))
    answer = _answer(service, query, media_type_of(form))
    if answer.etag is not None and not_modified(service.here.environ, answer.etag):
        return respond(answer)
    if query.items.hits_only and form not in (GML, GEOJSON):
        raise invalid(
            "outputFormat", form, f"{GML_TYPE} or application/json where only the number is asked for"
        )
    reading = Reading(query, service.here.services.heavy)
    if query.by_id:
        return _by_id(service, query, reading, form, answer)
    if form == GML:
        members = _members(gml_elements(service, query, one) for one in reading.slices())
        return _collection(service, query, reading, answer, "FeatureCollection", members)
    return (
        _geojson(service, query, reading, answer)
        if form == GEOJSON
        else _registered(service, query, reading, answer, ITEM_FORMATS[form])
    )


def _registered(
    service: Service, query: FeatureQuery, reading: Reading, answer: Answer, form: ItemFormat
) -> Response:
    """A format of the registry."""
    answer.compressible = form.compressible
    answer.headers.append(_file_name(query, form.ending))
    file = spooled(registered_chunks(service, query, reading, form))
    answer.headers += _counts(reading)
    return respond_with(service.here, answer, b"", file, b"")


def _hits_only(service: Service) -> bool:
    wanted = service.parameters.get("resultType") or "results"
    if wanted.lower() not in ("hits", "results"):
        raise invalid("resultType", wanted, "hits, results")
    return wanted.lower() == "hits"


def _answer(service: Service, query: FeatureQuery, media_type: str) -> Answer:
    """An answer without a body, with its validator where the request was a GET."""
    asked = query.kind.asked
    etag = None
    if service.here.environ["REQUEST_METHOD"] in ("GET", "HEAD"):
        values = repr(sorted(service.parameters.values.items()))
        etag = state_etag(asked.collection, asked.source.change(), asked.decision, service.url, values)
    return Answer(b"", media_type, etag=etag, private=asked.private or etag is None)


def _counts(reading: Reading) -> list[tuple[str, str]]:
    headers = [("OGC-NumberReturned", str(reading.returned))]
    if reading.matched is not None:
        headers.append(("OGC-NumberMatched", str(reading.matched)))
    return headers


def _file_name(query: FeatureQuery, ending: str) -> tuple[str, str]:
    return "Content-Disposition", f'attachment; filename="{query.kind.collection.id}.{ending}"'


# --- GML -----------------------------------------------------------------------------------------------------------------


def _members(slices: Iterable[Iterator[bytes]]) -> Iterator[bytes]:
    for elements in slices:
        inside = b"</wfs:member>\n<wfs:member>".join(elements)
        if inside:
            yield b"<wfs:member>" + inside + b"</wfs:member>\n"


def _collection(
    service: Service,
    query: FeatureQuery,
    reading: Reading,
    answer: Answer,
    name: str,
    members: Iterator[bytes],
) -> Response:
    """A wfs:FeatureCollection or wfs:ValueCollection: its members are written first, then its head."""
    file = spooled(members)
    attributes = {
        "timeStamp": timestamp(),
        "numberMatched": _UNKNOWN if reading.matched is None else str(reading.matched),
        "numberReturned": str(reading.returned),
        **_page_links(service, query, reading),
    }
    text = "".join(f' {key}="{escaped(value)}"' for key, value in attributes.items())
    head = f"{_DECLARATION}<wfs:{name} {_namespaces(service, query)}{text}>\n"
    return respond_with(service.here, answer, head.encode(), file, f"</wfs:{name}>\n".encode())


def _namespaces(service: Service, query: FeatureQuery) -> str:
    describe = f"{service.url}?SERVICE=WFS&VERSION=2.0.0&REQUEST=DescribeFeatureType&TYPENAMES={PREFIX}:{query.kind.name}"
    locations = f"{WFS} {_WFS_SCHEMA} {GML_NAMESPACE} {_GML_SCHEMA} {service.namespace} {describe}"
    names = {"wfs": WFS, "gml": GML_NAMESPACE, PREFIX: service.namespace, "xsi": XSI}
    bound = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in names.items())
    return f'{bound} xsi:schemaLocation="{escaped(locations)}"'


def _page_links(service: Service, query: FeatureQuery, reading: Reading) -> dict[str, str]:
    """`next` and `previous`; `next` carries a cursor beside its index, so that it costs the same on every page."""
    parameters, items = service.parameters, query.items
    count = str(items.limit)
    links: dict[str, str | None] = {}
    if items.hits_only:
        more = bool(reading.matched)
        start = {"resulttype": None, "startindex": "0", "count": count, "cursor": None}
        links["next"] = parameters.link(service.url, start) if more and not parameters.get("count") else None
        return {rel: url for rel, url in links.items() if url is not None}
    following = items.offset + reading.returned
    if reading.cursor is not None:
        token = encode_cursor(query.kind.asked.generation, reading.cursor, cursor_mark(items))
        links["next"] = parameters.link(
            service.url, {"startindex": str(following), "count": count, "cursor": token}
        )
    elif query.ids is not None and reading.matched is not None and following < reading.matched:
        links["next"] = parameters.link(service.url, {"startindex": str(following), "count": count})
    if items.offset:
        before = {"startindex": str(max(0, items.offset - items.limit)), "count": count, "cursor": None}
        if items.offset < items.limit:
            before["count"] = str(items.offset)
        links["previous"] = parameters.link(service.url, before)
    return {rel: url for rel, url in links.items() if url is not None}


def _by_id(service: Service, query: FeatureQuery, reading: Reading, form: str, answer: Answer) -> Response:
    """GetFeatureById: the feature itself, or NotFound."""
    if not reading.matched:
        identifier = service.parameters.get("id") or ""
        raise WfsError(NOT_FOUND, f"there is no feature {identifier[:200]!r}", "id")
    if form == GML:
        (element,) = (one for columns in reading.slices() for one in gml_elements(service, query, columns))
        start, _, rest = element.partition(b" ")
        answer.body = b"".join(
            (_DECLARATION.encode(), start, b" ", _namespaces(service, query).encode(), b" ", rest)
        )
    elif form == GEOJSON:
        (answer.body,) = _geojson_bodies(query, reading)
    else:
        answer.body = b"".join(registered_chunks(service, query, reading, ITEM_FORMATS[form]))
    return respond(answer)


# --- GeoJSON -------------------------------------------------------------------------------------------------------------


def _geojson_bodies(query: FeatureQuery, reading: Reading) -> Iterator[bytes]:
    target = geojson_system(query).system
    for columns in reading.slices():
        ids = [gml_id(query.kind.name, feature_id) for feature_id in columns.ids]
        yield from geojson_bodies(query, columns, target, ids)


def _geojson(service: Service, query: FeatureQuery, reading: Reading, answer: Answer) -> Response:
    def joined() -> Iterator[bytes]:
        between = b""
        for body in _geojson_bodies(query, reading):
            yield between + body
            between = b",\n"

    file = spooled(joined())
    links = _page_links(service, query, reading)
    head = {
        "type": "FeatureCollection",
        "timeStamp": timestamp(),
        "numberReturned": reading.returned,
        **({} if reading.matched is None else {"numberMatched": reading.matched}),
        **({"crs": {"type": "name", "properties": {"name": query.system.name}}} if query.srs_asked else {}),
        "links": [
            {"rel": rel if rel == "next" else "prev", "type": answer.content_type, "href": url}
            for rel, url in links.items()
        ],
    }
    return respond_with(service.here, answer, orjson.dumps(head)[:-1] + b',"features":[', file, b"]}\n")


# --- values --------------------------------------------------------------------------------------------------------------


def get_property_value(service: Service) -> Response:
    """GetPropertyValue: one property of each feature, or its `@gml:id`; features without a value have no member."""
    if chosen_format(service) != GML:
        raise invalid("outputFormat", service.parameters.get("outputFormat") or "", GML_TYPE)
    reference = service.parameters.needed("valueReference", "a property, or @gml:id")
    query = read_query(service, hits_only=_hits_only(service))
    name = property_name(reference)
    is_id = name == "id" and "gml:id" in reference
    steps = reference.strip("/").split("/")
    field = query.names.by_element.get(name)
    is_simple = len(steps) <= 2 and not any(mark in reference for mark in "[]()*|")
    if not is_simple or not (is_id or field is not None or name == query.names.geometry):
        raise invalid(
            "valueReference", reference, f"{', '.join(query.names.all_names)}, @gml:id; without conditions"
        )
    if len(steps) == 2 and property_name(steps[0]) != query.kind.name:
        raise invalid(
            "valueReference", reference, f"{PREFIX}:{query.kind.name}/ before the property, or nothing"
        )
    shown = () if field is None else (field,)
    query = replace(query, fields=shown, with_geometry=name == query.names.geometry and field is None)
    answer = _answer(service, query, GML_TYPE)
    if answer.etag is not None and not_modified(service.here.environ, answer.etag):
        return respond(answer)
    reading = Reading(query, service.here.services.heavy)
    values = _values(service, query, reading, is_id=is_id)
    return _collection(service, query, reading, answer, "ValueCollection", values)


def _values(service: Service, query: FeatureQuery, reading: Reading, *, is_id: bool) -> Iterator[bytes]:
    for columns in reading.slices():
        if is_id:
            texts = [gml_id(query.kind.name, feature_id) for feature_id in columns.ids]
            yield "".join(f"<wfs:member>{text}</wfs:member>\n" for text in texts).encode()
            continue
        for element in gml_elements(service, query, columns):
            inside = element[element.index(b">") + 1 : element.rindex(b"</")]
            if inside:
                yield b"<wfs:member>" + inside + b"</wfs:member>\n"
