"""Terrain from elevation models: quantized-mesh tiles for globes, Terrain-RGB for flat maps, heights at places."""

from __future__ import annotations

from tiles.terrain.build import TerrainSummary, build_terrain
from tiles.terrain.elevation import ElevationModel
from tiles.terrain.errors import TerrainError
from tiles.terrain.sampling import HeightSampler, sample_heights
from tiles.terrain.terrain_rgb import decode_heights, encode_heights, rgb_tile
from tiles.terrain.terrain_tiles import TerrainTiles
from tiles.terrain.water import WaterRule, write_polygons

__all__ = [
    "ElevationModel",
    "HeightSampler",
    "TerrainError",
    "TerrainSummary",
    "TerrainTiles",
    "WaterRule",
    "build_terrain",
    "decode_heights",
    "encode_heights",
    "rgb_tile",
    "sample_heights",
    "write_polygons",
]
