"""Points of a polygon get another class: exactly those, and nothing else in the file changes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from pointclouds.cloud.nodes import compute_nodes, load_nodes, nodes_path
from pointclouds.copc.check import check_copc
from pointclouds.copc.reader import CopcFile
from pointclouds.errors import InvalidCopcError, OutputError, QueryError
from pointclouds.mosaic.reclassify import NOTHING, Reclassification, nodes_met, points_met, reclassify_copc
from pointclouds.mosaic.rewriting import rewrite_copc

WITH_HOLE = shapely.Polygon(
    [(84910, 447510), (84940, 447510), (84940, 447550), (84910, 447550)],
    [[(84920, 447520), (84930, 447520), (84930, 447530), (84920, 447530)]],
)
TWO = shapely.MultiPolygon(
    [shapely.box(84905, 447505, 84911, 447512), shapely.box(84990, 447590, 85010, 447610)]
)


class Slope:
    """A ground that rises with x and is not known in the south."""

    def heights(self, x: Any, y: Any) -> Any:
        return np.where(y < 447520, np.nan, 2 + 0.05 * (x - 84900))


@pytest.mark.parametrize(
    "change",
    [
        Reclassification(WITH_HOLE, 9),
        Reclassification(TWO, 17, frozenset({6})),
        Reclassification(WITH_HOLE, 2, frozenset({2, 6})),
        Reclassification(WITH_HOLE, 8, None, (11.0, 12.0)),
        Reclassification(WITH_HOLE, 8, None, (-math.inf, 4.0)),
        Reclassification(WITH_HOLE, 8, None, (3.0, math.inf), Slope()),
    ],
)
def test_exactly_the_points_inside_change(
    fine_copc: Path, tmp_path: Path, all_records: Any, change: Reclassification
) -> None:
    out = tmp_path / "out.copc.laz"
    with CopcFile(fine_copc) as copc:
        done = reclassify_copc(copc, load_nodes(nodes_path(fine_copc)), out, change)
        before = all_records(fine_copc)
        xyz = copc.coordinates(before)
        wanted = shapely.intersects_xy(change.area, xyz[:, 0], xyz[:, 1]) & (
            before["Classification"] != change.to
        )
        if change.from_classes is not None:
            wanted &= np.isin(before["Classification"], list(change.from_classes))
        if change.heights is not None:
            z = xyz[:, 2] - (0 if change.ground is None else change.ground.heights(xyz[:, 0], xyz[:, 1]))
            wanted &= (z >= change.heights[0]) & (z <= change.heights[1])
    assert 0 < wanted.sum() < len(before)
    expected = before.copy()
    expected["Classification"][wanted] = change.to
    assert np.array_equal(all_records(out), expected)
    codes, counts = np.unique(before["Classification"][wanted], return_counts=True)
    assert done.changed == dict(zip(codes.tolist(), counts.tolist(), strict=True))
    assert check_copc(out) == []


def test_other_chunks_and_records_are_the_same_bytes(fine_copc: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.copc.laz"
    with CopcFile(fine_copc) as copc:
        table = load_nodes(nodes_path(fine_copc))
        change = Reclassification(shapely.box(84910, 447510, 84920, 447520), 12)
        done = reclassify_copc(copc, table, out, change)
        met = set(nodes_met(table, change).tolist())
        assert 0 < done.nodes <= len(met) < len(copc.entries)
        assert done.points_read == points_met([table], change)
        with CopcFile(out) as changed:
            for number, (one, other) in enumerate(zip(copc.entries, changed.entries, strict=True)):
                if number not in met:
                    assert copc.read_chunk(one) == changed.read_chunk(other)
            assert [record.data for record in copc.header.records if record.user_id != "copc"] == [
                record.data for record in changed.header.records if record.user_id != "copc"
            ]
    kept, counted = load_nodes(nodes_path(out)), compute_nodes(CopcFile(out))
    assert 12 in kept.classes
    assert kept.classes == counted.classes
    for name in ("entries", "class_counts", "return_counts"):
        assert np.array_equal(getattr(kept, name), getattr(counted, name)), name
    for name in ("lowest", "highest", "sums", "squares"):
        assert np.allclose(getattr(kept, name), getattr(counted, name), equal_nan=True), name


def test_a_point_on_the_border_belongs_to_the_area(fine_copc: Path, tmp_path: Path, all_records: Any) -> None:
    with CopcFile(fine_copc) as copc:
        records = all_records(fine_copc)
        x, y, _ = copc.coordinates(records[:1])[0]
        corner = Reclassification(shapely.box(x, y, x + 1e-4, y + 1e-4), 30)
        assert (
            reclassify_copc(copc, load_nodes(nodes_path(fine_copc)), tmp_path / "o.copc.laz", corner).count
            >= 1
        )


@pytest.mark.parametrize(
    "change",
    [
        Reclassification(shapely.box(0, 0, 1, 1), 9),
        Reclassification(WITH_HOLE, 9, frozenset({200})),
        Reclassification(WITH_HOLE, 9, None, (500.0, 600.0)),
        Reclassification(WITH_HOLE, 9, frozenset({6}), (30.0, 40.0)),
    ],
)
def test_nothing_is_written_where_nothing_changes(
    fine_copc: Path, tmp_path: Path, change: Reclassification
) -> None:
    with CopcFile(fine_copc) as copc:
        done = reclassify_copc(copc, load_nodes(nodes_path(fine_copc)), tmp_path / "o.copc.laz", change)
    assert done.count == 0
    assert done.nodes == 0
    assert NOTHING.count == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((WITH_HOLE, 256), "256 is no class"),
        ((WITH_HOLE, -1), "-1 is no class"),
        ((WITH_HOLE, 2, frozenset({300})), "300 is no class"),
        ((WITH_HOLE, 2, frozenset({2})), "already are of class 2"),
        ((shapely.Point(1, 2), 2), "a Point"),
        ((shapely.Polygon(), 2), "an empty Polygon"),
        ((shapely.Polygon([(0, 0), (1, 1), (0, 1), (1, 0)]), 2), "no valid polygon"),
        ((shapely.Polygon([(0, 0), (math.inf, 1), (0, 1)]), 2), "no finite number"),
        ((WITH_HOLE, 2, None, (3.0, 2.0)), "no range"),
        ((WITH_HOLE, 2, None, (math.nan, 2.0)), "no range"),
        ((WITH_HOLE, 2, None, None, Slope()), "need a lowest or a highest"),
        ((shapely.segmentize(shapely.box(0, 0, 1, 1), 4 / 100_000), 2), "100,000 corners"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: tuple[Any, ...], says: str) -> None:
    with pytest.raises(QueryError, match=says):
        Reclassification(*arguments)


def test_positions_may_not_change(fine_copc: Path, tmp_path: Path) -> None:
    def moved(records: Any) -> Any:
        records["X"] += 1
        return records

    with CopcFile(fine_copc) as copc, pytest.raises(OutputError, match="neither positions"):
        rewrite_copc(copc, load_nodes(nodes_path(fine_copc)), tmp_path / "o.copc.laz", [0], moved)
    assert list(tmp_path.iterdir()) == []


def test_a_file_with_gaps_between_its_chunks_is_refused(fine_copc: Path, tmp_path: Path) -> None:
    with CopcFile(fine_copc) as copc:
        copc.entries["byte_size"][0] -= 1
        with pytest.raises(InvalidCopcError, match="one behind the other"):
            rewrite_copc(
                copc, load_nodes(nodes_path(fine_copc)), tmp_path / "o.copc.laz", [0], lambda one: one
            )
