"""Subtree files of 3D Tiles 1.1 implicit octrees (OGC 22-025r4, section 7), with a bounding box for every tile."""

import json
import struct
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pointclouds.tilesets.octree import Address, Mask, Octree, morton

Box = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]
"""Lowest and highest corner in the tileset's local frame, metres."""

MOST_LEVELS_IN_ONE: Final = 6
LEVELS_OF_MANY: Final = 5

TILE_SCHEMA: Final[dict[str, Any]] = {
    "id": "point_tiles",
    "classes": {
        "pointTile": {
            "name": "What lies in a tile of points and below it",
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
            },
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


def _packed_subtree(
    tiles: list[int],
    contents: list[int],
    children: list[int],
    boxes: npt.NDArray[np.float64],
    levels: int,
) -> bytes:
    """The file: availability by place in the subtree, and the box of each available tile (n, 12)."""
    size = (8**levels - 1) // 7
    views: list[bytes] = [boxes.tobytes()]
    document: dict[str, Any] = {
        "propertyTables": [
            {"class": "pointTile", "count": len(tiles), "properties": {"boundingBox": {"values": 0}}}
        ],
        "tileMetadata": 0,
        "tileAvailability": _availability(tiles, size, views),
        "contentAvailability": [_availability(contents, size, views)],
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


def subtree_file(
    octree: Octree, shown: Sequence[tuple[Mask, Mask]], address: Address, levels: int
) -> bytes | None:
    """The subtree whose root is `address`, of so many levels; None where no tile of it is available.

    `shown`: see Octree.shown. Boxes are those of all points, shown or not.
    """
    if address.level % levels or address.level >= len(octree.levels):
        return None
    if not all(0 <= cell < 1 << address.level for cell in address[1:]):
        return None
    root = int(morton(np.array([address[1:]], np.int64))[0])
    tiles: list[int] = []
    contents: list[int] = []
    boxes: list[npt.NDArray[np.float64]] = []
    for inside in range(levels):
        here = _below(octree, shown, root, address.level, inside)
        if here is None:
            break
        codes, rows, with_content, level = here
        before = (8**inside - 1) // 7
        tiles += (before + codes).tolist()
        contents += (before + codes[with_content]).tolist()
        boxes.append(_many_box_values(octree.levels[level].low[rows], octree.levels[level].high[rows]))
    if not tiles:
        return None
    children = _below(octree, shown, root, address.level, levels)
    return _packed_subtree(
        tiles, contents, [] if children is None else children[0].tolist(), np.concatenate(boxes), levels
    )


def _below(
    octree: Octree, shown: Sequence[tuple[Mask, Mask]], root: int, start: int, inside: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Mask, int] | None:
    """Available tiles `inside` levels below a tile: Morton codes relative to it, rows in their level, which have a content."""
    level = start + inside
    if level >= len(octree.levels):
        return None
    codes = octree.levels[level].codes
    first = root << 3 * inside
    start_row, end_row = np.searchsorted(
        codes, np.array([first, first + (1 << 3 * inside)], np.uint64)
    ).tolist()
    available, content = shown[level]
    rows = start_row + np.flatnonzero(available[start_row:end_row])
    return (codes[rows] - np.uint64(first)).astype(np.int64), rows, content[rows], level


def _many_box_values(low: npt.NDArray[np.float64], high: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """`box_values` of boxes (n, 3 each corner): (n, 12)."""
    values = np.zeros((len(low), 12))
    values[:, :3] = (low + high) / 2
    values[:, [3, 7, 11]] = (high - low) / 2
    return values


def _availability(indices: list[int], size: int, views: list[bytes]) -> dict[str, int]:
    """A constant where all or none are available, else a bitstream (lowest bit first)."""
    if len(indices) in (0, size):
        return {"constant": int(bool(indices))}
    bits = np.zeros(size, np.uint8)
    bits[indices] = 1
    views.append(np.packbits(bits, bitorder="little").tobytes())
    return {"bitstream": len(views) - 1, "availableCount": len(indices)}
