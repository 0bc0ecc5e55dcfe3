"""The OpenAPI 3.0 definition: flat, with `{collectionId}` as a parameter, so it stays small however many collections."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from server.http.negotiation import MEDIA_TYPES
from server.http.ogc.documents import CATALOGUE_ID
from server.http.ogc.map_query import LONGEST_SIDE
from server.http.ogc.openapi_features import feature_parameters, feature_paths, feature_schemas
from server.http.ogc.openapi_maps import map_parameters, map_paths
from server.http.ogc.openapi_scenes import scene_parameters, scene_paths
from server.http.ogc.openapi_three_d import three_d_parameters, three_d_paths
from server.http.scope import Scope

Document = dict[str, Any]


def _reference(name: str) -> Document:
    return {"$ref": f"#/components/parameters/{name}"}


def _query(name: str, description: str, schema: Document, *, exploded: bool = False) -> Document:
    parameter: Document = {
        "name": name,
        "in": "query",
        "description": description,
        "required": False,
        "schema": schema,
    }
    if schema.get("type") == "array":
        parameter |= {"style": "form", "explode": exploded}
    return parameter


def _path(name: str, description: str, schema: Document | None = None) -> Document:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": schema or {"type": "string"},
    }


_NUMBER = {"type": "integer", "minimum": 0, "maximum": 1073741823}
_BOX = {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 6}


def _parameters() -> Document:
    text = {"type": "string"}
    return {
        "collectionId": _path("collectionId", "Id of a collection of this view", {"type": "string"}),
        "featureId": _path("featureId", "Id of a feature"),
        "recordId": _path("recordId", "Id of a record: the id of a collection"),
        "locationId": _path("locationId", "Id of a location"),
        "processId": _path("processId", "Id of a process", {"type": "string"}),
        "tileMatrixSetId": _path(
            "tileMatrixSetId",
            "Id of a tile matrix set, such as WebMercatorQuad",
            {"type": "string"},
        ),
        "tileMatrix": _path("tileMatrix", "Zoom level", {"type": "integer", "minimum": 0, "maximum": 30}),
        "tileRow": _path("tileRow", "Row, from the top", _NUMBER),
        "tileCol": _path("tileCol", "Column, from the left", _NUMBER),
        "f": _query("f", "Format of the answer, instead of the Accept header", text),
        "lang": _query("lang", "Language of titles and pages", {"type": "string", "enum": ["en", "zh"]}),
        "bbox": _query("bbox", "west,south,east,north, or six numbers with heights", _BOX),
        "bbox-crs": _query("bbox-crs", "CRS of bbox, a URI; CRS84 where absent", {"type": "string"}),
        "crs": _query("crs", "CRS of the answer, a URI; CRS84 where absent", {"type": "string"}),
        "datetime": _query("datetime", "An instant, or start/end; `..` leaves an end open (RFC 3339)", text),
        "limit": _query("limit", "The most that one page holds", {"type": "integer", "minimum": 1}),
        "offset": _query("offset", "How many to pass over", {"type": "integer", "minimum": 0}),
        "cursor": _query("cursor", "Where the page starts; taken from a `next` link", text),
        "properties": _query(
            "properties", "Only these properties", {"type": "array", "items": {"type": "string"}}
        ),
        "skipGeometry": _query("skipGeometry", "Leave the geometry out", {"type": "boolean"}),
        "q": _query("q", "Words that must all occur", {"type": "string"}),
        "collections": _query(
            "collections", "Only these collections", {"type": "array", "items": {"type": "string"}}
        ),
        "parameter-name": _query(
            "parameter-name", "Observed parameters", {"type": "array", "items": {"type": "string"}}
        ),
        "coords": _query("coords", "A point as WKT, CRS84", {"type": "string"}),
        "within": _query("within", "Radius", {"type": "number", "minimum": 0}),
        "within-units": _query("within-units", "Unit of the radius: m or km", {"type": "string"}),
        "type": _query("type", "Type of the resource", {"type": "string"}),
        "ids": _query("ids", "Only these records", {"type": "array", "items": {"type": "string"}}),
        "scale-factor": _query("scale-factor", "Divide the resolution by this", {"type": "number"}),
        "scale-size": _query("scale-size", "Cells an axis, like x(200),y(100)", {"type": "string"}),
        "subset": _query(
            "subset",
            "Part of an axis, like Lat(60.1:60.2) in degrees, or an axis of the coverage",
            {"type": "string"},
        ),
    }


def _content(*formats: str) -> Document:
    binary = {"type": "string", "format": "binary"}
    result: Document = {}
    for form in formats:
        media_type = MEDIA_TYPES.get(form, form)
        is_json = "json" in media_type
        schema: Document = {"type": "object"} if is_json else binary
        if form == "html" or media_type.startswith("text/"):
            schema = {"type": "string"}
        result[media_type] = {"schema": schema}
    return result


def _get(operation: str, tag: str, summary: str, formats: Sequence[str], *parameters: str) -> Document:
    return {
        "get": {
            "operationId": operation,
            "tags": [tag],
            "summary": summary,
            "parameters": [_reference(name) for name in (*parameters, "f", "lang")],
            "responses": {
                "200": {"description": summary, "content": _content(*formats)},
                "304": {"description": "Not modified since the ETag given"},
                "default": {"$ref": "#/components/responses/Problem"},
            },
        }
    }


def _tile_paths() -> Document:
    one = "/collections/{collectionId}"
    place = ("collectionId", "tileMatrixSetId", "tileMatrix", "tileRow", "tileCol")
    address = "{tileMatrixSetId}/{tileMatrix}/{tileRow}/{tileCol}"
    vector = _get("getVectorTile", "Tiles", "A vector tile", ("mvt",), *place, "asof")
    vector["get"]["responses"]["204"] = {"description": "Nothing lies in this tile"}
    dataset = _get(
        "getDatasetTile",
        "Tiles",
        "A vector tile with a layer for each collection",
        ("mvt",),
        *place[1:],
        "collections",
        "asof",
    )
    dataset["get"]["responses"]["204"] = {"description": "Nothing lies in this tile"}
    return {
        f"{one}/tiles": _get("getTilesets", "Tiles", "Vector tilesets", ("json", "html"), "collectionId"),
        f"{one}/tiles/{{tileMatrixSetId}}": _get(
            "getTileset", "Tiles", "A vector tileset", ("json", "html"), "collectionId", "tileMatrixSetId"
        ),
        f"{one}/tiles/{address}": vector,
        f"{one}/tiles/{{tileMatrixSetId}}.pmtiles": _get(
            "getTileArchive",
            "Tiles",
            "The tiles built when the collection was published, as PMTiles; byte ranges",
            ("application/vnd.pmtiles",),
            *("collectionId", "tileMatrixSetId"),
        ),
        "/tiles": _get(
            "getDatasetTilesets",
            "Tiles",
            "Vector tilesets of all collections",
            ("json", "html"),
            "collections",
        ),
        "/tiles/{tileMatrixSetId}": _get(
            "getDatasetTileset",
            "Tiles",
            "A vector tileset of all collections",
            ("json", "html"),
            "tileMatrixSetId",
            "collections",
        ),
        f"/tiles/{address}": dataset,
        "/tileMatrixSets": _get("getTileMatrixSets", "Tiles", "Tile matrix sets", ("json", "html")),
        "/tileMatrixSets/{tileMatrixSetId}": _get(
            "getTileMatrixSet", "Tiles", "A tile matrix set", ("json", "html"), "tileMatrixSetId"
        ),
    }


def _other_paths() -> Document:
    one = "/collections/{collectionId}"
    execute = _get("execute", "Processes", "Run a process and wait for its result", ("json",), "processId")
    operation = execute.pop("get")
    operation["requestBody"] = {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Execute"}}},
    }
    del operation["responses"]["304"]
    return {
        f"{one}/terrain/layer.json": _get(
            "getTerrain", "3D", "Description of a quantized-mesh terrain", ("json",), "collectionId"
        ),
        f"/collections/{CATALOGUE_ID}/items": _get(
            "getRecords",
            "Records",
            "Records of the collections",
            ("geojson", "html"),
            *("bbox", "datetime", "limit", "offset", "q", "type", "ids"),
        ),
        f"/collections/{CATALOGUE_ID}/items/{{recordId}}": _get(
            "getRecord", "Records", "One record", ("geojson", "html"), "recordId"
        ),
        "/processes": _get("getProcesses", "Processes", "Processes", ("json", "html"), "limit"),
        "/processes/{processId}": _get(
            "getProcess", "Processes", "Description of a process", ("json", "html"), "processId"
        ),
        "/processes/{processId}/execution": {"post": operation},
        "/jobs": _get("getJobs", "Processes", "Jobs", ("json", "html")),
    }


def _of_others(part: str, *given: object) -> Document:
    """What the modules of coverages and styles add to a part of the document: "paths", "parameters" or "schemas"."""
    found: Document = {}
    for subject in ("coverage", "point_file", "point", "style"):
        name = f"server.http.ogc.openapi_{subject}s"
        if find_spec(name) is not None:
            found |= getattr(import_module(name), f"{subject}_{part}")(*given)
    return found


def openapi_document(root: str, scope: Scope) -> Document:
    """The definition of a view's API; `root` becomes the server's URL."""
    view = "the whole city" if scope.tenant is None else f"tenant {scope.tenant}"
    listing = ("bbox", "q", "limit", "offset")
    return {
        "openapi": "3.0.3",
        "info": {
            "title": f"Chengtu: {view}",
            "version": "0.1.0",
            "description": "Vector, raster, 3D, point clouds and sensors of a city as OGC API services.",
            "license": {"name": "Apache-2.0"},
            "x-OGC-limits": {"maps": {"maxWidth": LONGEST_SIDE, "maxHeight": LONGEST_SIDE}},
        },
        "servers": [{"url": root}],
        "tags": [
            {"name": name}
            for name in (
                "Common",
                "Features",
                "Tiles",
                "Maps",
                "Styles",
                "Coverages",
                "EDR",
                "3D",
                "Point clouds",
                "Records",
                "Processes",
            )
        ],
        "paths": {
            "/": _get("getLandingPage", "Common", "Landing page", ("json", "html")),
            "/conformance": _get("getConformance", "Common", "Conformance classes", ("json", "html")),
            "/api": _get("getApi", "Common", "This document", ("openapi", "html")),
            "/collections": _get("getCollections", "Common", "Collections", ("json", "html"), *listing),
            "/collections/{collectionId}": _get(
                "getCollection", "Common", "One collection", ("json", "html"), "collectionId"
            ),
            **feature_paths(_get),
            **_tile_paths(),
            **map_paths(_get),
            **three_d_paths(_get),
            **scene_paths(_get),
            **_other_paths(),
            **_of_others("paths", _get),
        },
        "components": {
            "parameters": _parameters()
            | feature_parameters()
            | map_parameters()
            | three_d_parameters()
            | scene_parameters()
            | _of_others("parameters"),
            "responses": {
                "Problem": {
                    "description": "What was asked, what was found, what is allowed",
                    "content": {
                        "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
                    },
                }
            },
            "schemas": {
                "Problem": {
                    "type": "object",
                    "required": ["title", "status"],
                    "properties": {
                        "type": {"type": "string"},
                        "title": {"type": "string"},
                        "status": {"type": "integer"},
                        "detail": {"type": "string"},
                        "parameter": {"type": "string"},
                        "value": {"type": "string"},
                        "allowed": {"type": "string"},
                        "errors": {"type": "array", "items": {"type": "object"}},
                        "edit": {"type": "integer"},
                    },
                },
                "Execute": {
                    "type": "object",
                    "required": ["inputs"],
                    "properties": {"inputs": {"type": "object"}},
                },
                **feature_schemas(),
                **_of_others("schemas"),
            },
        },
    }
