"""Paths and parameters of coverages and data queries (EDR) in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from providers.edr.description import QUERY_TYPES, UNITS_OF_LENGTH
from providers.edr.query import PARAMETERS

type Document = dict[str, Any]
type Get = Callable[..., Document]
"""(operation id, tag, summary, formats, *parameter names) -> path item with a get."""

_COVERAGE = "/collections/{collectionId}/coverage"
_TILE = ("collectionId", "tileMatrixSetId", "tileMatrix", "tileRow", "tileCol")
_SUBSET = ("bbox", "bbox-crs", "subset", "subset-crs", "datetime", "properties")
_SCALE = ("scale-factor", "scale-axes", "scale-size")


def coverage_paths(get: Get) -> Document:
    """The paths of coverages, their tiles, and data queries."""
    tiles = f"{_COVERAGE}/tiles"
    paths = {
        _COVERAGE: get(
            "getCoverage",
            "Coverages",
            "A coverage, or a part of it",
            ("gtiff", "covjson", "netcdf", "png"),
            *("collectionId", *_SUBSET, *_SCALE, "crs"),
        ),
        tiles: get("getCoverageTilesets", "Coverages", "Coverage tilesets", ("json", "html"), "collectionId"),
        f"{tiles}/{{tileMatrixSetId}}": get(
            "getCoverageTileset",
            "Coverages",
            "A coverage tileset",
            ("json", "html"),
            *("collectionId", "tileMatrixSetId"),
        ),
        f"{tiles}/{{tileMatrixSetId}}/{{tileMatrix}}/{{tileRow}}/{{tileCol}}": get(
            "getCoverageTile",
            "Coverages",
            "The cells of a tile",
            ("gtiff", "netcdf", "covjson"),
            *(*_TILE, "datetime", "properties", "subset"),
        ),
    }
    return paths | _query_paths(get)


def _query_paths(get: Get) -> Document:
    one = "/collections/{collectionId}"
    formats = ("covjson", "geojson", "csv", "html")
    paths = {
        f"{one}/{kind}": get(
            f"get{kind.capitalize()}", "EDR", title, formats, "collectionId", *PARAMETERS[kind]
        )
        for kind, title in QUERY_TYPES.items()
        if kind != "locations"
    }
    places = get(
        "getLocations", "EDR", "Named places", ("geojson", "html"), "collectionId", *PARAMETERS["locations"]
    )
    place = get(
        "getLocation",
        "EDR",
        QUERY_TYPES["locations"],
        formats,
        *("collectionId", "locationId", *PARAMETERS["locations"]),
    )
    return {f"{one}/locations": places, f"{one}/locations/{{locationId}}": place} | paths


def coverage_parameters() -> Document:
    """The parameters these paths name and no others do."""
    text = {"type": "string"}
    count = {"type": "integer", "minimum": 0, "maximum": 99999}
    length = {"type": "number", "minimum": 0}
    unit = {"type": "string", "enum": list(UNITS_OF_LENGTH)}
    names = {"type": "array", "items": text}
    described: dict[str, tuple[str, Document]] = {
        "subset": (
            'Part of axes: Lat(60.1:60.2),Lon(24.9:25.0), E(25496500:25497000), time("2024-05-01T00:00:00Z"); one number or time '
            "is a slice, * an open end",
            text,
        ),
        "subset-crs": ("CRS of subset, a URI; without, the labels of the axes say it", text),
        "scale-factor": ("Divide the resolution by this", {"type": "number", "minimum": 0.01}),
        "scale-axes": ("Divide the resolution of each axis, like x(2),y(4)", text),
        "scale-size": ("Cells of each axis, like x(200),y(100)", text),
        "coords": ("Well Known Text in the CRS of crs: a point, line or polygon, as the query needs", text),
        "parameter-name": ("Only these parameters", names),
        "within": ("Radius", length),
        "within-units": ("Unit of the radius", unit),
        "corridor-width": ("Width of the corridor", length),
        "width-units": ("Unit of the corridor's width", unit),
        "corridor-height": ("Height of the corridor; nothing here has a vertical axis", length),
        "height-units": ("Unit of the corridor's height", unit),
        "resolution-x": ("Positions across; 0 for those of the data", count),
        "resolution-y": ("Positions along; 0 for those of the data", count),
        "resolution-z": ("Positions in height; nothing here has a vertical axis", count),
        "z": ("Level; collections without a vertical axis refuse it", text),
    }
    return {name: _query(name, *rest) for name, rest in described.items()}


def _query(name: str, description: str, schema: Document) -> Document:
    parameter: Document = {
        "name": name,
        "in": "query",
        "description": description,
        "required": False,
        "schema": schema,
    }
    return parameter | ({"style": "form", "explode": False} if schema["type"] == "array" else {})


def coverage_schemas() -> Document:
    """The schemas these paths name: none of their own."""
    return {}
