"""3D Tiles 1.1: buildings, pipes and city models as implicit quadtrees of glTF, and a checker for them."""

from __future__ import annotations

from tiles.three_d.buildings import build_buildings
from tiles.three_d.errors import ThreeDError
from tiles.three_d.pipes import build_pipes
from tiles.three_d.report import ObjectProblem, TilesetSummary
from tiles.three_d.vertical import VerticalReference

__all__ = [
    "ObjectProblem",
    "ThreeDError",
    "TilesetSummary",
    "VerticalReference",
    "build_buildings",
    "build_pipes",
]
