"""What a coverage holds and where: the schema of its fields, and the grids of its extent (OGC API - Coverages, core)."""

from __future__ import annotations

import itertools
import math
from typing import Any

from providers.coverages.instants import epoch_seconds
from providers.coverages.references import in_axis_order, own_reference
from providers.coverages.selection import is_continuous
from tiles.rasters.source import RasterBand, RasterDescription

type Document = dict[str, Any]
_MOST_COORDINATES = 1000
"""Instants that are listed one by one; of more only how many there are."""


def coverage_fields(description: RasterDescription) -> Document:
    """The fields by name: {"height": {"title", "type", "x-ogc-propertySeq", "x-ogc-unit", ...}} (Common Part 3: Schemas)."""
    return {band.name: _field(band) for band in description.bands}


def _field(band: RasterBand) -> Document:
    whole = band.dtype.startswith(("int", "uint"))
    field: Document = {
        "title": band.title or band.name,
        "type": "integer" if whole else "number",
        "x-ogc-propertySeq": band.number,
        "x-ogc-variableType": "continuous"
        if is_continuous(band) or band.colours is None
        else "categoricalNominal",
    }
    if band.unit:
        field["x-ogc-unit"] = band.unit
    if band.nodata is not None and math.isfinite(band.nodata):
        field["x-ogc-nullValues"] = [int(band.nodata) if whole else band.nodata]
    statistics = {
        "min": band.minimum,
        "max": band.maximum,
        "avg": band.mean,
        "stdDev": band.deviation,
    }
    known = {name: value for name, value in statistics.items() if value is not None}
    if known:
        field["x-ogc-statistics"] = known
    return field


def coverage_schema(description: RasterDescription) -> Document:
    """The JSON Schema of one cell."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": coverage_fields(description),
        "additionalProperties": False,
    }


def spatial_grid(description: RasterDescription) -> Document:
    """`storageCrsBbox` and `grid` of an extent's spatial part, axes in the order of the storage CRS.

    Cells are areas: coordinates are their centres, and `relativeBounds` half a cell to both sides (the default).
    """
    reference = own_reference(description)
    bounds, (width, height) = description.bounds, description.resolution
    x = {
        "cellsCount": description.width,
        "resolution": width,
        "firstCoordinate": bounds.west + width / 2,
    }
    y = {
        "cellsCount": description.height,
        "resolution": -height,
        "firstCoordinate": bounds.north - height / 2,
    }
    lower = in_axis_order(reference, bounds.west, bounds.south)
    upper = in_axis_order(reference, bounds.east, bounds.north)
    return {
        "storageCrsBbox": [[*lower, *upper]],
        "grid": [y, x] if reference.swap else [x, y],
    }


def temporal_grid(description: RasterDescription) -> Document | None:
    """`grid` of an extent's temporal part: a resolution where instants follow one another evenly, else the instants; None without."""
    instants = description.instants
    if not instants:
        return None
    grid: Document = {"cellsCount": len(instants)}
    steps = {epoch_seconds(later) - epoch_seconds(one) for one, later in itertools.pairwise(instants)}
    if len(steps) == 1:
        grid |= {"firstCoordinate": instants[0], "resolution": f"PT{steps.pop()}S"}
    elif len(instants) <= _MOST_COORDINATES:
        grid["coordinates"] = list(instants)
    return grid
