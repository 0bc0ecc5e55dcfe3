"""A collection's terrain as the ground of a question."""

from __future__ import annotations

import numpy as np

from providers.analysis.place import Numbers
from tiles.terrain import HeightSampler
from tiles.terrain.terrain_tiles import TerrainTiles

_FEW = 256
"""Places up to which the drawn triangles themselves are asked; for more the model that they were made of, which is quicker."""


class TerrainGround:
    """The terrain of one collection. Safe in threads, as what it is made of."""

    def __init__(self, identifier: str, terrain: TerrainTiles, sampler: HeightSampler) -> None:
        self.id = identifier
        self._terrain = terrain
        self._sampler = sampler

    def heights(self, lonlat: Numbers) -> Numbers:
        """Heights above the ellipsoid (n,) at longitude, latitude (n, 2); NaN outside.

        The drawn ground for a few places; for many the elevation model, from which the drawn ground differs by
        `TerrainTiles.largest_difference` at most where it is sampled.
        """
        if len(lonlat) <= _FEW:
            return self._terrain.mesh_heights(lonlat)
        heights = self._sampler.heights(lonlat)
        known = np.isfinite(heights)
        result = np.full(len(lonlat), np.nan)
        if known.any():
            result[known] = self._terrain.ground_to_ellipsoid(lonlat[known], heights[known])
        return result
