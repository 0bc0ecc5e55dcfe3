"""CoverageJSON 1.0 (OGC 21-069r2): the objects of which documents about rasters are made.

Axes hold centres of cells. A referencing system lists the coordinates in the order of its own axes (clause 5.1): north first where
the authority says so. What is no data, and what is no number, is null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from providers.coverages.selection import Selection
from providers.features.crs import ReferenceSystem
from tiles.rasters.source import Bounds, RasterBand, RasterBlock

COVERAGE_JSON = "application/prs.coverage+json"
type Document = dict[str, Any]


def dump(document: Document) -> bytes:
    """A document as JSON; numpy arrays as arrays, NaN and infinities as null."""
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def referencing(reference: ReferenceSystem, *, timed: bool) -> list[Document]:
    """The referencing systems of x and y, and of t."""
    kind = "GeographicCRS" if reference.horizontal.is_geographic else "ProjectedCRS"
    system = (
        {"type": kind, "id": reference.uri}
        if reference.uri
        else {"type": kind, "wkt": reference.crs.to_wkt()}
    )
    order = ["y", "x"] if reference.swap else ["x", "y"]
    systems: list[Document] = [{"coordinates": order, "system": system}]
    if timed:
        systems.append({"coordinates": ["t"], "system": {"type": "TemporalRS", "calendar": "Gregorian"}})
    return systems


def regular_axis(start: float, stop: float, count: int) -> Document:
    """Centres of the first and last cell and how many (clause 6.1.1); one of them as a value."""
    half = (stop - start) / count / 2
    if count == 1:
        return {"values": [start + half]}
    return {"start": start + half, "stop": stop - half, "num": count}


def grid_domain(
    bounds: Bounds, shape: tuple[int, int], reference: ReferenceSystem, times: Sequence[str]
) -> Document:
    """A Grid domain (clause 6.1.2): rows from the north; t only where there are times."""
    axes: Document = {
        "x": regular_axis(bounds.west, bounds.east, shape[1]),
        "y": regular_axis(bounds.north, bounds.south, shape[0]),
    }
    if times:
        axes["t"] = {"values": list(times)}
    return {
        "type": "Domain",
        "domainType": "Grid",
        "axes": axes,
        "referencing": referencing(reference, timed=bool(times)),
    }


def parameter(band: RasterBand) -> Document:
    """A Parameter object (clause 3): what a band observes, in which unit; the meaning of codes as they are coloured."""
    title = band.title or band.name
    unit = {"unit": {"label": {"en": band.unit}, "symbol": band.unit}} if band.unit else {}
    return {
        "type": "Parameter",
        "id": band.name,
        "description": {"en": title},
        **unit,
        "observedProperty": {"id": band.name, "label": {"en": title}},
    }


def parameters(bands: Sequence[RasterBand]) -> Document:
    """The parameters of a coverage by name."""
    return {band.name: parameter(band) for band in bands}


def nd_array(values: NDArray[Any], valid: NDArray[np.bool_], axes: Mapping[str, int]) -> Document:
    """An NdArray (clause 7.1) of values in the order of `axes` (name: length); what is not valid is null."""
    whole = bool(np.issubdtype(values.dtype, np.integer))
    return {
        "type": "NdArray",
        "dataType": "integer" if whole else "float",
        "axisNames": list(axes),
        "shape": list(axes.values()),
        "values": _flat(values, valid, whole),
    }


def _flat(values: NDArray[Any], valid: NDArray[np.bool_], whole: bool) -> NDArray[Any] | list[Any]:
    flat, good = np.ascontiguousarray(values).ravel(), valid.ravel()
    if not whole:
        # What is not finite becomes null in the encoder.
        floats = flat if flat.dtype in (np.float32, np.float64) else flat.astype(np.float64)
        return floats if good.all() else np.where(good, floats, floats.dtype.type(np.nan))
    if good.all():
        return flat
    return [value if fine else None for value, fine in zip(flat.tolist(), good.tolist(), strict=True)]


def grid_coverage(selection: Selection, blocks: Sequence[RasterBlock]) -> Document:
    """The selection as a Coverage of domain type Grid; `blocks` are one an instant. Axes that were sliced are not in the ranges."""
    times = [one for one in selection.instants if one is not None]
    rows, columns = selection.shape
    lengths = {"t": len(times), "y": rows, "x": columns} if times else {"y": rows, "x": columns}
    dropped = {"t" if axis == "time" else axis for axis in selection.sliced}
    axes = {name: length for name, length in lengths.items() if name not in dropped or length > 1}
    ranges = {}
    for index, band in enumerate(selection.bands):
        values = np.stack([block.values[index] for block in blocks])
        valid = np.stack([block.valid[index] for block in blocks])
        ranges[band.name] = nd_array(values, valid, axes)
    return {
        "type": "Coverage",
        "domain": grid_domain(selection.bounds, selection.shape, selection.reference, times),
        "parameters": parameters(selection.bands),
        "ranges": ranges,
    }
