"""A local frame of metres in the middle of a point cloud, and fast, checked placement of points in it."""

import threading
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyproj

from pointclouds.cloud.summary import Box3
from pointclouds.errors import PlacementError
from pointclouds.placement import Placement

Positions = npt.NDArray[np.float64]
Corners = tuple[Positions, Positions]

TOLERANCE: Final = 0.001
"""Metres by which the quadratic may miss the exact transformation at the sampled places of a node."""
_STEP: Final = 1.0
_SAMPLES: Final = np.linspace(-1.0, 1.0, 5)


def _quadratic_terms(unit: Positions) -> Positions:
    x, y, z = unit[:, 0], unit[:, 1], unit[:, 2]
    return np.stack((np.ones(len(unit)), x, y, z, x * x, y * y, z * z, x * y, x * z, y * z), axis=1)


def _sample_cube() -> Positions:
    return np.stack(np.meshgrid(_SAMPLES, _SAMPLES, _SAMPLES, indexing="ij"), axis=-1).reshape(-1, 3)


_CUBE: Final = _sample_cube()
_TERMS: Final = _quadratic_terms(_CUBE)
_SOLVE: Final = np.linalg.pinv(_TERMS)
_HULL: Final = np.concatenate(
    (
        [[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)],
        np.zeros((1, 3)),
        [sign * row for row in np.eye(3) for sign in (-1.0, 1.0)],
    )
)
"""Corners, middle, and both ends of each axis of a box from -1 to 1: (15, 3)."""
_UNEVEN: Final = 2e-5


def column_extremes(rows: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Lowest and highest of each column: numpy reduces long thin arrays ten times faster column by column."""
    columns = range(rows.shape[1])
    return np.array([rows[:, i].min() for i in columns]), np.array([rows[:, i].max() for i in columns])


class LocalFrame:
    """Axes along the CRS's x (made level), its y and up, in metres, with the origin at a native position."""

    def __init__(self, placement: Placement, origin: Positions) -> None:
        self._placement = placement
        self._lock = threading.Lock()
        longitude, latitude, _ = placement.geodetic(origin[None])[0]
        start, along = placement.geocentric(np.stack((origin, origin + np.array((_STEP, 0.0, 0.0)))))
        if not np.isfinite((start, along)).all():
            raise PlacementError(
                f"x {origin[0]:.2f}, y {origin[1]:.2f} cannot be placed on the globe; check the CRS of the point cloud"
            )
        meridian, parallel = np.radians(longitude), np.radians(latitude)
        up = np.array(
            (np.cos(parallel) * np.cos(meridian), np.cos(parallel) * np.sin(meridian), np.sin(parallel))
        )
        level = along - start
        level -= up * (level @ up)
        x_axis = level / np.linalg.norm(level)
        self._axes = np.stack((x_axis, np.cross(up, x_axis), up), axis=1)
        self._origin = start
        self._metres = float(np.linalg.norm(along - start)) / _STEP

    @property
    def matrix(self) -> list[float]:
        """Local to earth-centred, earth-fixed metres: 16 numbers, column-major, as 3D Tiles' `transform`."""
        columns = [[*self._axes[:, axis].tolist(), 0.0] for axis in range(3)]
        return [*columns[0], *columns[1], *columns[2], *self._origin.tolist(), 1.0]

    def to_earth(self, local: Positions) -> Positions:
        """Local positions (n, 3) as earth-centred, earth-fixed metres."""
        return np.asarray(local @ self._axes.T + self._origin)

    def metres(self, native: float) -> float:
        """A native horizontal length in metres on the ground."""
        return native * self._metres

    def exact(self, native: Positions) -> Positions:
        """Local positions of native ones, each by PROJ."""
        # The operation that PROJ chose is an object of one thread at a time.
        with self._lock:
            earth = self._placement.geocentric(native)
        return np.asarray((earth - self._origin) @ self._axes)

    def from_native(self, native: Positions, low: Positions, high: Positions) -> Positions:
        """Local positions (n, 3) of native ones that lie in the box `low` to `high`.

        A quadratic is fitted to exact positions in the box; where it misses one by more than a millimetre (very
        large nodes, kinks of a grid) every point goes through PROJ.
        """
        middle, half = (low + high) / 2, np.maximum((high - low) / 2, 1e-9)
        exact = self.exact(middle + _CUBE * half)
        coefficients = _SOLVE @ exact
        if len(native) < len(_CUBE) or not np.abs(_TERMS @ coefficients - exact).max() <= TOLERANCE:
            return self.exact(native)
        return np.asarray(_quadratic_terms((native - middle) / half) @ coefficients)

    def box_of_cube(self, corner: Positions, edge: float) -> Corners:
        """The cube of an octree as a box along the local axes: halving it gives about the tiles' places."""
        half = edge / 2
        middle = corner + half
        ends = self.exact(
            np.stack([middle + sign * half * np.eye(3)[axis] for axis in range(3) for sign in (-1, 1)])
        )
        low = np.array([ends[2 * axis, axis] for axis in range(3)])
        high = np.array([ends[2 * axis + 1, axis] for axis in range(3)])
        return low, high

    def boxes(self, low: Positions, high: Positions) -> Corners:
        """Boxes (n, 3 each corner) along the local axes that hold native boxes (n, 3 each corner).

        The corners are placed exactly. Inside a box the transformation bends: second differences along the native axes say how far
        at most if it bends evenly, and a hundred-thousandth of the diagonal is added for what does not (kinks of a grid).
        """
        middle, half = (low + high) / 2, (high - low) / 2
        places = middle[:, None] + _HULL * half[:, None]
        exact = self.exact(places.reshape(-1, 3)).reshape(len(low), len(_HULL), 3)
        corners, centre = exact[:, :8], exact[:, 8:9]
        bends = np.abs((exact[:, 9::2] + exact[:, 10::2]) / 2 - centre).sum(axis=1)
        more = bends + TOLERANCE + np.linalg.norm(half, axis=1, keepdims=True) * self._metres * _UNEVEN
        return corners.min(axis=1) - more, corners.max(axis=1) + more

    def box84(self, box: Corners) -> Box3:
        """A local box as west, south, bottom, east, north, top (degrees, ellipsoidal metres)."""
        places = (box[0] + box[1]) / 2 + _CUBE * (box[1] - box[0]) / 2
        earth = places @ self._axes.T + self._origin
        to_degrees = pyproj.Transformer.from_crs("EPSG:4978", "EPSG:4979", always_xy=True)
        west_north_up = np.stack(to_degrees.transform(earth[:, 0], earth[:, 1], earth[:, 2]), axis=1)
        low, high = west_north_up.min(axis=0), west_north_up.max(axis=0)
        return float(low[0]), float(low[1]), float(low[2]), float(high[0]), float(high[1]), float(high[2])
