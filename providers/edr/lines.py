"""Lines, discs and corridors of data queries: positions along a line, distances on the ground, areas around.

Distances are geodesic on WGS 84. What is drawn around a line or a position is drawn in a plane of its own (azimuthal equidistant),
which is good to a few parts in a thousand for some hundred kilometres.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from providers.coverages.references import same, transformer
from providers.edr.query import DataQuery, to_degrees, unrolled
from providers.errors import AnswerTooLarge, InvalidParameter
from providers.features.crs import ReferenceSystem, reference_system
from providers.features.query import CRS84

_GEOD = pyproj.Geod(ellps="WGS84")
_CIRCLE_SEGMENTS = 32  # a quarter of a circle
_WIDEST = 2_000_000.0
"""Metres around a line or a position; farther out a plane says nothing."""

type Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Line:
    """Positions of the query's CRS, their distances from the start in metres, and their times where the text gave them (epoch)."""

    x: Numbers
    y: Numbers
    distance: Numbers
    seconds: Numbers | None = None


def lines_of(query: DataQuery, own: ReferenceSystem, resolution: float, most: int) -> list[Line]:
    """The lines of a query with positions no farther apart than `resolution` (units of `own`), its vertices among them.

    Raises AnswerTooLarge beyond `most` positions, InvalidParameter for positions that have no place on Earth.
    """
    found = []
    left = most
    for part in query.geometry.parts:
        x = part[:, 0].copy()
        if query.reference.horizontal.is_geographic:
            x = unrolled(x)
        line = _densified(query, own, (x, part[:, 1].copy()), part, (resolution, left))
        left -= len(line.x)
        found.append(line)
    return found


def _densified(
    query: DataQuery,
    own: ReferenceSystem,
    places: tuple[Numbers, Numbers],
    part: Numbers,
    steps: tuple[float, int],
) -> Line:
    x, y = places
    resolution, most = steps
    own_x, own_y = _in_own(query, own, x, y)
    lengths = np.hypot(np.diff(own_x), np.diff(own_y)) / resolution
    if not np.isfinite(lengths).all() or lengths.sum() + len(x) > most:
        count = "endlessly many" if not np.isfinite(lengths).all() else f"{int(lengths.sum()) + len(x)}"
        raise AnswerTooLarge(
            f"The line crosses {count} cells; at most {most} positions are given at once. Ask for a shorter line"
        )
    counts = np.maximum(np.ceil(lengths).astype(int), 1)
    # The place of each position along its leg: 0 at its first vertex, rising to, but not reaching, 1.
    leg = np.repeat(np.arange(len(counts)), counts)
    within = np.concatenate([np.arange(count) / count for count in counts])
    at = np.append(leg + within, len(counts))
    vertices = np.arange(len(x))
    dense_x, dense_y = np.interp(at, vertices, x), np.interp(at, vertices, y)
    seconds = None
    if query.geometry.has_m:
        seconds = np.interp(at, vertices, part[:, -1])
    return Line(dense_x, dense_y, _distances(query, dense_x, dense_y), seconds)


def _in_own(query: DataQuery, own: ReferenceSystem, x: Numbers, y: Numbers) -> tuple[Numbers, Numbers]:
    if same(query.reference, own):
        return x, y
    found = transformer(query.reference.horizontal, own.horizontal).transform(x, y)
    return np.asarray(found[0]), np.asarray(found[1])


def _distances(query: DataQuery, x: Numbers, y: Numbers) -> Numbers:
    """Metres on the ground from the first position."""
    longitudes, latitudes = to_degrees(query, x, y)
    steps = _GEOD.inv(longitudes[:-1], latitudes[:-1], longitudes[1:], latitudes[1:])[2]
    return np.concatenate([[0.0], np.cumsum(steps)])


def across(query: DataQuery, line: Line, count: int) -> list[Line]:
    """`count` lines beside one another across a corridor, its two edges among them; one is the line itself (resolution-x)."""
    if count == 1:
        return [line]
    longitudes, latitudes = to_degrees(query, line.x, line.y)
    ahead = _GEOD.inv(longitudes[:-1], latitudes[:-1], longitudes[1:], latitudes[1:])[0]
    heading = np.append(ahead, ahead[-1])
    found = []
    for offset in np.linspace(-query.distance, query.distance, count):
        beside_x, beside_y, _ = _GEOD.fwd(
            longitudes, latitudes, heading + 90.0, np.full(len(longitudes), offset)
        )
        x, y = _from_degrees(query, np.asarray(beside_x), np.asarray(beside_y))
        found.append(Line(x, y, line.distance, line.seconds))
    return found


def _from_degrees(query: DataQuery, longitudes: Numbers, latitudes: Numbers) -> tuple[Numbers, Numbers]:
    if query.reference.is_wgs84:
        return longitudes, latitudes
    wgs84 = reference_system(CRS84)
    found = transformer(wgs84.horizontal, query.reference.horizontal).transform(longitudes, latitudes)
    return np.asarray(found[0]), np.asarray(found[1])


def disc(query: DataQuery) -> BaseGeometry:
    """Everything within the query's distance of its position, in its CRS. Raises InvalidParameter."""
    x, y = query.geometry.parts[0][:1, 0], query.geometry.parts[0][:1, 1]
    return _around(query, "within", lambda points: shapely.Point(points[0]), x, y)


def corridor_area(query: DataQuery) -> BaseGeometry:
    """Everything within half the corridor's width of its lines, in the query's CRS. Raises InvalidParameter."""
    areas = []
    for part in query.geometry.parts:
        x = unrolled(part[:, 0]) if query.reference.horizontal.is_geographic else part[:, 0]
        areas.append(_around(query, "corridor-width", shapely.LineString, x, part[:, 1]))
    joined: BaseGeometry = shapely.union_all(areas)
    return joined


def _around(
    query: DataQuery, name: str, shape: Callable[[Numbers], BaseGeometry], x: Numbers, y: Numbers
) -> BaseGeometry:
    if query.distance > _WIDEST:
        raise InvalidParameter(name, f"{query.distance:g} m", f"at most {_WIDEST / 1000:g} km to each side")
    longitudes, latitudes = to_degrees(query, x, y)
    middle = float(longitudes.min() + longitudes.max()) / 2
    plane = pyproj.CRS.from_proj4(
        f"+proj=aeqd +lat_0={(latitudes.min() + latitudes.max()) / 2} +lon_0={middle} +datum=WGS84 +units=m"
    )
    wgs84 = reference_system(CRS84).horizontal
    inward = pyproj.Transformer.from_crs(wgs84, plane, always_xy=True)
    points = np.column_stack(inward.transform(longitudes, latitudes))
    if not np.isfinite(points).all():
        raise InvalidParameter("coords", f"{x[0]:g} {y[0]:g}", "a line of at most half the globe")
    drawn = shapely.buffer(shape(points), max(query.distance, 1e-6), quad_segs=_CIRCLE_SEGMENTS)
    placed: BaseGeometry = shapely.transform(drawn, lambda ring: _back(query, inward, ring, middle))
    return placed


def _back(query: DataQuery, inward: pyproj.Transformer, ring: Numbers, middle: float) -> Numbers:
    longitudes, latitudes = inward.transform(ring[:, 0], ring[:, 1], direction="INVERSE")
    # On the turn of the globe around the middle, so that a ring across the antimeridian stays one.
    near = middle + np.mod(np.asarray(longitudes) - middle + 180.0, 360.0) - 180.0
    return np.column_stack(_from_degrees(query, near, np.asarray(latitudes)))
