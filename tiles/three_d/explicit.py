"""Implicit tilesets written out, for clients that do not know implicit tiling: 3D Tiles 1.1 without it, and 3D Tiles 1.0.

Every subtree becomes a tileset.json of its own, so that none is large; one names the others as external tilesets. All of them
are served from one folder, made when they are asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tiles.three_d.errors import ThreeDError
from tiles.three_d.explicit_subtree import Subtree, read_subtree
from tiles.three_d.objects import TileAddress

TOP = TileAddress(0, 0, 0)
# What names or describes metadata of implicit tiles, or is not known to version 1.0.
_LEFT_OUT = frozenset(
    {
        "schema",
        "schemaUri",
        "metadata",
        "groups",
        "statistics",
        "extensionsUsed",
        "extensionsRequired",
        "extensions",
    }
)


@dataclass(frozen=True, slots=True)
class ExplicitLayout:
    """How the documents name each other and the contents: addresses with {level}, {x}, {y}, relative to the documents."""

    version: str = "1.1"
    content: str = "content/{level}/{x}/{y}.glb"
    child: str = "{level}-{x}-{y}.json"


EXPLICIT = ExplicitLayout()
VERSION_1_0 = ExplicitLayout("1.0", "content/{level}/{x}/{y}.b3dm")
VERSION_1_0_COMPOSITE = ExplicitLayout("1.0", "content/{level}/{x}/{y}.cmpt")


def explicit_tileset(
    tileset: dict[str, Any],
    subtree: bytes | None,
    at: TileAddress = TOP,
    *,
    layout: ExplicitLayout = EXPLICIT,
) -> dict[str, Any]:
    """The document of one subtree: `tileset` is the implicit tileset.json, `subtree` the file whose root tile is `at`.

    Regions and errors are the true ones where the subtree states them, else those that a client of implicit tiling derives.
    A tileset without implicit tiling (`subtree` None) comes back with `layout`'s version. Raises ThreeDError.
    """
    described = {name: value for name, value in tileset.items() if name not in _LEFT_OUT}
    described["asset"] = {**tileset.get("asset", {}), "version": layout.version}
    root = tileset["root"]
    tiling = root.get("implicitTiling")
    if tiling is None or subtree is None:
        return described
    if tiling.get("subdivisionScheme") != "QUADTREE" or "region" not in root.get("boundingVolume", {}):
        raise ThreeDError("only quadtrees of regions can be written out")
    depth = int(tiling["subtreeLevels"])
    writer = _Writer(root, read_subtree(subtree, depth, tileset.get("schema")), depth, at, layout)
    if not writer.subtree.tiles[0]:
        raise ThreeDError(f"there is no tile {at.level}/{at.x}/{at.y}")
    top = writer.tile(0, 0, None)
    top["refine"] = root.get("refine", "ADD")
    described["root"] = top
    if at != TOP:
        described["geometricError"] = top["geometricError"]
    return described


@dataclass(frozen=True, slots=True)
class _Writer:
    root: dict[str, Any]
    subtree: Subtree
    depth: int
    at: TileAddress
    layout: ExplicitLayout

    def tile(self, below: int, place: int, parent: dict[str, Any] | None) -> dict[str, Any]:
        """The tile at Morton index `place`, `below` levels under the subtree's root, with all that is under it."""
        number = (4**below - 1) // 3 + place
        x, y = _unspread(place), _unspread(place >> 1)
        address = TileAddress(self.at.level + below, (self.at.x << below) + x, (self.at.y << below) + y)
        region = self.subtree.regions[number]
        known = np.isfinite(region)
        filled = np.where(known, region, self._implied(address))
        stated = float(self.subtree.errors[number])
        error = stated if np.isfinite(stated) else self._halved(address.level)
        if parent is not None:
            error = min(error, parent["geometricError"])
        tile: dict[str, Any] = {"boundingVolume": {"region": filled.tolist()}, "geometricError": error}
        if self.subtree.contents[number]:
            tile["content"] = {"uri": _named(self.layout.content, address)}
        children = self._children(below, place, tile, address)
        if children:
            tile["children"] = children
        return tile

    def _children(
        self, below: int, place: int, tile: dict[str, Any], address: TileAddress
    ) -> list[dict[str, Any]]:
        next_places = range(4 * place, 4 * place + 4)
        if below + 1 < self.depth:
            first = (4 ** (below + 1) - 1) // 3
            return [
                self.tile(below + 1, child, tile)
                for child in next_places
                if self.subtree.tiles[first + child]
            ]
        return [
            {
                # Its true region stands in its own subtree; that of the tile above holds it for certain.
                "boundingVolume": tile["boundingVolume"],
                "geometricError": tile["geometricError"],
                "content": {"uri": _named(self.layout.child, _child(address, child & 3))},
            }
            for child in next_places
            if self.subtree.children[child]
        ]

    def _implied(self, address: TileAddress) -> list[float]:
        """The region that implicit subdivision gives (OGC 22-025r4, clause 7.4)."""
        west, south, east, north, low, high = self.root["boundingVolume"]["region"]
        width = (east - west if east > west else east - west + 2.0 * np.pi) / 2**address.level
        height = (north - south) / 2**address.level
        left, bottom = west + address.x * width, south + address.y * height
        return [_wrapped(left), bottom, _wrapped(left + width), bottom + height, low, high]

    def _halved(self, level: int) -> float:
        return float(self.root["geometricError"]) / float(2**level)


def _wrapped(longitude: float) -> float:
    return longitude - 2.0 * np.pi if longitude > np.pi else longitude


def _child(parent: TileAddress, quarter: int) -> TileAddress:
    return TileAddress(parent.level + 1, 2 * parent.x + (quarter & 1), 2 * parent.y + (quarter >> 1))


def _named(template: str, address: TileAddress) -> str:
    # Not str.format: a query string in the template may hold braces of its own.
    return (
        template.replace("{level}", str(address.level))
        .replace("{x}", str(address.x))
        .replace("{y}", str(address.y))
    )


def _unspread(value: int) -> int:
    """Every second bit of a Morton index, from the lowest on."""
    return sum(((value >> (2 * bit)) & 1) << bit for bit in range(16))
