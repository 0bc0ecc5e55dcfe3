"""City models of one or many files, brought into a models store in a stream."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS

from tiles.three_d.city_models.classes import GROUND_SURFACE, ROOF_SURFACE
from tiles.three_d.city_models.images import ImageLimits, ImageReader
from tiles.three_d.city_models.model import NO_IMAGE, NO_SHELL, CityBatch
from tiles.three_d.city_models.prepare import PreparedBatch, prepare
from tiles.three_d.city_models.reference import crs_of
from tiles.three_d.city_models.store_writer import ModelStoreWriter
from tiles.three_d.errors import CityModelError, PlacementError
from tiles.three_d.placement import Positions, to_longitude_latitude
from tiles.three_d.report import ProblemLog
from tiles.three_d.surfaces import PolygonSoup, surface_normals
from tiles.three_d.vertical import VerticalReference

# Degrees beyond a CRS's area of use in which data may still lie: areas are drawn for land.
_MARGIN = 0.5
_SAMPLE = 500
_ALLOCATIONS_A_COLLECTION = 500_000


class CityModelFile(Protocol):
    """An open file of city models. `reference_system` names its CRS, None where it says none; `north_first`: its coordinates are given in
    the order of a CRS whose first axis points north; `fraction` is how much of it has been read, 0 to 1. One whose textures are not beside it
    names their folder as `image_folder`."""

    path: Path
    reference_system: str | None
    north_first: bool
    fraction: float

    def batches(self, log: ProblemLog) -> Iterator[CityBatch]:
        """All objects, some hundreds at a time. Raises CityModelError."""
        ...


@dataclass(frozen=True, slots=True)
class Imported:
    """What was stored. `ground` is the median of the lowest heights (ellipsoidal m)."""

    crs: CRS
    count: int
    height_reference: str
    ground: float


type Take = Callable[[PreparedBatch, NDArray[np.bool_]], None]
"""Hears each batch and which of its objects were stored."""

type Watch = Callable[[float], None]
"""Hears how much of all files has been read, 0 to 1; may raise to stop."""


def open_city_model(path: Path, workspace: Path | None = None) -> CityModelFile:
    """A CityJSON, CityJSONSeq or CityGML file. Raises CityModelError where it is none of them."""
    with path.open("rb") as file:
        start = file.read(4096).lstrip(b"\xef\xbb\xbf\xff\xfe\xfe\xff \t\r\n\x00")
    if start.startswith(b"<"):
        from tiles.three_d.city_models.citygml import CityGMLFile

        return CityGMLFile(path)
    from tiles.three_d.city_models.cityjson import CityJSONFile

    return CityJSONFile(path, workspace)


def common_crs(files: Sequence[CityModelFile], asked: CRS | str | None = None) -> CRS:
    """The CRS of all files; `asked` overrides what they say. Raises PlacementError where there is none, CityModelError where they differ."""
    from tiles.three_d.placement import as_crs

    if asked is not None:
        return as_crs(asked)
    found: CRS | None = None
    for file in files:
        system = crs_of(file.reference_system)
        if system is None:
            raise PlacementError(
                f"{file.path.name} does not say which CRS it is in; name it (an EPSG code such as EPSG:7415)"
            )
        if found is not None and not found.equals(system, ignore_axis_order=True):
            raise CityModelError(
                f"{files[0].path.name} is in {found.name}, {file.path.name} in {system.name}; publish them one by one"
            )
        found = found or system
    if found is None:
        raise CityModelError("no file of city models was given")
    return found


def import_city_models(
    files: Sequence[CityModelFile],
    writer: ModelStoreWriter,
    crs: CRS,
    vertical: VerticalReference,
    log: ProblemLog,
    *,
    take: Take,
    watch: Watch,
    image_limits: ImageLimits | None = None,
) -> Imported:
    """Store all objects of `files`, which are in `crs`. Broken ones go to `log`; one whose id was there already is left out.

    Raises CityModelError, PlacementError.
    """
    with _rare_collections():
        bottoms, said = _stored(files, writer, crs, vertical, log, take, watch, image_limits)
    every = np.concatenate(bottoms) if bottoms else np.empty(0)
    ground = float(np.median(every)) if len(every) else 0.0
    writer.finish({"crs": crs.to_wkt(), "height_reference": said, "ground": ground})
    return Imported(crs, len(writer), said, ground)


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Let the cyclic garbage collector rest for longer: parsed JSON has no cycles, and looking for them took a quarter of reading."""
    before = gc.get_threshold()
    gc.set_threshold(_ALLOCATIONS_A_COLLECTION, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _stored(
    files: Sequence[CityModelFile],
    writer: ModelStoreWriter,
    crs: CRS,
    vertical: VerticalReference,
    log: ProblemLog,
    take: Take,
    watch: Watch,
    image_limits: ImageLimits | None,
) -> tuple[list[NDArray[np.float64]], str]:
    """Store all objects; their lowest heights, and what was done to heights."""
    bottoms: list[NDArray[np.float64]] = []
    said = ""
    for number, file in enumerate(files):
        images = ImageReader(getattr(file, "image_folder", file.path.parent), log, image_limits)
        swap: bool | None = None
        for batch in file.batches(log):
            if swap is None:
                swap = _is_swapped(batch, crs, file, log)
            if swap:
                batch = replace(batch, corners=np.ascontiguousarray(batch.corners[:, [1, 0, 2]]))  # noqa: PLW2901
            prepared = prepare(batch, crs, vertical, log)
            if prepared is not None:
                keep = _first_of_their_id(prepared, writer, log)
                stored = [writer.image(image, images.load) for image in batch.textures]
                writer.add(prepared, keep, np.array(stored or [NO_IMAGE], dtype=np.int64))
                take(prepared, keep)
                bottoms.append(prepared.bottoms[keep])
                said = said or prepared.height_reference
            watch((number + file.fraction) / len(files))
    return bottoms, said


def _first_of_their_id(
    prepared: PreparedBatch, writer: ModelStoreWriter, log: ProblemLog
) -> NDArray[np.bool_]:
    """Which objects (n,) have an id that was not there before."""
    ids = [prepared.batch.heads[row].id for row in prepared.rows.tolist()]
    keep = writer.first_of_their_id(ids)
    for row in np.flatnonzero(~keep).tolist():
        log.add(ids[row], "an object with this id is there already", "skipped")
    return keep


def _is_swapped(batch: CityBatch, crs: CRS, file: CityModelFile, log: ProblemLog) -> bool:
    """Whether northing comes before easting: as the file declares, unless only the other order leads to where the CRS is used, or (where both do) the
    roofs would face down and the solids be inside out, for exchanged axes mirror everything."""
    declared = file.north_first and _north_first(crs)
    corners = batch.corners
    step = max(1, len(corners) // _SAMPLE)
    sample = corners[::step, :2]
    sample = sample[np.isfinite(sample).all(axis=1)]
    if not len(sample):
        return declared
    straight, turned = (_share_inside(crs, xy) > 0.5 for xy in (sample, sample[:, ::-1]))
    swapped = declared
    if straight != turned:
        swapped = turned
    elif declared:
        swapped = _facing(batch) <= 0.0
    if swapped != declared:
        order = "northing first" if swapped else "easting first"
        log.add(
            file.path.name, f"its coordinates are {order}, against what its CRS says; read so", "repaired"
        )
    return swapped


def _facing(batch: CityBatch) -> float:
    """Above 0 where roofs face up, grounds down and solids outwards with x before y, below 0 where they do with y before x."""
    corners = batch.corners - batch.corners[0]
    normals, areas = surface_normals(PolygonSoup(corners, batch.rings, batch.surfaces))
    up = normals[:, 2] * areas
    known = np.nansum(up[batch.classes == ROOF_SURFACE]) - np.nansum(up[batch.classes == GROUND_SURFACE])
    if known != 0.0:
        return float(known)
    solid = batch.shells != NO_SHELL
    first = corners[batch.rings[batch.surfaces[:-1]]]
    return float(np.nansum(np.sum(first * normals, axis=1)[solid] * areas[solid]))


def _north_first(crs: CRS) -> bool:
    """Whether the first axis of a CRS points north, as that of EPSG:4326 and of the Gauss-Krueger zones does."""
    axes = crs.axis_info
    return bool(axes) and axes[0].direction.lower() in ("north", "south")


def _share_inside(crs: CRS, xy: Positions) -> float:
    """How much of `xy` (n, 2) lies in or near the CRS's area of use, 0 to 1."""
    lonlat, _ = to_longitude_latitude(crs, np.column_stack((xy, np.zeros(len(xy)))))
    known = np.isfinite(lonlat).all(axis=1)
    area = crs.area_of_use
    if area is None:
        return float(known.mean())
    width = (area.east - area.west) % 360.0 or 360.0
    away = np.abs((lonlat[:, 0] - area.west - width / 2.0 + 180.0) % 360.0 - 180.0) - width / 2.0
    inside = (
        known
        & (away < _MARGIN)
        & (lonlat[:, 1] > area.south - _MARGIN)
        & (lonlat[:, 1] < area.north + _MARGIN)
    )
    return float(inside.mean())
