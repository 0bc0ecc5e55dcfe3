"""Subtree files of implicit tiling: which tiles, contents and child subtrees exist.

3D Tiles 1.1, clause "Subtree File Format": a 24-byte header, JSON and a binary chunk, both padded to 8 bytes; bits in
Morton order inside a level, levels from the subtree's root down, least significant bit first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from tiles.three_d.quadtree import morton

SUBTREE_MAGIC = b"subt"
LEVELS_PER_SUBTREE = 6


class TileIndex(NamedTuple):
    """Tiles as three arrays (n,) int64; rows count from the south."""

    level: NDArray[np.int64]
    x: NDArray[np.int64]
    y: NDArray[np.int64]


class SubtreeFile(NamedTuple):
    """One subtree: the level, column and row of its root tile, and the bytes of the file."""

    level: int
    x: int
    y: int
    content: bytes


def with_ancestors(tiles: TileIndex) -> TileIndex:
    """The tiles and all tiles above them, without doubles."""
    level, x, y = tiles
    found = [np.stack(tiles)]
    while level.size and level.max() > 0:
        below = level > 0
        level, x, y = level[below] - 1, x[below] >> 1, y[below] >> 1
        step = np.unique(np.stack((level, x, y)), axis=1)
        level, x, y = step
        found.append(step)
    every = np.unique(np.concatenate(found, axis=1), axis=1)
    return TileIndex(every[0], every[1], every[2])


def subtree_files(contents: TileIndex, levels: int) -> tuple[int, Iterator[SubtreeFile]]:
    """`subtreeLevels`, and the subtree files for a tileset of `levels` levels whose `contents` are tiles with a .glb."""
    depth = min(levels, LEVELS_PER_SUBTREE)
    return depth, _files(contents, with_ancestors(contents), depth, levels)


def _files(contents: TileIndex, tiles: TileIndex, depth: int, levels: int) -> Iterator[SubtreeFile]:
    for top in range(0, levels, depth):
        at_top = tiles.level == top
        for x, y in zip(tiles.x[at_top].tolist(), tiles.y[at_top].tolist(), strict=True):
            tile_bits = _bits(tiles, top, x, y, depth)
            content_bits = _bits(contents, top, x, y, depth)
            child_bits = _level_bits(tiles, top, x, y, depth)
            yield SubtreeFile(top, x, y, _encode(tile_bits, content_bits, child_bits))


def _bits(tiles: TileIndex, top: int, x: int, y: int, depth: int) -> NDArray[np.bool_]:
    """Availability of all levels of the subtree rooted at (top, x, y), one after the other."""
    return np.concatenate([_level_bits(tiles, top, x, y, below) for below in range(depth)])


def _level_bits(tiles: TileIndex, top: int, x: int, y: int, below: int) -> NDArray[np.bool_]:
    """Availability of the tiles `below` levels under (top, x, y), in Morton order."""
    bits = np.zeros(4**below, dtype=np.bool_)
    inside = (tiles.level == top + below) & (tiles.x >> below == x) & (tiles.y >> below == y)
    mask = (1 << below) - 1
    bits[morton(tiles.x[inside] & mask, tiles.y[inside] & mask)] = True
    return bits


def _encode(tiles: NDArray[np.bool_], contents: NDArray[np.bool_], children: NDArray[np.bool_]) -> bytes:
    binary = bytearray()
    views: list[dict[str, int]] = []

    def availability(bits: NDArray[np.bool_]) -> dict[str, Any]:
        if bits.all() or not bits.any():
            return {"constant": int(bits.all())}
        packed = np.packbits(bits, bitorder="little").tobytes()
        views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": len(packed)})
        binary.extend(packed + b"\x00" * (-len(packed) % 8))
        return {"bitstream": len(views) - 1, "availableCount": int(bits.sum())}

    document: dict[str, Any] = {
        "tileAvailability": availability(tiles),
        "contentAvailability": [availability(contents)],
        "childSubtreeAvailability": availability(children),
    }
    if views:
        document = {"buffers": [{"byteLength": len(binary)}], "bufferViews": views, **document}
    text = orjson.dumps(document)
    text += b" " * (-len(text) % 8)
    header = SUBTREE_MAGIC + (1).to_bytes(4, "little") + len(text).to_bytes(8, "little")
    return header + len(binary).to_bytes(8, "little") + text + bytes(binary)
