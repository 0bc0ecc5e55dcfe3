"""A checker for 3D Tiles 1.1 tilesets on disk.

It reads everything back with its own code: `tileset.json`, every subtree bit against the files, every .glb down to its
accessors and property tables, and whether bounding volumes really contain what they bound. No finding means good.
"""

from __future__ import annotations

from tiles.three_d.check.findings import Finding
from tiles.three_d.check.tileset import check_tileset

__all__ = ["Finding", "check_tileset"]
