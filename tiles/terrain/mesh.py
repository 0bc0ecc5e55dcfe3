"""Quantized-mesh tiles read back: what a client draws of them, and how high that is at a place."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from tiles.terrain.errors import TerrainError

HEADER = struct.Struct("<3d2f4d3d")
LARGEST = 32767
_MOST_SHORT = 65536
_CHUNK = 1 << 20

Numbers = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TileMesh:
    """A tile read back.

    `box`: west, south, east, north, degrees. `header`: 12 numbers as stored (center, lowest, highest, sphere, horizon). `u`, `v`, `h`
    (n,) steps of 0 to 32767; `triangles` (t, 3); `edges`: vertices of the western, southern, eastern, northern edge;
    `extensions` by their numbers.
    """

    box: tuple[float, float, float, float]
    header: tuple[float, ...]
    u: Indices
    v: Indices
    h: Indices
    triangles: Indices
    edges: tuple[Indices, ...]
    extensions: dict[int, bytes] = field(default_factory=dict)

    @property
    def step(self) -> float:
        """Metres of one step of the stored heights."""
        return (self.header[4] - self.header[3]) / LARGEST

    @property
    def places(self) -> Numbers:
        """Longitude, latitude, height (n, 3)."""
        west, south, east, north = self.box
        return np.column_stack(
            (
                west + self.u / LARGEST * (east - west),
                south + self.v / LARGEST * (north - south),
                self.header[3] + self.h * self.step,
            )
        )

    def metadata(self) -> dict[str, Any] | None:
        """The metadata extension, None where there is none. Raises TerrainError where it is damaged."""
        content = self.extensions.get(4)
        if content is None:
            return None
        try:
            (length,) = struct.unpack_from("<I", content)
            document: dict[str, Any] = orjson.loads(content[4 : 4 + length])
        except (struct.error, ValueError) as error:
            raise TerrainError(f"the metadata of a tile are damaged: {error}") from error
        if length != len(content) - 4 or not isinstance(document, dict):
            raise TerrainError("the metadata of a tile are damaged: their length is wrong")
        return document

    def normals(self) -> Numbers | None:
        """Unit normals (n, 3) in ECEF, None where the tile has none."""
        content = self.extensions.get(1)
        return None if content is None else decode_normals(content)

    def heights(self, lonlat: Numbers) -> Numbers:
        """Metres (n,) above the ellipsoid of the triangles at longitudes and latitudes (n, 2); NaN outside the tile."""
        west, south, east, north = self.box
        points = np.column_stack(
            (
                (lonlat[:, 0] - west) / (east - west) * LARGEST,
                (lonlat[:, 1] - south) / (north - south) * LARGEST,
            )
        )
        result = np.full(len(points), np.nan)
        most = max(1, _CHUNK // max(1, len(self.triangles)))
        for start in range(0, len(points), most):
            result[start : start + most] = self._interpolated(points[start : start + most])
        return self.header[3] + result * self.step

    def _interpolated(self, points: Numbers) -> Numbers:
        """Steps of height at points (n, 2) in steps of the rectangle."""
        corners = np.column_stack((self.u, self.v)).astype(np.float64)[self.triangles]
        a, ab, ac = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
        area = ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]
        away = points[:, None, :] - a[None]
        with np.errstate(divide="ignore", invalid="ignore"):
            second = (away[..., 0] * ac[:, 1] - away[..., 1] * ac[:, 0]) / area
            third = (away[..., 1] * ab[:, 0] - away[..., 0] * ab[:, 1]) / area
        # The triangle a point lies deepest in: one on an edge belongs to both, and rounding must not lose it.
        depth = np.minimum(np.minimum(second, third), 1.0 - second - third)
        depth = np.where(np.isfinite(depth), depth, -np.inf)
        chosen = depth.argmax(axis=1)
        rows = np.arange(len(points))
        parts = np.column_stack((second[rows, chosen], third[rows, chosen]))
        high = self.h.astype(np.float64)[self.triangles[chosen]]
        found = high[:, 0] + parts[:, 0] * (high[:, 1] - high[:, 0]) + parts[:, 1] * (high[:, 2] - high[:, 0])
        return np.where(depth[rows, chosen] >= -1e-6, found, np.nan)


def read_tile(content: bytes, box: tuple[float, float, float, float]) -> TileMesh:
    """A tile's parts as they are stored, unchecked but for their lengths. Raises TerrainError where the content is cut short."""
    try:
        return _Reader(content).tile(box)
    except (struct.error, ValueError) as error:
        raise TerrainError(f"a tile of {len(content)} bytes is cut short or damaged: {error}") from error


class _Reader:
    """Goes through the bytes of a tile."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def tile(self, box: tuple[float, float, float, float]) -> TileMesh:
        header = HEADER.unpack_from(self._content)
        self._at = HEADER.size
        count = self._number()
        u, v, h = (_summed(self._array("<u2", count)) for _ in range(3))
        kind = "<u4" if count > _MOST_SHORT else "<u2"
        self._at += -self._at % np.dtype(kind).itemsize
        triangles = _high_water(self._array(kind, 3 * self._number())).reshape(-1, 3)
        edges = tuple(self._array(kind, self._number()).astype(np.int64) for _ in range(4))
        extensions: dict[int, bytes] = {}
        while self._at < len(self._content):
            number, length = struct.unpack_from("<BI", self._content, self._at)
            self._at += 5
            if self._at + length > len(self._content):
                raise ValueError(
                    f"extension {number} says {length} bytes, {len(self._content) - self._at} are left"
                )
            extensions[number] = self._content[self._at : self._at + length]
            self._at += length
        return TileMesh(box, header, u, v, h, triangles, edges, extensions)

    def _number(self) -> int:
        (found,) = struct.unpack_from("<I", self._content, self._at)
        self._at += 4
        return int(found)

    def _array(self, kind: str, count: int) -> NDArray[Any]:
        found = np.frombuffer(self._content, kind, count, self._at)
        self._at += found.nbytes
        return found


def _summed(coded: NDArray[Any]) -> Indices:
    """Values of zigzag-coded differences."""
    raw = coded.astype(np.int64)
    return np.asarray(np.cumsum((raw >> 1) ^ -(raw & 1)))


def _high_water(coded: NDArray[Any]) -> Indices:
    """Indices coded by their distance from the highest one so far: a code of 0 is a new one."""
    codes = coded.astype(np.int64)
    is_new = (codes == 0).astype(np.int64)
    return np.asarray(np.cumsum(is_new) - is_new - codes)


def decode_normals(content: bytes) -> Numbers:
    """Unit vectors (n, 3) of pairs of bytes on an unfolded octahedron. Raises TerrainError for an odd number of bytes."""
    if len(content) % 2:
        raise TerrainError(f"normals take two bytes each; these are {len(content)}")
    plane = np.frombuffer(content, np.uint8).reshape(-1, 2) / 255.0 * 2.0 - 1.0
    z = 1.0 - np.abs(plane).sum(axis=1)
    folded = (1.0 - np.abs(plane[:, ::-1])) * np.where(plane >= 0.0, 1.0, -1.0)
    normals = np.column_stack((np.where((z < 0.0)[:, None], folded, plane), z))
    return np.asarray(normals / np.linalg.norm(normals, axis=1)[:, None])
