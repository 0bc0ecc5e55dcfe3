"""The tileset as files: tileset.json, subtrees, contents, each with its compressed sibling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from tiles.three_d.attributes import PropertyTable
from tiles.three_d.files import CONTENT_TEMPLATE, SUBTREE_TEMPLATE, FileWriter
from tiles.three_d.glb import Appearance, write_glb
from tiles.three_d.mesh import Mesh
from tiles.three_d.placement import LocalFrame
from tiles.three_d.quadtree import Tiling, assign, morton, tile_region
from tiles.three_d.report import BBox84h, ProblemLog, TilesetSummary
from tiles.three_d.subtree import TileIndex, subtree_files

# Heights of the root's region leave room for the rounding of positions.
_HEIGHT_MARGIN = 0.1

MeshOfRows = Callable[[int, int, LocalFrame], Mesh]


@dataclass(frozen=True, slots=True)
class Features:
    """What a tileset is made of; arrays over its n features.

    `boxes` (n, 4) west, south, east, north in degrees; `bottoms` and `tops` (n,) ellipsoidal heights (m); `sizes` (n,)
    diagonals (m); `weights` (n,) vertices; `table` has their attributes, in the same order.
    """

    boxes: NDArray[np.float64]
    bottoms: NDArray[np.float64]
    tops: NDArray[np.float64]
    sizes: NDArray[np.float64]
    weights: NDArray[np.int64]
    table: PropertyTable

    def __len__(self) -> int:
        return len(self.boxes)

    def take(self, order: NDArray[np.intp]) -> Features:
        """The features in `order`."""
        return Features(
            self.boxes[order],
            self.bottoms[order],
            self.tops[order],
            self.sizes[order],
            self.weights[order],
            self.table.take(order),
        )


@dataclass(frozen=True, slots=True)
class TiledFeatures:
    """Features cut into tiles: `order` sorts them by tile; tile t has the sorted rows starts[t] to starts[t + 1]."""

    tiling: Tiling
    order: NDArray[np.intp]
    starts: NDArray[np.intp]
    tiles: TileIndex


def cut_into_tiles(features: Features) -> TiledFeatures:
    """Assign features to tiles; inside a tile they lie in Morton order, which keeps neighbours together."""
    tiling = assign(features.boxes, features.sizes, features.weights)
    keys = tiling.keys()
    place = _place_number(features.boxes, tiling)
    order = np.lexsort((place, keys))
    sorted_keys = keys[order]
    first = np.flatnonzero(np.r_[True, sorted_keys[1:] != sorted_keys[:-1]])
    starts = np.r_[first, len(order)]
    at = order[first]
    return TiledFeatures(tiling, order, starts, TileIndex(tiling.level[at], tiling.x[at], tiling.y[at]))


@dataclass(frozen=True, slots=True)
class TilesetFiles:
    """Where a tileset goes and how it looks. `attribution` becomes the copyright of every tile, which clients show."""

    folder: Path
    content: str
    appearance: Appearance
    attribution: str = ""


def write_tileset(
    files: TilesetFiles,
    features: Features,
    tiled: TiledFeatures,
    mesh_of: MeshOfRows,
    *,
    log: ProblemLog,
    height_reference: str,
) -> TilesetSummary:
    """Write all files of a tileset. `features` and `mesh_of` use the sorted order of `tiled`.

    `mesh_of(start, stop, frame)` gives the mesh of the rows start..stop-1 in a tile's local frame, feature ids from 0.
    """
    writer = FileWriter(files.folder)
    tiling, tiles = tiled.tiling, tiled.tiles
    for number in range(len(tiles.level)):
        start, stop = int(tiled.starts[number]), int(tiled.starts[number + 1])
        frame = _frame(features, start, stop)
        glb = write_glb(
            mesh_of(start, stop, frame),
            frame,
            features.table,
            (start, stop),
            files.appearance,
            attribution=files.attribution,
        )
        name = CONTENT_TEMPLATE.format(level=tiles.level[number], x=tiles.x[number], y=tiles.y[number])
        writer.write(name, glb)
    depth, subtrees = subtree_files(tiles, tiling.levels)
    for subtree in subtrees:
        writer.write(SUBTREE_TEMPLATE.format(level=subtree.level, x=subtree.x, y=subtree.y), subtree.content)
    box = _bounding_box(features)
    error = max(tiling.geometric_error, _diagonal(box))
    writer.write(
        "tileset.json",
        orjson.dumps(_tileset_json(features, tiling, depth, error), option=orjson.OPT_INDENT_2),
    )
    return TilesetSummary(
        content=files.content,
        feature_count=len(features),
        skipped=log.counts["skipped"],
        repaired=log.counts["repaired"],
        problems=tuple(log.listed),
        bbox84h=(_turn(box[0]), box[1], box[2], _turn(box[3]), box[4], box[5]),
        geometric_error=error,
        levels=tiling.levels,
        tile_count=len(tiles.level),
        bytes=writer.plain_bytes,
        gzip_bytes=writer.gzip_bytes,
        height_reference=height_reference,
        properties={column.id: column.name for column in features.table.columns},
    )


def _place_number(boxes: NDArray[np.float64], tiling: Tiling) -> NDArray[np.int64]:
    """Morton index of each feature's south-west corner on a grid over the root, for order inside a tile."""
    region = tiling.region
    x = (boxes[:, 0] - region.west) / (region.east - region.west) * 2**20
    y = (boxes[:, 1] - region.south) / (region.north - region.south) * 2**20
    return morton(x.astype(np.int64), y.astype(np.int64))


def _frame(features: Features, start: int, stop: int) -> LocalFrame:
    """The local frame in the middle of what the tile really holds."""
    boxes = features.boxes[start:stop]
    longitude = (boxes[:, 0].min() + boxes[:, 2].max()) / 2.0
    latitude = (boxes[:, 1].min() + boxes[:, 3].max()) / 2.0
    height = (features.bottoms[start:stop].min() + features.tops[start:stop].max()) / 2.0
    return LocalFrame.at(float(longitude), float(latitude), float(height))


def _bounding_box(features: Features) -> BBox84h:
    low, high = features.boxes.min(axis=0), features.boxes.max(axis=0)
    return (
        float(low[0]),
        float(low[1]),
        float(features.bottoms.min()),
        float(high[2]),
        float(high[3]),
        float(features.tops.max()),
    )


def _diagonal(box: BBox84h) -> float:
    """Length (m) across a box, by the size of a degree at its middle; good to a few per cent, as an error needs."""
    middle = np.radians((box[1] + box[4]) / 2.0)
    east = (box[3] - box[0]) * 111_320.0 * float(np.cos(middle))
    return float(np.sqrt(east**2 + ((box[4] - box[1]) * 111_320.0) ** 2 + (box[5] - box[2]) ** 2))


def _turn(longitude: float) -> float:
    if longitude > 180.0:
        return longitude - 360.0
    return longitude + 360.0 if longitude < -180.0 else longitude


def _tileset_json(features: Features, tiling: Tiling, depth: int, error: float) -> dict[str, Any]:
    root = tile_region(tiling.region, 0, 0, 0)
    region = [
        float(np.radians(_turn(root.west))),
        float(np.radians(root.south)),
        float(np.radians(_turn(root.east))),
        float(np.radians(root.north)),
        float(features.bottoms.min()) - _HEIGHT_MARGIN,
        float(features.tops.max()) + _HEIGHT_MARGIN,
    ]
    return {
        "asset": {"version": "1.1", "generator": "chengtu"},
        "geometricError": error,
        "root": {
            "boundingVolume": {"region": region},
            "geometricError": tiling.geometric_error,
            "refine": "ADD",
            "content": {"uri": CONTENT_TEMPLATE},
            "implicitTiling": {
                "subdivisionScheme": "QUADTREE",
                "subtreeLevels": depth,
                "availableLevels": tiling.levels,
                "subtrees": {"uri": SUBTREE_TEMPLATE},
            },
        },
    }
