"""A checker for tilesets of 3D Tiles 1.0 and 1.1, in a folder or behind a server.

It reads everything back with its own code: `tileset.json`, tiles, every subtree bit against the files, every content down to its
accessors, images and property tables, and whether bounding volumes really contain what they bound. No finding means good.
"""

from __future__ import annotations

from tiles.three_d.check.files import CallFiles, FolderFiles, TilesetFiles
from tiles.three_d.check.findings import Finding
from tiles.three_d.check.report import (
    Report,
    check_content_bytes,
    check_tileset,
    inspect_content,
    inspect_tileset,
)

__all__ = [
    "CallFiles",
    "Finding",
    "FolderFiles",
    "Report",
    "TilesetFiles",
    "check_content_bytes",
    "check_tileset",
    "inspect_content",
    "inspect_tileset",
]
