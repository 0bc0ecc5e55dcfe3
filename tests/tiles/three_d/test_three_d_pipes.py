"""Pipes: tubes of the right width at the right depth, closed at their joints and ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray

from tiles.three_d import TilesetSummary, VerticalReference, build_pipes
from tiles.three_d.check import check_tileset
from tiles.three_d.errors import NothingToBuildError, ThreeDError
from tiles.three_d.tubes import Segments, tubes

X, Y = 25_496_000.0, 6_672_000.0
BENT = shapely.LineString([(X, Y), (X + 50, Y), (X + 80, Y + 30), (X + 80, Y + 90)])


def one_pipe(out: Path, line: Any, **more: Any) -> TilesetSummary:
    given: dict[str, Any] = {"depth": 2.0, "diameter": 0.6, "ids": ["p"], "columns": {}} | more
    return build_pipes(out, [line], "EPSG:3879", given.pop("depth"), given.pop("diameter"), **given)


def along(points: list[tuple[float, float, float]], radius: float = 0.5, sides: int = 12) -> Any:
    """A tube along `points` in a local frame."""
    axis = np.array(points)
    joined = np.r_[False, np.ones(len(axis) - 2, dtype=bool)]
    count = len(axis) - 1
    segments = Segments(axis[:-1], axis[1:], np.full(count, radius), np.zeros(count, dtype=np.int64), joined)
    return tubes(segments, sides)


def enclosed(mesh: Any) -> float:
    """Volume by the divergence theorem; right only where the mesh is closed and faces outwards."""
    a, b, c = (mesh.positions[mesh.triangles[:, corner]] for corner in range(3))
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6.0)


def open_edges(mesh: Any) -> int:
    """Edges between places (rounded to a millimetre) that have a triangle on one side only."""
    _, place = np.unique(np.rint(mesh.positions * 1000.0), axis=0, return_inverse=True)
    corners = place.reshape(-1)[mesh.triangles]
    edges = np.concatenate((corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]))
    there, counts = np.unique(edges, axis=0, return_counts=True)
    back = {tuple(edge): count for edge, count in zip(there[:, ::-1].tolist(), counts.tolist(), strict=True)}
    return sum(
        back.get(tuple(edge), 0) != count for edge, count in zip(there.tolist(), counts.tolist(), strict=True)
    )


def test_pipes_lie_below_the_ground_at_their_depth(tmp_path: Path, read_tile: Any) -> None:
    summary = one_pipe(tmp_path, BENT, ground=15.0)
    tile = read_tile(tmp_path / "content/0/0/0.glb")
    assert check_tileset(tmp_path) == []
    assert tile.place[:, 2].max() == pytest.approx(13.3, abs=0.03)
    assert tile.place[:, 2].min() == pytest.approx(12.7, abs=0.03)
    assert tile.rows == [{"id": "p", "diameter": pytest.approx(0.6), "depth": 2.0}]
    assert summary.content == "pipes"
    assert "indices" in tile.document["meshes"][0]["primitives"][0]


def test_lines_with_z_need_no_depth(tmp_path: Path, read_tile: Any) -> None:
    line = shapely.LineString([(X, Y, -3.0), (X + 30, Y, -4.0)])
    one_pipe(tmp_path, line, depth=None, vertical=VerticalReference.offset(20.0))
    heights = read_tile(tmp_path / "content/0/0/0.glb").place[:, 2]
    assert (heights.min(), heights.max()) == (pytest.approx(15.7, abs=0.03), pytest.approx(17.3, abs=0.03))


def test_the_ground_may_be_a_function(tmp_path: Path, read_tile: Any) -> None:
    def slope(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        return 10.0 + (xy[:, 0] - X) * 0.1

    one_pipe(tmp_path, shapely.LineString([(X, Y), (X + 50, Y)]), ground=slope)
    heights = read_tile(tmp_path / "content/0/0/0.glb").place[:, 2]
    assert (heights.min(), heights.max()) == (pytest.approx(7.7, abs=0.05), pytest.approx(13.3, abs=0.05))


@pytest.mark.parametrize(
    "points",
    [
        [(0, 0, 0), (10, 0, 0)],
        [(0, 0, 0), (10, 0, 0), (20, 10, 0)],
        [(0, 0, 0), (10, 0, 0), (10, 10, 0), (0, 10, 0)],
        [(0, 0, 0), (10, 0, -1), (20, 5, -2), (30, 5, -2)],
        [(0, 0, 0), (0, 0, -10)],
        [(0, 0, 0), (10, 0, 0), (10, 0, -10), (10, 10, -10), (3, 18, -4)],
    ],
)
def test_tubes_are_closed_and_have_the_volume_of_a_pipe(points: list[tuple[float, float, float]]) -> None:
    mesh = along(points)
    axis = np.array(points, dtype=np.float64)
    length = np.linalg.norm(np.diff(axis, axis=0), axis=1).sum()
    # A regular twelve-sided cross-section; a mitre takes inside what it adds outside.
    section = 0.5 * 12 * 0.5**2 * np.sin(2 * np.pi / 12)
    assert enclosed(mesh) == pytest.approx(length * section, rel=1e-6)
    assert open_edges(mesh) == 0
    facing = np.einsum(
        "ij,ij->i",
        np.cross(
            *(mesh.positions[mesh.triangles[:, k]] - mesh.positions[mesh.triangles[:, 0]] for k in (1, 2))
        ),
        mesh.normals[mesh.triangles[:, 0]],
    )
    assert (facing > 0).all()


@pytest.mark.parametrize(
    "points",
    [
        [(0, 0, 0), (10, 0, 0), (0.5, 0.4, 0)],
        [(0, 0, 0), (10, 0, 0), (0, 0, 0)],
        [(0, 0, 0), (10, 0, 0), (10.3, 0.3, 0), (20, 0, 0)],
    ],
)
def test_sharp_and_short_pieces_are_closed_flat_instead_of_stretched(
    points: list[tuple[float, float, float]],
) -> None:
    mesh = along(points)
    axis = np.array(points, dtype=np.float64)
    away = min(np.abs(mesh.positions - corner).max() for corner in axis)
    assert away <= 10.5
    assert mesh.positions.max() < axis.max() + 1.1
    assert np.isfinite(mesh.positions).all()


def test_a_drop_shaft_does_not_twist() -> None:
    """From level to plumb and on in another direction: every ring keeps its radius."""
    mesh = along([(0, 0, 0), (10, 0, 0), (10, 0, -10), (10, 10, -10)])
    shells = mesh.positions[: 3 * 24].reshape(3, 2, 12, 3)
    opposite = np.linalg.norm(shells[:, :, :6] - shells[:, :, 6:], axis=-1)
    assert opposite.min() >= 1.0 - 1e-9
    middle = shells.mean(axis=1)
    assert np.linalg.norm(middle[:, :6] - middle[:, 6:], axis=-1).min() >= 1.0 - 1e-9


BAD = [
    ("none", None, 0.3, 1.0, "no geometry"),
    ("point", shapely.Point(X, Y), 0.3, 1.0, "not a line"),
    ("same place", shapely.LineString([(X, Y), (X, Y)]), 0.3, 1.0, "without a length"),
    ("thin", BENT, 0.0, 1.0, "no diameter above 0"),
    ("no depth", BENT, 0.3, float("nan"), "no depth"),
    ("far", shapely.LineString([(9e30, 9e30), (9.1e30, 9e30)]), 0.3, 1.0, "outside the area"),
    ("off the terrain", shapely.LineString([(X + 9000, Y), (X + 9010, Y)]), 0.3, 1.0, "ground is unknown"),
]


@pytest.mark.parametrize(("name", "line", "diameter", "depth", "says"), BAD, ids=[case[0] for case in BAD])
def test_a_bad_pipe_is_reported_and_the_rest_is_built(
    name: str, line: Any, diameter: float, depth: float, says: str, tmp_path: Path
) -> None:
    summary = build_pipes(
        tmp_path,
        [BENT, line],
        "EPSG:3879",
        [1.0, depth],
        [0.3, diameter],
        ids=["good", name],
        columns={"kind": ["water", "sewer"]},
        ground=lambda xy: np.where(np.abs(xy[:, 0] - X - 9000) < 100, np.nan, 12.0),
    )
    assert [problem.id for problem in summary.problems] == [name]
    assert says in summary.problems[0].problem
    assert summary.feature_count == 1
    assert check_tileset(tmp_path) == []


def test_lines_with_z_but_without_depth_are_reported(tmp_path: Path) -> None:
    with pytest.raises(NothingToBuildError, match="no depth is given and the line has no z"):
        one_pipe(tmp_path, BENT, depth=None)


def test_multilines_and_repeated_points(tmp_path: Path, read_tile: Any) -> None:
    line = shapely.MultiLineString(
        [[(X, Y), (X, Y), (X + 5, Y)], [(X + 20, Y), (X + 25, Y), (X + 25, Y), (X + 30, Y)]]
    )
    summary = one_pipe(tmp_path, line, sides=8)
    tile = read_tile(tmp_path / "content/0/0/0.glb")
    assert summary.problems == ()
    # Three pieces of two rings, and two caps for each of the two lines.
    assert len(tile.place) == 3 * 16 + 4 * 8


@pytest.mark.parametrize("sides", [2, 65])
def test_sides_have_limits(sides: int, tmp_path: Path) -> None:
    with pytest.raises(ThreeDError, match="3 to 64"):
        one_pipe(tmp_path, BENT, sides=sides)


@pytest.mark.parametrize("sides", [3, 64])
def test_sides_at_their_limits(sides: int, tmp_path: Path) -> None:
    one_pipe(tmp_path, BENT, sides=sides)
    assert check_tileset(tmp_path) == []
