"""tileset.json and its like: of one COPC, of a mosaic and its groups; implicit (3D Tiles 1.1), or written out tile by tile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import shapely

from pointclouds.cloud.cloud import CloudTile
from pointclouds.cloud.query import PointQuery
from pointclouds.tilesets.glb import GENERATOR
from pointclouds.tilesets.groups import LEVELS_OF_A_DOCUMENT, Group
from pointclouds.tilesets.octree import Address, Mask, Octree, cells_of
from pointclouds.tilesets.subtrees import TILE_SCHEMA, box_values, subtree_levels
from pointclouds.tilesets.tileset import Look, PointTileset

Version = Literal["implicit", "explicit", "1.0"]
Document = dict[str, Any]
_LEVELS_WRITTEN_OUT: Final = 4


def _number(said: str) -> Document:
    return {"description": said, "type": "SCALAR", "componentType": "FLOAT64"}


_TILESET_CLASS: Final[Document] = {
    "name": "A tileset of points",
    "properties": {
        "colourMode": {
            "name": "Coloured by",
            "type": "STRING",
            "extras": {"titles": {"en": "Coloured by", "zh": "着色方式"}},
        },
        "colourLow": _number("Value of the ramp's first colour"),
        "colourHigh": _number("Value of the ramp's last colour"),
        "gpsTimeBase": _number("GPS time from which GpsTime counts seconds"),
    },
}


@dataclass(frozen=True)
class PointDocuments:
    """The documents of a tileset as a request wants them. Methods raise as PointTileset's do."""

    tileset: PointTileset
    look: Look
    version: Version = "implicit"
    query: PointQuery | None = None

    def top(self) -> Document:
        """tileset.json."""
        plan = self.tileset.plan
        transform = {"transform": list(plan.transform)}
        if self.tileset.cloud.is_mosaic:
            whole = self._group(self.tileset.groups, "", LEVELS_OF_A_DOCUMENT) or self._nothing()
            return self._document({**transform, **whole}, max(plan.edge, whole["geometricError"]))
        tile = self.tileset.cloud.tiles[0]
        octree = self._octree(tile, "")
        low, high = self.tileset.octree(tile).box
        margin = self.tileset.radius(tile, 0) if self._has_marks else 0.0
        root: Document = {
            "boundingVolume": {"box": box_values((low - margin, high + margin))},
            "geometricError": plan.edge,
            "refine": "ADD",
        }
        if octree is not None:
            # The outer root has the points' own box, for viewers to fly to; the cube is mostly air.
            root["children"] = [octree]
            root["geometricError"] = max(plan.edge, octree["geometricError"])
        return self._document({**transform, **root}, root["geometricError"])

    def group(self, group: Group) -> Document:
        """groups/gN.json: a group further down; its place is that of the tileset around it."""
        root = self._group(group, "../", LEVELS_OF_A_DOCUMENT) or self._nothing()
        return self._document(root, root["geometricError"])

    def tile(self, tile: CloudTile) -> Document:
        """tiles/NAME/tileset.json: the octree of a tile of a mosaic; its place is that of the tileset around it."""
        root = self._octree(tile, "") or self._nothing()
        return self._document(root, root["geometricError"])

    def part(self, tile: CloudTile, address: Address) -> Document | None:
        """L-X-Y-Z.json of a tree that is written out: the tiles from `address` down. None where there is none."""
        if address.level == 0 or address.level % _LEVELS_WRITTEN_OUT:
            return None
        root = self._written_out(tile, address)
        return None if root is None else self._document(root, root["geometricError"])

    def _nothing(self) -> Document:
        """A root without content, where a query leaves nothing."""
        return {
            "boundingVolume": {"box": box_values(self.tileset.plan.box)},
            "geometricError": 0.0,
            "refine": "ADD",
        }

    def _document(self, root: Document, error: float) -> Document:
        plan = self.tileset.plan
        version = "1.0" if self.version == "1.0" else "1.1"
        asset = {
            "version": version,
            "generator": GENERATOR,
            "extras": {"heightOffset": plan.height_shift, "heightReference": plan.height_reference},
        }
        document: Document = {"asset": asset}
        if self.version == "implicit":
            document["schema"] = {
                **TILE_SCHEMA,
                "classes": {**TILE_SCHEMA["classes"], "tileset": _TILESET_CLASS},
            }
            document["metadata"] = {"class": "tileset", "properties": self._described()}
        return {**document, "geometricError": error, "root": root}

    def _described(self) -> Document:
        said: Document = {"colourMode": self.look.mode, "gpsTimeBase": self.tileset.plan.gps_base}
        ends = self.tileset.plan.stretches.of(self.look.mode)
        return said if ends is None else {**said, "colourLow": ends[0], "colourHigh": ends[1]}

    @property
    def _has_marks(self) -> bool:
        """Whether contents are triangles, which reach beyond their points."""
        return self.look.form == "marks"

    @property
    def _ending(self) -> str:
        return "pnts" if self.look.form == "pnts" else "glb"

    # --- one octree --------------------------------------------------------------------------------------------------

    def _octree(self, tile: CloudTile, above: str) -> Document | None:
        """The root tile of an octree; None where a query leaves nothing."""
        if self.version != "implicit":
            return self._written_out(tile, Address(0, 0, 0, 0))
        octree = self.tileset.octree(tile)
        if not self.tileset.shown(tile, self.query)[0][0].any():
            return None
        levels = len(octree.levels)
        return {
            "boundingVolume": {"box": box_values(octree.cube)},
            "geometricError": self.tileset.root_error(tile),
            "refine": "ADD",
            "content": {"uri": f"{above}content/{{level}}/{{x}}/{{y}}/{{z}}.glb"},
            "implicitTiling": {
                "subdivisionScheme": "OCTREE",
                "subtreeLevels": subtree_levels(levels),
                "availableLevels": levels,
                "subtrees": {"uri": f"{above}subtrees/{{level}}/{{x}}/{{y}}/{{z}}.subtree"},
            },
        }

    def _written_out(self, tile: CloudTile, address: Address) -> Document | None:
        octree = self.tileset.octree(tile)
        if address.level >= len(octree.levels):
            return None
        shown = self.tileset.shown(tile, self.query)
        level = octree.levels[address.level]
        cells = cells_of(level.codes)
        places = np.flatnonzero((cells == address[1:]).all(axis=1) & shown[address.level][0])
        if not len(places):
            return None
        margins = [
            self.tileset.radius(tile, level) if self._has_marks else 0.0
            for level in range(len(octree.levels))
        ]
        error = self.tileset.root_error(tile)
        writer = _Writer(octree, shown, error, address.level, self._ending, margins)
        return writer.tile(address.level, int(places[0]))

    # --- a mosaic ----------------------------------------------------------------------------------------------------

    def _group(self, group: Group, above: str, levels: int) -> Document | None:
        """A group and those below it; `above` leads from the document to the folder of tileset.json."""
        tiles = self._tiles_shown(group)
        if not tiles:
            return None
        if levels == 0 and group.parts:
            content = {"content": {"uri": f"{above}groups/g{group.number}.json"}}
            # The error of the group above: QGIS looks into another document only where its entry is too coarse, and would draw
            # nothing here where the group above is too coarse and this one is not.
            return {**self._volume(group), **content, "geometricError": self.tileset.limit(group.number[:-1])}
        children = [
            child
            for child in (
                [self._group(part, above, levels - 1) for part in group.parts]
                if group.parts
                else [self._leaf(tile, group, above) for tile in tiles]
            )
            if child is not None
        ]
        if not children:
            return None
        error = self.tileset.limit(group.number)
        found: Document = {**self._volume(group), "geometricError": error, "refine": "REPLACE"}
        if self.tileset.cloud.overview is not None:
            found["content"] = {"uri": f"{above}overview/g{group.number}.{self._ending}"}
        return {**found, "children": children}

    def _leaf(self, tile: CloudTile, group: Group, above: str) -> Document | None:
        """A tile of the mosaic as a child of its group: a document of its own, whose root has the tile's coarsest points.

        Its error is the group's, so that whoever finds the group too coarse opens the document.

        Between a group that REPLACEs and those points stands no tile without content: a viewer that finds it small enough would
        draw nothing there.
        """
        if self.query is not None and not self.tileset.nodes_shown(tile, self.query).any():
            return None
        low, high = self.tileset.box_of([tile])
        margin = self.tileset.radius(tile, 0) if self._has_marks else 0.0
        return {
            "boundingVolume": {"box": box_values((low - margin, high + margin))},
            "geometricError": self.tileset.limit(group.number),
            "content": {"uri": f"{above}tiles/{tile.name}/tileset.json"},
        }

    def _tiles_shown(self, group: Group) -> list[CloudTile]:
        query = self.query
        if query is None:
            return list(group.tiles)
        low, high = np.full(3, -np.inf), np.full(3, np.inf)
        if query.box is not None:
            low, high = np.array(query.box[:3]), np.array(query.box[3:])
        if query.area is not None:
            west, south, east, north = shapely.bounds(query.area)
            low = np.maximum(low, (west, south, -np.inf))
            high = np.minimum(high, (east, north, np.inf))
        return [
            tile
            for tile in group.tiles
            if (query.tiles is None or tile.name in query.tiles)
            and (np.array(tile.box[:3]) <= high).all()
            and (np.array(tile.box[3:]) >= low).all()
        ]

    def _volume(self, group: Group) -> Document:
        low, high = self.tileset.box_of_group(group)
        margin = self.tileset.radius_of(group) if self._has_marks else 0.0
        return {"boundingVolume": {"box": box_values((low - margin, high + margin))}}


@dataclass(frozen=True)
class _Writer:
    """Writes tiles out one by one. `top`: level at which the document begins; `error`: of the octree's root; `margins`: by level,
    metres by which contents reach beyond their points."""

    octree: Octree
    shown: Sequence[tuple[Mask, Mask]]
    error: float
    top: int
    ending: str
    margins: Sequence[float]

    def tile(self, depth: int, place: int) -> Document:
        """A tile and those below it, down to where the next document begins."""
        level, margin = self.octree.levels[depth], self.margins[depth]
        x, y, z = cells_of(level.codes[place : place + 1])[0].tolist()
        tile: Document = {
            "boundingVolume": {"box": box_values((level.low[place] - margin, level.high[place] + margin))},
            "geometricError": self.error / 2**depth,
            "refine": "ADD",
        }
        if depth - self.top == _LEVELS_WRITTEN_OUT:
            content = {"uri": f"{depth}-{x}-{y}-{z}.json"}
            return {**tile, "geometricError": self.error / 2 ** (depth - 1), "content": content}
        if self.shown[depth][1][place]:
            tile["content"] = {"uri": f"content/{depth}/{x}/{y}/{z}.{self.ending}"}
        children = [self.tile(depth + 1, child) for child in self._below(depth, place)]
        if not children:
            return {**tile, "geometricError": 0.0}
        return {**tile, "children": children}

    def _below(self, depth: int, place: int) -> list[int]:
        """Places of a tile's children in their level."""
        if depth + 1 >= len(self.octree.levels):
            return []
        code = int(self.octree.levels[depth].codes[place])
        ends = np.array([code << 3, (code + 1) << 3], np.uint64)
        first, last = np.searchsorted(self.octree.levels[depth + 1].codes, ends).tolist()
        return [child for child in range(first, last) if self.shown[depth + 1][0][child]]
