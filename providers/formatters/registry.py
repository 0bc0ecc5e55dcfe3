"""The encodings of features beside GeoJSON and HTML: their names, media types, and the functions that write them.

A writer takes batches of features and gives bytes, so one function serves a page of items and the whole of a collection. It
is loaded when the first client asks for its format.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from providers.features.crs import ReferenceSystem
from providers.features.query import ItemQuery
from providers.features.schema import CollectionSchema, FieldDefinition
from providers.features.source import FeatureColumns

type Batch = list[bytes] | FeatureColumns
type Writer = Callable[[WritingContext, Iterator[Batch]], Iterator[bytes]]


@dataclass(frozen=True, slots=True)
class WritingContext:
    """What a writer knows beside the features.

    `name` is the collection's id (layer, file name), `url` the collection's own. `storage` is the CRS of the geometries in
    `FeatureColumns`; `query` says what is wanted of them (`crs`, `properties`, `skip_geometry`), `fields` are the fields to
    write, in order: visible and wanted ones. `links`, `timestamp` and `number_matched` are those of the page; `item` is true
    where one feature alone is asked for, and the answer is that feature and not a collection of one. `has_z`: whether any
    geometry has heights, None where only the features tell.
    """

    name: str
    title: str
    url: str
    schema: CollectionSchema
    storage: ReferenceSystem
    query: ItemQuery
    fields: tuple[FieldDefinition, ...]
    links: Sequence[Mapping[str, Any]] = ()
    timestamp: str = ""
    number_matched: int | None = None
    item: bool = False
    has_z: bool | None = None


@dataclass(frozen=True, slots=True)
class ItemFormat:
    """One encoding.

    `name` is the value of `f`; `media_type` goes out as Content-Type; `accepts` are further media types of Accept, without
    parameters, that mean it. `ending` is that of a file's name, "" where it is shown and not saved. `batches`: whether the
    writer takes GeoJSON Feature bytes in the CRS asked for, or columns in the storage CRS. `writer` is "module:function".
    `items`: whether items and item offer it (every format is offered for downloads).
    """

    name: str
    media_type: str
    ending: str
    batches: Literal["bodies", "columns"]
    writer: str
    accepts: tuple[str, ...] = ()
    compressible: bool = True
    items: bool = True

    def load(self) -> Writer:
        """The function that writes it."""
        module, _, name = self.writer.partition(":")
        found: Writer = getattr(importlib.import_module(module), name)
        return found


_GEOJSON = ItemFormat(
    "geojson", "application/geo+json", "geojson", "bodies", "providers.formatters.geojson:write_geojson"
)
_FORMATS = (
    ItemFormat(
        "jsonfg",
        "application/vnd.ogc.fg+json",
        "fg.json",
        "bodies",
        "providers.formatters.jsonfg:write_jsonfg",
        accepts=("application/fg+json",),
    ),
    ItemFormat(
        "geojsonseq",
        "application/geo+json-seq",
        "geojsons",
        "bodies",
        "providers.formatters.geojson:write_geojsonseq",
    ),
    ItemFormat(
        "geojsonl",
        "application/x-ndjson",
        "geojsonl",
        "bodies",
        "providers.formatters.geojson:write_geojsonl",
        accepts=("application/ndjson", "application/x-geojsonl"),
    ),
    ItemFormat("csv", "text/csv; charset=utf-8", "csv", "columns", "providers.formatters.csv:write_csv"),
    ItemFormat(
        "flatgeobuf",
        "application/flatgeobuf",
        "fgb",
        "columns",
        "providers.formatters.flatgeobuf:write_flatgeobuf",
        accepts=("application/vnd.flatgeobuf",),
        compressible=False,
    ),
    ItemFormat(
        "geoparquet",
        "application/vnd.apache.parquet",
        "parquet",
        "columns",
        "providers.formatters.geoparquet:write_geoparquet",
        accepts=("application/x-parquet",),
        compressible=False,
    ),
    ItemFormat(
        "arrow",
        "application/vnd.apache.arrow.stream",
        "arrows",
        "columns",
        "providers.formatters.arrow_stream:write_arrow_stream",
        compressible=False,
    ),
    ItemFormat(
        "gpkg",
        "application/geopackage+sqlite3",
        "gpkg",
        "columns",
        "providers.formatters.geopackage:write_geopackage",
        accepts=("application/vnd.sqlite3", "application/x-sqlite3"),
        compressible=False,
    ),
    ItemFormat(
        "gml",
        'application/gml+xml; version=3.2; profile="http://www.opengis.net/def/profile/ogc/2.0/gml-sf0"',
        "gml",
        "columns",
        "providers.formatters.gml_collection:write_gml",
    ),
    ItemFormat(
        "kml",
        "application/vnd.google-earth.kml+xml",
        "kml",
        "columns",
        "providers.formatters.kml:write_kml",
    ),
    ItemFormat(
        "shapefile",
        "application/zip",
        "shp.zip",
        "columns",
        "providers.formatters.shapefile:write_shapefile",
        accepts=("application/x-shapefile",),
        compressible=False,
    ),
)

ITEM_FORMATS: Mapping[str, ItemFormat] = MappingProxyType({form.name: form for form in _FORMATS})
"""The encodings beside GeoJSON and HTML by name, in the order in which links name them."""

DOWNLOAD_FORMATS: Mapping[str, ItemFormat] = MappingProxyType(
    {form.ending: form for form in (_GEOJSON, *_FORMATS)}
)
"""Every encoding a whole collection can be had in, by the ending of its file's name."""


def fields_to_write(
    schema: CollectionSchema, query: ItemQuery, hidden: frozenset[str]
) -> tuple[FieldDefinition, ...]:
    """The fields of `schema` that are not hidden and that the query wants, in the schema's order."""
    wanted = query.properties
    return tuple(
        field
        for field in schema.fields
        if field.name not in hidden and (wanted is None or field.name in wanted)
    )


def bodies_of(batch: Batch) -> list[bytes]:
    """The batch of a format registered with batches="bodies"."""
    assert isinstance(batch, list)
    return batch


def columns_of(batch: Batch) -> FeatureColumns:
    """The batch of a format registered with batches="columns"."""
    assert isinstance(batch, FeatureColumns)
    return batch


def first_columns(batches: Iterator[Batch]) -> tuple[FeatureColumns | None, Iterator[Batch]]:
    """The first batch of columns, None where there is none, and all of the batches again."""
    first = next(batches, None)
    if first is None:
        return None, iter(())
    return columns_of(first), itertools.chain([first], batches)
