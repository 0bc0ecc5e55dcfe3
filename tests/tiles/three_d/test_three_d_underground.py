"""Shapes under the ground: closed bodies, heights of axes, intervals, layers, and what surveys write."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from shapely.geometry import LineString, MultiLineString, Point, Polygon

from tiles.three_d.errors import ThreeDError
from tiles.three_d.mesh import Mesh
from tiles.three_d.placement import LocalFrame, to_ecef
from tiles.three_d.report import ProblemLog, Survivors
from tiles.three_d.underground.axes import Axes, LineHeights, Placing, line_axes
from tiles.three_d.underground.bodies import BodyHeights, place_bodies
from tiles.three_d.underground.boreholes import intervals_of, lithology_colour, place_boreholes
from tiles.three_d.underground.geology import LayerBlocks, LayerGrid, layered
from tiles.three_d.underground.interpolation import Interpolation, interpolate
from tiles.three_d.underground.kinds import KINDS, OTHER, colour_of, kind_of, palette
from tiles.three_d.underground.measures import numbers_of, sizes_of, unit_of
from tiles.three_d.underground.names import NAMES, measured_to, plain_name, recognise
from tiles.three_d.underground.network import LineSizes, Network, WellHeights, place_network
from tiles.three_d.underground.profiles import Section
from tiles.three_d.underground.sweep import Pieces, balls, sweep
from tiles.three_d.vertical import VerticalReference

GRID = CRS.from_epsg(4547)
EAST, NORTH = 500_000.0, 3_400_000.0

Places = NDArray[np.float64]


def open_edges(mesh: Mesh) -> int:
    """Directed edges without an opposite one, vertices at one place counting as one."""
    _, same = np.unique(np.round(mesh.positions, 7), axis=0, return_inverse=True)
    corners = same.reshape(-1)[mesh.triangles]
    edges = Counter(
        map(tuple, np.concatenate([corners[:, pair] for pair in ([0, 1], [1, 2], [2, 0])]).tolist())
    )
    return sum(1 for (start, end), count in edges.items() if edges.get((end, start), 0) != count)


def volume(mesh: Mesh) -> float:
    """Above 0 where triangles face outwards."""
    a, b, c = (mesh.positions[mesh.triangles[:, corner]] for corner in range(3))
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6.0)


def against_normals(mesh: Mesh) -> int:
    """Triangles that face the other way than their corners' normals."""
    a, b, c = (mesh.positions[mesh.triangles[:, corner]] for corner in range(3))
    faces = np.cross(b - a, c - a)
    return int((np.sum(faces * mesh.normals[mesh.triangles].sum(axis=1), axis=1) < -1e-9).sum())


def pieces(*places: tuple[float, float, float], width: float = 1.0, height: float = 1.0) -> Pieces:
    line = np.array(places, dtype=np.float64)
    count = len(line) - 1
    return Pieces(
        line[:-1], line[1:], np.full(count, width), np.full(count, height),
        np.zeros(count, dtype=np.int64), np.arange(count) > 0,
    )  # fmt: skip


LINES: dict[str, list[tuple[float, float, float]]] = {
    "straight": [(0, 0, 0), (10, 0, 0)],
    "bends": [(0, 0, 0), (10, 0, 0), (10, 10, -1), (15, 20, -3)],
    "plumb": [(0, 0, 0), (0, 0, -5)],
    "knee into the plumb": [(0, 0, 0), (0, 0, -5), (10, 0, -5)],
    "turns back": [(0, 0, 0), (10, 0, 0), (0, 0.5, 0)],
    "shorter than wide": [(0, 0, 0), (10, 0, 0), (10.1, 0.2, 0), (10.1, 8, 0)],
    "helix": [(10 * np.cos(t), 10 * np.sin(t), -t) for t in np.linspace(0, 15, 40).tolist()],
}


@pytest.mark.parametrize("wall", [None, 0.1], ids=["full", "hollow"])
@pytest.mark.parametrize("section", list(Section), ids=lambda section: section.word)
@pytest.mark.parametrize("name", LINES)
def test_every_body_is_closed_and_faces_outwards(name: str, section: Section, wall: float | None) -> None:
    given = pieces(*LINES[name], height=1.0 if section is Section.CIRCLE else 1.4)
    mesh = sweep(given, section, None if wall is None else np.full(len(given.width), wall))
    assert open_edges(mesh) == 0
    assert volume(mesh) > 0.0
    assert against_normals(mesh) == 0


def test_a_thin_pipe_is_closed_too() -> None:
    mesh = sweep(pieces(*LINES["bends"]), Section.CIRCLE, fine=False)
    assert open_edges(mesh) == 0
    assert len(mesh.positions) == 3 * 2 * 8  # lids share the corners of the shell


def test_a_pipe_has_the_volume_of_its_section_and_a_mitre_takes_nothing() -> None:
    straight = volume(sweep(pieces((0, 0, 0), (20, 0, 0)), Section.BOX))
    bent = volume(sweep(pieces((0, 0, 0), (10, 0, 0), (10, 10, 0)), Section.BOX))
    assert straight == pytest.approx(20.0)
    assert bent == pytest.approx(20.0)


def test_joints_share_their_corners_bit_by_bit() -> None:
    mesh = sweep(pieces(*LINES["helix"]), Section.CIRCLE, fine=False)
    rings = mesh.positions.reshape(-1, 2, 8, 3)
    assert (rings[1:, 0] == rings[:-1, 1]).all()


def test_a_tube_does_not_twist() -> None:
    """The corners of both rings of a piece lie opposite each other, however often the line has turned."""
    mesh = sweep(pieces(*LINES["helix"]), Section.CIRCLE, fine=False)
    rings = mesh.positions.reshape(-1, 2, 8, 3)
    along = rings[:, 1] - rings[:, 0]
    axis = along.mean(axis=1, keepdims=True)
    cosine = np.sum(along * axis, axis=2) / np.linalg.norm(along, axis=2) / np.linalg.norm(axis, axis=2)
    assert cosine.min() > 0.999


def test_ducts_stay_upright() -> None:
    mesh = sweep(pieces(*LINES["helix"]), Section.BOX)
    level = np.abs(mesh.normals[:, 2]) > 0.9
    ends = mesh.positions[level & (mesh.normals[:, 2] > 0)]
    # Both upper corners of each ring are at one height.
    heights = np.unique(np.round(ends[:, 2], 6))
    assert len(heights) <= len(LINES["helix"])


def test_a_ball_is_closed() -> None:
    mesh = balls(np.zeros((2, 3)), np.array([1.0, 2.0]), np.arange(2))
    assert open_edges(mesh) == 0
    assert against_normals(mesh) == 0


# --- axes --------------------------------------------------------------------------------------------------------------


def hill(xy: Places) -> NDArray[np.float64]:
    return np.asarray(50.0 + 20.0 * np.exp(-(((xy[:, 0] - EAST) / 100.0) ** 2)))


def axes_of(geometry: Any, ground: Any = None, **heights: float) -> tuple[Axes, list[str]]:
    known = {name: np.array([heights.get(name, 0.0 if name == "lift" else np.nan)]) for name in (
        "start_level", "end_level", "start_depth", "end_depth", "lift")}  # fmt: skip
    survivors = Survivors.all_of(["a"], ProblemLog())
    array = np.empty(1, dtype=object)
    array[0] = geometry
    placing = Placing(GRID, VerticalReference.ellipsoidal(), ground)
    axes, _ = line_axes(array, LineHeights(**known), survivors, placing)
    return axes, [item.problem for item in survivors.log.listed]


def level_line(*east: float, z: float | None = None) -> LineString:
    with np.errstate(invalid="ignore"):  # of coordinates that are no numbers
        return LineString([(EAST + x, NORTH) if z is None else (EAST + x, NORTH, z) for x in east])


def test_a_pipe_with_one_depth_follows_the_ground_where_that_bends() -> None:
    axes, _ = axes_of(level_line(-400, 400), hill, start_depth=2.0)
    assert 10 < len(axes.place) <= 65
    assert axes.place[:, 2].max() == pytest.approx(68.0, abs=0.5)
    flat, _ = axes_of(level_line(-400, 400), lambda xy: np.full(len(xy), 7.0), start_depth=2.0)
    assert flat.place[:, 2].tolist() == pytest.approx([5.0, 5.0])


def test_a_long_pipe_follows_the_earth_and_does_not_cut_through_it() -> None:
    """200 km in one piece: a chord would lie 780 m below its middle."""
    axes, problems = axes_of(level_line(0.0, 200_000.0, z=-3.0))
    assert problems == []
    ecef = to_ecef(*axes.place.T)
    middles = (ecef[1:] + ecef[:-1]) / 2.0
    height = Transformer.from_crs("EPSG:4978", "EPSG:4979", always_xy=True).transform(*middles.T)[2]
    assert np.abs(height + 3.0).max() < 0.05
    assert len(axes.place) == 201


def test_a_pipe_with_two_depths_is_straight_between_its_ends() -> None:
    axes, _ = axes_of(level_line(-100, 0, 100), hill, start_depth=2.0, end_depth=4.0)
    ground = hill(np.array([[EAST - 100, 0.0], [EAST + 100, 0.0]]))
    first, last = ground[0] - 2.0, ground[1] - 4.0
    assert axes.place[:, 2].tolist() == pytest.approx([first, (first + last) / 2, last])


@pytest.mark.parametrize(
    ("heights", "expected"),
    [
        ({"start_level": 10.0, "end_level": 8.0}, [10.0, 9.0, 8.0]),
        ({"start_level": 10.0}, [10.0, 10.0, 10.0]),
        ({"end_level": 8.0, "lift": 0.5}, [8.5, 8.5, 8.5]),
        ({"start_depth": 3.0}, [-3.0, -3.0, -3.0]),
        ({"start_depth": 1.0, "end_depth": 3.0}, [-1.0, -2.0, -3.0]),
        ({}, [4.0, 4.0, 4.0]),
    ],
)
def test_heights_of_an_axis(heights: dict[str, float], expected: list[float]) -> None:
    axes, problems = axes_of(level_line(0, 50, 100, z=4.0), **heights)
    assert problems == []
    assert axes.place[:, 2].tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("geometry", "heights", "problem"),
    [
        (level_line(0, 50), {}, "no depth is given and the line has no z"),
        (LineString([(EAST, NORTH), (EAST, NORTH)]), {"start_depth": 1.0}, "line without a length"),
        (
            level_line(0, np.nan),
            {"start_depth": 1.0},
            "a coordinate is not a number",
        ),
        (LineString([(EAST, NORTH), (9e9, NORTH)]), {"start_depth": 1.0}, "outside the area of its CRS"),
    ],
)
def test_lines_that_cannot_be_placed(geometry: Any, heights: dict[str, float], problem: str) -> None:
    axes, problems = axes_of(geometry, **heights)
    assert len(axes.place) == 0
    assert len(problems) == 1
    assert problems[0].startswith(problem)


def test_vertices_at_one_place_count_once() -> None:
    axes, problems = axes_of(level_line(0, 0, 50, 50, 50, 100), start_depth=1.0)
    assert (len(axes.place), problems) == (3, [])


def test_parts_of_a_line_are_not_joined() -> None:
    both = MultiLineString([level_line(0, 5), level_line(20, 20, 25, 30)])
    axes, problems = axes_of(both, start_depth=1.0)
    assert (len(axes.place), np.bincount(axes.part).tolist(), problems) == (5, [2, 3], [])


def test_the_height_of_the_ground_is_unknown() -> None:
    _, problems = axes_of(level_line(0, 50), lambda xy: np.full(len(xy), np.nan), start_depth=1.0)
    assert problems == ["height of the ground is unknown here"]


# --- networks ----------------------------------------------------------------------------------------------------------


def network(geometries: list[Any], width: list[float], **wells: list[float]) -> tuple[Network, list[str]]:
    count = len(geometries)
    array = np.empty(count, dtype=object)
    array[:] = geometries
    survivors = Survivors.all_of([str(row) for row in range(count)], ProblemLog())
    nothing = [np.nan] * count
    placed = place_network(
        array,
        LineHeights(*(np.array([np.nan] * count) for _ in range(2)), np.full(count, 2.0), np.full(count, 2.0), np.zeros(count)),
        WellHeights(*(np.array(wells.get(name, nothing)) for name in ("top", "bottom", "depth"))),
        LineSizes(np.zeros(count, dtype=np.int64), np.array(width), np.array(width), np.full(count, OTHER)),
        survivors,
        Placing(GRID, VerticalReference.ellipsoidal()),
        palette({}),
    )  # fmt: skip
    return placed, [f"{item.id}: {item.problem}" for item in survivors.log.listed]


def test_lines_and_wells_in_one_collection() -> None:
    placed, problems = network(
        [level_line(0, 50), Point(EAST, NORTH), level_line(0, 20), Point(EAST + 9, NORTH)],
        [0.3, 0.8, 0.2, 0.8],
        top=[np.nan, 10.0, np.nan, np.nan], bottom=[np.nan, 7.0, np.nan, np.nan], depth=[np.nan] * 3 + [2.5],
    )  # fmt: skip
    assert problems == []
    outlines = placed.outlines(np.array([5, 6, 7, 8]))
    assert outlines.keys.tolist() == [5, 6, 7, 8]
    assert outlines.tops.tolist() == pytest.approx([-1.7, 10.06, -1.8, 0.06])
    assert outlines.bottoms.tolist() == pytest.approx([-2.3, 7.0, -2.2, -2.5])
    frame = LocalFrame.at(114.0, 30.7, 0.0)
    parts = placed.parts(frame)
    assert sorted({int(row) for part in parts for row in part.mesh.feature_ids}) == [0, 1, 2, 3]
    assert [open_edges(part.mesh) for part in parts] == [0, 0]


@pytest.mark.parametrize(
    ("geometry", "width", "wells", "problem"),
    [
        (level_line(0, 50), -0.3, {}, "the diameter is negative"),
        (level_line(0, 50), np.nan, {}, "no diameter above 0 is given"),
        (Polygon([(0, 0), (1, 0), (1, 1)]), 0.3, {}, "neither a line nor a point"),
        (None, 0.3, {}, "no geometry"),
        (Point(EAST, NORTH), 0.8, {}, "no depth is given"),
        (Point(EAST, NORTH), 0.8, {"depth": [-2.0]}, "the bottom is not below the top"),
        (Point(EAST, NORTH), 0.8, {"top": [1.0], "bottom": [1.0]}, "the bottom is not below the top"),
    ],
)
def test_broken_objects_of_a_network(
    geometry: Any, width: float, wells: dict[str, list[float]], problem: str
) -> None:
    placed, problems = network(
        [geometry, level_line(0, 10)], [width, 0.3], **{k: [*v, np.nan] for k, v in wells.items()}
    )
    assert placed.rows.tolist() == [1]
    assert problems == [f"0: {problem}"]


# --- what surveys write ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "width", "height"),
    [
        (300, 300, None), ("DN300", 300, None), ("300mm", 300, None), ("Φ1200", 1200, None), ("1000X800", 1000, 800),
        ("1000×800", 1000, 800), ("600*400", 600, 400), ("0,3", 0.3, None), ("-5", -5, None), ("round", None, None),
        (None, None, None), ("", None, None),
    ],
)  # fmt: skip
def test_sizes(written: Any, width: float | None, height: float | None) -> None:
    widths, heights = sizes_of([written, "x"])
    found = [None if np.isnan(value) else float(value) for value in (widths[0], heights[0])]
    assert found == [width, height]


def test_numbers() -> None:
    values = [1, 2.5, None, "3.5 m", "H=12", True, "none", float("inf"), [1]]
    expected = [1.0, 2.5, None, 3.5, 12.0, 1.0, None, None, None]
    assert [None if np.isnan(value) else value for value in numbers_of(values).tolist()] == expected


@pytest.mark.parametrize(
    ("sizes", "unit"),
    [
        ([300, 400, 0.5], 0.001),
        ([0.3, 0.6, 1200], 1.0),
        ([20.0], 1.0),
        ([20.1], 0.001),
        ([], 1.0),
        ([-300], 1.0),
    ],
)
def test_millimetres_are_known_by_their_median(sizes: list[float], unit: float) -> None:
    assert unit_of(np.array(sizes, dtype=np.float64)) == unit


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("WS", "sewage"), ("污水", "sewage"), ("雨水管", "storm"), ("storm sewer", "storm"), ("JS", "water"), ("给水", "water"),
        ("热水", "heat"), ("hot water", "heat"), ("waste water", "sewage"), ("天然气", "gas"), ("雨污合流", "combined"),
        ("排水", "combined"), ("drainage", "combined"), ("路灯", "power"), ("fibre cable", "telecom"),
        ("oilGasChemical", "industry"), ("综合管廊", "gallery"), ("?", None), ("waterfall", None),
    ],
)  # fmt: skip
def test_kinds(text: str, kind: str | None) -> None:
    assert kind_of(text) == (OTHER if kind is None else [one.key for one in KINDS].index(kind))


def test_codes_of_kinds_are_different() -> None:
    codes = [code for kind in KINDS for code in kind.codes]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("wrong", [{"water": "blue"}, {"lava": "#FF0000"}])
def test_colours_that_cannot_be(wrong: dict[str, str]) -> None:
    with pytest.raises(ThreeDError):
        palette(wrong)


def test_colours_are_linear() -> None:
    assert colour_of("#FF0080") == (1.0, 0.0, pytest.approx(0.2159, abs=1e-3))


@pytest.mark.parametrize(
    ("field", "plain", "unit"),
    [
        ("管径(mm)", "管径", 0.001), ("管径（毫米）", "管径", 0.001), ("Depth_m", "depth", 1.0), ("pipe diameter", "pipediameter", None),
        ("US_INVERT", "usinvert", None), ("埋深 [cm]", "埋深", 0.01), ("diameter-mm", "diameter", 0.001), ("rim", "rim", None),
    ],
)  # fmt: skip
def test_names_and_their_units(field: str, plain: str, unit: float | None) -> None:
    assert plain_name(field) == (plain, unit)


def test_names_are_written_as_they_are_compared() -> None:
    for names in NAMES.values():
        assert len(set(names)) == len(names)
        for name in names:
            assert plain_name(name)[0] == name


def test_a_field_is_taken_once() -> None:
    found = recognise(["埋深", "管径(mm)", "地面高程", "x"], ["diameter", "start_depth", "end_depth", "top"])
    assert {meaning: item.field for meaning, item in found.items()} == {
        "diameter": "管径(mm)", "start_depth": "埋深", "top": "地面高程",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("field", "what"),
    [("管顶埋深", "top"), ("起点管底高程", "bottom"), ("us_invert", "bottom"), ("管中高程", "axis"), ("埋深", None), ("depth of cover", "top")],
)  # fmt: skip
def test_what_a_depth_is_measured_to(field: str, what: str | None) -> None:
    assert measured_to(field) == what


# --- boreholes, bodies, layers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected", "problem"),
    [
        ('[{"from": 0, "to": 2}]', [(0, 2)], None),
        ([{"层顶深度": 0, "层底深度": 2}], [(0, 2)], None),
        ([{"from": 2, "to": 0}], [(0, 2)], "is reversed"),
        ([{"from": 0, "to": 2}, {"from": 1, "to": 4}], [(0, 2), (2, 4)], "overlaps"),
        ([{"from": 0, "to": 5}, {"from": 1, "to": 4}], [(0, 5)], "overlaps"),
        ([{"from": 3, "to": 4}, {"from": 0, "to": 2}], [(0, 2), (3, 4)], None),
        ([{"from": 0, "to": 0}, {"to": 2}, 7], [], "no JSON object"),
        ("[", [], "no JSON"),
        ({"from": 0}, [], "no list of intervals"),
        ([], [], "no list of intervals"),
        (None, [], "no list of intervals"),
    ],
)
def test_lists_of_intervals(value: Any, expected: list[tuple[float, float]], problem: str | None) -> None:
    log = ProblemLog()
    found = intervals_of([value], ["a"], log)
    assert list(zip(found.start.tolist(), found.end.tolist(), strict=True)) == expected
    assert (problem is None) == (not log.listed)
    assert problem is None or any(problem in item.problem for item in log.listed)


def test_too_many_intervals_are_cut_off() -> None:
    log = ProblemLog()
    many = [{"from": depth, "to": depth + 1} for depth in range(1001)]
    assert len(intervals_of([json.dumps(many)], ["a"], log).start) == 1000
    assert len(intervals_of([many[:1000]], ["b"], log).start) == 1000
    assert [item.id for item in log.listed] == ["a"]


def test_a_borehole_is_a_stack_of_closed_cylinders() -> None:
    points = np.array([Point(EAST, NORTH, 12.0), Point(EAST, NORTH)], dtype=object)
    log = ProblemLog()
    intervals = intervals_of(
        [[{"from": 0, "to": 2, "soil": "clay"}, {"from": 2, "to": 5, "soil": "sand"}]] * 2, ["a", "b"], log
    )
    survivors = Survivors.all_of(["a", "b"], log)
    placed = place_boreholes(
        points, np.full(2, np.nan), intervals, survivors, Placing(GRID, VerticalReference.ellipsoidal()),
        diameter=2.0, colours={"clay": "#112233"},
    )  # fmt: skip
    assert [item.problem for item in log.listed] == ["no top elevation is given, and the point has no z"]
    outlines = placed.outlines(np.array([3]))
    assert (outlines.bottoms[0], outlines.tops[0]) == pytest.approx((7.0, 12.0))
    parts = placed.parts(LocalFrame.at(114.0, 30.7, 0.0))
    assert {part.material.colour[:3] for part in parts} == {
        colour_of("#112233"),
        lithology_colour("sand", {}),
    }
    for part, height in zip(parts, (2.0, 3.0), strict=True):
        assert open_edges(part.mesh) == 0
        assert volume(part.mesh) == pytest.approx(
            height * 3.0, rel=0.01
        )  # twelve corners of radius 1: area 3


def test_colours_of_soils() -> None:
    assert lithology_colour("中风化砂岩", {}) != lithology_colour("细砂", {})
    assert lithology_colour("anything", {}) == lithology_colour("anything", {})
    assert lithology_colour("fill", {"fill": "#000000"}) == (0.0, 0.0, 0.0)


def test_bodies_are_closed_and_broken_ones_told() -> None:
    square = shapely.box(EAST, NORTH, EAST + 20, NORTH + 10)
    holed = square.difference(shapely.box(EAST + 5, NORTH + 3, EAST + 8, NORTH + 6))
    given = np.array([holed, square, square, Point(0, 0)], dtype=object)
    survivors = Survivors.all_of(list("abcd"), ProblemLog())
    nothing = np.full(4, np.nan)
    heights = BodyHeights(
        np.array([5.0, 1.0, np.nan, 5.0]), np.array([1.0, 5.0, np.nan, 1.0]), nothing, nothing
    )
    bodies = place_bodies(
        given, heights, survivors, Placing(GRID, VerticalReference.ellipsoidal()), (1, 1, 1)
    )
    (part,) = bodies.parts(LocalFrame.at(114.0, 30.7, 0.0))
    assert open_edges(part.mesh) == 0
    assert volume(part.mesh) == pytest.approx((200 - 9) * 4.0, rel=0.01)
    assert [(item.id, item.problem) for item in survivors.log.listed] == [
        ("c", "no height or depth of its top and bottom is given"),
        ("b", "the bottom is not below the top"),
        ("d", "not a polygon"),
    ]


def test_bodies_by_depths_begin_at_the_ground() -> None:
    given = np.array([shapely.box(EAST, NORTH, EAST + 20, NORTH + 10)], dtype=object)
    nothing = np.full(1, np.nan)
    heights = BodyHeights(nothing, nothing, nothing, np.array([6.0]))
    placing = Placing(GRID, VerticalReference.ellipsoidal(), lambda xy: np.full(len(xy), 40.0))
    bodies = place_bodies(given, heights, Survivors.all_of(["a"], ProblemLog()), placing, (1, 1, 1))
    assert (bodies.bottoms[0], bodies.tops[0]) == (34.0, 40.0)


def layers() -> LayerGrid:
    """Two blocks each way; the second layer pinches out, the third has a gap."""
    longitude, latitude = np.meshgrid(116 + np.arange(40) * 1e-4, 40 - np.arange(36) * 1e-4)
    top = 50.0 + np.sin(np.arange(40) / 8)[None] + np.zeros((36, 1))
    middle = np.minimum(top, top - 4 * np.sin(np.arange(40) / 6)[None])
    lower = middle - 3.0
    bottom = np.full_like(top, 20.0)
    bottom[10:14, 20:25] = np.nan
    surfaces, _ = layered(np.stack((top, middle, lower, bottom)))
    return LayerGrid(longitude, latitude, surfaces, ("a", "b", "c"), ("fill", "clay", "rock"))


def test_blocks_of_layers_are_closed() -> None:
    blocks = LayerBlocks(layers(), ((1, 0, 0),) * 3)
    frame = LocalFrame.at(116.002, 39.998, 40.0)
    assert set(blocks.layer_of(blocks.keys).tolist()) == {0, 1, 2}
    for key in blocks.keys.tolist():
        (part,) = blocks.parts(np.array([key]), frame)
        assert open_edges(part.mesh) == 0
        assert volume(part.mesh) > 0.0
        assert against_normals(part.mesh) == 0
        outlines = blocks.outlines(np.array([key]))
        heights = part.mesh.positions[:, 2] + 40.0
        assert heights.max() <= outlines.tops[0] + 0.01
        assert heights.min() >= outlines.bottoms[0] - 1.0


def test_layers_go_to_a_file_and_back(tmp_path: Any) -> None:
    grid = layers()
    grid.save(tmp_path / "layers.npz")
    again = LayerGrid.open(tmp_path / "layers.npz")
    assert again.names == grid.names
    assert np.array_equal(again.surfaces, grid.surfaces, equal_nan=True)
    (tmp_path / "broken.npz").write_bytes(b"PK no archive")
    for name in ("broken.npz", "absent.npz"):
        with pytest.raises(ThreeDError, match="cannot be read"):
            LayerGrid.open(tmp_path / name)


def test_crossing_surfaces_are_put_in_order() -> None:
    surfaces, crossed = layered(np.array([[[5.0, 5.0]], [[6.0, np.nan]], [[1.0, np.nan]]]))
    assert crossed == 1
    assert np.array_equal(surfaces, [[[5.0, 5.0]], [[5.0, 5.0]], [[1.0, np.nan]]], equal_nan=True)


@pytest.mark.parametrize("how", list(Interpolation))
def test_interpolation_finds_its_own_values(how: Interpolation) -> None:
    random = np.random.default_rng(5)
    places = random.random((30, 2))
    values = np.column_stack((places @ [2.0, 3.0], places @ [1.0, 0.0]))
    assert interpolate(places, values, places, how) == pytest.approx(values, abs=1e-6)
    between = interpolate(places, values, random.random((100, 2)), how)
    known = between[np.isfinite(between[:, 0])]
    assert len(known) > 50
    assert known.min() >= values.min() - 1e-9
    assert known.max() <= values.max() + 1e-9


def test_a_linear_surface_is_exact_between_and_nothing_outside() -> None:
    places = np.array(list(itertools.product((0.0, 1.0, 2.0), repeat=2)))
    values = (places @ [2.0, 3.0])[:, None]
    found = interpolate(places, values, np.array([[0.3, 1.7], [5.0, 5.0]]), Interpolation.LINEAR)
    assert found[0, 0] == pytest.approx(0.6 + 5.1)
    assert np.isnan(found[1, 0])
    with pytest.raises(ThreeDError, match="three places"):
        interpolate(places[:2], values[:2], places, Interpolation.LINEAR)
