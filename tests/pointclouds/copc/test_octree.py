"""The octree: every point in one node, inside it, and the coarse nodes thinned to one point a cell."""

import numpy as np
import pytest

from pointclouds.copc.octree import Cube, build_octree, cube_around, morton_codes, useful_depth

SCALE = (0.001, 0.001, 0.001)
ZERO = (0.0, 0.0, 0.0)


def cloud(count: int, seed: int = 3, flat: bool = False) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(seed)
    z = 50 if flat else 100_000
    return tuple(random.integers(0, high, count).astype(np.int32) for high in (100_000, 80_000, z))


def plant(axes: tuple[np.ndarray, ...], **limits: int):
    points = np.stack(axes, axis=1) * 0.001
    cube = cube_around(points.min(axis=0), points.max(axis=0), 0.001)
    depth = useful_depth(cube, 0.001)
    return points, cube, depth, build_octree(morton_codes(axes, SCALE, ZERO, cube, depth), depth, **limits)


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("count", [1, 2, 1000, 150_000])
def test_every_point_is_in_exactly_one_node_and_inside_it(count, flat):
    points, cube, _, tree = plant(cloud(count, flat=flat), leaf_points=5_000, smallest_child=100)
    assert np.array_equal(np.sort(tree.order), np.arange(count))
    assert tree.starts[0] == 0
    assert tree.starts[-1] == count
    edge = cube.edge / np.exp2(tree.keys[:, 0])
    for key, size, first, last in zip(tree.keys, edge, tree.starts, tree.starts[1:], strict=False):
        inside = points[tree.order[first:last]]
        low = np.array(cube.corner) + key[1:] * size
        assert (inside >= low - 1e-6).all()
        assert (inside <= low + size + 1e-6).all()
        assert (np.diff(tree.order[first:last]) > 0).all()


def test_parents_exist_and_come_first():
    _, _, _, tree = plant(cloud(200_000, flat=True), leaf_points=2_000, smallest_child=50)
    seen = set()
    for level, x, y, z in tree.keys.tolist():
        assert level == 0 or (level - 1, x >> 1, y >> 1, z >> 1) in seen
        seen.add((level, x, y, z))
    assert len(seen) == len(tree.keys)
    assert tree.keys[:, 0].max() >= 2


def test_a_divided_node_shows_one_point_a_cell_but_for_small_children():
    points, cube, _, tree = plant(cloud(300_000, flat=True), leaf_points=10_000, smallest_child=0)
    divided = {(level - 1, x >> 1, y >> 1, z >> 1) for level, x, y, z in tree.keys.tolist() if level}
    assert (0, 0, 0, 0) in divided
    for index, key in enumerate(tree.keys.tolist()):
        if tuple(key) not in divided:
            continue
        inside = points[tree.order[tree.starts[index] : tree.starts[index + 1]]]
        cells = np.floor((inside - cube.corner) / (cube.edge / 2 ** (key[0] + 7))).astype(int)
        assert len(np.unique(cells, axis=0)) == len(cells)


def test_overview_of_a_plane_is_dense_and_not_biased_to_the_ground():
    points, _, _, tree = plant(cloud(400_000), leaf_points=10_000)
    root = points[tree.order[: tree.starts[1]]]
    assert len(root) > 100_000
    assert abs(root[:, 2].mean() - points[:, 2].mean()) < 0.5
    _, _, _, flat = plant(cloud(200_000, flat=True), leaf_points=10_000)
    assert 128 * 100 < flat.starts[1] < 128 * 105 * 2


def test_limits_of_leaves_and_children():
    exactly = plant(cloud(5_000), leaf_points=5_000)[3]
    assert len(exactly.keys) == 1
    one_more = plant(cloud(5_001, flat=True), leaf_points=5_000, smallest_child=1)[3]
    assert len(one_more.keys) > 1
    merged = plant(cloud(5_001, flat=True), leaf_points=5_000, smallest_child=5_001)[3]
    assert len(merged.keys) == 1


def test_points_at_one_place_end_in_one_node():
    axes = tuple(np.full(60_000, 5, np.int32) for _ in range(3))
    tree = plant(axes, leaf_points=1_000)[3]
    assert tree.starts[-1] == 60_000
    assert len(tree.keys) == 1


def test_morton_codes_interleave_x_lowest():
    cube = Cube(ZERO, 8.0)
    axes = (
        np.array([1, 0, 0, 7], np.int32),
        np.array([0, 1, 0, 7], np.int32),
        np.array([0, 0, 1, 7], np.int32),
    )
    codes = morton_codes(axes, (1.0, 1.0, 1.0), ZERO, cube, 3)
    assert codes.tolist() == [1, 2, 4, 511]
    deep = morton_codes((np.array([7], np.int32),) * 3, (1.0, 1.0, 1.0), ZERO, cube, 21)
    assert deep.tolist() == [0b111111111 << 54]


@pytest.mark.parametrize(("edge", "scale", "depth"), [(1.0, 1.0, 1), (1.024, 0.001, 10), (1e9, 1e-9, 21)])
def test_depth_follows_the_resolution_of_the_coordinates(edge, scale, depth):
    assert useful_depth(Cube(ZERO, edge), scale) == depth
