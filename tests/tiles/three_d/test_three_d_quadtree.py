"""Regions and codes of the tree; subtree files say exactly which tiles exist and what they hold."""

from __future__ import annotations

import numpy as np
import pytest

from tiles.three_d.check.findings import FileFindings
from tiles.three_d.check.metadata_schema import check_schema
from tiles.three_d.check.subtree import SubtreeForm, read_subtree
from tiles.three_d.facts import DerivedFacts
from tiles.three_d.quadtree import morton, root_region, tile_code
from tiles.three_d.subtree import (
    LEVELS_PER_SUBTREE,
    TILE_SCHEMA,
    TileIndex,
    described_subtrees,
    subtree_depth,
    with_ancestors,
)


def test_a_region_around_a_single_point_has_an_extent() -> None:
    region = root_region(np.array([[10.0, 20.0, 10.0, 20.0]]), 1.001)
    assert region.west < 10.0 < region.east
    assert region.south < 20.0 < region.north


def test_a_region_around_the_whole_world() -> None:
    region = root_region(np.array([[-180.0, -89.0, 180.0, 89.0]]), 1.05)
    assert (region.west, region.east) == (-180.0, 180.0)
    assert (region.south, region.north) == (pytest.approx(-90.0), pytest.approx(90.0))


def test_morton_numbers() -> None:
    x, y = np.array([0, 1, 0, 1, 2, 7]), np.array([0, 0, 1, 1, 0, 7])
    assert morton(x, y).tolist() == [0, 1, 2, 3, 4, 63]
    big = np.array([2**24 - 1])
    assert morton(big, big).tolist() == [2**48 - 1]


def facts_of(contents: TileIndex) -> DerivedFacts:
    """Facts of these tiles and of those above them; all of one region."""
    codes = np.sort(tile_code(*with_ancestors(contents)))
    count = len(codes)
    return DerivedFacts(
        codes, np.tile([24.0, 60.0, 25.0, 61.0], (count, 1)), np.zeros(count), np.full(count, 9.0),
        np.zeros(count), np.isin(codes, tile_code(*contents)),
    )  # fmt: skip


def read_back(
    contents: TileIndex, levels: int
) -> tuple[set[tuple[int, int, int]], set[tuple[int, int, int]], int]:
    """Tiles and contents that the subtree files declare, and how many files there are."""
    depth = subtree_depth(levels)
    form = SubtreeForm(depth, 2, 1, check_schema(TILE_SCHEMA, FileFindings("schema")))
    files = described_subtrees(facts_of(contents), depth, levels)
    written = {(file.level, file.x, file.y): file.content for file in files}
    tiles: set[tuple[int, int, int]] = set()
    found: set[tuple[int, int, int]] = set()
    waiting = [(0, 0, 0)]
    while waiting:
        top, x, y = waiting.pop()
        findings = FileFindings("x")
        subtree = read_subtree(written[top, x, y], form, lambda _: None, findings)
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
                for (a, b), one in zip(places, subtree.contents[0][index], strict=True)
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
