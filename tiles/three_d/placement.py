"""From any horizontal CRS to longitude and latitude, to ECEF, and into the local frame of one tile.

Arrays of positions have shape (n, 3) or (n, 2), dtype float64; longitude and latitude are degrees on WGS 84, heights
metres above its ellipsoid, ECEF is EPSG:4978 in metres. x is always easting or longitude (PROJ's `always_xy`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.enums import TransformDirection
from pyproj.exceptions import CRSError, ProjError

from tiles.three_d.errors import PlacementError

Positions = NDArray[np.float64]

SEMI_MAJOR_AXIS = 6378137.0
FLATTENING = 1.0 / 298.257223563
ECCENTRICITY_SQUARED = FLATTENING * (2.0 - FLATTENING)

# Datums that PROJ connects to WGS 84 only by a null ("ballpark") step, because no agency published a transformation;
# they are realised on ITRF and agree with WGS 84 to some decimetres, so the null step is right, and it is said.
_ITRF_DATUMS = frozenset({"China 2000", "World Geodetic System 1984"})

# Degrees. Data reach over the edge of a zone, but not by this much.
_FARTHEST_FROM_AREA = 20.0


class HorizontalPath(NamedTuple):
    """One way between a CRS and WGS 84 longitude and latitude. `transformer` is None where nothing is to be done."""

    transformer: Transformer | None
    description: str

    def forward(self, xy: Positions) -> Positions:
        """Longitude and latitude (n, 2) of `xy` (n, 2 or more columns), NaN where there is none."""
        if self.transformer is None:
            result = np.array(xy[:, :2], dtype=np.float64)
        else:
            result = np.column_stack(self.transformer.transform(xy[:, 0], xy[:, 1]))
        outside = ~np.isfinite(result).all(axis=1) | (np.abs(result[:, 1]) > 90.0)
        result[outside] = np.nan
        return result

    def inverse(self, lonlat: Positions) -> Positions:
        """Coordinates (n, 2) in the CRS of longitude and latitude (n, 2), NaN where there are none."""
        if self.transformer is None:
            return np.array(lonlat[:, :2], dtype=np.float64)
        found = self.transformer.transform(lonlat[:, 0], lonlat[:, 1], direction=TransformDirection.INVERSE)
        result = np.column_stack(found)
        result[~np.isfinite(result).all(axis=1)] = np.nan
        return result


def outside_area_of_use(crs: CRS, lonlat: Positions) -> NDArray[np.bool_]:
    """True (n,) where a place lies so far from a projected CRS's area of use that its coordinates must be wrong.

    Projections answer any number with some place; one stray coordinate would stretch a tileset around the globe.
    """
    area = horizontal_part(crs).area_of_use
    if area is None or not crs.is_projected:
        return np.zeros(len(lonlat), dtype=np.bool_)
    width = (area.east - area.west) % 360.0 or 360.0
    middle = area.west + width / 2.0
    away = np.abs((lonlat[:, 0] - middle + 180.0) % 360.0 - 180.0) - width / 2.0
    beyond = np.maximum(area.south - lonlat[:, 1], lonlat[:, 1] - area.north)
    return np.asarray((away > _FARTHEST_FROM_AREA) | (beyond > _FARTHEST_FROM_AREA))


def as_crs(crs: CRS | str) -> CRS:
    """A pyproj CRS from any user input. Raises PlacementError where PROJ does not know it."""
    try:
        return CRS.from_user_input(crs)
    except CRSError as error:
        raise PlacementError(
            f"CRS {crs!r} is not known to PROJ ({error}); give an EPSG code such as EPSG:4547"
        ) from error


def horizontal_part(crs: CRS) -> CRS:
    """The two-dimensional part of a compound, 3D geographic or 2D CRS. Raises PlacementError for geocentric and engineering CRS."""
    if crs.is_geocentric or crs.is_engineering:
        raise PlacementError(
            f"CRS {crs.name!r} is geocentric or local; allowed are geographic, projected and compound CRS: "
            "transform the data first"
        )
    base = crs.sub_crs_list[0] if crs.is_compound else crs
    return base.to_2d() if len(base.axis_info) == 3 else base


@lru_cache(maxsize=64)
def _paths_of(wkt: str) -> tuple[HorizontalPath, ...]:
    """All acceptable ways, the best first. Raises PlacementError where there is none."""
    crs = CRS.from_wkt(wkt)
    if crs.is_geographic and crs == CRS.from_epsg(4326):
        return (HorizontalPath(None, "WGS 84 as given"),)
    paths = []
    # The best operation answers infinity where its grid is missing; the next best has no grid and says its accuracy.
    for only_best, said in ((True, "by PROJ"), (False, "by PROJ's best operation without a grid")):
        try:
            found = Transformer.from_crs(
                crs, "EPSG:4326", always_xy=True, only_best=only_best, allow_ballpark=False
            )
        except ProjError:
            continue
        paths.append(HorizontalPath(found, f"{crs.name} to WGS 84 {said}"))
    # A bound CRS (old WKT with TOWGS84) carries its own operation, so its datum is asked from its source.
    geodetic = (crs.source_crs or crs).geodetic_crs
    datum = geodetic.datum if geodetic is not None else None
    if not paths and datum is not None and datum.name.removesuffix(" ensemble") in _ITRF_DATUMS:
        found = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
        paths.append(HorizontalPath(found, f"{crs.name} taken as WGS 84 (same ITRF datum family, null step)"))
    if not paths:
        raise PlacementError(
            f"no transformation from {crs.name!r} to WGS 84 is known to PROJ (a ballpark one is refused); "
            "install the PROJ grid of that region or transform the data first"
        )
    return tuple(paths)


def horizontal_paths(crs: CRS) -> tuple[HorizontalPath, ...]:
    """All acceptable ways from a CRS to WGS 84, the best first. Raises PlacementError where there is none."""
    return _paths_of(horizontal_part(crs).to_wkt())


def horizontal_path(crs: CRS, xy: Positions) -> tuple[HorizontalPath, Positions]:
    """The way for data at `xy` (n, 2 or more columns) of `crs`, and their longitude and latitude (n, 2).

    All positions go the same way: the best one that reaches all of them, else the one that reaches most. Positions that
    PROJ cannot transform come back as NaN; the caller reports their objects. Raises PlacementError where there is no way.
    """
    given = int(np.isfinite(xy[:, :2]).all(axis=1).sum())
    paths = _paths_of(horizontal_part(crs).to_wkt())
    chosen, best, most = paths[0], np.empty((0, 2)), -1
    for path in paths:
        result = path.forward(xy)
        reached = int(np.isfinite(result[:, 0]).sum())
        if reached > most:
            chosen, best, most = path, result, reached
        if reached == given:
            break
    best[outside_area_of_use(crs, best)] = np.nan
    return chosen, best


def to_longitude_latitude(crs: CRS, xy: Positions) -> tuple[Positions, str]:
    """Longitude and latitude (n, 2) of `xy` (n, 2 or more columns), and the name of the operation."""
    path, result = horizontal_path(crs, xy)
    return result, path.description


def unwrap_longitudes(longitude: NDArray[np.float64]) -> NDArray[np.float64]:
    """Longitudes made continuous: where data lie on both sides of 180 degrees the western half gains 360."""
    finite = longitude[np.isfinite(longitude)]
    if finite.size == 0 or finite.max() - finite.min() <= 180.0:
        return longitude
    return np.where(longitude < 0.0, longitude + 360.0, longitude)


def up_vectors(longitude: NDArray[np.float64], latitude: NDArray[np.float64]) -> Positions:
    """Unit normals of the ellipsoid in ECEF, shape (n, 3)."""
    lam, phi = np.radians(longitude), np.radians(latitude)
    cos_phi = np.cos(phi)
    return np.column_stack((cos_phi * np.cos(lam), cos_phi * np.sin(lam), np.sin(phi)))


def to_ecef(
    longitude: NDArray[np.float64], latitude: NDArray[np.float64], height: NDArray[np.float64]
) -> Positions:
    """ECEF positions (n, 3) of longitude, latitude (degrees) and ellipsoidal height (m)."""
    up = up_vectors(longitude, latitude)
    radius = SEMI_MAJOR_AXIS / np.sqrt(1.0 - ECCENTRICITY_SQUARED * up[:, 2] ** 2)
    across = radius + height
    return np.column_stack(
        (across * up[:, 0], across * up[:, 1], (radius * (1.0 - ECCENTRICITY_SQUARED) + height) * up[:, 2])
    )


@dataclass(frozen=True, slots=True)
class LocalFrame:
    """East, north, up at one place. `axes` (3, 3) has these unit vectors in ECEF as rows; `origin` is ECEF, metres."""

    origin: Positions
    axes: Positions

    @classmethod
    def at(cls, longitude: float, latitude: float, height: float) -> LocalFrame:
        """The frame whose origin lies at longitude, latitude (degrees) and ellipsoidal height (m)."""
        lam = np.radians(longitude)
        up = up_vectors(np.array([longitude]), np.array([latitude]))[0]
        east = np.array([-np.sin(lam), np.cos(lam), 0.0])
        axes = np.stack((east, np.cross(up, east), up))
        place = to_ecef(np.array([longitude]), np.array([latitude]), np.array([height]))[0]
        return cls(place, axes)

    def to_local(self, ecef: Positions) -> Positions:
        """East, north, up (m) of ECEF positions (n, 3)."""
        return self.rotate(ecef - self.origin)

    def rotate(self, vectors: Positions) -> Positions:
        """Directions (n, 3) in ECEF as east, north, up."""
        # numpy is six times slower with a transposed view than with a copy of these nine numbers.
        return vectors @ np.ascontiguousarray(self.axes.T)

    def to_ecef(self, local: Positions) -> Positions:
        """ECEF of east, north, up positions (n, 3)."""
        return local @ self.axes + self.origin

    def node_transform(self) -> tuple[list[float], list[float]]:
        """glTF node `translation` and `rotation` (x, y, z, w) that place a y-up local mesh.

        3D Tiles 1.1 turns glTF's y-up into z-up by (x, y, z) -> (x, -z, y) after the node's own transform; so the frame
        is written in the coordinates before that turn.
        """
        turn = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
        rotation = turn @ self.axes.T @ turn.T
        return (turn @ self.origin).tolist(), _quaternion(rotation)


def y_up(local: Positions) -> Positions:
    """East, north, up (n, 3) as glTF's x, y, z: (east, up, -north)."""
    return np.column_stack((local[:, 0], local[:, 2], -local[:, 1]))


def _quaternion(matrix: Positions) -> list[float]:
    """Unit quaternion (x, y, z, w) of a rotation matrix, by the largest of its four components (Shepperd's method)."""
    trace = float(np.trace(matrix))
    squares = np.array([*(2.0 * np.diag(matrix) - trace + 1.0), trace + 1.0])
    largest = int(np.argmax(squares))
    m = matrix
    rows = [
        [squares[0], m[0, 1] + m[1, 0], m[0, 2] + m[2, 0], m[2, 1] - m[1, 2]],
        [m[0, 1] + m[1, 0], squares[1], m[1, 2] + m[2, 1], m[0, 2] - m[2, 0]],
        [m[0, 2] + m[2, 0], m[1, 2] + m[2, 1], squares[2], m[1, 0] - m[0, 1]],
        [m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], squares[3]],
    ]
    quaternion = np.array(rows[largest])
    quaternion /= np.linalg.norm(quaternion)
    return [float(value) for value in quaternion]
