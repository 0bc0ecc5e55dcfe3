"""Subtree files of implicit tiling: which tiles, contents and child subtrees exist, and what the tiles contain.

3D Tiles 1.1, clause "Subtree File Format": a 24-byte header, JSON and a binary chunk, both padded to 8 bytes; bits in
Morton order inside a level, levels from the subtree's root down, least significant bit first. Clause "Tile Metadata": a
property table with a row for each available tile, in the order of their bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from tiles.three_d.quadtree import morton, tile_code

if TYPE_CHECKING:
    from tiles.three_d.facts import DerivedFacts

SUBTREE_MAGIC = b"subt"
LEVELS_PER_SUBTREE = 6

TILE_CLASS = "tile"
TILE_SCHEMA: dict[str, Any] = {
    "id": "chengtu_tiles",
    "classes": {
        TILE_CLASS: {
            "name": "What lies in a tile and below it",
            "properties": {
                "region": {
                    "description": "West, south, east, north in radians, minimum and maximum height in metres",
                    "type": "SCALAR",
                    "componentType": "FLOAT64",
                    "array": True,
                    "count": 6,
                    "semantic": "TILE_BOUNDING_REGION",
                },
                "minimum_height": {
                    "type": "SCALAR",
                    "componentType": "FLOAT64",
                    "semantic": "TILE_MINIMUM_HEIGHT",
                },
                "maximum_height": {
                    "type": "SCALAR",
                    "componentType": "FLOAT64",
                    "semantic": "TILE_MAXIMUM_HEIGHT",
                },
                "geometric_error": {
                    "type": "SCALAR",
                    "componentType": "FLOAT64",
                    "semantic": "TILE_GEOMETRIC_ERROR",
                },
            },
        }
    },
}
"""The schema of tile metadata, as it stands in tileset.json (3D Metadata Semantic Reference, "Tile")."""


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


def subtree_depth(levels: int) -> int:
    """`subtreeLevels` of a tileset of so many levels."""
    return min(levels, LEVELS_PER_SUBTREE)


def subtree_root(level: int, x: int, y: int, depth: int) -> tuple[int, int, int]:
    """Level, x, y of the root of the subtree that holds a tile."""
    below = level % depth
    return level - below, x >> below, y >> below


def described_subtrees(facts: DerivedFacts, depth: int, levels: int) -> Iterator[SubtreeFile]:
    """The subtree files of a tileset whose tiles' regions and errors are known."""
    tiles = facts.tiles()
    for top in range(0, levels, depth):
        at_top = tiles.level == top
        for x, y in zip(tiles.x[at_top].tolist(), tiles.y[at_top].tolist(), strict=True):
            yield SubtreeFile(top, x, y, subtree_file(facts, top, x, y, depth))


def subtree_file(facts: DerivedFacts, level: int, x: int, y: int, depth: int) -> bytes:
    """The file of the subtree whose root is the tile (level, x, y), with the metadata of its tiles."""
    tiles = facts.tiles()
    contents = TileIndex(*(column[facts.has_content] for column in tiles))
    encoder = _SubtreeEncoder()
    tile_bits = _bits(tiles, level, x, y, depth)
    encoder.availability("tileAvailability", tile_bits)
    encoder.availability("contentAvailability", _bits(contents, level, x, y, depth), listed=True)
    encoder.availability("childSubtreeAvailability", _level_bits(tiles, level, x, y, depth))
    encoder.metadata(facts, _rows_in_order(facts, tile_bits, level, x, y, depth))
    return encoder.file()


def _rows_in_order(
    facts: DerivedFacts, tile_bits: NDArray[np.bool_], level: int, x: int, y: int, depth: int
) -> NDArray[np.intp]:
    """The rows of `facts` of the available tiles of a subtree, in the order of their bits."""
    found = []
    start = 0
    for below in range(depth):
        places = np.flatnonzero(tile_bits[start : start + 4**below]).astype(np.int64)
        start += 4**below
        # The Morton index inside the level is that of the root, followed by the place below it.
        root = int(tile_code(np.array([0]), np.array([x]), np.array([y]))[0])
        found.append((np.int64(level + below) << 48) | (root << (2 * below)) | places)
    return np.searchsorted(facts.codes, np.concatenate(found))


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


@dataclass(slots=True)
class _SubtreeEncoder:
    """A subtree file while it is put together."""

    binary: bytearray = field(default_factory=bytearray)
    views: list[dict[str, int]] = field(default_factory=list)
    document: dict[str, Any] = field(default_factory=dict)

    def view(self, content: bytes) -> int:
        self.views.append({"buffer": 0, "byteOffset": len(self.binary), "byteLength": len(content)})
        self.binary.extend(content + b"\x00" * (-len(content) % 8))
        return len(self.views) - 1

    def availability(self, name: str, bits: NDArray[np.bool_], *, listed: bool = False) -> None:
        if bits.all() or not bits.any():
            value: dict[str, Any] = {"constant": int(bits.all())}
        else:
            packed = np.packbits(bits, bitorder="little").tobytes()
            value = {"bitstream": self.view(packed), "availableCount": int(bits.sum())}
        self.document[name] = [value] if listed else value

    def metadata(self, facts: DerivedFacts, rows: NDArray[np.intp]) -> None:
        """The property table of the tiles `rows` (t,) of `facts`."""
        regions = np.empty((len(rows), 6), dtype="<f8")
        regions[:, :4] = np.radians(_within_one_turn(facts.regions[rows]))
        regions[:, 4], regions[:, 5] = facts.bottoms[rows], facts.tops[rows]
        columns = {
            "region": regions,
            "minimum_height": facts.bottoms[rows].astype("<f8"),
            "maximum_height": facts.tops[rows].astype("<f8"),
            "geometric_error": facts.errors[rows].astype("<f8"),
        }
        properties = {name: {"values": self.view(values.tobytes())} for name, values in columns.items()}
        self.document["propertyTables"] = [
            {"class": TILE_CLASS, "count": len(rows), "properties": properties}
        ]
        self.document["tileMetadata"] = 0

    def file(self) -> bytes:
        document = self.document
        if self.views:
            document = {
                "buffers": [{"byteLength": len(self.binary)}],
                "bufferViews": self.views,
                **document,
            }
        text = orjson.dumps(document)
        text += b" " * (-len(text) % 8)
        header = SUBTREE_MAGIC + (1).to_bytes(4, "little") + len(text).to_bytes(8, "little")
        return header + len(self.binary).to_bytes(8, "little") + text + bytes(self.binary)


def _within_one_turn(regions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Regions (n, 4) with longitudes between -180 and 180, as 3D Tiles writes them; west > east across the antimeridian."""
    turned = regions.copy()
    for column in (0, 2):
        longitude = turned[:, column]
        turned[:, column] = np.where(
            longitude > 180.0, longitude - 360.0, np.where(longitude < -180.0, longitude + 360.0, longitude)
        )
    around = regions[:, 2] - regions[:, 0] >= 360.0
    turned[around, 0], turned[around, 2] = -180.0, 180.0
    return turned
