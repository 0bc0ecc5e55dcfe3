"""Terrain from elevation models: quantized-mesh tiles for globes, Terrain-RGB for flat maps, heights at places."""

from __future__ import annotations

from tiles.terrain.build import TerrainSummary, build_terrain
from tiles.terrain.elevation import sample_heights
from tiles.terrain.errors import TerrainError
from tiles.terrain.terrain_rgb import terrain_rgb_tile

__all__ = ["TerrainError", "TerrainSummary", "build_terrain", "sample_heights", "terrain_rgb_tile"]
