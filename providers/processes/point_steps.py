"""What a pipeline of points refers to, made ready for one run: windows of rasters, polygons of features, and the CRS that comes out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import orjson
import pyproj
import shapely
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from pointclouds.crs import horizontal_part, parse_crs, require_usable
from pointclouds.errors import CrsError, PipelineRefusedError
from pointclouds.pdal.cloth import cloth_version
from pointclouds.pdal.stages import Stage
from pointclouds.pdal.steps import Step, StepContext, crs_after, stages_of
from pointclouds.pdal.steps import needs_pdal as step_needs_pdal
from providers.features.query import BBox

if TYPE_CHECKING:
    from pointclouds.pdal.command import Pdal
    from providers.features.source import FeatureSource
    from tiles.rasters.source import RasterSource

Work = tuple[Step | Stage, ...]
"""What is done to points, in order: ready steps, and filters of a user's pipeline that have been checked."""

MAXIMUM_PIXELS: Final = 50_000_000
_USERS_REACH: Final = 40.0
"""Metres of neighbourhood that a user's filters are given: nothing says how far they look."""
_NEIGHBOURING: Final = 10_000


class Resources(Protocol):
    """Finds what steps name, with the rights of whoever asked. Raises PipelineRefusedError where there is no such thing."""

    def raster(self, collection: str) -> RasterSource:
        """The coverage of a collection."""
        ...

    def features(self, collection: str) -> FeatureSource:
        """The features of a collection."""
        ...


@dataclass(frozen=True)
class Prepared:
    """A run: its filters, the files they name, the CRS that the points have afterwards, and whether they have got colours, or other
    places."""

    stages: tuple[Stage, ...]
    crs: pyproj.CRS
    files: dict[str, Path] = field(default_factory=dict)
    coloured: bool = False
    moved: bool = False


def reach_of(work: Work, crs: pyproj.CRS) -> float:
    """How far (CRS units) points change what becomes of another."""
    metres = [_USERS_REACH if isinstance(one, Stage) else one.reach for one in work]
    unit = float(horizontal_part(crs).axis_info[0].unit_conversion_factor) or 1.0
    return sum(metres) / unit


def needs_pdal(work: Work, *, raster: bool = False) -> bool:
    """Whether PDAL has a part in it; it makes the rasters, and copies points where nothing is done to them."""
    return raster or not work or any(isinstance(one, Stage) or step_needs_pdal(one) for one in work)


def software_of(work: Work, pdal: Pdal | None) -> str:
    """What did the work, with versions. `pdal` None: it had no part."""
    found = [] if pdal is None else [f"PDAL {pdal.version}"]
    if any(isinstance(one, Step) and not step_needs_pdal(one) for one in work):
        found.append(cloth_version())
    return ", ".join(found)


def document_of(work: Work) -> list[dict[str, Any]]:
    """The work as JSON, for the record of what was done."""
    return [one.document() for one in work]


def prepare(
    work: Work,
    crs: pyproj.CRS,
    box: tuple[float, float, float, float],
    resources: Resources,
    folder: Path,
) -> Prepared:
    """Make a run ready for the points in `box` (native minx, miny, maxx, maxy), with its files in `folder`.

    Raises:
        PipelineRefusedError: a collection, feature, CRS or polygon that cannot be used.
    """
    stages: list[Stage] = []
    files: dict[str, Path] = {}
    coloured = False
    for number, one in enumerate(work, 1):
        if isinstance(one, Stage):
            stages.append(one)
            crs = _crs_after_stage(one, crs)
            continue
        name = f"raster-{number}.tif"
        scale = 1.0
        if one.name == "colourise" or (one.name == "height" and one.options.get("method") == "dem"):
            files[name] = folder / name
            _refuse_moved(work[: number - 1])
            scale = _write_window(one, resources, crs, box, files[name])
            coloured = coloured or one.name == "colourise"
        polygon = _polygon_of(one, resources, crs) if one.name == "clip" else None
        stages += stages_of(one, StepContext(crs, polygon, name, scale))
        crs = crs_after([one], crs)
    return Prepared(tuple(stages), crs, files, coloured, any(_moves(one) for one in work))


def _crs_after_stage(stage: Stage, crs: pyproj.CRS) -> pyproj.CRS:
    if stage.type != "filters.reprojection" or "out_srs" not in stage.options:
        return crs
    try:
        return require_usable(parse_crs(stage.options["out_srs"], "out_srs"), "filters.reprojection")
    except CrsError as error:
        raise PipelineRefusedError(str(error)) from error


def _refuse_moved(before: Sequence[Step | Stage]) -> None:
    """A window of a raster is cut for the points as they came. Raises PipelineRefusedError: the order can be turned."""
    for one in before:
        if _moves(one):
            raise PipelineRefusedError(
                "steps that take values of a raster come before those that move the points; change the order"
            )


def _moves(one: Step | Stage) -> bool:
    """Whether points are elsewhere after it."""
    return one.name == "reproject" if isinstance(one, Step) else one.type in _MOVING


_MOVING: Final = frozenset({"filters.reprojection", "filters.transformation"})


def _write_window(
    step: Step,
    resources: Resources,
    crs: pyproj.CRS,
    box: tuple[float, float, float, float],
    path: Path,
) -> float:
    """Write what of a raster lies under the points; returns what its values are to be multiplied by to be 16-bit colours."""
    import rasterio
    from rasterio.transform import from_bounds

    from tiles.rasters.source import Bounds

    source = resources.raster(str(step.options["collection"]))
    description = source.description
    bands = _bands(step, description.bands)
    horizontal = horizontal_part(crs)
    if horizontal_part(description.crs).equals(horizontal, ignore_axis_order=True):
        bounds, shape_ = _aligned(box, description.bounds, description.resolution)
        block = source.read(bounds, shape_, bands)
    else:
        bounds, shape_ = _warped_grid(box, horizontal, description)
        warped = source.warp(Bounds(*bounds), horizontal.to_wkt(), shape_, bands, resampling="nearest")
        if warped is None:
            raise PipelineRefusedError(f"{step.options['collection']!r} has nothing where the points are")
        block = warped
    values = block.values
    is_height = step.name == "height"
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=shape_[1],
        height=shape_[0],
        count=len(bands),
        dtype=np.float64 if is_height else values.dtype,
        crs=rasterio.crs.CRS.from_wkt(horizontal.to_wkt("WKT1_GDAL")),
        transform=from_bounds(*block.bounds, shape_[1], shape_[0]),
        nodata=-9999.0 if is_height else None,
    ) as out:
        out.write(np.where(block.valid, values, -9999.0 if is_height else 0).astype(out.dtypes[0]))
    return 256.0 if values.dtype == np.uint8 else 1.0


def _bands(step: Step, bands: Sequence[Any]) -> list[int]:
    """The numbers of the bands that a step takes. Raises PipelineRefusedError."""
    if step.name == "height":
        return [bands[0].number]
    named = {band.name: band.number for band in bands}
    chosen = [named.get(name, named.get(str(at))) for at, name in enumerate(("red", "green", "blue"), 1)]
    kinds = {band.dtype for band in bands if band.number in chosen}
    if None in chosen or not kinds <= {"uint8", "uint16"}:
        raise PipelineRefusedError(
            f"{step.options['collection']!r} is no orthophoto: bands red, green, blue of 8 or 16 bits are needed, it has "
            + ", ".join(f"{band.name} ({band.dtype})" for band in bands)
        )
    return [number for number in chosen if number is not None]


def _aligned(
    box: tuple[float, float, float, float], whole: Any, resolution: tuple[float, float]
) -> tuple[Any, tuple[int, int]]:
    """The pixels of a raster that a box meets: their outer edges, (rows, columns). Raises PipelineRefusedError."""
    from tiles.rasters.source import Bounds

    minx, miny, maxx, maxy = (
        max(box[0], whole.west),
        max(box[1], whole.south),
        min(box[2], whole.east),
        min(box[3], whole.north),
    )
    if minx > maxx or miny > maxy:
        raise PipelineRefusedError("the raster lies nowhere near the points")
    left = math.floor((minx - whole.west) / resolution[0])
    right = max(left + 1, math.ceil((maxx - whole.west) / resolution[0]))
    top = math.floor((whole.north - maxy) / resolution[1])
    bottom = max(top + 1, math.ceil((whole.north - miny) / resolution[1]))
    _check_pixels(right - left, bottom - top)
    edges = Bounds(
        whole.west + left * resolution[0],
        whole.north - bottom * resolution[1],
        whole.west + right * resolution[0],
        whole.north - top * resolution[1],
    )
    return edges, (bottom - top, right - left)


def _warped_grid(
    box: tuple[float, float, float, float], crs: pyproj.CRS, description: Any
) -> tuple[tuple[float, float, float, float], tuple[int, int]]:
    """A box and the (rows, columns) at which a raster of another CRS keeps its detail."""
    back = pyproj.Transformer.from_crs(crs, horizontal_part(description.crs), always_xy=True)
    minx, miny, maxx, maxy = box
    west, south, east, north = back.transform_bounds(minx, miny, maxx, maxy)
    if not np.isfinite([west, south, east, north]).all():
        raise PipelineRefusedError("the raster lies nowhere near the points")
    columns = max(1, math.ceil((east - west) / description.resolution[0]))
    rows = max(1, math.ceil((north - south) / description.resolution[1]))
    _check_pixels(columns, rows)
    return box, (rows, columns)


def _check_pixels(columns: int, rows: int) -> None:
    if columns * rows > MAXIMUM_PIXELS:
        raise PipelineRefusedError(
            f"the raster has {columns} x {rows} pixels where the points are, more than {MAXIMUM_PIXELS}; ask for a smaller area"
        )


def _polygon_of(step: Step, resources: Resources, crs: pyproj.CRS) -> BaseGeometry:
    """The feature of a clip step in the CRS of the points. Raises PipelineRefusedError."""
    collection, feature = str(step.options["collection"]), str(step.options["feature"])
    store = resources.features(collection)
    found = store.item(feature)
    if found is None:
        raise PipelineRefusedError(f"{collection!r} has no feature {feature!r}")
    document = orjson.loads(found.body).get("geometry")
    if not document or document["type"] not in ("Polygon", "MultiPolygon"):
        raise PipelineRefusedError(f"feature {feature!r} of {collection!r} is no polygon")
    # GeoJSON is rounded; the same feature from the store is not.
    near = store.read(BBox(*shape(document).bounds), (), _NEIGHBOURING)
    exact = next((one for key, one in zip(near.ids, near.geometries, strict=True) if key == feature), None)
    if exact is None:
        return native_polygon(shape(document), pyproj.CRS("OGC:CRS84"), crs)
    return native_polygon(exact, store.storage.horizontal, crs)


def native_polygon(geometry: BaseGeometry, source: pyproj.CRS, crs: pyproj.CRS) -> BaseGeometry:
    """A polygon (x east, y north in `source`) in the horizontal CRS of points. Raises PipelineRefusedError."""
    target = horizontal_part(crs)
    flat = shapely.force_2d(geometry)
    if not horizontal_part(source).equals(target, ignore_axis_order=True):
        transformer = pyproj.Transformer.from_crs(source, target, always_xy=True)
        flat = shapely.transform(flat, lambda xy: np.column_stack(transformer.transform(xy[:, 0], xy[:, 1])))
    if not np.isfinite(shapely.get_coordinates(flat)).all() or not flat.is_valid or flat.is_empty:
        raise PipelineRefusedError("the polygon cannot be shown in the CRS of the points, or crosses itself")
    moved: BaseGeometry = flat
    return moved
