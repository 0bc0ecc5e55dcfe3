"""An execution ends within its time and its vertices, whatever polygon it is given."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from providers.errors import AnswerTooLarge
from providers.processes.budget import Budget

SQUARES = shapely.box(np.arange(100.0), 0, np.arange(100.0) + 1, 1)


def comb(teeth: int) -> shapely.Polygon:
    """A polygon that cuts whatever lies in it into many pieces."""
    points = [(0.001 * n, 0.9 if n % 2 else 0.1) for n in range(teeth)]
    return shapely.Polygon([(0, 0), *points, (0.001 * teeth, 0)])


def test_vertices_at_the_limit_and_one_below() -> None:
    whole = shapely.box(-1, -1, 200, 2)
    assert len(Budget(vertices=500).clipped(SQUARES, whole)) == 100
    with pytest.raises(AnswerTooLarge, match="499"):
        Budget(vertices=499).clipped(SQUARES, whole)


def test_vertices_of_what_a_comb_cuts() -> None:
    with pytest.raises(AnswerTooLarge):
        Budget(vertices=600).clipped(SQUARES, comb(2001))


def test_time_is_looked_at_after_each_batch() -> None:
    clock = iter(range(1000))
    with pytest.raises(AnswerTooLarge, match="3 seconds"):
        Budget(seconds=3, now=lambda: float(next(clock))).clipped(SQUARES, shapely.box(0, 0, 50, 0.5))


def test_united_in_batches_is_the_union() -> None:
    assert Budget().united(SQUARES).equals(shapely.box(0, 0, 100, 1))
    assert Budget().united(SQUARES[:0]).is_empty
