"""What a tileset of points is made by: one small file, written when a cloud is published; all else is made when it is asked for.

`points.json` says where the tileset's frame is, how heights were got, and how far colours are stretched, so that every tile of a
cloud, whoever makes it and when, stands in the same place and has the same colours.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np

from pointclouds.cloud.cloud import Box3, Cloud, CloudTile
from pointclouds.crs import require_usable, vertical_unit
from pointclouds.errors import InvalidCopcError, OutputError, QueryError
from pointclouds.las.layout import Records
from pointclouds.placement import Placement, place
from pointclouds.tilesets.colours import MODES, ColourMode, Stretches, available_modes, stretches_of
from pointclouds.tilesets.local_frame import Corners, LocalFrame

PLAN_FILE: Final = "points.json"
ERROR_OF_SPACING: Final = 4.0
"""Geometric error of a tile as a multiple of its point spacing: viewers refine at about 16 pixels of error, points are wanted at
about 4."""
_VERSION: Final = 1


@dataclass(frozen=True)
class PointTilesetSummary:
    """What a tileset will be. `bbox84`: west, south, bottom, east, north, top; degrees and metres above the ellipsoid."""

    feature_count: int
    colour: ColourMode
    colours: tuple[ColourMode, ...]
    height_reference: str
    bbox84: Box3
    geometric_error: float

    def properties(self) -> dict[str, object]:
        """The JSON values a TILESET_3D representation keeps in the registry."""
        return {
            "content": "points",
            "store": "points",
            "feature_count": self.feature_count,
            "height_reference": self.height_reference,
            "colour": self.colour,
            "colours": list(self.colours),
        }


@dataclass(frozen=True)
class PointPlan:
    """The plan of a cloud's tileset.

    origin: native place of the frame's. height_offset: metres added to z in place of a vertical transformation; None for what
    pointclouds.placement chooses. height_shift: ellipsoidal height minus z in metres at the origin. box: of all points, in the frame.
    gps_base: GPS time from which tiles count seconds. spacing: of the coarsest points that are drawn, metres. edge: of the whole, metres.
    """

    origin: tuple[float, float, float]
    height_offset: float | None
    height_shift: float
    height_reference: str
    transform: tuple[float, ...]
    box: Corners
    bbox84: Box3
    colour: ColourMode
    stretches: Stretches
    gps_base: float
    edge: float

    def frame(self, cloud: Cloud) -> LocalFrame:
        """The frame, by the cloud's CRS. Raises PlacementError, CrsError."""
        crs = require_usable(cloud.crs, cloud.path.name)
        return LocalFrame(place(crs, self.origin, self.height_offset), np.array(self.origin))

    def document(self) -> dict[str, Any]:
        """As it is written; `root` and `geometricError` as a tileset.json has them."""
        west, south, bottom, east, north, top = self.bbox84
        low, high = self.box
        return {
            "version": _VERSION,
            "geometricError": self.edge,
            "root": {
                "transform": list(self.transform),
                "boundingVolume": {
                    "region": [*map(math.radians, (west, south, east, north)), bottom, top],
                },
                "geometricError": self.edge,
            },
            "origin": list(self.origin),
            "heightOffset": self.height_offset,
            "heightShift": self.height_shift,
            "heightReference": self.height_reference,
            "box": [*low.tolist(), *high.tolist()],
            "bbox84": list(self.bbox84),
            "colour": self.colour,
            "stretches": self.stretches.document(),
            "gpsBase": self.gps_base,
        }


def write_point_plan(
    cloud: Cloud, out_dir: Path, colour: str = "class", height_offset: float | None = None
) -> PointTilesetSummary:
    """Write `out_dir/points.json`; `out_dir` is made where it is not there. Reads one node of points.

    Args:
        colour: what the points are coloured by unless a request says otherwise; "rgb" and "time" become "class" where the cloud
            has no colours or times.
        height_offset: metres added to z in place of a vertical transformation; None: see placement.place.

    Raises:
        QueryError, MissingCrsError, UnusableCrsError, PlacementError, OutputError, InvalidCopcError, UnreadablePointCloudError.
    """
    if colour not in MODES:
        raise QueryError(f"points cannot be coloured by {colour!r}; choose one of {', '.join(MODES)}")
    if height_offset is not None and not math.isfinite(height_offset):
        raise QueryError(f"a height offset of {height_offset} makes no sense; give metres")
    plan = make_point_plan(cloud, colour, height_offset)
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        part = out_dir / f"{PLAN_FILE}.part"
        part.write_text(json.dumps(plan.document()), encoding="utf-8")
        part.replace(out_dir / PLAN_FILE)
    except OSError as error:
        raise OutputError(
            f"{out_dir.name} cannot be written: {error}; free space or choose another place"
        ) from error
    return PointTilesetSummary(
        feature_count=cloud.count,
        colour=plan.colour,
        colours=available_modes(cloud),
        height_reference=plan.height_reference,
        bbox84=plan.bbox84,
        geometric_error=plan.edge,
    )


def make_point_plan(cloud: Cloud, colour: str, height_offset: float | None) -> PointPlan:
    """The plan of a cloud. Raises as write_point_plan does."""
    crs = require_usable(cloud.crs, cloud.path.name)
    native = cloud.box
    middle = [(native[axis] + native[axis + 3]) / 2 for axis in range(3)]
    origin = (middle[0], middle[1], middle[2])
    placement = place(crs, origin, height_offset)
    frame = LocalFrame(placement, np.array(origin))
    boxes = np.array([tile.box for tile in cloud.tiles])
    lows, highs = frame.boxes(boxes[:, :3], boxes[:, 3:])
    box = (lows.min(axis=0), highs.max(axis=0))
    modes = available_modes(cloud)
    chosen = next((mode for mode in modes if mode == colour), modes[0])
    sizes = np.array(native[3:]) - np.array(native[:3])
    return PointPlan(
        origin=origin,
        height_offset=height_offset,
        height_shift=_height_shift(placement, origin, vertical_unit(crs)),
        height_reference=placement.height_reference,
        transform=tuple(frame.matrix),
        box=box,
        bbox84=frame.box84(box),
        colour=chosen,
        stretches=stretches_of(cloud, _sample(cloud)),
        gps_base=_gps_base(cloud),
        edge=max(frame.metres(float(sizes.max())), 1.0),
    )


def _height_shift(placement: Placement, origin: tuple[float, float, float], unit: float) -> float:
    return float(placement.geodetic(np.array([origin]))[0, 2]) - origin[2] * unit


def _gps_base(cloud: Cloud) -> float:
    lowest = min(tile.gps[0] for tile in cloud.tiles)
    return math.floor(lowest) if math.isfinite(lowest) else 0.0


def _sample(cloud: Cloud) -> Records:
    """The points of the coarsest node with points: of the overview, else of the first tile."""
    tile: CloudTile = cloud.overview or cloud.tiles[0]
    file = cloud.file(tile)
    filled = file.entries[file.entries["point_count"] > 0]
    if not len(filled):
        raise InvalidCopcError(f"{tile.path.name}: no node of the octree has a point")
    return file.read_node(filled[0])


def read_point_plan(path: Path) -> PointPlan:
    """The plan of a generation. Raises InvalidCopcError where the file is gone or damaged."""
    try:
        values = json.loads(path.read_bytes())
        box = np.array(values["box"], np.float64)
        if values["version"] != _VERSION or box.shape != (6,) or not np.isfinite(box).all():
            raise ValueError(f"version {values['version']}, box {values['box']}")
        x, y, z = map(float, values["origin"])
        west, south, bottom, east, north, top = map(float, values["bbox84"])
        offset = values["heightOffset"]
        colour: ColourMode = next(mode for mode in get_args(ColourMode) if mode == values["colour"])
        return PointPlan(
            origin=(x, y, z),
            height_offset=None if offset is None else float(offset),
            height_shift=float(values["heightShift"]),
            height_reference=str(values["heightReference"]),
            transform=tuple(map(float, values["root"]["transform"])),
            box=(box[:3], box[3:]),
            bbox84=(west, south, bottom, east, north, top),
            colour=colour,
            stretches=Stretches.read(values["stretches"]),
            gps_base=float(values["gpsBase"]),
            edge=float(values["geometricError"]),
        )
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        raise InvalidCopcError(
            f"{path.name} is no plan of a tileset of points: {error}; publish the point cloud again"
        ) from error
