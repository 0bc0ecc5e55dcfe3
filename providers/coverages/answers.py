"""Answers about a coverage: GeoTIFF, CoverageJSON (OGC 21-069r2, domain type Grid), its schema and its domain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson
from numpy.typing import NDArray
from rasterio.io import MemoryFile

from providers.coverages.query import CoverageRequest, Selection, parse_coverage_request, select
from providers.coverages.raster import Band, CoverageDescription, Part, describe_coverage, read_part
from providers.errors import InvalidParameter

GEOTIFF = "image/tiff; application=geotiff"
COVERAGE_JSON = "application/prs.coverage+json"
MAXIMUM_GEOTIFF_VALUES = 16_777_216
MAXIMUM_JSON_VALUES = 500_000

Form = Literal["GTiff", "json"]


@dataclass(frozen=True, slots=True)
class CoverageAnswer:
    """A body with its media type; `headers` say its CRS and box (OGC API - Maps and Coverages: Content-Crs, Content-Bbox)."""

    media_type: str
    body: bytes
    headers: Mapping[str, str]


def answer_coverage(path: Path, parameters: Mapping[str, str], form: str = "GTiff") -> CoverageAnswer:
    """Answer a query string. Raises InvalidParameter, AnswerTooLarge, StoreMissing, StoreCorrupt."""
    return answer_request(path, parse_coverage_request(parameters), form)


def answer_request(path: Path, request: CoverageRequest, form: str) -> CoverageAnswer:
    """Answer a request in one of the forms "GTiff" and "json"; raises what `answer_coverage` raises."""
    coverage = describe_coverage(path)
    if form == "GTiff":
        selection = select(request, coverage, MAXIMUM_GEOTIFF_VALUES)
        part = _read(path, selection)
        return CoverageAnswer(GEOTIFF, _geotiff(coverage, selection, part), _headers(coverage, part))
    if form == "json":
        document, part = _coverage_json(path, coverage, request)
        return CoverageAnswer(COVERAGE_JSON, orjson.dumps(document), _headers(coverage, part))
    raise InvalidParameter("f", form, "GTiff or json")


def coverage_json(path: Path, request: CoverageRequest) -> dict[str, Any]:
    """The CoverageJSON document as an object; raises what `answer_coverage` raises."""
    return _coverage_json(path, describe_coverage(path), request)[0]


def _read(path: Path, selection: Selection) -> Part:
    return read_part(path, selection.window, tuple(band.number for band in selection.bands), selection.shape)


def _headers(coverage: CoverageDescription, part: Part) -> dict[str, str]:
    bounds = part.bounds
    edges = (bounds.west, bounds.south, bounds.east, bounds.north)
    if coverage.reference.swap:
        edges = (bounds.south, bounds.west, bounds.north, bounds.east)
    box = ",".join(f"{edge:.12g}" for edge in edges)
    crs = {"Content-Crs": f"<{coverage.reference.uri}>"} if coverage.reference.uri else {}
    return {**crs, "Content-Bbox": box}


def _geotiff(coverage: CoverageDescription, selection: Selection, part: Part) -> bytes:
    """The part as a compressed GeoTIFF in the coverage's CRS; nodata, names and units of the bands are kept."""
    bands = selection.bands
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            width=part.values.shape[2],
            height=part.values.shape[1],
            count=len(bands),
            dtype=part.values.dtype,
            crs=coverage.reference.crs.to_wkt(),
            transform=part.transform,
            nodata=bands[0].nodata,
            compress="deflate",
            zlevel=1,
            photometric="RGB" if [band.name for band in bands] == ["red", "green", "blue"] else "MINISBLACK",
        ) as out:
            out.write(part.values)
            for number, band in enumerate(bands, 1):
                out.set_band_description(number, band.name)
                out.set_band_unit(number, band.unit)
        return bytes(memory.read())


def _coverage_json(
    path: Path, coverage: CoverageDescription, request: CoverageRequest
) -> tuple[dict[str, Any], Part]:
    selection = select(request, coverage, MAXIMUM_JSON_VALUES)
    part = _read(path, selection)
    rows, columns = part.values.shape[1:]
    document = {
        "type": "Coverage",
        "domain": {
            "type": "Domain",
            "domainType": "Grid",
            "axes": {
                "x": _axis(part.bounds.west, part.bounds.east, columns),
                "y": _axis(part.bounds.north, part.bounds.south, rows),
            },
            "referencing": [{"coordinates": ["x", "y"], "system": _system(coverage)}],
        },
        "parameters": {band.name: _parameter(band) for band in selection.bands},
        "ranges": {
            band.name: _range(part.values[index], part.valid[index])
            for index, band in enumerate(selection.bands)
        },
    }
    return document, part


def _axis(start: float, stop: float, count: int) -> dict[str, float | int]:
    """Centres of the first and last pixel and their number: CoverageJSON places values at coordinates, not in cells."""
    half = (stop - start) / count / 2
    return {"start": start + half, "stop": stop - half, "num": count}


def _system(coverage: CoverageDescription) -> dict[str, str]:
    kind = "GeographicCRS" if coverage.reference.horizontal.is_geographic else "ProjectedCRS"
    if coverage.reference.uri:
        return {"type": kind, "id": coverage.reference.uri}
    return {"type": kind, "wkt": coverage.reference.crs.to_wkt()}


def _parameter(band: Band) -> dict[str, Any]:
    unit = {"unit": {"symbol": band.unit}} if band.unit else {}
    return {
        "type": "Parameter",
        "description": {"en": band.name},
        **unit,
        "observedProperty": {"id": band.name, "label": {"en": band.name}},
    }


def _range(values: NDArray[Any], valid: NDArray[np.bool_]) -> dict[str, Any]:
    """One band as an NdArray; what is no data, and what is no number, becomes null."""
    integer = bool(np.issubdtype(values.dtype, np.integer))
    usable = valid if integer else valid & np.isfinite(values)
    flat = values.ravel().tolist()
    if not usable.all():
        flat = [value if good else None for value, good in zip(flat, usable.ravel().tolist(), strict=True)]
    return {
        "type": "NdArray",
        "dataType": "integer" if integer else "float",
        "axisNames": ["y", "x"],
        "shape": list(values.shape),
        "values": flat,
    }


def coverage_schema(path: Path) -> dict[str, Any]:
    """The JSON Schema of the range: one property a band (OGC API - Common Part 3, schemas)."""
    properties = {}
    for band in describe_coverage(path).bands:
        integer = band.dtype.startswith(("int", "uint"))
        properties[str(band.number)] = {
            "title": band.name,
            "type": "integer" if integer else "number",
            "x-ogc-propertySeq": band.number,
            **({"x-ogc-unit": band.unit} if band.unit else {}),
            **({"x-ogc-nodata": band.nodata} if band.nodata is not None else {}),
        }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": properties,
    }


def coverage_domain(path: Path) -> dict[str, Any]:
    """The domain for a collection's `extent.spatial.grid` (Coverages, requirement class core): cells and resolution."""
    coverage = describe_coverage(path)
    x, y = coverage.resolution
    return {
        "storageCrs": coverage.reference.uri,
        "bbox": list(coverage.bounds),
        "grid": [
            {"axis": coverage.axes[0], "cellsCount": coverage.width, "resolution": x},
            {"axis": coverage.axes[1], "cellsCount": coverage.height, "resolution": -y},
        ],
    }
