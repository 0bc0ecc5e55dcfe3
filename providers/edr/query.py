"""The parameters of a data query (OGC API - EDR 1.1, clause 8.2), read but not yet answered."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from providers.coverages.references import named_reference, transformer
from providers.coverages.request import TimeRange
from providers.edr.description import UNITS_OF_LENGTH
from providers.edr.wkt import Shape, parse_coords
from providers.errors import InvalidParameter
from providers.features.crs import ReferenceSystem, reference_system
from providers.features.query import CRS84
from providers.sensors.times import parse_span

MAXIMUM_POSITIONS = 20_000
MAXIMUM_DISTANCE = 20_100_000.0
"""Half the Earth's girth in metres: no distance is longer."""

_COMMON = ("crs", "datetime", "parameter-name", "z")
PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "position": ("coords", *_COMMON),
    "area": ("coords", *_COMMON),
    "cube": ("bbox", "resolution-x", "resolution-y", "resolution-z", *_COMMON),
    "radius": ("coords", "within", "within-units", *_COMMON),
    "trajectory": ("coords", *_COMMON),
    "corridor": (
        "coords",
        "corridor-width",
        "width-units",
        "corridor-height",
        "height-units",
        "resolution-x",
        "resolution-y",
        "resolution-z",
        *_COMMON,
    ),
    "locations": ("bbox", "limit", *_COMMON),
}
"""The parameters each kind of query knows, `f` and `lang` aside."""
_KINDS = {
    "position": ("POINT", "MULTIPOINT"),
    "radius": ("POINT",),
    "area": ("POLYGON", "MULTIPOLYGON"),
    "trajectory": ("LINESTRING", "MULTILINESTRING"),
    "corridor": ("LINESTRING", "MULTILINESTRING"),
}


@dataclass(frozen=True)
class DataQuery:
    """What was asked. `reference` is the CRS of `shape` and of the answer; `given_crs` whether it was named.

    `distance` is in metres: the radius, or half a corridor's width. `bbox` is west, south, east, north in `reference`; west may be
    greater than east across the antimeridian. `resolution` are (columns, rows) of the answer, 0 for the data's own.
    """

    kind: str
    reference: ReferenceSystem
    given_crs: bool
    shape: Shape | None = None
    bbox: tuple[float, float, float, float] | None = None
    time: TimeRange | None = None
    parameters: tuple[str, ...] = ()
    distance: float = 0.0
    resolution: tuple[int, int] = (0, 0)

    @property
    def geometry(self) -> Shape:
        """The shape of a query that has one."""
        assert self.shape is not None
        return self.shape

    @property
    def geometry_is_multiple(self) -> bool:
        """Whether places were asked for as several."""
        return self.shape is not None and self.shape.kind != "POINT"


def parse_query(kind: str, given: Mapping[str, str]) -> DataQuery:
    """Read the parameters of a query without `f` and `lang`. Raises InvalidParameter."""
    for name, value in given.items():
        if name not in PARAMETERS[kind]:
            raise InvalidParameter(name, value, f"the parameters of {kind}: {', '.join(PARAMETERS[kind])}")
    reference = named_reference("crs", given.get("crs", CRS84))
    if "z" in given:
        raise InvalidParameter("z", given["z"], "nothing: the collection has no vertical axis")
    shape = None
    if kind in _KINDS:
        shape = _in_gis_order(parse_coords(given.get("coords"), *_KINDS[kind]), reference)
        _check_place(shape, reference, given["coords"])
        _check_time(shape, given)
    return DataQuery(
        kind=kind,
        reference=reference,
        given_crs="crs" in given,
        shape=shape,
        bbox=_bbox(given.get("bbox"), reference, required=kind == "cube"),
        time=_time(given.get("datetime")),
        parameters=_names(given.get("parameter-name")),
        distance=_distance(kind, given),
        resolution=(_resolution("resolution-x", given), _resolution("resolution-y", given)),
    )


def _in_gis_order(shape: Shape, reference: ReferenceSystem) -> Shape:
    """With x east and y north, whatever the authority's order."""
    if not reference.swap:
        return shape
    turned = tuple(np.concatenate([part[:, 1::-1], part[:, 2:]], axis=1) for part in shape.parts)
    return Shape(shape.kind, shape.has_z, shape.has_m, turned, shape.polygons)


def _check_place(shape: Shape, reference: ReferenceSystem, text: str) -> None:
    if not reference.horizontal.is_geographic:
        return
    for part in shape.parts:
        if (np.abs(part[:, 0]) > 360).any() or (np.abs(part[:, 1]) > 90).any():
            raise InvalidParameter("coords", text, "longitudes from -360 to 360 and latitudes from -90 to 90")


def _check_time(shape: Shape, given: Mapping[str, str]) -> None:
    if shape.has_m and "datetime" in given:
        raise InvalidParameter("datetime", given["datetime"], "nothing where coords has times (M) of its own")


def _time(text: str | None) -> TimeRange | None:
    if text is None:
        return None
    is_instant = "/" not in text and len(text) > len("2024-05-01")
    return TimeRange(parse_span(text), is_instant, "datetime", text)


def _names(text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if not all(names):
        raise InvalidParameter("parameter-name", text, "names of parameters between commas")
    return names


def plain_number(name: str, text: str) -> float:
    """A number, written plainly; NaN and infinities are none. Raises InvalidParameter."""
    try:
        value = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InvalidParameter(name, text, "a finite number")
    return value


def _bbox(
    text: str | None, reference: ReferenceSystem, *, required: bool
) -> tuple[float, float, float, float] | None:
    if text is None:
        if required:
            raise InvalidParameter("bbox", "", "west,south,east,north, which a cube needs")
        return None
    parts = [plain_number("bbox", part) for part in text.split(",")]
    if len(parts) == 6:
        parts = [parts[0], parts[1], parts[3], parts[4]]
    if len(parts) != 4:
        raise InvalidParameter("bbox", text, "four or six numbers separated by commas")
    west, south, east, north = (parts[1], parts[0], parts[3], parts[2]) if reference.swap else parts
    geographic = reference.horizontal.is_geographic
    if south > north or (west > east and not geographic):
        raise InvalidParameter("bbox", text, "the lower corner before the upper one")
    if geographic and not (south >= -90 and north <= 90 and abs(west) <= 360 and abs(east) <= 360):
        raise InvalidParameter("bbox", text, "longitudes from -360 to 360 and latitudes from -90 to 90")
    return west, south, east, north


def _distance(kind: str, given: Mapping[str, str]) -> float:
    if kind == "radius":
        return metres("within", "within-units", given)
    if kind != "corridor":
        return 0.0
    if "corridor-height" in given or "height-units" in given:
        # Nothing here has a vertical extent: every height of a corridor holds the same.
        metres("corridor-height", "height-units", {"corridor-height": "0", **given})
    return metres("corridor-width", "width-units", given) / 2


def metres(name: str, units: str, given: Mapping[str, str]) -> float:
    """A distance in metres; without a unit it is metres. Raises InvalidParameter where it is missing, negative or too long."""
    if name not in given:
        raise InvalidParameter(name, "", "a distance, which this query needs")
    factor = UNITS_OF_LENGTH.get(given.get(units, "m").lower())
    if factor is None:
        raise InvalidParameter(units, given[units], "one of " + ", ".join(UNITS_OF_LENGTH))
    distance = plain_number(name, given[name]) * factor
    if not 0 <= distance <= MAXIMUM_DISTANCE:
        raise InvalidParameter(
            name, given[name], "a distance of at least 0 and at most half the Earth's girth"
        )
    return distance


def _resolution(name: str, given: Mapping[str, str]) -> int:
    text = given.get(name, "0")
    if not (text.isascii() and text.isdigit() and len(text) <= 5):
        raise InvalidParameter(name, text, "a whole number of positions; 0 for those of the data")
    return int(text)


# --- geometries ----------------------------------------------------------------------------------------------------------


def polygon_of(shape: Shape) -> BaseGeometry:
    """The polygons of a shape; across the antimeridian longitudes go on past 180, or it is two. Raises InvalidParameter where they are not valid."""
    rings = list(shape.parts)
    polygons = []
    for count in shape.polygons:
        outer, *holes = (ring[:, :2] for ring in rings[:count])
        polygons.append(shapely.Polygon(outer, holes))
        rings = rings[count:]
    area = polygons[0] if len(polygons) == 1 else shapely.MultiPolygon(polygons)
    if not area.is_valid:
        reason = shapely.is_valid_reason(area)
        raise InvalidParameter("coords", area.wkt[:80], f"polygons that are valid; this one is not: {reason}")
    return area


def unrolled(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Longitudes along a line, with turns added where it takes the shorter way across the antimeridian."""
    return np.degrees(np.unwrap(np.radians(x)))


def to_degrees(
    query: DataQuery, x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], ...]:
    """Positions of the query's CRS as longitudes and latitudes. Raises InvalidParameter where one has no place on Earth."""
    if query.reference.is_wgs84:
        return x, y
    wgs84 = reference_system(CRS84)
    longitudes, latitudes = transformer(query.reference.horizontal, wgs84.horizontal).transform(x, y)
    if not (np.isfinite(longitudes).all() and np.isfinite(latitudes).all()):
        raise InvalidParameter(
            "coords", f"{x[0]:g} {y[0]:g}", f"positions within the area of {query.reference.crs.name}"
        )
    return np.asarray(longitudes), np.asarray(latitudes)
