"""The ground as a terrain shows it: heights above the ellipsoid everywhere, from an elevation model where it has any.

Around the model, and in its gaps, the ground lies at the model's lowest height; to there it sinks over a short way.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tiles.terrain.elevation import ElevationModel, Heights
from tiles.terrain.errors import TerrainError
from tiles.terrain.quantized_mesh import GRID, TileGrid
from tiles.terrain.tiling import Box, TerrainGrid, few_boxes, world_boxes
from tiles.terrain.water import WaterGround
from tiles.three_d.errors import VerticalReferenceError
from tiles.three_d.placement import horizontal_path
from tiles.three_d.vertical import VerticalReference, to_ellipsoid, to_geodetic

# Below this many degrees a tile is small enough for PROJ to be asked at every eighth sample only.
_SMALL_TILE = 180.0 / 2**9
_COARSE = 8
# Around the model the ground sinks over this share of its longer side: a cliff there would open gaps between levels.
_FADE = 0.03
_OVERVIEW = 257


class Surface:
    """Heights above the ellipsoid of one elevation model, whose heights refer to `vertical`.

    `bounds` (west, south, east, north) are degrees; east lies beyond 180 where the model crosses the antimeridian. `lowest` and
    `highest` are of all that a coarse look finds, above the ellipsoid;
    where they are `known` already nothing
    is read, and there is no `description`. Raises TerrainError for a model that has no place or no heights, VerticalReferenceError for one whose heights
    have no way to the ellipsoid.
    """

    def __init__(
        self,
        model: ElevationModel,
        vertical: VerticalReference,
        known: tuple[float, float] | None = None,
    ) -> None:
        self.model = model
        self._vertical = vertical
        self._path, border = horizontal_path(model.horizontal, model.outline())
        if not np.isfinite(border).all():
            raise TerrainError("the elevation model reaches out of the area of its CRS; cut it first")
        self.bounds = _bounds_of(border)
        self._fade = max(_FADE * max(model.width, model.height), 1.0)
        self.lowest, self.highest, self.description = (*known, "") if known else self._overview()

    def boxes(self) -> tuple[Box, ...]:
        """Where the ground is not flat: the model, of a mosaic its scenes, and the slope around."""
        west, south, east, north = self.bounds
        wide, high = (east - west) * _FADE * 1.5, (north - south) * _FADE * 1.5
        parts = self.model.parts84() or [self.bounds]
        return few_boxes(
            [
                box
                for part in parts
                for box in world_boxes(part[0] - wide, part[1] - high, part[2] + wide, part[3] + high)
            ]
        )

    def to_ellipsoid(self, lonlat: NDArray[np.float64], heights: Heights) -> Heights:
        """Heights (n,) of the model at longitudes and latitudes (n, 2) as heights above the ellipsoid."""
        return heights + self._shift(lonlat)[0]

    def sampled(self, lonlat: NDArray[np.float64]) -> Heights:
        """The model's own heights (n,) at longitudes and latitudes (n, 2), bilinear at full resolution; NaN where it has none."""
        return self.model.heights(self.model.unwrapped(self._path.inverse(lonlat)))

    def _overview(self) -> tuple[float, float, str]:
        """Lowest and highest ellipsoidal height on a coarse grid over the model, and how heights were brought there."""
        west, south, east, north = self.bounds
        longitude, latitude = np.meshgrid(
            np.linspace(west, east, _OVERVIEW), np.linspace(south, north, _OVERVIEW)
        )
        lonlat = np.column_stack((_turned(longitude.ravel()), latitude.ravel()))
        coarseness = 1
        while max(self.model.width, self.model.height) / coarseness > 2.0 * _OVERVIEW:
            coarseness *= 2
        found = self.model.heights(self.model.unwrapped(self._path.inverse(lonlat)), coarseness)
        known = np.isfinite(found)
        if not known.any():
            raise TerrainError("the elevation model holds no heights, only gaps")
        shift, said = self._shift(lonlat[known])
        heights = found[known] + shift
        return float(heights.min()), float(heights.max()), said

    def _shift(self, lonlat: NDArray[np.float64]) -> tuple[Heights, str]:
        """What is added to the model's metres at each place, and the sentence that says so.

        The model gives metres that count upwards, so it is asked what height 0 of its reference is above the ellipsoid.
        """
        crs, zeros = self.model.crs, np.zeros(len(lonlat))
        if self._vertical.kind == "automatic" and crs.is_compound:
            places = self.model.unwrapped(self._path.inverse(lonlat))
            found = to_geodetic(crs, np.column_stack((places, zeros)), self._vertical)
            return found.height, found.description
        return to_ellipsoid(crs, lonlat, zeros, self._vertical)

    def samples(
        self, grid: TerrainGrid, level: int, x: int, y: int, coarseness: int
    ) -> tuple[TileGrid, WaterGround]:
        """The tile's heights with one sample beyond each edge, above the ellipsoid and as the model has them.

        `coarseness` is the factor by which the model is reduced.
        """
        box = grid.box(level, x, y)
        # Fractions of the tile, one sample beyond each edge.
        share = np.arange(-1, GRID + 1) / (GRID - 1)
        small = box[2] - box[0] <= _SMALL_TILE
        west, south, east, north = box
        places, shift = (
            self._between(box, share, share)
            if small
            else self._exact(west + share * (east - west), south + share * (north - south))
        )
        heights, own, inside = self._ground(places, shift, coarseness)
        side = (GRID + 2, GRID + 2)
        return TileGrid(*box, heights.reshape(side)), WaterGround(
            box, own.reshape(side), inside.reshape(side)
        )

    def own_heights(self, longitude: Heights, latitude: Heights, coarseness: int) -> Heights:
        """Heights (rows, columns) at the crossings of `latitude` (rows) and `longitude` (columns), in the model's own reference; around
        it and in its gaps as the terrain has them.
        """
        wide, high = float(np.ptp(longitude)), float(np.ptp(latitude))
        if max(wide, high) <= _SMALL_TILE and len(longitude) > 1:
            west, south = float(longitude.min()), float(latitude.min())
            box = (west, south, west + wide, south + high)
            places, shift = self._between(box, (longitude - west) / wide, (latitude - south) / high)
        else:
            places, shift = self._exact(longitude, latitude)
        heights, own, _ = self._ground(places, shift, coarseness)
        lowered = heights - np.where(np.isfinite(shift), shift, 0.0)
        return np.where(np.isfinite(own), own, lowered).reshape(len(latitude), len(longitude))

    def _exact(self, longitude: Heights, latitude: Heights) -> tuple[NDArray[np.float64], Heights]:
        """Places in the model's CRS, and what lifts their heights to the ellipsoid, at crossings, by PROJ."""
        across, along = np.meshgrid(longitude, np.clip(latitude, -90.0, 90.0))
        lonlat = np.column_stack((_turned(across.ravel()), along.ravel()))
        return self.model.unwrapped(self._path.inverse(lonlat)), self._shift_around(lonlat)

    def _between(self, box: Box, across: Heights, along: Heights) -> tuple[NDArray[np.float64], Heights]:
        """The same at fractions of a box, between exact ones at every eighth; exact on the tile's corners, and on an edge found
        from that edge alone, so that both neighbours find the same."""
        west, south, east, north = box
        knots = np.linspace(0.0, 1.0, _COARSE + 1)
        places, shift = self._exact(west + knots * (east - west), south + knots * (north - south))
        net = np.column_stack((places, shift)).reshape(_COARSE + 1, _COARSE + 1, 3)
        found = np.einsum("ai,bj,ijc->abc", _weights(along), _weights(across), net, optimize=_WAY)
        return found.reshape(-1, 3)[:, :2], found.reshape(-1, 3)[:, 2]

    def _shift_around(self, lonlat: NDArray[np.float64]) -> Heights:
        """What is added to heights at places in and around the model; beside it that of its border."""
        if self._vertical.kind in ("ellipsoid", "offset"):
            return np.full(len(lonlat), self._vertical.metres if self._vertical.kind == "offset" else 0.0)
        west, south, east, north = self.bounds
        middle = (west + east) / 2.0
        longitude = lonlat[:, 0] - 360.0 * np.round((lonlat[:, 0] - middle) / 360.0)
        held = np.column_stack((_turned(np.clip(longitude, west, east)), np.clip(lonlat[:, 1], south, north)))
        try:
            return self._shift(held)[0]
        except VerticalReferenceError:
            # A grid that covers the model need not cover the corners of its box.
            return np.concatenate(
                [self._shift_or_nothing(held[index : index + 1]) for index in range(len(held))]
            )

    def _shift_or_nothing(self, lonlat: NDArray[np.float64]) -> Heights:
        try:
            return self._shift(lonlat)[0]
        except VerticalReferenceError:
            return np.full(len(lonlat), np.nan)

    def _ground(
        self, places: NDArray[np.float64], shift: Heights, coarseness: int
    ) -> tuple[Heights, Heights, NDArray[np.bool_]]:
        """Ellipsoidal heights at places of the model's CRS, its own heights (NaN where it has none), and which lie inside it."""
        usable = np.isfinite(places).all(axis=1)
        nearest, distance = self.model.nearest(places[usable])
        found = np.full(len(places), np.nan)
        share_of_model = np.zeros(len(places))
        share_of_model[usable] = np.maximum(1.0 - distance / self._fade, 0.0)
        wanted = share_of_model > 0.0
        if wanted.any():
            found[wanted] = self.model.heights(nearest[wanted[usable]], coarseness)
        known = np.isfinite(found) & np.isfinite(shift)
        heights = np.full(len(places), self.lowest)
        heights[known] += (found[known] + shift[known] - self.lowest) * share_of_model[known]
        inside = share_of_model >= 1.0
        return heights, np.where(inside, found, np.nan), inside


# How einsum multiplies the three: found once, not for every tile.
_WAY = np.einsum_path(
    "ai,bj,ijc->abc", np.empty((67, 9)), np.empty((67, 9)), np.empty((9, 9, 3)), optimize="greedy"
)[0]


def _weights(share: Heights) -> NDArray[np.float64]:
    """Weights (n, 9) of the knots for fractions; those a little outside are carried on."""
    cell = np.clip(np.floor(share * _COARSE), 0, _COARSE - 1).astype(np.int64)
    part = share * _COARSE - cell
    weights = np.zeros((len(share), _COARSE + 1))
    rows = np.arange(len(share))
    weights[rows, cell] = 1.0 - part
    weights[rows, cell + 1] = part
    return weights


def _turned(longitude: Heights) -> Heights:
    """Longitudes within -180 to 180, as PROJ counts them."""
    return np.where(np.abs(longitude) > 180.0, (longitude + 180.0) % 360.0 - 180.0, longitude)


def _bounds_of(border: NDArray[np.float64]) -> Box:
    """The box of a ring of longitudes and latitudes; its east beyond 180 where it crosses the antimeridian.

    A ring that runs once around the pole holds that pole and all longitudes.
    """
    longitude, latitude = np.unwrap(border[:, 0], period=360.0), border[:, 1]
    low, high = float(latitude.min()), float(latitude.max())
    turns = round(float(longitude[-1] - longitude[0]) / 360.0)
    if turns:
        south, north = (-90.0, high) if low + high < 0.0 else (low, 90.0)
        return (-180.0, south, 180.0, north)
    west, east = float(longitude.min()), float(longitude.max())
    if east - west >= 360.0:
        return (-180.0, low, 180.0, high)
    return (west, low, east, high)
