"""Vector formats that GDAL reads, through fiona."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fiona
import numpy as np
import orjson
import pyproj
import shapely
from fiona._err import CPLE_BaseError  # what fiona lets through of GDAL has no public name
from fiona.errors import AttributeFilterError, FionaError
from pyproj.exceptions import CRSError

from server.publish.completeness import check_complete
from server.publish.errors import (
    CrsError,
    DamagedFile,
    OptionError,
    TextEncodingError,
)
from server.publish.gdal_messages import GdalMessages, hear_gdal
from server.publish.inputs import Input
from server.publish.layers import chosen_layer, sqlite_layers
from server.publish.osm import osm_configuration, osm_ids
from server.publish.reference_systems import stated_crs
from server.publish.request import ReadingOptions
from server.publish.text_encoding import shapefile_encoding
from server.publish.vectors import BATCH_SIZE, Batch, broken_geometries, geometries_of
from server.registry.catalogue import Field

_ENVIRONMENT = {
    "GML_DOWNLOAD_SCHEMA": "NO",  # nothing is fetched at run time
    "GML_SKIP_RESOLVE_ELEMS": "ALL",
    "GDAL_HTTP_TIMEOUT": "1",
    "CPL_VSIL_CURL_ALLOWED_FILENAME": "",
    "OGR_SQLITE_LOAD_EXTENSIONS": "",
    "OSM_COMPRESS_NODES": "YES",
}
_TYPES = {
    "int": ("integer", None),
    "int16": ("integer", None),
    "int32": ("integer", None),
    "int64": ("integer", None),
    "float": ("number", None),
    "bool": ("boolean", None),
    "date": ("string", "date"),
    "datetime": ("string", "date-time"),
}
"""fiona's property type -> (JSON Schema type, format); all others are strings."""


class OgrSource:
    """One layer of one file. Opened for reading at once, so that what is wrong with it shows early.

    Raises DamagedFile, LayerChoice, OptionError, TextEncodingError, CrsError.
    """

    def __init__(self, item: Input, options: ReadingOptions, workspace: Path) -> None:
        self.name = item.name
        self._item = item
        self._options = options
        self._driver = str(item.format.driver)
        self._open_options: dict[str, Any] = {}
        self._ignored: list[str] = []
        self.warnings: list[str] = []
        # Objects at the edge of an OpenStreetMap extract are incomplete: nobody can correct them in the source.
        self._broken: list[str] | None = [] if options.repair or self._driver == "OSM" else None
        check_complete(item)
        if self._driver == "ESRI Shapefile":
            encoding = shapefile_encoding(item.path, options.encoding)
            self._open_options["encoding"] = encoding.codec
            if encoding.how == "bytes" and encoding.codec != "utf-8":
                self.warnings.append(
                    f"{item.name} does not say its text encoding; it was read as {encoding.codec}, found from its bytes. "
                    "If names look wrong, publish again with --encoding."
                )
        if self._driver == "OSM":
            self._open_options["CONFIG_FILE"] = str(osm_configuration(workspace, options.tags))
        self._layer = self._choose_layer()
        with self._opened() as (layer, _):
            self._types: dict[str, str] = dict(layer.schema["properties"])
            self.crs = _crs_of(layer, self.name)
            self.expected = self._count(layer)
        self._ignored = self._left_out()
        for name in self._ignored:
            if self._types.pop(name) == "bytes":
                self.warnings.append(f"The field {name!r} of {item.name} holds binary data and was left out.")
        self._nested = [
            name for name, kind in self._types.items() if kind == "json" or kind.startswith("List")
        ]
        self.fields = tuple(_field(name, kind) for name, kind in self._types.items())

    def _choose_layer(self) -> str | None:
        if self._driver in ("ESRI Shapefile", "FlatGeobuf"):
            return None
        if self._driver == "OSM":
            layers: Sequence[str] = ("points", "lines", "multilinestrings", "multipolygons")
        elif self._driver in ("GPKG", "SQLite"):
            layers = sqlite_layers(self._item.path) or self._listed_layers()
        else:
            layers = self._listed_layers()
        return chosen_layer(self.name, layers, self._options.layer)

    def _left_out(self) -> list[str]:
        """Fields not to read: binary ones, and those not asked for."""
        kept = self._options.keep_fields
        needed = {self._options.id_field, self._options.time_field, "osm_id", "osm_way_id"}
        return [
            name
            for name, kind in self._types.items()
            if kind == "bytes" or (kept is not None and name not in kept and name not in needed)
        ]

    def _listed_layers(self) -> list[str]:
        with self._gdal_errors():
            return list(fiona.listlayers(self._item.path, **self._plain_options()))

    def _plain_options(self) -> dict[str, Any]:
        return {key: value for key, value in self._open_options.items() if key != "encoding"}

    @contextmanager
    def _gdal_errors(self) -> Iterator[GdalMessages]:
        """Give GDAL's errors our names, raised or logged; a message of GDAL's is quoted without the path."""
        with fiona.Env(**_ENVIRONMENT), hear_gdal("fiona") as heard:
            try:
                yield heard
            except AttributeFilterError as error:
                raise OptionError(
                    f"The condition {self._options.where!r} is not OGR SQL: {error}."
                ) from error
            except UnicodeDecodeError as error:
                raise TextEncodingError(
                    f"Text in {self.name} is not in {error.encoding}: byte {error.object[error.start]:#04x} in "
                    f"{error.object[:40]!r}. Name the right encoding with --encoding."
                ) from error
            except json.JSONDecodeError as error:
                # fiona decodes fields of JSON itself and fails on those that are null
                raise OptionError(
                    f"A field of JSON in {self.name} has empty values, which cannot be read: name the other fields to keep."
                ) from error
            except (FionaError, CPLE_BaseError, RuntimeError, ValueError, OSError) as error:
                said = heard.errors[0] if heard.errors else str(error)
                raise self._failure(said) from error
            if heard.errors:
                raise self._failure(heard.errors[0])

    def _failure(self, said: str) -> OptionError | DamagedFile:
        if self._options.where and re.search(r"\b(SQL|WHERE)\b", said):
            return OptionError(f"The condition {self._options.where!r} is not OGR SQL: {said}.")
        return self._damaged(said)

    def _damaged(self, said: str) -> DamagedFile:
        said = " ".join(said.split()).replace(str(self._item.path), self.name)
        return DamagedFile(
            f"{self.name} cannot be read as {self._item.format.title}: it is truncated or damaged (GDAL: {said})."
        )

    @contextmanager
    def _opened(self) -> Iterator[tuple[Any, GdalMessages]]:
        with (
            self._gdal_errors() as heard,
            fiona.open(
                self._item.path,
                layer=self._layer,
                enabled_drivers=[self._driver],
                allow_unsupported_drivers=True,
                ignore_fields=self._ignored or None,
                **self._open_options,
            ) as layer,
        ):
            yield layer, heard

    def _count(self, layer: Any) -> int | None:
        if self._driver == "OSM" or self._options.where:
            return None  # OSM would be read twice to count
        try:
            return len(layer)
        except TypeError:  # the driver would have to read everything
            return None

    def batches(self) -> Iterator[Batch]:
        """Read from the beginning. Raises DamagedFile, InvalidGeometry, TextEncodingError, OptionError."""
        read = 0
        with self._opened() as (layer, heard):
            features = layer.filter(where=self._options.where) if self._options.where else iter(layer)
            rows: list[Any] = []
            for feature in features:
                rows.append(feature)
                if len(rows) == BATCH_SIZE:
                    if heard.errors:
                        break
                    yield self._batch(rows, read + 1)
                    read += len(rows)
                    rows = []
            if rows and not heard.errors:
                yield self._batch(rows, read + 1)
                read += len(rows)
            if not heard.errors and self.expected is not None and read != self.expected:
                raise self._damaged(f"{read} features could be read of {self.expected}")
        self.warnings += broken_geometries(self._broken or (), self.name)

    def _batch(self, rows: list[Any], first: int) -> Batch:
        types: list[str | None] = []
        coordinates: list[Any] = []
        for row in rows:
            geometry = row.geometry
            if geometry is None:
                types.append(None)
                coordinates.append(None)
            else:
                types.append(geometry.type.removeprefix("3D "))
                coordinates.append(_coordinates(geometry))
        values = zip(*(row.properties.values() for row in rows), strict=True)
        columns = dict(zip(self._types, values, strict=True)) if self._types else {}
        for name in self._nested:
            columns[name] = _as_text(columns[name])
        geometries = geometries_of(types, coordinates, first, self.name, self._broken)
        if self._driver == "OSM":
            return _placed(Batch(geometries, columns, osm_ids(str(self._layer), columns)))
        ids = [row.id for row in rows] if self._driver in ("GPKG", "SQLite") else None
        return Batch(geometries, columns, ids)


def _field(name: str, kind: str) -> Field:
    json_type, json_format = _TYPES.get(kind.split(":", maxsplit=1)[0], ("string", None))
    return Field(name, json_type, json_format)


def _placed(batch: Batch) -> Batch:
    """The features of a batch that have a geometry."""
    kept = np.flatnonzero(~shapely.is_missing(batch.geometries)).tolist()
    if len(kept) == len(batch.geometries):
        return batch
    columns = {name: [values[index] for index in kept] for name, values in batch.columns.items()}
    ids = [batch.ids[index] for index in kept] if batch.ids is not None else None
    return Batch(batch.geometries[kept], columns, ids)


def _coordinates(geometry: Any) -> Any:
    if geometry.type.endswith("GeometryCollection"):
        return geometry.__geo_interface__["geometries"]
    return geometry.coordinates


def _as_text(column: Sequence[Any]) -> tuple[Any, ...]:
    """Lists and JSON objects as JSON text."""
    return tuple(orjson.dumps(item).decode() if isinstance(item, list | dict) else item for item in column)


def _crs_of(layer: Any, source: str) -> pyproj.CRS | None:
    try:
        wkt = layer.crs_wkt
    except UnboundLocalError as error:  # fiona 1.10.1, where GDAL cannot export the CRS
        raise CrsError(f"The CRS of {source} is not understood. Name the right one with --crs.") from error
    if not wkt:
        return None
    try:
        return stated_crs(wkt)
    except CRSError as error:
        raise CrsError(
            f"The CRS of {source} is not understood: {wkt[:80]}... Name the right one with --crs."
        ) from error
