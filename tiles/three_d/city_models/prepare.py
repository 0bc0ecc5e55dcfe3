"""A batch of city objects, as read, made ready to be stored: placed on the globe, checked, measured, with a plan each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS

from tiles.three_d.city_models.checks import (
    SurfaceReport,
    clean_rings,
    crossing_surfaces,
    drop_duplicates,
    drop_flat,
)
from tiles.three_d.city_models.classes import STANDING_TYPES
from tiles.three_d.city_models.mending import mend
from tiles.three_d.city_models.model import CityBatch
from tiles.three_d.city_models.plans import plans_of
from tiles.three_d.city_models.solids import check_solids
from tiles.three_d.city_models.soup import Flags, Numbers, Soup
from tiles.three_d.city_models.stand_ins import StandIns
from tiles.three_d.placement import Positions, to_ecef, up_vectors
from tiles.three_d.report import ProblemLog, Survivors
from tiles.three_d.surfaces import surface_normals
from tiles.three_d.vertical import VerticalReference, to_geodetic

LARGEST_OBJECT = 100_000.0
"""Metres; a city object larger than this is a mistake in its coordinates."""
_METRES_PER_DEGREE = 111_320.0


@dataclass(frozen=True, slots=True)
class PreparedBatch:
    """Objects that can be drawn, and their surfaces.

    `rows` (n,) are their rows in `batch.heads`. Over these n: `origins` (n, 3) ECEF (m), `boxes` (n, 4) west, south, east, north (degrees, east above
    180 across the antimeridian), `bottoms`, `tops` (n,) ellipsoidal heights of the finest level, `roofs` (n,) mean height of what looks up,
    `heights` (n,) m between lowest and highest corner as given, `lods` (n,) the finest level, `plans` (n,) (multi)polygons in the file's CRS or None, `weights` (n,) vertices drawn,
    `stand_ins` what is drawn of standing objects from afar.
    `soup` has the surfaces of their levels, `positions` (c, 3) its corners in ECEF relative to the origin of the object; `level_rows` (l,) the
    levels of the batch by rising object, and `owner` (l,) the object 0..n-1 of each level of the batch, -1 for none.
    """

    batch: CityBatch
    rows: Numbers
    origins: Positions
    boxes: Positions
    bottoms: NDArray[np.float64]
    tops: NDArray[np.float64]
    roofs: NDArray[np.float64]
    heights: NDArray[np.float64]
    lods: NDArray[np.float64]
    plans: NDArray[np.object_]
    stand_ins: StandIns
    weights: Numbers
    soup: Soup
    positions: Positions
    owner: Numbers
    height_reference: str


def prepare(batch: CityBatch, crs: CRS, vertical: VerticalReference, log: ProblemLog) -> PreparedBatch | None:
    """The objects of a batch that can be drawn; None where there are none.

    Raises PlacementError where the CRS or its heights have no way to WGS 84.
    """
    soup = Soup.of(batch)
    ids = [head.id for head in batch.heads]
    level_owner = np.array([level.owner for level in batch.levels], dtype=np.int64)
    report = SurfaceReport(ids, level_owner, log)
    survivors = Survivors.all_of(ids, log)
    clean_rings(soup, report)
    _drop_without(soup, level_owner, survivors, "no surface that can be drawn")
    if not len(soup):
        return None
    placed = to_geodetic(crs, soup.vertices, vertical)
    place = np.column_stack((placed.longitude, placed.latitude, placed.height))
    corner_object = level_owner[soup.level][soup.corner_surface()]
    outside = ~np.isfinite(place).all(axis=1)
    survivors.drop_owners(corner_object, outside[soup.corners], "a coordinate is outside the area of its CRS")
    _unwrap(place, soup.corners, corner_object)
    soup.keep(survivors.alive[level_owner[soup.level]])
    if not len(soup):
        return None
    ecef = to_ecef(place[:, 0], place[:, 1], place[:, 2])
    _drop_huge(soup, ecef, level_owner, survivors)
    soup.keep(survivors.alive[level_owner[soup.level]])
    if not len(soup):
        return None
    # Relative to one of their own corners, areas and volumes keep their digits.
    middle = ecef[soup.corners[0]]
    metres = np.where(np.isfinite(ecef), ecef - middle, 0.0)
    metres, place = _sound_surfaces(soup, metres, place, (crs, vertical), report)
    _drop_without(soup, level_owner, survivors, "no surface with an area")
    if not len(soup):
        return None
    return _measured(batch, soup, place, metres, middle, level_owner, survivors, placed.description, crs)


def _sound_surfaces(
    soup: Soup,
    metres: Positions,
    place: Positions,
    system: tuple[CRS, VerticalReference],
    report: SurfaceReport,
) -> tuple[Positions, Positions]:
    """Clean the surfaces; gives metres (v, 3) and places (v, 3) of all vertices, new ones too."""
    normals = drop_flat(soup, metres, report)
    if not len(soup):
        return metres, place
    normals = normals[drop_duplicates(soup, report)]
    crossing, flat = crossing_surfaces(soup, metres, normals)
    if len(crossing):
        known = len(soup.vertices)
        mend(soup, crossing, flat, report)
        added = to_geodetic(system[0], soup.vertices[known:], system[1])
        new = np.column_stack((added.longitude, added.latitude, added.height))
        origin = to_ecef(place[:1, 0], place[:1, 1], place[:1, 2])[0] - metres[0]
        metres = np.concatenate((metres, to_ecef(new[:, 0], new[:, 1], new[:, 2]) - origin))
        place = np.concatenate((place, new))
    if len(soup):
        check_solids(soup, metres, report)
    return metres, place


def _drop_without(soup: Soup, level_owner: Numbers, survivors: Survivors, why: str) -> None:
    present = np.zeros(len(survivors.alive), dtype=np.bool_)
    present[level_owner[soup.level]] = True
    survivors.drop(~present, why)


def _unwrap(place: Positions, corners: Numbers, owner: Numbers) -> None:
    """Longitudes of objects across the antimeridian made continuous: their western half gains 360."""
    longitude = place[:, 0]
    finite = longitude[np.isfinite(longitude)]
    if not finite.size or finite.max() - finite.min() <= 180.0:
        return
    count = int(owner.max()) + 1
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(low, owner, longitude[corners])
    np.maximum.at(high, owner, longitude[corners])
    crossing = corners[(high - low > 180.0)[owner]]
    place[crossing, 0] = np.where(longitude[crossing] < 0.0, longitude[crossing] + 360.0, longitude[crossing])


def _drop_huge(soup: Soup, ecef: Positions, level_owner: Numbers, survivors: Survivors) -> None:
    owner = level_owner[soup.level]
    starts = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
    at = soup.corner_limits()[:-1][starts]
    points = ecef[soup.corners]
    size = np.linalg.norm(np.maximum.reduceat(points, at) - np.minimum.reduceat(points, at), axis=1)
    huge = np.zeros(len(survivors.alive), dtype=np.bool_)
    huge[owner[starts[size > LARGEST_OBJECT]]] = True
    survivors.drop(huge, f"larger than {LARGEST_OBJECT / 1000:g} km")


def _measured(
    batch: CityBatch,
    soup: Soup,
    place: Positions,
    metres: Positions,
    middle: Positions,
    level_owner: Numbers,
    survivors: Survivors,
    said: str,
    crs: CRS,
) -> PreparedBatch:
    owner = level_owner[soup.level]
    order = np.argsort(owner, kind="stable")
    if (order != np.arange(len(order))).any():
        soup.take(order)
        owner = owner[order]
    best = np.array([level.best for level in batch.levels], dtype=np.bool_)[soup.level]
    _promote(batch, soup, owner, best)
    first = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
    rows = owner[first]
    number = np.cumsum(np.r_[True, owner[1:] != owner[:-1]]) - 1
    at = soup.corner_limits()[:-1][first]
    corner_object = number[soup.corner_surface()]
    drawn = best[soup.corner_surface()]
    origins = metres[soup.corners[at]]
    low, high = _extents(place[soup.corners], at, drawn)
    given = soup.vertices[soup.corners][:, 2:]
    bottom, top = _extents(given, at, drawn)
    lods = _lods(batch, soup)
    normals, areas = surface_normals(soup.polygons(metres))
    up = up_vectors(place[soup.corners[at], 0], place[soup.corners[at], 1])
    upward = np.sum(normals * up[number], axis=1)
    roofs = _roof_heights(soup, place, number, best & (upward > 0.1), areas * upward, low[:, 2], high[:, 2])
    numbering = np.full(len(survivors.alive), -1, dtype=np.int64)
    numbering[rows] = np.arange(len(rows))
    corners_drawn = np.add.reduceat(drawn.astype(np.int64), at)
    holes = np.bincount(number, (np.diff(soup.surfaces) - 1) * best, len(rows)).astype(np.int64)
    surfaces = np.bincount(number, best, len(rows)).astype(np.int64)
    plans = plans_of(soup, number, len(rows), lods, best, upward, areas)
    standing = np.array([batch.heads[row].type in STANDING_TYPES for row in rows.tolist()], dtype=np.bool_)
    return PreparedBatch(
        batch=batch,
        rows=rows,
        origins=origins + middle,
        boxes=np.column_stack((low[:, :2], high[:, :2])),
        bottoms=low[:, 2],
        tops=high[:, 2],
        roofs=roofs,
        heights=(top - bottom)[:, 0].round(3),
        lods=np.maximum.reduceat(np.where(best, lods, -1.0), first),
        plans=plans,
        stand_ins=StandIns.of(plans, crs, standing),
        # A polygon of n corners and h holes is cut into n + 2h - 2 triangles, drawn without indices.
        weights=3 * (corners_drawn + 2 * holes - 2 * surfaces),
        soup=soup,
        positions=metres[soup.corners] - origins[corner_object],
        owner=numbering[level_owner],
        height_reference=said,
    )


def _promote(batch: CityBatch, soup: Soup, owner: Numbers, best: Flags) -> None:
    """Where nothing is left of an object's finest level, the next one takes its place."""
    objects = int(owner.max()) + 1
    has_best = np.zeros(objects, dtype=np.bool_)
    has_best[owner[best]] = True
    lacking = ~has_best[owner]
    if not lacking.any():
        return
    lods = _lods(batch, soup)
    finest = np.full(objects, -1.0)
    np.maximum.at(finest, owner[lacking], lods[lacking])
    best |= lacking & (lods == finest[owner])


def _lods(batch: CityBatch, soup: Soup) -> NDArray[np.float64]:
    return np.array([level.lod for level in batch.levels])[soup.level]


def _extents(values: Positions, at: Numbers, drawn: Flags) -> tuple[Positions, Positions]:
    """Least and largest of each column over the drawn corners of each object."""
    low, high = np.empty((len(at), values.shape[1])), np.empty((len(at), values.shape[1]))
    every = bool(drawn.all())
    for axis in range(values.shape[1]):
        column = np.ascontiguousarray(values[:, axis])
        low[:, axis] = np.minimum.reduceat(column if every else np.where(drawn, column, np.inf), at)
        high[:, axis] = np.maximum.reduceat(column if every else np.where(drawn, column, -np.inf), at)
    return low, high


def _roof_heights(
    soup: Soup,
    place: Positions,
    number: Numbers,
    roof: Flags,
    areas: NDArray[np.float64],
    bottoms: NDArray[np.float64],
    tops: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Mean height (n,) of what looks up, by its area in plan; the top where nothing does, never below the middle."""
    heights = np.add.reduceat(place[soup.corners, 2], soup.corner_limits()[:-1]) / np.diff(
        soup.corner_limits()
    )
    plan = np.where(roof, areas, 0.0)
    whole = np.bincount(number, plan, len(tops))
    mean = np.bincount(number, plan * heights, len(tops)) / np.where(whole > 0.0, whole, 1.0)
    return np.where(whole > 0.0, np.clip(mean, (bottoms + tops) / 2.0, tops), tops)
