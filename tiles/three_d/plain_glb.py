"""Tiles for clients that read glTF 2.0 without its extensions, such as QGIS."""

from __future__ import annotations

from tiles.three_d.attributes import PropertyTable
from tiles.three_d.errors import GlbError
from tiles.three_d.glb import GlbOptions, write_tile
from tiles.three_d.read_glb import flattened, read_glb

NO_ATTRIBUTES = PropertyTable("feature", (), 1)


def plain_glb(content: bytes) -> bytes:
    """The same tile with 32-bit floats, instances as triangles of their own, Draco undone, and one node.

    Feature ids and property tables stay; who does not know them overlooks them. Raises GlbError where the tile cannot be read or
    draws no triangles.
    """
    contents = read_glb(content)
    parts = flattened(contents.parts)
    if not parts:
        raise GlbError("the tile draws no triangles")
    options = GlbOptions(contents.attribution, plain=True)
    return write_tile(parts, contents.frame, contents.table or NO_ATTRIBUTES, options)
