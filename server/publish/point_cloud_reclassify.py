"""Another class for the points inside a polygon of a published cloud, as a new generation."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import orjson
import pyproj
import shapely
from pyproj.exceptions import CRSError
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from pointclouds.cloud.cloud import INDEX_FILE, TILES_FOLDER, Cloud, CloudTile, write_index, write_table
from pointclouds.crs import horizontal_part
from pointclouds.errors import QueryError
from pointclouds.mosaic.building import description_of, layout_of, tile_path
from pointclouds.mosaic.reclassify import (
    MOST_VERTICES,
    GroundHeights,
    Reclassification,
    Reclassified,
    points_met,
    reclassify_copc,
)
from pointclouds.mosaic.tiles import described_tile
from server.publish.errors import OptionError
from server.publish.point_cloud_generations import CloudEdit, Editing, NothingToChange, edited, link_file
from server.publish.request import Cancelled, Report, never_cancelled, report_nothing

if TYPE_CHECKING:
    from server.registry.registry import Registry
    from server.settings import Settings

CRS84: Final = "OGC:CRS84"
_LONGEST_GEOMETRY: Final = 20_000
"""Bytes of GeoJSON up to which the history keeps the area itself; of a larger one it keeps the box."""
_EDGE_DEGREES: Final = 0.001
"""Edges of an area in degrees are divided to this length before they become native: a long straight one is a curve there."""


@dataclass(frozen=True, slots=True)
class ClassChange:
    """What is asked for, in the words of whoever edits.

    area: polygon or multipolygon in `crs` (x or longitude first). low, high: heights, both included, None where open: of z in units
    of the cloud, or above the ground where `ground` is "points" (the cloud's own ground, class 2) or a raster file of heights.
    """

    area: BaseGeometry
    to: int
    from_classes: frozenset[int] | None = None
    low: float | None = None
    high: float | None = None
    ground: str | Path | None = None
    crs: str = CRS84


def parse_area(text: str) -> BaseGeometry:
    """A geometry from WKT, from GeoJSON (a geometry, or a feature), as text. Raises OptionError."""
    text = text.strip()
    try:
        if not text.startswith("{"):
            return shapely.from_wkt(text)
        return area_of_geojson(orjson.loads(text))
    except (shapely.errors.ShapelyError, orjson.JSONDecodeError) as error:
        raise OptionError(
            f"The area is neither WKT nor GeoJSON that can be read: {error}. Give a polygon or multipolygon."
        ) from error


def area_of_geojson(document: Any) -> BaseGeometry:
    """The geometry of a GeoJSON geometry or feature. Raises OptionError."""
    if isinstance(document, Mapping) and document.get("type") == "Feature":
        document = document.get("geometry")
    if not isinstance(document, Mapping) or document.get("type") not in ("Polygon", "MultiPolygon"):
        found = document.get("type") if isinstance(document, Mapping) else type(document).__name__
        raise OptionError(
            f"The area is {str(found)[:80]!r}. Allowed: GeoJSON of type Polygon or MultiPolygon."
        )
    try:
        return shape(dict(document))
    except (
        shapely.errors.ShapelyError,
        ValueError,
        TypeError,
        AttributeError,
        IndexError,
        KeyError,
    ) as error:
        raise OptionError(f"The area is no GeoJSON polygon: {error}.") from error


def native_area(area: BaseGeometry, crs: str, cloud: Cloud) -> BaseGeometry:
    """The area in the cloud's CRS. Raises OptionError where its CRS is unknown or it lies where the cloud's has no meaning."""
    try:
        given = pyproj.CRS.from_user_input(crs)
    except CRSError as error:
        raise OptionError(
            f"PROJ knows no CRS {crs[:80]!r} for the area. Give for example EPSG:28992, or leave it out for CRS84."
        ) from error
    target = horizontal_part(cloud.crs)
    flat = shapely.force_2d(area)
    if given.equals(target, ignore_axis_order=True):
        return flat
    if given.is_geographic and not flat.is_empty and np.isfinite(flat.bounds).all():
        _require_degrees(flat)
        _require_simple(flat)
        flat = shapely.segmentize(flat, max(_EDGE_DEGREES, flat.length / 10_000))
    transformer = pyproj.Transformer.from_crs(given, target, always_xy=True)
    moved = shapely.transform(flat, lambda places: np.stack(transformer.transform(*places.T), axis=1))
    if not flat.is_empty and not np.isfinite(moved.bounds).all():
        raise OptionError(
            f"The area lies where {target.name} has no meaning. Its coordinates are to be in {given.name}."
        )
    return moved


def _require_degrees(area: BaseGeometry) -> None:
    west, south, east, north = area.bounds
    if west < -180 or east > 180 or south < -90 or north > 90:
        raise OptionError(
            f"The area goes from {west:g}, {south:g} to {east:g}, {north:g}, which are no degrees. Name its CRS, for example EPSG:28992."
        )


def _require_simple(area: BaseGeometry) -> None:
    """GEOS repairs what it cuts into shorter edges: minutes and gigabytes for many parts over each other."""
    if shapely.get_num_coordinates(area) > MOST_VERTICES:
        raise OptionError(
            f"The area has more than {MOST_VERTICES:,} corners; simplify it, or change it in parts."
        )
    if not area.is_valid:
        raise OptionError(f"The area is no valid polygon: {shapely.is_valid_reason(area)}; mend it.")


def reclassification(change: ClassChange, cloud: Cloud) -> Reclassification:
    """What is asked for, in the cloud's own terms. Raises OptionError."""
    heights = None
    if change.low is not None or change.high is not None:
        heights = (
            -math.inf if change.low is None else change.low,
            math.inf if change.high is None else change.high,
        )
    ground = None if change.ground is None else ground_of(change.ground, cloud)
    try:
        return Reclassification(
            native_area(change.area, change.crs, cloud), change.to, change.from_classes, heights, ground
        )
    except QueryError as error:
        raise OptionError(f"{str(error)[0].upper()}{str(error)[1:]}.") from error


class RasterGround:
    """The ground of a raster of heights, whose vertical reference is taken to be the cloud's."""

    def __init__(self, path: Path, cloud: Cloud) -> None:
        from tiles.terrain import HeightSampler

        self._sampler = HeightSampler(path, horizontal_part(cloud.crs))

    def heights(self, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """See GroundHeights. Raises OptionError where the file is no raster of heights."""
        from tiles.errors import TilesError

        try:
            return self._sampler.heights(np.stack([x, y], axis=1))
        except TilesError as error:
            raise OptionError(str(error)) from error


def ground_of(ground: str | Path, cloud: Cloud) -> GroundHeights:
    """Heights of the ground: of a raster file, or of the cloud's own ground points ("points")."""
    if isinstance(ground, Path):
        return RasterGround(ground, cloud)
    from server.publish.point_cloud_ground import PointGround

    return PointGround(cloud)


def reclassify(
    registry: Registry,
    settings: Settings,
    tenant: str,
    collection: str,
    asked: ClassChange,
    who: str,
    *,
    most_points: int | None = None,
    report: Report = report_nothing,
    cancelled: Cancelled = never_cancelled,
) -> CloudEdit:
    """Change classes; only the nodes that meet the area are read, only the files in which a point changes are written.

    `most_points`: how many points may have to be decoded; None: any number. Where no point changes, no generation is made
    (`CloudEdit.is_new`). Raises OptionError (also where it would read more), PublishError kinds, UnknownCollection, PublishInProgress.
    """

    def change(editing: Editing) -> None:
        wanted = reclassification(asked, editing.cloud)
        _require_budget(editing, wanted, most_points)
        done = _rewrite(editing, wanted, lambda fraction: report("pointcloud", fraction))
        changed: Counter[int] = Counter()
        for one in done.values():
            changed.update(one.changed)
        editing.note(
            "reclassified",
            to=asked.to,
            points=changed.total(),
            changed={str(code): count for code, count in sorted(changed.items())},
            nodes=sum(one.nodes for one in done.values()),
            files=sum(bool(one.changed) for one in done.values()),
            heights=[asked.low, asked.high] if wanted.heights is not None else None,
            above=_above(asked),
            area=_kept_area(asked),
            **{"from": sorted(asked.from_classes) if asked.from_classes is not None else None},
        )
        if not changed:
            raise NothingToChange

    return edited(registry, settings, tenant, collection, who, change, report)


def _above(asked: ClassChange) -> str | None:
    if asked.low is None and asked.high is None:
        return None
    return "z" if asked.ground is None else "ground"


def _kept_area(asked: ClassChange) -> dict[str, Any]:
    text = shapely.to_geojson(asked.area)
    if len(text) > _LONGEST_GEOMETRY:
        return {"crs": asked.crs, "bbox": list(asked.area.bounds)}
    return {"crs": asked.crs, "geometry": orjson.loads(text)}


def _require_budget(editing: Editing, wanted: Reclassification, most_points: int | None) -> None:
    if most_points is None:
        return
    cloud = editing.cloud
    met = points_met((cloud.nodes(tile) for tile in _tiles_met(cloud, wanted)), wanted)
    if met > most_points:
        raise OptionError(
            f"{met:,} points lie in the parts of the cloud that the area meets; one request may read {most_points:,}. Change it in "
            "parts, or by `chengtu points reclassify`."
        )


def _tiles_met(cloud: Cloud, wanted: Reclassification) -> list[CloudTile]:
    minx, miny, maxx, maxy = wanted.area.bounds
    low = np.array([minx, miny, -np.inf])
    return cloud.meeting(low, np.array([maxx, maxy, np.inf]))


def _rewrite(
    editing: Editing, wanted: Reclassification, told: Callable[[float], None]
) -> dict[str, Reclassified]:
    """The files of the new generation. Returns what was done, by tile; the overview follows and is not counted."""
    cloud = editing.cloud
    met = {tile.name for tile in _tiles_met(cloud, wanted)}
    done: dict[str, Reclassified] = {}
    tiles = []
    if cloud.is_mosaic:
        (editing.folder / TILES_FOLDER).mkdir(exist_ok=True)
    for number, tile in enumerate(cloud.tiles):
        out = _place(editing, tile)
        if tile.name in met:
            done[tile.name] = _one(cloud, tile, out, wanted)
        if not out.exists():
            link_file(tile.path, out)
            tiles.append(_moved(tile, out))
        else:
            tiles.append(described_tile(tile.name, out, _kept_facts(tile), tile.start, tile.end))
        told((number + 1) / len(cloud.tiles))
    if cloud.is_mosaic and any(one.count for one in done.values()):
        overview = cloud.overview
        if overview is not None:
            out = _place(editing, overview)
            _one(cloud, overview, out, wanted)
            if not out.exists():
                link_file(overview.path, out)
            tiles.append(described_tile(overview.name, out, {"spacing": overview.facts["spacing"]}))
        layout = layout_of(tiles[0].path)
        write_index(editing.folder / INDEX_FILE, description_of(layout), tiles)
        write_table(editing.folder / INDEX_FILE, tiles, cloud)
    return done


def _kept_facts(tile: CloudTile) -> dict[str, Any]:
    """What the index goes on to say of a tile whose classes were counted again."""
    return {name: fact for name, fact in tile.facts.items() if name != "classes"}


def _one(cloud: Cloud, tile: CloudTile, out: Path, wanted: Reclassification) -> Reclassified:
    return reclassify_copc(cloud.file(tile), cloud.nodes(tile), out, wanted)


def _place(editing: Editing, tile: CloudTile) -> Path:
    if editing.cloud.is_mosaic:
        return tile_path(editing.folder / TILES_FOLDER, tile.name)
    return editing.folder / editing.path


def _moved(tile: CloudTile, path: Path) -> CloudTile:
    return CloudTile(tile.name, path, tile.count, tile.box, tile.start, tile.end, tile.gps, tile.facts)
