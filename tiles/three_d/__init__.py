"""3D Tiles 1.1: objects of any source as implicit quadtrees of glTF, and a checker for them."""

from __future__ import annotations

from tiles.three_d.build import BuildOptions, build_tileset
from tiles.three_d.errors import ThreeDError
from tiles.three_d.report import ObjectProblem, TilesetSummary
from tiles.three_d.vertical import VerticalReference

__all__ = [
    "BuildOptions",
    "ObjectProblem",
    "ThreeDError",
    "TilesetSummary",
    "VerticalReference",
    "build_tileset",
]
