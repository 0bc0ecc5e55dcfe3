"""COPC -> 3D Tiles 1.1: an implicit octree of point tiles equal to the octree of the COPC file.

The tileset has a local frame of its own: east-ish (the CRS's x), north-ish, up at the middle of the cloud. The root's
`transform` puts that frame on the globe, so everything below is small numbers. A projected octree is not an exact
octree on a round Earth: every tile's true box is given in the subtrees (TILE_BOUNDING_BOX), and points are placed
by the exact transformation, approximated per node by a quadratic whose error is checked.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from isal import igzip

from pointclouds.cloud.cloud import open_cloud
from pointclouds.cloud.summary import Box3
from pointclouds.copc.reader import CopcFile, selection_of
from pointclouds.crs import require_usable
from pointclouds.errors import OutputError, PlacementError, PointCloudError, QueryError
from pointclouds.placement import place
from pointclouds.tilesets.colours import (
    MODES,
    Colouring,
    ColourMode,
    available_modes,
    colouring,
    stretches_of,
)
from pointclouds.tilesets.glb import point_glb
from pointclouds.tilesets.local_frame import LocalFrame, column_extremes
from pointclouds.tilesets.subtrees import TILE_SCHEMA, Box, Key, box_values, build_subtrees, subtree_levels

ERROR_OF_SPACING: Final = 4.0
"""Geometric error of a tile as a multiple of its point spacing: viewers refine at about 16 pixels of error, points
are wanted at about 4."""
_GZIP_LEVEL: Final = 1
_JSON_GZIP_LEVEL: Final = 3


@dataclass(frozen=True)
class PointTilesetSummary:
    """What was built. `bbox84`: west, south, bottom, east, north, top; degrees and metres above the ellipsoid."""

    feature_count: int
    colour: ColourMode
    height_reference: str
    bbox84: Box3
    tiles: int
    subtrees: int
    bytes: int
    bytes_gzip: int
    geometric_error: float
    content: str = "points"

    def properties(self) -> dict[str, object]:
        """The JSON values a TILESET_3D representation keeps in the registry."""
        return {
            "content": self.content,
            "feature_count": self.feature_count,
            "height_reference": self.height_reference,
            "colour": self.colour,
        }


def _quiet(stage: str, fraction: float) -> None:
    """Report nothing."""


def build_point_tileset(
    copc: Path,
    out_dir: Path,
    *,
    colour: ColourMode = "class",
    height_offset: float | None = None,
    report: Callable[[str, float], None] = _quiet,
) -> PointTilesetSummary:
    """Write `tileset.json`, `subtrees/{level}/{x}/{y}/{z}.subtree` and `content/{level}/{x}/{y}/{z}.glb`.

    Every file stands beside a gzipped sibling `.gz`. On failure nothing is left.

    Args:
        copc: a COPC file with a projected CRS.
        out_dir: must not exist or be empty.
        colour: what the points are coloured by; "rgb" falls back to "class" where the file has no colours.
        height_offset: metres added to z in place of a vertical transformation; None: see placement.place.
        report: told the stage ("tiles", "subtrees") and how much of it is done (0 to 1).

    Raises:
        InvalidCopcError, UnreadablePointCloudError, MissingCrsError, PlacementError, QueryError, OutputError.
    """
    if colour not in MODES:
        raise QueryError(f"points cannot be coloured by {colour!r}; choose one of {', '.join(MODES)}")
    if height_offset is not None and not np.isfinite(height_offset):
        raise QueryError(f"a height offset of {height_offset} makes no sense; give metres")
    if out_dir.exists() and any(out_dir.iterdir()):
        raise OutputError(f"{out_dir.name} is not empty; a tileset is built into a new folder")
    try:
        with CopcFile(copc) as source:
            return _Builder(source, out_dir, colour, height_offset).build(report)
    except OSError as error:
        shutil.rmtree(out_dir, ignore_errors=True)
        raise OutputError(
            f"{out_dir.name} cannot be written: {error}; free space or choose another place"
        ) from error
    except PointCloudError:
        shutil.rmtree(out_dir, ignore_errors=True)
        raise


class _Builder:
    """One run of build_point_tileset."""

    def __init__(
        self, source: CopcFile, out_dir: Path, colour: ColourMode, height_offset: float | None
    ) -> None:
        self.source = source
        self.out_dir = out_dir
        crs = require_usable(source.crs, source.path.name)
        bbox = source.header.bbox
        centre = tuple((bbox[axis] + bbox[axis + 3]) / 2 for axis in range(3))
        self.placement = place(crs, (centre[0], centre[1], centre[2]), height_offset)
        self.frame = LocalFrame(self.placement, np.array(centre))
        entries = source.entries
        self.entries = entries[np.lexsort((entries["offset"], entries["level"]))]
        filled = self.entries[self.entries["point_count"] > 0]
        cloud = open_cloud(source.path)
        modes = available_modes(cloud)
        self.colouring: Colouring = colouring(
            colour if colour in modes else modes[0],
            stretches_of(cloud, source.read_node(filled[0])),
            (source.header.scale[2], source.header.offset[2]),
        )
        fields = {*self.colouring.fields, "Classification"}
        self.selection = selection_of(fields)
        self.bytes = self.bytes_gzip = 0
        self.folders: set[Path] = set()

    def build(self, report: Callable[[str, float], None]) -> PointTilesetSummary:
        own: dict[Key, Box | None] = {}
        lows, highs = self.source.node_boxes(self.entries)
        for index, entry in enumerate(self.entries):
            key = (int(entry["level"]), int(entry["x"]), int(entry["y"]), int(entry["z"]))
            own[key] = (
                self._write_node(key, entry, lows[index], highs[index]) if entry["point_count"] > 0 else None
            )
            report("tiles", (index + 1) / len(self.entries))
        tiles = _boxes_of_subtrees(own)
        depth = max(key[0] for key in tiles)
        levels = subtree_levels(depth + 1)
        subtrees = build_subtrees(tiles, {key for key, box in own.items() if box is not None}, levels)
        for key, data in subtrees.items():
            self._write(f"subtrees/{_path(key)}.subtree", data, _JSON_GZIP_LEVEL)
        report("subtrees", 1.0)
        error = self.frame.metres(self.source.info.spacing) * ERROR_OF_SPACING
        root = tiles[0, 0, 0, 0]
        self._write("tileset.json", self._tileset(root, error, depth + 1, levels), _JSON_GZIP_LEVEL)
        return PointTilesetSummary(
            feature_count=int(self.entries["point_count"].sum(dtype=np.int64)),
            colour=self.colouring.mode,
            height_reference=self.placement.height_reference,
            bbox84=self.frame.box84(root),
            tiles=len(tiles),
            subtrees=len(subtrees),
            bytes=self.bytes,
            bytes_gzip=self.bytes_gzip,
            geometric_error=error,
        )

    def _write_node(
        self, key: Key, entry: np.void, low: npt.NDArray[np.float64], high: npt.NDArray[np.float64]
    ) -> Box:
        records = self.source.read_node(entry, self.selection)
        local = self.frame.from_native(self.source.coordinates(records), low, high)
        box = column_extremes(local)
        if not np.isfinite(box).all():
            raise PlacementError(
                f"{self.source.path.name}: points of node {_path(key)} cannot be placed on the globe; "
                "they lie outside the area of the CRS or of its grid"
            )
        glb = point_glb(local, self.colouring.colours(records), records)
        self._write(f"content/{_path(key)}.glb", glb, _GZIP_LEVEL)
        return box

    def _write(self, name: str, data: bytes, level: int) -> None:
        path = self.out_dir / name
        if path.parent not in self.folders:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.folders.add(path.parent)
        packed = igzip.compress(data, level, mtime=0)
        path.write_bytes(data)
        path.with_name(path.name + ".gz").write_bytes(packed)
        self.bytes += len(data)
        self.bytes_gzip += len(packed)

    def _tileset(self, whole: Box, error: float, available_levels: int, levels: int) -> bytes:
        """tileset.json. The outer root has the points' own box, for viewers to fly to; the cube is mostly air."""
        octree = {
            "boundingVolume": {"box": box_values(self._cube(whole))},
            "geometricError": error,
            "content": {"uri": "content/{level}/{x}/{y}/{z}.glb"},
            "implicitTiling": {
                "subdivisionScheme": "OCTREE",
                "subtreeLevels": levels,
                "availableLevels": available_levels,
                "subtrees": {"uri": "subtrees/{level}/{x}/{y}/{z}.subtree"},
            },
        }
        outer = self.frame.metres(2 * self.source.info.halfsize)
        document = {
            "asset": {"version": "1.1", "generator": "Chengtu"},
            "schema": TILE_SCHEMA,
            "geometricError": outer,
            "root": {
                "transform": self.frame.matrix,
                "boundingVolume": {"box": box_values(whole)},
                "geometricError": outer,
                "refine": "ADD",
                "children": [octree],
            },
        }
        return json.dumps(document, separators=(",", ":")).encode()

    def _cube(self, whole: Box) -> Box:
        """The octree's cube as a box of the local frame, for viewers that do not read tile metadata.

        The projection bends the cube's faces by some centimetres in the frame: the box of the points lies in it too.
        """
        low, high = self.frame.box_of_cube(self.source.corner, 2 * self.source.info.halfsize)
        return np.minimum(low, whole[0]), np.maximum(high, whole[1])


def _path(key: Key) -> str:
    return "/".join(str(part) for part in key)


def _boxes_of_subtrees(own: dict[Key, Box | None]) -> dict[Key, Box]:
    """Box of every tile and all below it; ancestors missing from the hierarchy are added."""
    boxes: dict[Key, Box] = {}
    for key in sorted(own, key=lambda item: item[0], reverse=True):
        box = own[key]
        while box is not None:
            known = boxes.get(key)
            boxes[key] = (
                box if known is None else (np.minimum(known[0], box[0]), np.maximum(known[1], box[1]))
            )
            if key[0] == 0:
                break
            key = (key[0] - 1, key[1] >> 1, key[2] >> 1, key[3] >> 1)  # noqa: PLW2901  (climbing to the root)
    return boxes
