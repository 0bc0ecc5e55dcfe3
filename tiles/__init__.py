"""Tile grids, vector tiles, map rendering, the MapProxy cache, 3D Tiles and terrain. Imports nothing of ours."""
