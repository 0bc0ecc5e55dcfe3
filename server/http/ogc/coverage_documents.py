"""What documents say of coverages and of data queries (EDR): extents, links, tilesets, parameters, conformance classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from providers.edr.description import (
    OUTPUT_FORMATS,
    QUERY_TYPES,
    RASTER_QUERIES,
    SERIES_QUERIES,
    UNITS_OF_LENGTH,
)
from server.http.maps import bounds84
from server.registry.catalogue import CRS84, Collection, RepresentationKind
from tiles.grids import CGCS2000_QUAD, grid, grid_ids, own_grid_ids, tileset_limits
from tiles.grids_china import zones_of

type Document = dict[str, Any]
Kind = RepresentationKind
_REL = "http://www.opengis.net/def/rel/ogc/1.0/"
_COVERAGES = "http://www.opengis.net/spec/ogcapi-coverages-1/1.0/conf"
_EDR = "http://www.opengis.net/spec/ogcapi-edr-1/1.1/conf"
_GEOTIFF = "image/tiff; application=geotiff"
_DEEPEST = 20


# --- coverages -----------------------------------------------------------------------------------------------------------


def coverage_classes() -> tuple[str, ...]:
    """The conformance classes of OGC API - Coverages that every coverage here has passed (tests/server/http)."""
    names = (
        "core",
        "subsetting",
        "scaling",
        "fieldselection",
        "crs",
        "coverage-tiles",
        "geotiff",
        "netcdf",
        "coveragejson",
        "png",
    )
    return tuple(f"{_COVERAGES}/{name}" for name in names)


def coverage_links(collection: Collection, url: str, *, whole: bool = True) -> list[Document]:
    """The links of a collection with a coverage; `url` is the collection's own (core, /req/core/collection-description).

    Not `whole`: without those of further formats.
    """
    formats = (
        (_GEOTIFF, "gtiff", "GeoTIFF"),
        ("application/prs.coverage+json", "covjson", "CoverageJSON"),
        ("application/x-netcdf", "netcdf", "NetCDF"),
    )
    links = [_link(f"{url}/coverage", f"{_REL}coverage", _GEOTIFF, "Coverage")]
    links += [
        _link(f"{url}/coverage?f={form}", f"{_REL}coverage", media_type, f"Coverage as {name}")
        for media_type, form, name in (formats if whole else ())
    ]
    schema = "application/schema+json"
    return [
        *links,
        _link(f"{url}/schema", f"{_REL}schema", schema, "Fields of the coverage"),
        _link(f"{url}/coverage/tiles", f"{_REL}tilesets-coverage", "application/json", "Coverage tilesets"),
    ]


def coverage_extent(collection: Collection) -> Document:
    """What a coverage adds to its collection's `extent`: {"spatial": {"storageCrsBbox", "grid"}, "temporal": {"grid"}}.

    {} where the collection has no coverage. Raises RasterError where its data are gone.
    """
    if Kind.COVERAGE not in collection.representations:
        return {}
    from providers.coverages.schema import spatial_grid, temporal_grid
    from server.http.ogc.rasters import raster_source

    description = raster_source(collection).description
    extent: Document = {"spatial": spatial_grid(description)}
    times = temporal_grid(description)
    if times is not None:
        extent["temporal"] = {
            "interval": [[description.instants[0], description.instants[-1]]],
            "trs": "http://www.opengis.net/def/uom/ISO-8601/0/Gregorian",
            "grid": times,
        }
    return extent


def coverage_schema(collection: Collection) -> Document:
    """The JSON Schema of the coverage's cells: one property a band. Raises RasterError."""
    from providers.coverages.schema import coverage_schema as schema_of
    from server.http.ogc.rasters import raster_source

    return schema_of(raster_source(collection).description)


def tileset_ids(collection: Collection) -> list[str]:
    """The tile matrix sets of a coverage's tilesets: the world's, China's, the zones it lies in, and one's own."""
    zones = zones_of(bounds84(collection))
    return list(dict.fromkeys((*grid_ids(), CGCS2000_QUAD, *zones, *own_grid_ids())))


def coverage_tilesets(collection: Collection, url: str, language: str) -> Document:
    """The list of coverage tilesets (OGC API - Tiles, tilesets-list)."""
    return {
        "links": [_link(f"{url}/coverage/tiles?f=json", "self", "application/json")],
        "tilesets": [
            {
                "title": f"{collection.title(language)} ({tms})",
                "dataType": "coverage",
                "crs": grid(tms).crs,
                **_set_of(tms),
                "links": [_link(f"{url}/coverage/tiles/{tms}", "self", "application/json", tms)],
            }
            for tms in tileset_ids(collection)
        ],
    }


def coverage_tileset(collection: Collection, url: str, tms: str, language: str) -> Document:
    """One coverage tileset (OGC 17-083r4, clause 9)."""
    deepest = min(grid(tms).max_zoom, _DEEPEST)
    address = f"{url}/coverage/tiles/{tms}"
    west, south, east, north = bounds84(collection)
    template = f"{address}/{{tileMatrix}}/{{tileRow}}/{{tileCol}}"
    item = _link(f"{template}?f=gtiff", "item", _GEOTIFF, "Tiles as GeoTIFF") | {"templated": True}
    root = url.rpartition("/collections/")[0]
    return {
        "title": f"{collection.title(language)} ({tms})",
        "dataType": "coverage",
        "crs": grid(tms).crs,
        **_set_of(tms),
        "tileMatrixSetLimits": tileset_limits(tms, (west, south, east, north), grid(tms).min_zoom, deepest),
        "boundingBox": {"lowerLeft": [west, south], "upperRight": [east, north], "crs": CRS84},
        "links": [
            _link(f"{address}?f=json", "self", "application/json"),
            item,
            _link(f"{root}/tileMatrixSets/{tms}", f"{_REL}tiling-scheme", "application/json", tms),
            _link(url, "geodata", "application/json"),
        ],
    }


def _set_of(tms: str) -> Document:
    uri = grid(tms).uri
    return {"tileMatrixSetURI": uri} if uri else {"tileMatrixSetId": tms}


# --- environmental data retrieval ----------------------------------------------------------------------------------------


def edr_classes() -> tuple[str, ...]:
    """The conformance classes of OGC API - EDR 1.1 that coverages and series pass."""
    names = ("core", "collections", "oas30", "html", "json", "geojson", "edr-geojson", "covjson", "queries")
    return tuple(f"{_EDR}/{name}" for name in names)


def data_queries(collection: Collection, url: str, *, whole: bool = True) -> Document:
    """`data_queries`, `parameter_names` and `output_formats` of a collection (EDR 1.1, /req/edr/rc-data-queries); {} without data.

    Made from what the registry keeps: no file is opened. Not `whole`: the CRS without their WKT, which is most of it.
    """
    has = collection.representations
    kinds: Sequence[str]
    if Kind.SERIES in has:
        kinds, parameters = SERIES_QUERIES, _series_parameters(has[Kind.SERIES].properties)
    elif Kind.COVERAGE in has:
        kinds, parameters = RASTER_QUERIES, _raster_parameters(has[Kind.COVERAGE].properties)
    else:
        return {}
    # A system without a code of an authority is kept as WKT and cannot be asked for by a URI.
    own = collection.storage_crs if collection.storage_crs.startswith("http") else CRS84
    crs = list(dict.fromkeys((CRS84, own)))
    return {
        "data_queries": {kind: {"link": _query(kind, url, crs if whole else ())} for kind in kinds},
        "parameter_names": parameters,
        "output_formats": list(OUTPUT_FORMATS),
    }


def _query(kind: str, url: str, crs: Sequence[str]) -> Document:
    variables: Document = {
        "title": QUERY_TYPES[kind],
        "query_type": kind,
        "output_formats": list(OUTPUT_FORMATS),
        "default_output_format": "GeoJSON" if kind == "locations" else "CoverageJSON",
    }
    if crs:
        variables["crs_details"] = [{"crs": uri, "wkt": _wkt(uri)} for uri in crs]
    if kind == "radius":
        variables["within_units"] = list(UNITS_OF_LENGTH)
    if kind == "corridor":
        variables["width_units"] = list(UNITS_OF_LENGTH)
    if kind in ("corridor", "cube"):
        variables["height_units"] = list(UNITS_OF_LENGTH)
    return _link(f"{url}/{kind}", "data", "application/json", QUERY_TYPES[kind]) | {"variables": variables}


def _wkt(uri: str) -> str:
    from providers.edr.description import wkt_of

    return wkt_of(uri)


def _series_parameters(properties: Mapping[str, Any]) -> Document:
    return {
        one["name"]: _parameter(one["name"], one.get("title"), one.get("unit"))
        for one in properties.get("parameters", ())
    }


def _raster_parameters(properties: Mapping[str, Any]) -> Document:
    return {
        str(one["name"]): _parameter(str(one["name"]), one.get("title"), one.get("unit"))
        for one in properties.get("bands", ())
        if one.get("interpretation") != "alpha"
    }


def _parameter(name: str, title: str | None, unit: str | None) -> Document:
    shown = title or name
    described: Document = {
        "id": name,
        "type": "Parameter",
        "description": {"en": shown},
        "observedProperty": {"id": name, "label": {"en": shown}},
    }
    if unit:
        symbol = {"value": unit, "type": "http://www.opengis.net/def/uom/UCUM/"}
        described["unit"] = {"label": {"en": unit}, "symbol": symbol}
    return described


def _link(href: str, rel: str, media_type: str, title: str | None = None) -> Document:
    found = {"href": href, "rel": rel, "type": media_type}
    return found if title is None else found | {"title": title}
