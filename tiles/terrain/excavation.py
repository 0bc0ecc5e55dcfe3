"""Cutting a pit into the ground: how much is to be dug and filled, and the pit's walls and floor.

The polygon is the pit's upper edge. From it the walls go down to a level floor, upright or leaning inwards. All is computed in a plane that
touches the ellipsoid at the polygon's middle, scaled to the height of the ground there: within the largest area allowed lengths
are true to a part in a million.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.enums import TransformDirection

from tiles.terrain.errors import ExcavationError
from tiles.terrain.terrain_tiles import TerrainTiles
from tiles.three_d.placement import SEMI_MAJOR_AXIS, as_crs, horizontal_part, to_longitude_latitude

MOST_VERTICES = 2_000
MOST_AREA = 25_000_000.0
MOST_DEPTH = 1_000.0
GENTLEST_SLOPE, UPRIGHT = 10.0, 90.0
_MOST_SAMPLES = 200_000
_MOST_RIM = 4_000
_STEEPEST_LEANING = 89.9

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Excavation:
    """What is to be dug. Make it by `excavation_of`.

    `polygon` in longitude and latitude, counter-clockwise, without holes. One of `floor` (m, in the elevation model's reference) and `depth`
    (m below the lowest ground of the edge) is given. `slope`: degrees of the walls from the horizontal, 90 is upright.
    """

    polygon: shapely.Polygon
    floor: float | None
    depth: float | None
    slope: float


@dataclass(frozen=True, slots=True)
class PitMesh:
    """The pit in its plane. `positions` (n, 3): x, y (m from the middle), height in the model's reference; `lonlat` (n, 2) of the same.

    `walls` and `floor` are triangles (t, 3), counter-clockwise seen from inside the pit. Along the edge it is open.
    """

    positions: Numbers
    lonlat: Numbers
    walls: NDArray[np.int64]
    floor: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Pit:
    """What was dug: areas in m2, volumes in m3, heights in m in the elevation model's reference.

    `cut` is the ground above the pit's surface, `fill` what is missing below it, both within the polygon. `rim` (n, 2) is the upper edge in
    longitude and latitude, counter-clockwise and open. `spacing` (m) is the distance of the samples of which volumes are sums.
    """

    area: float
    floor_area: float
    cut: float
    fill: float
    floor: float
    lowest: float
    highest: float
    spacing: float
    rim: Numbers
    mesh: PitMesh


def excavation_of(
    geometry: Any,
    crs: CRS | str = "OGC:CRS84",
    *,
    floor: float | None = None,
    depth: float | None = None,
    slope: float = UPRIGHT,
) -> Excavation:
    """A polygon (shapely; x is easting or longitude) of any CRS and what is to be dug there.

    Raises ExcavationError for what is no simple polygon, or lies outside the limits; PlacementError for an unknown CRS.
    """
    _check_numbers(floor, depth, slope)
    if not isinstance(geometry, shapely.Polygon) or geometry.is_empty:
        raise ExcavationError(f"a pit needs one polygon; found {getattr(geometry, 'geom_type', 'nothing')}")
    if len(geometry.interiors):
        raise ExcavationError("a pit's polygon may have no holes: clients cannot leave islands standing")
    if shapely.get_num_coordinates(geometry) - 1 > MOST_VERTICES:
        raise ExcavationError(
            f"the polygon has {shapely.get_num_coordinates(geometry) - 1} vertices; allowed are {MOST_VERTICES}: simplify it"
        )
    if not np.isfinite(shapely.get_coordinates(geometry)).all():
        raise ExcavationError("the polygon has coordinates that are not finite")
    if not shapely.is_valid(geometry):
        raise ExcavationError(f"the polygon is not valid: {shapely.is_valid_reason(geometry)}")
    source = horizontal_part(as_crs(crs))
    coordinates = to_longitude_latitude(source, shapely.get_coordinates(geometry.exterior))[0]
    if not np.isfinite(coordinates).all() or np.abs(coordinates[:, 1]).max() > 89.9:
        raise ExcavationError("the polygon lies outside the area of its CRS, or at a pole")
    if np.ptp(coordinates[:, 0]) > 180.0:
        raise ExcavationError("the polygon crosses the antimeridian; cut it there into two")
    placed = shapely.Polygon(coordinates)
    return Excavation(shapely.orient_polygons(placed), floor, depth, slope)


def _check_numbers(floor: float | None, depth: float | None, slope: float) -> None:
    if (floor is None) == (depth is None):
        raise ExcavationError("a pit needs the height of its floor, or its depth; one of them")
    if floor is not None and not -12_000.0 <= floor <= 10_000.0:
        raise ExcavationError(f"a floor at {floor} m was asked; allowed are -12000 to 10000")
    if depth is not None and not 0.0 < depth <= MOST_DEPTH:
        raise ExcavationError(
            f"a depth of {depth} m was asked; allowed are numbers above 0, up to {MOST_DEPTH:g}"
        )
    if not GENTLEST_SLOPE <= slope <= UPRIGHT:
        raise ExcavationError(
            f"a slope of {slope} degrees was asked; allowed are {GENTLEST_SLOPE:g} to {UPRIGHT:g}, which is upright"
        )


class _Plane:
    """Metres east and north of a place, at the height of the ground there."""

    def __init__(self, longitude: float, latitude: float, height: float) -> None:
        self._transformer = Transformer.from_crs(
            "OGC:CRS84",
            f"+proj=aeqd +lon_0={longitude!r} +lat_0={latitude!r} +datum=WGS84 +units=m +type=crs",
            always_xy=True,
        )
        self._scale = (SEMI_MAJOR_AXIS + height) / SEMI_MAJOR_AXIS

    def forward(self, lonlat: Numbers) -> Numbers:
        x, y = self._transformer.transform(lonlat[:, 0], lonlat[:, 1])
        return np.column_stack((x, y)) * self._scale

    def inverse(self, xy: Numbers) -> Numbers:
        x, y = (xy / self._scale).T
        return np.column_stack(self._transformer.transform(x, y, direction=TransformDirection.INVERSE))


def excavate(terrain: TerrainTiles, excavation: Excavation) -> Pit:
    """Dig: areas, volumes and the mesh of the pit. The ground is the terrain's elevation model at its full resolution.

    Raises ExcavationError where the ground is not known all over the polygon, or the walls meet before they reach the floor.
    """
    polygon = excavation.polygon
    middle = shapely.point_on_surface(polygon)
    near = terrain.own_heights(shapely.get_coordinates(middle))
    plane = _Plane(middle.x, middle.y, float(near[0]) if np.isfinite(near[0]) else 0.0)
    flat = shapely.orient_polygons(shapely.transform(polygon, plane.forward))
    if not 0.0 < flat.area <= MOST_AREA:
        raise ExcavationError(f"the polygon covers {flat.area:.0f} m2; allowed are up to {MOST_AREA:.0f}")
    pixel = terrain.surface.model.pixel_size()
    rim = shapely.get_coordinates(
        shapely.segmentize(flat.exterior, max(pixel, flat.length / _MOST_RIM, 0.05))
    )[:-1]
    tops = _known(terrain.own_heights(plane.inverse(rim)))
    floor = (
        excavation.floor if excavation.floor is not None else float(tops.min()) - (excavation.depth or 0.0)
    )
    if max(abs(float(tops.max()) - floor), abs(float(tops.min()) - floor)) > MOST_DEPTH:
        raise ExcavationError(
            f"the floor at {floor:.2f} m is more than {MOST_DEPTH:g} m from the ground at {tops.min():.2f} to {tops.max():.2f} m"
        )
    outline = shapely.Polygon(rim)
    bottom = _bottom(outline, abs(float(tops.mean()) - floor), excavation.slope)
    mesh = _mesh(rim, tops, bottom, floor, plane, excavation.slope >= _STEEPEST_LEANING)
    points, spacing = _samples(flat, pixel)
    ground = _known(terrain.own_heights(plane.inverse(points)))
    above = (ground - _pit_heights(mesh, points, floor)) * (flat.area / len(points))
    return Pit(
        area=float(flat.area),
        floor_area=float(bottom.area),
        cut=float(above[above > 0.0].sum()),
        fill=float(-above[above < 0.0].sum()),
        floor=floor,
        lowest=float(min(ground.min(), tops.min())),
        highest=float(max(ground.max(), tops.max())),
        spacing=spacing,
        rim=plane.inverse(shapely.get_coordinates(flat.exterior)[:-1]),
        mesh=mesh,
    )


def _known(heights: Numbers) -> Numbers:
    if not np.isfinite(heights).all():
        missing = float((~np.isfinite(heights)).mean())
        raise ExcavationError(
            f"the elevation model has no heights on {missing:.1%} of the polygon; dig where it has"
        )
    return heights


def _bottom(rim: shapely.Polygon, depth: float, slope: float) -> Any:
    """The floor's outline: the edge moved inwards by what walls of that slope take on the way down."""
    if slope >= _STEEPEST_LEANING:
        return rim
    inset = depth / math.tan(math.radians(slope))
    found = shapely.buffer(rim, -inset, join_style="mitre")
    if found.is_empty or found.area <= 0.0:
        steepest = shapely.length(shapely.maximum_inscribed_circle(rim))
        needed = math.degrees(math.atan2(depth, steepest))
        raise ExcavationError(
            f"walls of {slope:g} degrees meet before they reach a floor {depth:.2f} m down; the widest part of the polygon "
            f"allows slopes of more than {needed:.1f} degrees"
        )
    return found


def _mesh(rim: Numbers, tops: Numbers, bottom: Any, floor: float, plane: _Plane, upright: bool) -> PitMesh:
    count = len(rim)
    upper = np.column_stack((rim, tops))
    if upright:
        lower = np.column_stack((rim, np.full(count, floor)))
        at, after = np.arange(count), np.roll(np.arange(count), -1)
        # Counter-clockwise around the pit, seen from inside it.
        walls = np.concatenate(
            (
                np.column_stack((after + count, at + count, at)),
                np.column_stack((after + count, at, after)),
            )
        )
        positions = np.concatenate((upper, lower))
        flat = _triangles(shapely.Polygon(rim), positions[count:, :2]) + count
    else:
        step = shapely.length(shapely.LinearRing(rim)) / count
        rings = shapely.segmentize(bottom, step)
        inner = np.concatenate([shapely.get_coordinates(ring)[:-1] for ring in _rings(rings)])
        positions = np.concatenate((upper, np.column_stack((inner, np.full(len(inner), floor)))))
        holes = [shapely.get_coordinates(part.exterior) for part in shapely.get_parts(rings)]
        walls = _triangles(shapely.Polygon(rim, holes), positions[:, :2])
        flat = np.concatenate([_triangles(part, positions[:, :2]) for part in shapely.get_parts(rings)])
    return PitMesh(positions, plane.inverse(positions[:, :2]), walls, flat)


def _rings(shape: Any) -> list[Any]:
    return [ring for part in shapely.get_parts(shape) for ring in (part.exterior, *part.interiors)]


def _triangles(polygon: Any, vertices: Numbers) -> NDArray[np.int64]:
    """Triangles of a polygon whose corners are among `vertices` (n, 2), counter-clockwise, as their numbers."""
    found = shapely.get_parts(shapely.constrained_delaunay_triangles(polygon))
    corners = shapely.get_coordinates(found).reshape(-1, 4, 2)[:, :3].reshape(-1, 2)
    _, numbers = shapely.STRtree(np.atleast_1d(shapely.points(vertices))).query_nearest(
        shapely.points(corners), all_matches=False
    )
    triangles = np.asarray(numbers, dtype=np.int64).reshape(-1, 3)
    a, b, c = (vertices[triangles[:, corner]] for corner in range(3))
    turn = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    triangles[turn < 0.0] = triangles[turn < 0.0][:, ::-1]
    return triangles


def _samples(polygon: shapely.Polygon, pixel: float) -> tuple[Numbers, float]:
    """Centres (n, 2) of square cells inside the polygon, half a pixel of the model apart or wider, and how far apart they are."""
    spacing = max(pixel / 2.0, math.sqrt(polygon.area / _MOST_SAMPLES))
    spacing = min(spacing, math.sqrt(polygon.area / 1_000.0))
    west, south, east, north = polygon.bounds
    while True:
        x = np.arange(west + spacing / 2.0, east, spacing)
        y = np.arange(south + spacing / 2.0, north, spacing)
        if len(x) * len(y) <= 40 * _MOST_SAMPLES:
            break
        spacing *= 2.0  # a thin polygon across a wide box
    all_x, all_y = (part.ravel() for part in np.meshgrid(x, y))
    shapely.prepare(polygon)
    inside = shapely.contains_xy(polygon, all_x, all_y)
    if not inside.any():
        middle = shapely.point_on_surface(polygon)
        return np.array([[middle.x, middle.y]]), spacing
    return np.column_stack((all_x[inside], all_y[inside])), spacing


def _pit_heights(mesh: PitMesh, points: Numbers, floor: float) -> Numbers:
    """Height of the pit's surface at points: the floor's, or that of the leaning wall they lie on."""
    result = np.full(len(points), floor)
    corners = mesh.positions[mesh.walls]
    a, ab, ac = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]
    leaning = np.flatnonzero(np.abs(area) > 1e-9)
    if not leaning.size:
        return result
    flat = shapely.polygons(corners[leaning][:, [0, 1, 2, 0], :2])
    at, which = shapely.STRtree(np.atleast_1d(flat)).query(shapely.points(points), predicate="intersects")
    chosen = leaning[which]
    away = points[at] - a[chosen, :2]
    second = (away[:, 0] * ac[chosen, 1] - away[:, 1] * ac[chosen, 0]) / area[chosen]
    third = (away[:, 1] * ab[chosen, 0] - away[:, 0] * ab[chosen, 1]) / area[chosen]
    result[at] = a[chosen, 2] + second * ab[chosen, 2] + third * ac[chosen, 2]
    return result
