"""The parameters of a coverage request (OGC API - Coverages, 19-087: bbox, subset, properties, scale-size, scale-factor)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import pyproj
from pyproj.exceptions import ProjError
from rasterio.windows import Window

from providers.coverages.raster import Band, Bounds, CoverageDescription, pixel_window
from providers.errors import AnswerTooLarge, InvalidParameter, UnknownReferenceSystem
from providers.features.crs import ReferenceSystem, reference_system
from providers.features.query import CRS84

MAXIMUM_SIDE = 16_384
_X_LABELS = frozenset({"e", "x", "easting", "lon", "long", "longitude"})
_Y_LABELS = frozenset({"n", "y", "northing", "lat", "latitude"})
_DEGREE_LABELS = frozenset({"lon", "long", "longitude", "lat", "latitude"})
ALL_LABELS = ("E", "N", "x", "y", "Lon", "Lat", "Long")
_AXIS = re.compile(r"\s*([A-Za-z]{1,12})\(([^()]{1,80})\)\s*")
KNOWN = frozenset({"bbox", "bbox-crs", "subset", "subset-crs", "properties", "scale-size", "scale-factor"})
_IGNORED = frozenset({"f", "lang", "datetime"})


@dataclass(frozen=True, slots=True)
class CoverageRequest:
    """What was asked, before it is fitted to a raster.

    `bbox` is in the authority's axis order of `bbox_crs`. `subset` maps an axis label to (low, high), None where open;
    without `subset_crs` its labels say the CRS: Lon and Lat are degrees of CRS84, all others the coverage's own axes.
    """

    bbox: tuple[float, float, float, float] | None = None
    bbox_crs: str = CRS84
    subset: Mapping[str, tuple[float | None, float | None]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    subset_crs: str | None = None
    properties: tuple[str, ...] = ()
    scale_size: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    scale_factor: float | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """What to read: a window of whole pixels, band numbers, and the shape (rows, columns) of the answer."""

    window: Window
    bands: tuple[Band, ...]
    shape: tuple[int, int]


def parse_coverage_request(parameters: Mapping[str, str]) -> CoverageRequest:
    """Read the query string. Raises InvalidParameter, also for a parameter that is not one of a coverage."""
    unknown = sorted(set(parameters) - KNOWN - _IGNORED)
    if unknown:
        raise InvalidParameter(
            unknown[0], parameters[unknown[0]], "only " + ", ".join(sorted(KNOWN | _IGNORED))
        )
    factor = parameters.get("scale-factor")
    return CoverageRequest(
        bbox=_bbox(parameters.get("bbox")),
        bbox_crs=parameters.get("bbox-crs", CRS84),
        subset=_subset(parameters.get("subset")),
        subset_crs=parameters.get("subset-crs"),
        properties=tuple(part for part in parameters.get("properties", "").split(",") if part),
        scale_size=_scale_size(parameters.get("scale-size")),
        scale_factor=None if factor is None else _number("scale-factor", factor),
    )


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InvalidParameter(name, text, "a finite number")
    return value


def _bbox(text: str | None) -> tuple[float, float, float, float] | None:
    """Four numbers, or six of which the third and sixth (heights) do not matter here."""
    if text is None:
        return None
    parts = [_number("bbox", part) for part in text.split(",")]
    if len(parts) == 6:
        parts = [parts[0], parts[1], parts[3], parts[4]]
    if len(parts) != 4:
        raise InvalidParameter("bbox", text, "four or six numbers separated by commas")
    return parts[0], parts[1], parts[2], parts[3]


def _axes(name: str, text: str) -> dict[str, str]:
    """The parts of "E(1:2),N(3:4)" by label."""
    found: dict[str, str] = {}
    for part in text.split("),"):
        whole = part if part.endswith(")") else part + ")"
        match = _AXIS.fullmatch(whole)
        if match is None or match.group(1) in found:
            raise InvalidParameter(
                name, text, "axis(values),axis(values) with each axis once, for example E(1:2),N(3:4)"
            )
        found[match.group(1)] = match.group(2)
    return found


def _subset(text: str | None) -> dict[str, tuple[float | None, float | None]]:
    if text is None:
        return {}
    answer: dict[str, tuple[float | None, float | None]] = {}
    for label, values in _axes("subset", text).items():
        low, separator, high = values.partition(":")
        if not separator:
            raise InvalidParameter(
                "subset", text, f"an interval low:high for axis {label} (slicing is not offered)"
            )
        answer[label] = tuple(None if end.strip() == "*" else _number("subset", end) for end in (low, high))  # type: ignore[assignment] # two parts
    return answer


def _scale_size(text: str | None) -> dict[str, int]:
    if text is None:
        return {}
    sizes = {}
    for label, value in _axes("scale-size", text).items():
        if not value.strip().isdecimal() or not 1 <= int(value) <= MAXIMUM_SIDE:
            raise InvalidParameter("scale-size", text, f"whole numbers from 1 to {MAXIMUM_SIDE}")
        sizes[label] = int(value)
    return sizes


def select(request: CoverageRequest, coverage: CoverageDescription, maximum_values: int) -> Selection:
    """Fit a request to a raster. Raises InvalidParameter, or AnswerTooLarge beyond `maximum_values` (pixels times bands)."""
    window = pixel_window(coverage, _wanted_bounds(request, coverage))
    if window.width < 1 or window.height < 1:
        name = "bbox" if request.bbox is not None else "subset"
        extent = ", ".join(f"{edge:.9g}" for edge in coverage.bounds)
        raise InvalidParameter(
            name, "outside", f"a box that meets the coverage, which is {extent} in its own CRS"
        )
    bands = _bands(request.properties, coverage)
    shape = _shape(request, coverage, window)
    values = shape[0] * shape[1] * len(bands)
    if values > maximum_values:
        factor = math.ceil(math.sqrt(values / maximum_values) * 10) / 10
        raise AnswerTooLarge(
            f"The answer would hold {shape[1]} x {shape[0]} pixels of {len(bands)} bands, {values} values; at most "
            f"{maximum_values} are given at once. Ask for a smaller bbox or subset, fewer properties, scale-size, or "
            f"scale-factor={factor * (request.scale_factor or 1.0):g}"
        )
    return Selection(window, bands, shape)


def _wanted_bounds(request: CoverageRequest, coverage: CoverageDescription) -> Bounds:
    """The part of the coverage's extent that bbox and subset leave."""
    if request.bbox is not None and request.subset:
        raise InvalidParameter("subset", ",".join(request.subset), "bbox or subset, not both")
    if request.bbox is not None:
        return _from_box("bbox", request.bbox, _reference("bbox-crs", request.bbox_crs), coverage)
    if not request.subset:
        return coverage.bounds
    return _from_subset(request, coverage)


def _from_subset(request: CoverageRequest, coverage: CoverageDescription) -> Bounds:
    x = _axis_interval(request.subset, _X_LABELS)
    y = _axis_interval(request.subset, _Y_LABELS)
    strange = [label for label in request.subset if label.lower() not in _X_LABELS | _Y_LABELS]
    if strange:
        raise InvalidParameter("subset", strange[0], "the axes " + " and ".join(coverage.axes))
    foreign = _subset_reference(request, coverage)
    if foreign is None or foreign.uri == coverage.reference.uri != "":
        given = (x[0], y[0], x[1], y[1])
        return Bounds(
            *(edge if one is None else one for one, edge in zip(given, coverage.bounds, strict=True))
        )
    if None in x or None in y:
        raise InvalidParameter(
            "subset",
            ",".join(request.subset),
            "closed intervals of both axes where they are not those of the coverage's own CRS",
        )
    box = (x[0] or 0.0, y[0] or 0.0, x[1] or 0.0, y[1] or 0.0)
    return _transformed("subset", box, foreign, coverage)


def _subset_reference(request: CoverageRequest, coverage: CoverageDescription) -> ReferenceSystem | None:
    """The CRS of `subset` where it is not the coverage's own: as `subset-crs` says, else as the labels say."""
    if request.subset_crs is not None:
        return _reference("subset-crs", request.subset_crs)
    in_degrees = {label.lower() in _DEGREE_LABELS for label in request.subset}
    if len(in_degrees) > 1:
        raise InvalidParameter(
            "subset",
            ",".join(request.subset),
            "labels of one CRS: Lon and Lat (CRS84), or those of the coverage",
        )
    if in_degrees == {False} or coverage.reference.horizontal.is_geographic:
        return None
    return _reference("subset", CRS84)


def _axis_interval(
    subset: Mapping[str, tuple[float | None, float | None]], labels: frozenset[str]
) -> tuple[float | None, float | None]:
    found = [interval for label, interval in subset.items() if label.lower() in labels]
    if len(found) > 1:
        raise InvalidParameter("subset", ",".join(subset), "each axis once")
    low, high = found[0] if found else (None, None)
    if low is not None and high is not None and low > high:
        raise InvalidParameter(
            "subset", f"{low:g}:{high:g}", "an interval whose low end is not above its high end"
        )
    return low, high


def _reference(name: str, uri: str) -> ReferenceSystem:
    try:
        system = reference_system(uri)
    except UnknownReferenceSystem as error:
        raise InvalidParameter(name, uri, f"the URI of a known CRS ({error})") from error
    if system.border:
        raise InvalidParameter(name, uri, "the URI of a CRS; coverages are not shifted, features are")
    return system


def _from_box(
    name: str,
    numbers: tuple[float, float, float, float],
    system: ReferenceSystem,
    coverage: CoverageDescription,
) -> Bounds:
    first, second, third, fourth = numbers
    box = (second, first, fourth, third) if system.swap else numbers
    if box[1] > box[3] or (box[0] > box[2] and not system.horizontal.is_geographic):
        raise InvalidParameter(
            name, ",".join(f"{one:g}" for one in numbers), "the lower corner before the upper one"
        )
    if system.uri == coverage.reference.uri != "":
        return Bounds(*box)
    return _transformed(name, box, system, coverage)


def _transformed(
    name: str, box: tuple[float, float, float, float], system: ReferenceSystem, coverage: CoverageDescription
) -> Bounds:
    """The box around a box of another CRS."""
    transformer = pyproj.Transformer.from_crs(
        system.horizontal, coverage.reference.horizontal, always_xy=True
    )
    try:
        edges = transformer.transform_bounds(*box, densify_pts=21)
    except ProjError:
        edges = (math.inf,) * 4
    if not all(math.isfinite(edge) for edge in edges):
        shown = ",".join(f"{one:g}" for one in box)
        raise InvalidParameter(name, shown, "a box that lies within the area of the coverage's CRS")
    return Bounds(*edges)


def _bands(names: Sequence[str], coverage: CoverageDescription) -> tuple[Band, ...]:
    """The bands of `properties`: by number or by name, in the order asked; all of them without."""
    if not names:
        return coverage.bands
    by_name = {key: band for band in coverage.bands for key in (band.name, str(band.number))}
    unknown = [name for name in names if name not in by_name]
    if unknown or len(set(names)) != len(names):
        allowed = ", ".join(f"{band.number} ({band.name})" for band in coverage.bands)
        raise InvalidParameter("properties", ",".join(names), f"each once of {allowed}")
    return tuple(by_name[name] for name in names)


def _shape(request: CoverageRequest, coverage: CoverageDescription, window: Window) -> tuple[int, int]:
    """(rows, columns) of the answer. With one axis of scale-size the other keeps the proportion."""
    factor = request.scale_factor
    if factor is not None and request.scale_size:
        raise InvalidParameter(
            "scale-size", str(dict(request.scale_size)), "scale-size or scale-factor, not both"
        )
    if factor is not None:
        if not 0.01 <= factor <= 1_000_000:
            raise InvalidParameter(
                "scale-factor", f"{factor:g}", "a number from 0.01 to 1000000; 2 halves rows and columns"
            )
        return _side(window.height / factor), _side(window.width / factor)
    if not request.scale_size:
        return int(window.height), int(window.width)
    columns = _size_of(request.scale_size, _X_LABELS, coverage)
    rows = _size_of(request.scale_size, _Y_LABELS, coverage)
    if columns is None and rows is not None:
        columns = _side(window.width * rows / window.height)
    elif rows is None and columns is not None:
        rows = _side(window.height * columns / window.width)
    return rows or 1, columns or 1


def _size_of(sizes: Mapping[str, int], labels: frozenset[str], coverage: CoverageDescription) -> int | None:
    strange = [label for label in sizes if label.lower() not in _X_LABELS | _Y_LABELS]
    found = [size for label, size in sizes.items() if label.lower() in labels]
    if strange or len(found) > 1:
        raise InvalidParameter(
            "scale-size", ",".join(sizes), "the axes " + " and ".join(coverage.axes) + ", each once"
        )
    return found[0] if found else None


def _side(pixels: float) -> int:
    return min(max(round(pixels), 1), MAXIMUM_SIDE * 64)
