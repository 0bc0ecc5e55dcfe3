"""What can go wrong with terrain.

TilesError
└── TerrainError    an elevation model cannot be read, placed or tiled
"""

from __future__ import annotations

from tiles.errors import TilesError


class TerrainError(TilesError):
    """An elevation model cannot be read, placed or tiled."""
