"""Subtree files of 3D Tiles 1.1 implicit octrees (OGC 22-025r4, section 7), with a bounding box for every tile."""

import json
import struct
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Key = tuple[int, int, int, int]
"""level, x, y, z of a tile."""
Box = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]
"""Lowest and highest corner in the tileset's local frame, metres."""

MOST_LEVELS_IN_ONE: Final = 6
LEVELS_OF_MANY: Final = 5

TILE_SCHEMA: Final = {
    "id": "point_tiles",
    "classes": {
        "tile": {
            "properties": {
                "boundingBox": {
                    "description": "Oriented box of the tile and all below it",
                    "type": "SCALAR",
                    "componentType": "FLOAT64",
                    "array": True,
                    "count": 12,
                    "required": True,
                    "semantic": "TILE_BOUNDING_BOX",
                }
            }
        }
    },
}


def subtree_levels(available_levels: int) -> int:
    """Levels of one subtree: a shallow tree is one file."""
    return available_levels if available_levels <= MOST_LEVELS_IN_ONE else LEVELS_OF_MANY


def box_values(box: Box) -> list[float]:
    """3D Tiles' twelve numbers of an axis-aligned box: centre, then half axes x, y, z."""
    centre, half = (box[0] + box[1]) / 2, (box[1] - box[0]) / 2
    return [*centre.tolist(), float(half[0]), 0, 0, 0, float(half[1]), 0, 0, 0, float(half[2])]


def _morton(x: int, y: int, z: int, level: int) -> int:
    index = 0
    for bit in range(level):
        index |= (
            ((x >> bit) & 1) << 3 * bit | ((y >> bit) & 1) << 3 * bit + 1 | ((z >> bit) & 1) << 3 * bit + 2
        )
    return index


def build_subtrees(tiles: Mapping[Key, Box], with_content: set[Key], levels: int) -> dict[Key, bytes]:
    """All subtree files of a tileset by the key of their root.

    Args:
        tiles: every available tile (all ancestors of a tile must be there) with its box.
        with_content: those that have points of their own.
        levels: levels of one subtree.
    """
    groups: dict[Key, list[tuple[int, Key]]] = {}
    children: dict[Key, list[int]] = {}
    for key in tiles:
        level, x, y, z = key
        inside = level % levels
        root = (level - inside, x >> inside, y >> inside, z >> inside)
        mask = (1 << inside) - 1
        index = (8**inside - 1) // 7 + _morton(x & mask, y & mask, z & mask, inside)
        groups.setdefault(root, []).append((index, key))
        if inside == 0 and level:
            above = (level - levels, x >> levels, y >> levels, z >> levels)
            mask = (1 << levels) - 1
            children.setdefault(above, []).append(_morton(x & mask, y & mask, z & mask, levels))
    return {
        root: _subtree(sorted(members), tiles, with_content, children.get(root, []), levels)
        for root, members in groups.items()
    }


def _subtree(
    members: list[tuple[int, Key]],
    tiles: Mapping[Key, Box],
    with_content: set[Key],
    children: list[int],
    levels: int,
) -> bytes:
    size = (8**levels - 1) // 7
    content = [index for index, key in members if key in with_content]
    boxes = np.array([box_values(tiles[key]) for _, key in members], np.float64)
    views: list[bytes] = [boxes.tobytes()]
    document: dict[str, Any] = {
        "propertyTables": [
            {"class": "tile", "count": len(members), "properties": {"boundingBox": {"values": 0}}}
        ],
        "tileMetadata": 0,
        "tileAvailability": _availability([index for index, _ in members], size, views),
        "contentAvailability": [_availability(content, size, views)],
        "childSubtreeAvailability": _availability(children, 8**levels, views),
    }
    places, binary = [], b""
    for view in views:
        places.append({"buffer": 0, "byteOffset": len(binary), "byteLength": len(view)})
        binary += view + bytes(-len(view) % 8)
    document["buffers"] = [{"byteLength": len(binary)}]
    document["bufferViews"] = places
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<4sIQQ", b"subt", 1, len(text), len(binary)) + text + binary


def _availability(indices: list[int], size: int, views: list[bytes]) -> dict[str, int]:
    """A constant where all or none are available, else a bitstream (lowest bit first)."""
    if len(indices) in (0, size):
        return {"constant": int(bool(indices))}
    bits = np.zeros(size, np.uint8)
    bits[indices] = 1
    views.append(np.packbits(bits, bitorder="little").tobytes())
    return {"bitstream": len(views) - 1, "availableCount": len(indices)}
