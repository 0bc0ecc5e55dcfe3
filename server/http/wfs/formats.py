"""The output formats of GetFeature: GML 3.2, GeoJSON, and those of `providers.formatters.registry`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from providers.features.crs import ReferenceSystem, reference_system
from providers.features.query import CRS84
from providers.features.source import FeatureColumns
from providers.features.store.encoding import encode_features, geometries_in
from providers.formatters.columns import column_of
from providers.formatters.gml import GmlReference, gml_members
from providers.formatters.registry import ITEM_FORMATS, Batch, ItemFormat, WritingContext
from server.http.features import timestamp
from server.http.wfs.errors import invalid
from server.http.wfs.feature_types import NamedSystem, Service, named_system
from server.http.wfs.query import FeatureQuery
from server.http.wfs.reading import Reading

GML_TYPE: Final = "application/gml+xml; version=3.2"
GEOJSON_TYPE: Final = "application/geo+json"
GML: Final = "gml"
GEOJSON: Final = "geojson"

_GML_NAMES: Final = (
    GML_TYPE,
    "text/xml; subtype=gml/3.2",
    "text/xml; subtype=gml/3.2.1",
    "application/gml+xml",
    "gml32",
    "gml3.2",
    "text/xml",
    "application/xml",
)
_GEOJSON_NAMES: Final = (GEOJSON_TYPE, "application/json", "geojson", "json")
# What clients of other servers call them.
_OTHER_NAMES: Final = {"shape-zip": "shapefile", "excel": "csv"}


def _compared(name: str) -> str:
    """A name as it is compared: a + that was not escaped in a URL has become a space."""
    return name.replace(" ", "").replace("+", "").replace('"', "").lower()


def _registered() -> dict[str, ItemFormat]:
    """The other formats by name, in their order; GML of the registry is that of OGC API - Features."""
    return {name: form for name, form in ITEM_FORMATS.items() if form.items and name != GML}


def format_names() -> list[str]:
    """What the capabilities list: media types."""
    return [
        GML_TYPE,
        "text/xml; subtype=gml/3.2",
        "application/json",
        GEOJSON_TYPE,
        *(form.media_type.partition(";")[0] for form in _registered().values()),
    ]


def chosen_format(service: Service) -> str:
    """The name of the format that outputFormat asks for, GML where it is not given. Raises WfsError."""
    wanted = service.parameters.get("outputFormat")
    if wanted is None:
        return GML
    key = _compared(wanted)
    names = {_compared(name): GML for name in _GML_NAMES} | {
        _compared(name): GEOJSON for name in _GEOJSON_NAMES
    }
    for name, form in _registered().items():
        base = form.media_type.partition(";")[0]
        names |= {_compared(other): name for other in (name, form.media_type, base, *form.accepts)}
    names |= {other: name for other, name in _OTHER_NAMES.items() if name in _registered()}
    if key not in names:
        raise invalid("outputFormat", wanted, ", ".join(format_names()))
    return names[key]


def media_type_of(form: str) -> str:
    """The Content-Type of a format."""
    if form == GML:
        return GML_TYPE
    return GEOJSON_TYPE if form == GEOJSON else ITEM_FORMATS[form].media_type


def gml_elements(service: Service, query: FeatureQuery, columns: FeatureColumns) -> Iterator[bytes]:
    """A feature element a feature."""
    kind = query.kind
    reference = GmlReference(query.system.name, kind.asked.source.storage, query.system.system)
    schema = query.names.part(query.fields, with_geometry=query.with_geometry)
    return gml_members(columns, schema, query.names.namespace(service.namespace, kind.name), reference)


def geojson_system(query: FeatureQuery) -> NamedSystem:
    """The CRS of GeoJSON: CRS84 where none is asked for, and x = east in any (RFC 7946, clause 4)."""
    if not query.srs_asked:
        return named_system(CRS84, "srsName")
    asked = query.system
    return NamedSystem(asked.name, replace(asked.system, swap=False), in_gis_order=True)


def geojson_bodies(
    query: FeatureQuery, columns: FeatureColumns, target: ReferenceSystem, ids: Sequence[str]
) -> list[bytes]:
    """GeoJSON Feature bytes."""
    geometries = None
    if query.with_geometry:
        geometries = geometries_in(columns.geometries, query.kind.asked.source.storage, target)
    values = [column_of(columns, field.name) for field in query.fields]
    return encode_features(ids, geometries, [field.name for field in query.fields], values)


def registered_chunks(
    service: Service, query: FeatureQuery, reading: Reading, form: ItemFormat
) -> Iterator[bytes]:
    """The features by a writer of the registry, which takes them in the CRS asked for, CRS84 where there is none."""
    asked = query.kind.asked
    uri = query.system.uri if query.srs_asked else CRS84
    items = replace(
        query.items,
        crs=uri,
        skip_geometry=not query.with_geometry,
        properties=tuple(f.name for f in query.fields),
    )
    context = WritingContext(
        name=query.kind.collection.id,
        title=query.kind.collection.title(service.here.language),
        url=asked.url,
        schema=asked.source.schema,
        storage=asked.source.storage,
        query=items,
        fields=query.fields,
        timestamp=timestamp(),
        number_matched=reading.matched,
        item=query.by_id,
    )
    target = reference_system(uri)

    def batches() -> Iterator[Batch]:
        for columns in reading.slices():
            yield (
                columns if form.batches == "columns" else geojson_bodies(query, columns, target, columns.ids)
            )

    return form.load()(context, batches())
