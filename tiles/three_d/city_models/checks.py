"""What is wrong with surfaces and solids, found for many objects at once; what can be mended is mended, all of it is said."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray

from tiles.three_d.city_models.soup import Flags, Numbers, Soup
from tiles.three_d.placement import Positions
from tiles.three_d.ragged import following, limits
from tiles.three_d.report import Action, ProblemLog
from tiles.three_d.surfaces import in_plane, surface_normals

# Square metres; a smaller surface cannot be seen, and has no direction.
SMALLEST_AREA = 1e-4
# A turn to the right by less than this (sine) is the rounding of coordinates.
_STRAIGHT = 1e-3
_FULL_TURN = 2.0 * np.pi
# Surfaces of more corners rarely have one that sees all others.
_MOST_FANNED = 12
# Square metres, twice the area of the smallest triangle of a fan that is found by its corners.
_LEAST_TURN = 1e-5
_LEAST_FOLD = 1e-6


class SurfaceReport:
    """Tells `log`, once an object and problem, how many surfaces have a problem. `names` are the objects' ids, `owner` (levels,) their rows."""

    def __init__(self, names: Sequence[str], owner: Numbers, log: ProblemLog) -> None:
        self._names = names
        self._owner = owner
        self._log = log

    def tell(self, levels: Numbers, problem: str, action: Action) -> None:
        """Report the problem for the objects of these levels, one entry a surface (or solid); `{}` in the text becomes their number."""
        if len(levels):
            rows, counts = np.unique(self._owner[levels], return_counts=True)
            for row, count in zip(rows.tolist(), counts.tolist(), strict=True):
                self._log.add(self._names[row], problem.format(count), action)


def clean_rings(soup: Soup, report: SurfaceReport) -> None:
    """Leave out what is no number, repeated corners, short rings, and surfaces without an outer ring."""
    finite = np.isfinite(soup.vertices).all(axis=1)
    if not finite.all():
        bad = np.zeros(len(soup), dtype=np.bool_)
        bad[soup.corner_surface()[~finite[soup.corners]]] = True
        report.tell(soup.level[bad], "{} surfaces left out: a coordinate is not a number", "repaired")
        soup.keep(~bad)
    if not len(soup):
        return
    soup.keep_rings(np.diff(soup.rings) > 0)
    soup.keep(np.diff(soup.surfaces) > 0)
    if not len(soup):
        return
    soup.keep_corners(soup.corners != soup.corners[following(soup.rings)])
    long_enough = np.diff(soup.rings) >= 3
    outer_short = np.zeros(len(soup), dtype=np.bool_)
    outer_short[~long_enough[soup.surfaces[:-1]]] = True
    report.tell(
        soup.level[outer_short], "{} surfaces left out: fewer than three distinct corners", "repaired"
    )
    inner = ~long_enough & ~outer_short[soup.ring_surface()]
    report.tell(
        soup.level[soup.ring_surface()[inner]],
        "{} holes left out: fewer than three distinct corners",
        "repaired",
    )
    soup.keep_rings(~inner)
    soup.keep(~outer_short)


def drop_flat(soup: Soup, places: Positions, report: SurfaceReport) -> Positions:
    """Leave out surfaces without an area; `places` (v, 3) are metres. Gives the unit normals (s, 3) of the others."""
    normals, areas = surface_normals(soup.polygons(places))
    flat = areas <= SMALLEST_AREA
    for row in np.flatnonzero(flat).tolist():
        limits_of = soup.corner_limits()[row : row + 2]
        normal = _normal_of_spread(places[soup.corners[limits_of[0] : limits_of[1]]])
        if normal is not None:
            normals[row], flat[row] = normal, False
    report.tell(soup.level[flat], "{} surfaces left out: they have no area", "repaired")
    soup.keep(~flat)
    return normals[~flat]


def _normal_of_spread(corners: Positions) -> Positions | None:
    """The direction (3,) in which corners (n, 3) spread least; None where they lie on a line. A bow tie has no area, but such a plane."""
    _, spread, axes = np.linalg.svd(corners - corners.mean(axis=0), full_matrices=False)
    if len(spread) < 3 or spread[0] * spread[1] <= SMALLEST_AREA or spread[1] < 0.01:
        return None
    normal: Positions = axes[2]
    return normal


def drop_duplicates(soup: Soup, report: SurfaceReport) -> Flags:
    """Leave out a surface with the same corners as an earlier one of its level and shell; gives which were kept."""
    mixed = (soup.corners.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(32)
    sums = np.add.reduceat(mixed * mixed, soup.corner_limits()[:-1])
    order = np.lexsort((sums, soup.shells, soup.level))
    same = np.zeros(len(soup), dtype=np.bool_)
    here, before = order[1:], order[:-1]
    same[here] = (
        (sums[here] == sums[before])
        & (soup.shells[here] == soup.shells[before])
        & (soup.level[here] == soup.level[before])
    )
    report.tell(soup.level[same], "{} surfaces left out: they are there twice", "repaired")
    soup.keep(~same)
    return ~same


def crossing_surfaces(soup: Soup, places: Positions, normals: Positions) -> tuple[Numbers, Positions]:
    """The surfaces whose rings cross or touch themselves or each other, and all corners (c, 2) in the planes of their surfaces.

    Surfaces that have a corner which sees all others cannot cross themselves; they become fans from it.
    """
    flat = in_plane(soup.polygons(places), normals)
    next_corner = following(soup.rings)
    edges = flat[next_corner] - flat
    nexts = edges[next_corner]
    across = edges[:, 0] * nexts[:, 1] - edges[:, 1] * nexts[:, 0]
    lengths = np.einsum("ij,ij->i", edges, edges)
    straight = _STRAIGHT * np.sqrt(lengths * lengths[next_corner])
    single = np.diff(soup.surfaces) == 1
    starts = soup.corner_limits()[:-1]
    left = single & np.logical_and.reduceat(across >= -straight, starts)
    # Convex rings that go around once cannot cross themselves; three corners always do.
    many = left & (np.diff(soup.corner_limits()) > 3)
    if many.any():
        turns = np.add.reduceat(np.arctan2(across, np.einsum("ij,ij->i", edges, nexts)), starts)
        left &= ~many | (np.abs(turns - _FULL_TURN) < 0.1)
    # Where corners turn right, if only by rounding, a fan from any of them would fold.
    fans = left & np.logical_and.reduceat(across > -_LEAST_FOLD, starts)
    rows, apexes = star_corners(
        flat, across, starts, np.where(single & ~fans, np.diff(soup.corner_limits()), 0)
    )
    fans[rows] = True
    soup.fans = fans
    left[rows] = True
    doubtful = np.flatnonzero(~left)
    crossing = doubtful
    if len(doubtful):
        crossing = doubtful[~shapely.is_valid(flat_polygons(soup, flat, doubtful))]
    moved = apexes > 0
    if moved.any():
        order = soup.begin_with(rows[moved], apexes[moved])
        flat = flat[order]
    return crossing, flat


def star_corners(
    flat: Positions, across: NDArray[np.float64], starts: Numbers, counts: Numbers
) -> tuple[Numbers, Numbers]:
    """The rings (of `counts` corners from `starts` on, counter-clockwise) that have a corner which sees all others, and which corner that is.

    Seen from it the others turn left all the way, and not around it. `across` (c,) is below 0 where a ring turns right at a corner; where it does so most is
    tried first. Rings of more corners than are worth trying are left out.
    """
    found_rows, found_apexes = [], []
    for count in range(4, _MOST_FANNED + 1):
        rows = np.flatnonzero(counts == count)
        if not len(rows):
            continue
        index = starts[rows][:, None] + np.arange(count)
        x, y = flat[index, 0], flat[index, 1]
        first = np.argmin(across[index], axis=1)
        for step in range(count):
            apex = (first + step) % count
            others = (apex[:, None] + np.arange(1, count)) % count
            seen = _seen_from(x, y, apex[:, None], others)
            found_rows.append(rows[seen])
            found_apexes.append(apex[seen])
            rows, first, x, y = rows[~seen], first[~seen], x[~seen], y[~seen]
            if not len(rows):
                break
    if not found_rows:
        none = np.empty(0, dtype=np.int64)
        return none, none
    return np.concatenate(found_rows), np.concatenate(found_apexes)


def _seen_from(x: NDArray[np.float64], y: NDArray[np.float64], apex: Numbers, others: Numbers) -> Flags:
    """Whether the corner `apex` (n, 1) of rings with corners at x, y (n, c) sees the `others` (n, c - 1) one left of the other."""
    rows = np.arange(len(x))[:, None]
    right, up = x[rows, others] - x[rows, apex], y[rows, others] - y[rows, apex]
    turns = right[:, :-1] * up[:, 1:] - up[:, :-1] * right[:, 1:]
    seen = np.asarray((turns > _LEAST_TURN).all(axis=1))
    along = right[seen, :-1] * right[seen, 1:] + up[seen, :-1] * up[seen, 1:]
    seen[seen] = np.arctan2(turns[seen], along).sum(axis=1) < _FULL_TURN - 0.01
    return seen


def flat_polygons(soup: Soup, flat: Positions, rows: Numbers) -> NDArray[np.object_]:
    """The surfaces `rows` as shapely polygons of corners at `flat` (c, 2)."""
    from tiles.three_d.ragged import spans

    ring_rows = spans(soup.surfaces[rows], soup.surfaces[rows + 1])
    begin, end = soup.rings[ring_rows], soup.rings[ring_rows + 1]
    # Simple features close their rings: the first corner once more.
    index = spans(begin, end + 1)
    ring_limits = limits(end - begin + 1)
    index[ring_limits[1:] - 1] = begin
    polygon_limits = limits(soup.surfaces[rows + 1] - soup.surfaces[rows])
    coordinates = np.ascontiguousarray(flat[index])
    made: NDArray[np.object_] = shapely.from_ragged_array(
        shapely.GeometryType.POLYGON, coordinates, (ring_limits, polygon_limits)
    )
    return made
