"""Every feature lies inside its tile, large ones above small ones; subtree files say exactly which tiles exist."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tiles.three_d.check.findings import FileFindings
from tiles.three_d.check.subtree import read_subtree
from tiles.three_d.quadtree import MAX_LEVEL, assign, morton, root_region, tile_region
from tiles.three_d.subtree import LEVELS_PER_SUBTREE, TileIndex, subtree_files, with_ancestors


def scattered(
    count: int, seed: int = 3
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Boxes, sizes (m) and vertex counts of features over half a degree."""
    generator = np.random.default_rng(seed)
    corner = generator.uniform((24.5, 60.0), (25.0, 60.3), (count, 2))
    extent = generator.uniform(5e-5, 5e-4, (count, 2))
    return np.hstack((corner, corner + extent)), extent.max(axis=1) * 1e5, np.full(count, 30)


def test_features_lie_inside_their_tiles() -> None:
    boxes, sizes, weights = scattered(5000)
    tiling = assign(boxes, sizes, weights, capacity=600)
    assert tiling.levels > 3
    for level, x, y, box in zip(
        tiling.level.tolist(), tiling.x.tolist(), tiling.y.tolist(), boxes, strict=True
    ):
        region = tile_region(tiling.region, level, x, y)
        assert region.west - 1e-12 <= box[0]
        assert region.south - 1e-12 <= box[1]
        assert box[2] <= region.east + 1e-12
        assert box[3] <= region.north + 1e-12


def test_the_geometric_error_is_honest() -> None:
    """What is still missing at a level is never larger than the error a client computes for that level."""
    boxes, sizes, weights = scattered(5000)
    tiling = assign(boxes, sizes, weights, capacity=600)
    for level in range(tiling.levels - 1):
        missing = sizes[tiling.level > level]
        assert missing.max() <= tiling.geometric_error / 2**level


def test_small_sets_are_one_tile_without_error() -> None:
    boxes, sizes, weights = scattered(20)
    tiling = assign(boxes, sizes, weights, capacity=600)
    assert (tiling.levels, tiling.geometric_error, tiling.level.max()) == (1, 0.0, 0)


@pytest.mark.parametrize(("count", "levels"), [(20, 1), (21, 2)])
def test_capacity_at_its_limit(count: int, levels: int) -> None:
    boxes, sizes, weights = scattered(count)
    assert assign(boxes, sizes, weights, capacity=600).levels == levels


def test_a_pile_in_one_place_ends_at_the_deepest_level() -> None:
    boxes = np.tile([24.9, 60.1, 24.9, 60.1], (500, 1))
    boxes[0, 2:] += 0.3
    tiling = assign(boxes, np.ones(500), np.full(500, 30), capacity=30)
    assert tiling.levels <= MAX_LEVEL + 1
    assert (tiling.level == MAX_LEVEL).sum() > 400


def test_a_region_around_a_single_point_has_an_extent() -> None:
    region = root_region(np.array([[10.0, 20.0, 10.0, 20.0]]))
    assert region.west < 10.0 < region.east
    assert region.south < 20.0 < region.north


def test_a_region_around_the_whole_world() -> None:
    region = root_region(np.array([[-180.0, -89.0, 180.0, 89.0]]))
    assert (region.west, region.east) == (-180.0, 180.0)
    assert (region.south, region.north) == (pytest.approx(-90.0), pytest.approx(90.0))


def test_morton_numbers() -> None:
    x, y = np.array([0, 1, 0, 1, 2, 7]), np.array([0, 0, 1, 1, 0, 7])
    assert morton(x, y).tolist() == [0, 1, 2, 3, 4, 63]
    big = np.array([2**24 - 1])
    assert morton(big, big).tolist() == [2**48 - 1]


def read_back(
    contents: TileIndex, levels: int
) -> tuple[set[tuple[int, int, int]], set[tuple[int, int, int]], int]:
    """Tiles and contents that the subtree files declare, and how many files there are."""
    depth, files = subtree_files(contents, levels)
    written = {(file.level, file.x, file.y): file.content for file in files}
    tiles: set[tuple[int, int, int]] = set()
    found: set[tuple[int, int, int]] = set()
    waiting = [(0, 0, 0)]
    while waiting:
        top, x, y = waiting.pop()
        findings = FileFindings("x")
        subtree = read_subtree(written[top, x, y], depth, findings)
        assert findings.found == []
        assert subtree is not None
        start = 0
        for below in range(depth):
            side = np.arange(2**below)
            column, row = (part.ravel() for part in np.meshgrid(side, side))
            index = start + morton(column, row)
            places = list(zip((x << below) + column, (y << below) + row, strict=True))
            tiles |= {
                (top + below, int(a), int(b))
                for (a, b), one in zip(places, subtree.tiles[index], strict=True)
                if one
            }
            found |= {
                (top + below, int(a), int(b))
                for (a, b), one in zip(places, subtree.contents[index], strict=True)
                if one
            }
            start += 4**below
        side = np.arange(2**depth)
        column, row = (part.ravel() for part in np.meshgrid(side, side))
        for a, b, one in zip(
            column.tolist(), row.tolist(), subtree.children[morton(column, row)], strict=True
        ):
            if one:
                waiting.append((top + depth, (x << depth) + a, (y << depth) + b))
    return tiles, found, len(written)


@pytest.mark.parametrize(
    "levels", [1, 2, LEVELS_PER_SUBTREE, LEVELS_PER_SUBTREE + 1, 2 * LEVELS_PER_SUBTREE + 1]
)
def test_subtrees_declare_exactly_the_tiles(levels: int) -> None:
    generator = np.random.default_rng(levels)
    level = np.r_[levels - 1, generator.integers(0, levels, 60)]
    x, y = generator.integers(0, 2**level), generator.integers(0, 2**level)
    unique = np.unique(np.stack((level, x, y)), axis=1)
    contents = TileIndex(unique[0], unique[1], unique[2])
    tiles, found, count = read_back(contents, levels)
    every = with_ancestors(contents)
    assert found == set(zip(*(part.tolist() for part in contents), strict=True))
    assert tiles == set(zip(*(part.tolist() for part in every), strict=True))
    assert (0, 0, 0) in tiles
    assert count >= -(-levels // LEVELS_PER_SUBTREE)
