"""What can go wrong with terrain.

TilesError
└── TerrainError            an elevation model cannot be read, placed or tiled
    └── ExcavationError     a pit cannot be dug as it was asked for
"""

from __future__ import annotations

from tiles.errors import TilesError


class TerrainError(TilesError):
    """An elevation model cannot be read, placed or tiled."""


class ExcavationError(TerrainError):
    """What was asked of an excavation is outside the limits, or cannot be dug there."""
