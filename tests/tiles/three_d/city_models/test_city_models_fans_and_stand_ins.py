"""What is found out once, at reading, so that tiles need not: fans, plans and boxes for the far view."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from pyproj import CRS

from tiles.three_d.city_models.checks import star_corners
from tiles.three_d.city_models.stand_ins import PlanBlobs, StandIns, StoredPlans, turned_boxes
from tiles.three_d.footprints import to_ragged
from tiles.three_d.ragged import following
from tiles.three_d.surfaces import PolygonSoup, surface_normals, triangulate

METRES_PER_DEGREE = 111_320.0
L_SHAPE = [(0, 0), (10, 0), (10, 4), (4, 4), (4, 10), (0, 10)]
SQUARE = [(0, 0), (10, 0), (10, 10), (0, 10)]
# Two rooms whose corners no single corner sees.
ZIGZAG = [(0, 0), (8, 0), (8, 6), (12, 6), (12, 0), (20, 0), (20, 10), (0, 10)]
BOW_TIE = [(0, 0), (10, 10), (10, 0), (0, 10)]
# A corner that turns around twice.
TWICE = [(0, 0), (10, 0), (0, 10), (-10, 0), (0, -10), (9, 1), (0, 9), (-9, 0), (0, -9)]


def star_of(*rings: list[tuple[float, float]]) -> list[int | None]:
    """The corner of each ring that sees all others."""
    flat = np.array([corner for ring in rings for corner in ring], dtype=np.float64)
    counts = np.array([len(ring) for ring in rings])
    limits = np.concatenate(([0], np.cumsum(counts)))
    edges = flat[following(limits)] - flat
    after = edges[following(limits)]
    # The turn at a corner stands at the corner before it, as in `crossing_surfaces`.
    across = edges[:, 0] * after[:, 1] - edges[:, 1] * after[:, 0]
    rows, apexes = star_corners(flat, across, limits[:-1], counts)
    found: list[int | None] = [None] * len(rings)
    for row, apex in zip(rows.tolist(), apexes.tolist(), strict=True):
        found[row] = apex
    return found


def test_a_corner_that_sees_all_others_is_found() -> None:
    assert star_of(L_SHAPE)[0] in (0, 3)
    assert star_of(L_SHAPE[2:] + L_SHAPE[:2])[0] in (1, 4)
    assert star_of(SQUARE, L_SHAPE)[0] is not None


@pytest.mark.parametrize("ring", [ZIGZAG, BOW_TIE, BOW_TIE[::-1], SQUARE[::-1], TWICE])
def test_rings_without_such_a_corner_are_left_to_others(ring: list[tuple[float, float]]) -> None:
    assert star_of(ring, SQUARE)[0] is None


def test_rings_of_many_corners_are_not_tried() -> None:
    angles = np.linspace(0.0, 2.0 * np.pi, 13, endpoint=False)
    circle = np.column_stack((np.cos(angles), np.sin(angles))) * 10.0
    assert star_of([tuple(corner) for corner in circle.tolist()]) == [None]
    assert star_of([tuple(corner) for corner in circle[:12].tolist()]) != [None]


def test_stars_are_simple_polygons() -> None:
    random = np.random.default_rng(5)
    rings = [
        [tuple(corner) for corner in random.uniform(0, 20, (size, 2)).tolist()] for size in (4, 5, 6, 7) * 200
    ]
    found = star_of(*rings)
    stars = [ring for ring, apex in zip(rings, found, strict=True) if apex is not None]
    assert len(stars) > 20
    assert shapely.is_valid(np.array([shapely.Polygon(ring) for ring in stars])).all()


def soup_of(*surfaces: list[list[tuple[float, float]]]) -> PolygonSoup:
    rings = [ring for surface in surfaces for ring in surface]
    flat = np.array([(x, y, 0.0) for ring in rings for x, y in ring])
    return PolygonSoup(
        flat,
        np.concatenate(([0], np.cumsum([len(ring) for ring in rings]))),
        np.concatenate(([0], np.cumsum([len(surface) for surface in surfaces]))),
    )


def test_known_fans_and_others_cover_the_same_area() -> None:
    hole = [[(0, 0), (10, 0), (10, 10), (0, 10)], [(2, 2), (2, 4), (4, 4), (4, 2)]]
    flat = [[(0, 0), (5, 0), (9, 0)]]
    soup = soup_of([L_SHAPE], hole, [SQUARE], flat, [ZIGZAG])
    normals, _ = surface_normals(soup)
    without, owners_without = triangulate(soup, normals)
    known, owners = triangulate(soup, normals, np.array([True, False, True, True, False]))
    assert (np.diff(owners) >= 0).all()
    assert (
        np.bincount(owners, minlength=5).tolist()
        == np.bincount(owners_without, minlength=5).tolist()
        == [4, 8, 2, 0, 6]
    )
    for triangles, owner in ((without, owners_without), (known, owners)):
        a, b, c = (soup.corners[triangles[:, corner]] for corner in range(3))
        twice = np.cross(b - a, c - a)[:, 2]
        assert (twice > 0.0).all()
        assert np.bincount(owner, twice / 2.0, 5).tolist() == pytest.approx([64.0, 96.0, 100.0, 0.0, 176.0])


def test_no_surface_but_fans() -> None:
    soup = soup_of([SQUARE], [L_SHAPE])
    normals, _ = surface_normals(soup)
    triangles, owners = triangulate(soup, normals, np.ones(2, dtype=np.bool_))
    assert triangles.tolist() == [[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7], [4, 7, 8], [4, 8, 9]]
    assert owners.tolist() == [0, 0, 1, 1, 1, 1]


def turned(plan: list[tuple[float, float]], degrees: float, latitude: float = 52.0) -> shapely.Polygon:
    """A plan in metres, turned and placed near (4, latitude)."""
    angle = np.radians(degrees)
    flat = np.array(plan, dtype=np.float64) @ [
        [np.cos(angle), np.sin(angle)],
        [-np.sin(angle), np.cos(angle)],
    ]
    scale = np.array([np.cos(np.radians(latitude)), 1.0]) * METRES_PER_DEGREE
    return shapely.Polygon(flat / scale + [4.0, latitude])


@pytest.mark.parametrize("degrees", [0.0, 17.0, 45.0, 91.0])
def test_a_box_lies_along_a_wall(degrees: float) -> None:
    plans = np.array([turned(L_SHAPE, degrees), turned(SQUARE, degrees)], dtype=object)
    boxes, beyond = turned_boxes(to_ragged(plans))
    around = shapely.polygons(boxes)
    assert shapely.covers(shapely.buffer(around, 1e-9), plans).all()
    scale = METRES_PER_DEGREE**2 * np.cos(np.radians(52.0))
    assert (shapely.area(around) * scale).tolist() == pytest.approx([100.0, 100.0], rel=1e-4)
    assert beyond.tolist() == pytest.approx([6.0, 0.0], abs=0.05)
    assert shapely.is_ccw(shapely.get_exterior_ring(around)).all()


def test_a_plan_of_very_many_edges_has_a_box() -> None:
    circle = shapely.Point(4.0, 52.0).buffer(0.001, quad_segs=200)
    boxes, beyond = turned_boxes(to_ragged(np.array([circle], dtype=object)))
    assert shapely.covers(shapely.buffer(shapely.polygons(boxes), 1e-9), circle).all()
    assert beyond[0] > 0.0


def test_plans_come_back_from_their_blobs() -> None:
    court = shapely.Polygon(SQUARE, [[(2, 2), (2, 4), (4, 4), (4, 2)]])
    several = shapely.MultiPolygon([shapely.box(0, 0, 1, 1), shapely.box(3, 0, 4, 1)])
    plans = np.array([shapely.Polygon(L_SHAPE), None, court, shapely.Point(1, 1), several], dtype=object)
    plans = shapely.transform(plans, lambda xy: xy * 1e-4 + [5.0, 52.0])
    wanted = np.array([True, True, True, True, True])
    made = StandIns.of(plans, CRS.from_epsg(4326), wanted)
    assert np.isfinite(made.beyond).tolist() == [True, False, True, False, True]
    assert np.diff(made.polygons.features).tolist() == [1, 0, 1, 0, 2]
    origins = np.full((5, 2), [5.0, 52.0])
    blobs = PlanBlobs.of(made.polygons, origins)
    kept = [0, 2, 4]
    stored = StoredPlans.joined([(row, *blobs.row(row)) for row in kept], np.arange(3))
    again = stored.placed(origins[kept])
    assert np.abs(again.xy - made.polygons.xy).max() < 1e-10
    for name in ("rings", "polygons"):
        assert getattr(again, name).tolist() == getattr(made.polygons, name).tolist()
    assert again.features.tolist() == [0, 1, 2, 4]


def test_what_is_not_wanted_has_no_stand_in() -> None:
    plans = np.array([shapely.box(5.0, 52.0, 5.001, 52.001)], dtype=object)
    made = StandIns.of(plans, CRS.from_epsg(4326), np.array([False]))
    assert np.isnan(made.beyond).all()
    assert np.isnan(made.boxes).all()
    assert made.polygons.features.tolist() == [0, 0]
