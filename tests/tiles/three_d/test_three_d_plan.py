"""The plan of a tileset: which tile holds which object, and that the rule is the same ever after."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tiles.three_d.errors import NothingToBuildError, ThreeDError
from tiles.three_d.facts import TILE_FACTS, TileFacts, estimated_errors, facts_row
from tiles.three_d.objects import Detail, Outlines, TileAddress
from tiles.three_d.plan import OUTSIDE, Refinement, TilePlan, jittered, join_outlines, unwrapped
from tiles.three_d.quadtree import tile_code, tile_codes_to_index, tile_region
from tiles.three_d.subtree import described_subtrees, subtree_depth, subtree_root

ONE = (Detail.LOD1,)
ALL = (Detail.BLOCK, Detail.LOD1, Detail.FULL)


def outlines_of(count: int, seed: int = 1, weight: int = 30, side: float = 0.2) -> Outlines:
    random = np.random.default_rng(seed)
    low = np.array([116.3, 39.8]) + random.uniform(0.0, side, (count, 2))
    extent = random.uniform(5e-5, 4e-4, (count, 2))
    rise = random.uniform(3.0, 60.0, count)
    sizes = np.hypot(np.hypot(extent[:, 0] * 85_000, extent[:, 1] * 111_000), rise)
    bottoms = random.uniform(10.0, 40.0, count)
    return Outlines(
        np.arange(count, dtype=np.int64) * 7 + 3,
        np.column_stack((low, low + extent)),
        bottoms,
        bottoms + rise,
        sizes,
        np.full(count, weight),
    )


def rows(outlines: Outlines, chosen: np.ndarray) -> Outlines:
    names = Outlines.__dataclass_fields__
    return Outlines(**{name: getattr(outlines, name)[chosen] for name in names})


@pytest.mark.parametrize("count", [1, 2, 33, 34, 5000])
def test_adding_places_every_object_once_and_inside_its_tile(count: int) -> None:
    outlines = outlines_of(count)
    plan = TilePlan.make(outlines, ONE, capacity=1000)
    assert plan.refinement is Refinement.ADD
    placed = plan.placements(outlines)
    assert placed.rows.tolist() == list(range(count))
    assert (placed.level < plan.levels).all()
    for row in range(0, count, max(1, count // 200)):
        region = tile_region(plan.region, *(int(part[row]) for part in (placed.level, placed.x, placed.y)))
        west, south, east, north = outlines.boxes[row]
        assert region.west <= west <= east <= region.east
        assert region.south <= south <= north <= region.north
    assert sorted(plan.keys.tolist()) == sorted(outlines.keys.tolist())


def test_the_capacity_is_kept_but_for_what_crosses() -> None:
    outlines = outlines_of(4000)
    plan = TilePlan.make(outlines, ONE, capacity=3000)
    crossing = 0
    for number in range(len(plan.codes)):
        weight = 30 * len(plan.keys_of(number))
        crossing += max(0, weight - 3000)
    assert plan.levels > 2
    # 100 objects fill a tile; what more a tile has lies on the borders of its children.
    assert crossing < 0.1 * outlines.weights.sum()


def test_exactly_the_capacity_is_one_tile_and_one_more_is_not() -> None:
    outlines = outlines_of(40)
    assert TilePlan.make(outlines, ONE, capacity=40 * 30).levels == 1
    assert TilePlan.make(outlines, ONE, capacity=40 * 30 - 1).levels > 1


def test_large_objects_are_seen_first() -> None:
    outlines = outlines_of(3000)
    plan = TilePlan.make(outlines, ONE, capacity=6000)
    placed = plan.placements(outlines)
    means = [outlines.sizes[placed.level == level].mean() for level in range(plan.levels)]
    assert means == sorted(means, reverse=True)


def test_equal_sizes_part() -> None:
    outlines = outlines_of(2000)
    equal = Outlines(
        outlines.keys, outlines.boxes, outlines.bottoms, outlines.tops, np.full(2000, 10.0), outlines.weights
    )
    plan = TilePlan.make(equal, ONE, capacity=3000)
    heaviest = max(len(plan.keys_of(number)) for number in range(len(plan.codes))) * 30
    assert heaviest < 2 * 3000


def test_objects_are_placed_alone_as_among_all() -> None:
    outlines = outlines_of(3000)
    for details in (ONE, ALL):
        plan = TilePlan.make(outlines, details, capacity=5000)
        every = plan.placements(outlines)
        for row in (0, 17, 2999):
            alone = plan.placements(rows(outlines, np.array([row])))
            mine = every.rows == row
            for one, other in zip(alone[1:], every[1:], strict=True):
                assert one.tolist() == other[mine].tolist()


@pytest.mark.parametrize("details", [ONE, ALL, (Detail.LOD1, Detail.FULL)])
def test_a_plan_comes_back_from_disk(tmp_path: Path, details: tuple[Detail, ...]) -> None:
    outlines = outlines_of(2000)
    plan = TilePlan.make(outlines, details, capacity=4000)
    plan.save(tmp_path)
    again = TilePlan.open(tmp_path)
    assert (again.region, again.levels, again.details) == (plan.region, plan.levels, plan.details)
    for one, other in zip(again.placements(outlines), plan.placements(outlines), strict=True):
        assert np.array_equal(one, other)
    tiles = again.tiles()
    tile = TileAddress(int(tiles.level[-1]), int(tiles.x[-1]), int(tiles.y[-1]))
    members = again.members(tile)
    assert len(members.keys)
    found = again.addresses_of(members.keys)
    here = (found.level == tile.level) & (found.x == tile.x) & (found.y == tile.y)
    assert sorted(found.rows[here].tolist()) == list(range(len(members.keys)))


def test_lod1_is_shown_right_above_the_leaves_only() -> None:
    outlines = outlines_of(20_000, weight=150)
    plan = TilePlan.make(outlines, ALL, capacity=20_000)
    tiles = plan.tiles()
    details = plan.details_at(plan.codes)
    shown = dict(zip(zip(*(part.tolist() for part in tiles), strict=True), details.tolist(), strict=True))
    counted = dict.fromkeys(ALL, 0)
    for (level, x, y), detail in shown.items():
        below = {shown.get((level + 1, 2 * x + i, 2 * y + j)) for i in (0, 1) for j in (0, 1)} - {None}
        counted[Detail(detail)] += len(plan.members(TileAddress(level, x, y)).keys)
        if detail == Detail.FULL:
            assert not below
        elif detail == Detail.LOD1:
            assert below == {Detail.FULL}
        else:
            assert below - {Detail.FULL}
    assert counted[Detail.FULL] == len(outlines)
    assert counted[Detail.LOD1] <= len(outlines)
    # A tile of boxes has a quarter of a tile's room.
    assert counted[Detail.BLOCK] < len(outlines)
    assert (
        max(len(plan.members(TileAddress(*tile)).keys) for tile, detail in shown.items() if detail == 0)
        == 250
    )


def test_keys_and_tiles_that_are_unknown(tmp_path: Path) -> None:
    plan = TilePlan.make(outlines_of(100), ONE)
    assert len(plan.addresses_of(np.array([-5, 10**12])).rows) == 0
    assert len(plan.members(TileAddress(9, 1, 1)).keys) == 0
    with pytest.raises(ThreeDError, match="build the 3D tileset again"):
        TilePlan.open(tmp_path)
    with pytest.raises(NothingToBuildError):
        TilePlan.make(join_outlines([]), ONE)


def test_a_plan_of_another_format_is_refused(tmp_path: Path) -> None:
    TilePlan.make(outlines_of(10), ONE).save(tmp_path)
    path = tmp_path / "plan.json"
    path.write_text(path.read_text().replace('"format":1', '"format":99'))
    with pytest.raises(ThreeDError, match="format 99"):
        TilePlan.open(tmp_path)


def test_an_object_outside_the_root_is_told() -> None:
    outlines = outlines_of(50)
    for details in (ONE, ALL):
        plan = TilePlan.make(outlines, details)
        far = rows(outlines, np.array([0, 1]))
        far.boxes[0] += 10.0
        placed = plan.placements(far)
        assert placed.level[placed.rows == 0].tolist() == [OUTSIDE]
        assert (placed.level[placed.rows == 1] >= 0).all()


def test_replacing_shows_every_object_in_full_once() -> None:
    outlines = outlines_of(3000, weight=200)
    plan = TilePlan.make(outlines, ALL, capacity=20_000)
    placed = plan.placements(outlines)
    full = placed.rows[placed.detail == Detail.FULL]
    assert sorted(full.tolist()) == list(range(3000))
    coarse = placed.detail != Detail.FULL
    assert coarse.any()
    # The root of what is too much even as LoD1 shows the largest as blocks.
    root = (placed.level == 0) & coarse
    shown = outlines.sizes[placed.rows[root]]
    assert 0 < len(shown) <= 20_000 // 20 + 1
    if set(placed.detail[root].tolist()) == {int(Detail.BLOCK)}:
        assert shown.min() * 1.02 >= np.sort(outlines.sizes)[-len(shown)]
    # Whoever is shown in a tile is shown in every tile below it, down to its leaf.
    for row in (5, 500, 2500):
        levels = placed.level[placed.rows == row]
        assert levels.max() == placed.level[(placed.rows == row) & (placed.detail == Detail.FULL)][0]


def test_a_single_heavy_object_is_a_leaf() -> None:
    outlines = outlines_of(1, weight=10**7)
    plan = TilePlan.make(outlines, ALL, capacity=1000)
    assert plan.levels == 1
    assert plan.detail_of(TileAddress(0, 0, 0)) is Detail.FULL


def test_across_the_antimeridian() -> None:
    outlines = outlines_of(200)
    moved = outlines.boxes.copy()
    moved[:, 0::2] += 180.0 - 116.4
    wrapped = np.where(moved[:, :1] > 180.0, 360.0, 0.0)
    moved[:, 0::2] -= wrapped
    there = Outlines(outlines.keys, moved, outlines.bottoms, outlines.tops, outlines.sizes, outlines.weights)
    assert unwrapped(moved)[:, 2].max() - unwrapped(moved)[:, 0].min() < 1.0
    plan = TilePlan.make(there, ONE, capacity=1000)
    assert plan.region.east - plan.region.west < 1.0
    assert (plan.placements(there).level >= 0).all()


def test_codes_come_back() -> None:
    random = np.random.default_rng(3)
    level = random.integers(0, 17, 500)
    x, y = (random.integers(0, 2**24, 500) % (1 << level) for _ in range(2))
    found = tile_codes_to_index(tile_code(level, x, y))
    assert [part.tolist() for part in found] == [level.tolist(), x.tolist(), y.tolist()]


def test_the_jitter_depends_on_the_key_alone() -> None:
    keys = np.arange(1000, dtype=np.int64)
    sizes = jittered(np.full(1000, 100.0), keys)
    assert sizes.min() >= 100.0
    assert sizes.max() <= 102.0
    assert len(np.unique(sizes)) == 1000
    assert jittered(np.array([100.0]), keys[[7]])[0] == sizes[7]


def facts_of(plan: TilePlan, outlines: Outlines) -> TileFacts:
    place = {int(key): row for row, key in enumerate(outlines.keys.tolist())}
    found = []
    for number, code in enumerate(plan.codes.tolist()):
        chosen = np.array([place[int(key)] for key in plan.keys_of(number)])
        detail = Detail(int(plan.details_at(np.array([code]))[0]))
        found.append(facts_row(code, rows(outlines, chosen), detail, plan.details[-1], None))
    return TileFacts.of(np.concatenate(found))


@pytest.mark.parametrize("details", [ONE, ALL])
def test_facts_hold_their_children(tmp_path: Path, details: tuple[Detail, ...]) -> None:
    outlines = outlines_of(3000, weight=100)
    plan = TilePlan.make(outlines, details, capacity=10_000)
    facts = facts_of(plan, outlines)
    facts.save(tmp_path / "facts.npy")
    derived = TileFacts.open(tmp_path / "facts.npy").derived(plan)
    level, x, y = derived.tiles()
    below = np.flatnonzero(level > 0)
    parents = np.searchsorted(derived.codes, tile_code(level[below] - 1, x[below] >> 1, y[below] >> 1))
    assert (derived.codes[parents] == tile_code(level[below] - 1, x[below] >> 1, y[below] >> 1)).all()
    assert (derived.errors[parents] >= derived.errors[below]).all()
    assert (derived.regions[parents][:, :2] <= derived.regions[below][:, :2]).all()
    assert (derived.regions[parents][:, 2:] >= derived.regions[below][:, 2:]).all()
    assert (derived.tops[parents] >= derived.tops[below]).all()
    leaves = ~np.isin(np.arange(len(level)), parents)
    assert (derived.errors[leaves] == 0.0).all()
    assert derived.errors[0] > 0.0


def test_facts_after_an_edit() -> None:
    outlines = outlines_of(500)
    plan = TilePlan.make(outlines, ONE, capacity=3000)
    facts = facts_of(plan, outlines)
    last = facts.rows[[-1]].copy()
    last["top"] = 900.0
    code = int(last["code"][0])
    assert facts.replaced(last).bbox()[5] == 900.0
    assert code not in facts.replaced(last[:0], [code]).rows["code"].tolist()
    empty = np.zeros(1, dtype=TILE_FACTS)
    empty["code"] = code
    assert len(facts.replaced(empty).rows) == len(facts.rows) - 1


def test_estimates_grow_with_coarseness() -> None:
    outlines = outlines_of(100)
    lod1, block = (estimated_errors(outlines, detail) for detail in (Detail.LOD1, Detail.BLOCK))
    assert (block >= lod1).all()
    assert lod1.max() <= 6.0


def test_every_tile_stands_in_one_subtree() -> None:
    outlines = outlines_of(4000)
    plan = TilePlan.make(outlines, ONE, capacity=300)
    derived = facts_of(plan, outlines).derived(plan)
    depth = subtree_depth(plan.levels)
    files = {(item.level, item.x, item.y) for item in described_subtrees(derived, depth, plan.levels)}
    level, x, y = (part.tolist() for part in derived.tiles())
    assert {subtree_root(*tile, depth) for tile in zip(level, x, y, strict=True)} == files


@pytest.mark.parametrize("details", [ONE, ALL])
def test_a_plan_of_the_whole_globe_has_what_crosses_its_seam(details: tuple[Detail, ...]) -> None:
    """Houses on five continents, across the antimeridian and around a pole: none is outside."""
    west = np.array([10.0, -70.0, 100.0, 179.9999, 18.4, -179.9])
    wide = np.array([3e-4, 3e-4, 3e-4, 2e-4, 296.6, 3e-4])
    south = np.array([50.0, -30.0, 20.0, -17.0, 89.9996, 10.0])
    count = len(west)
    globe = Outlines(
        np.arange(count), np.column_stack((west, south, west + wide, south + 3e-4)), np.zeros(count), np.full(count, 9.0),
        np.full(count, 50.0), np.full(count, 30),
    )  # fmt: skip
    plan = TilePlan.make(globe, details, capacity=60)
    assert (plan.placements(globe).level >= 0).all()
    assert plan.placements(globe).rows.max() == count - 1
