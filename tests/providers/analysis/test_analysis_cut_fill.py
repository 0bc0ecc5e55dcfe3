"""Volumes between the ground and a design."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from providers.analysis.cut_fill import cut_and_fill
from providers.errors import AnswerTooLarge, InvalidParameter


@pytest.fixture
def square(at):
    return shapely.Polygon([at(-50, -50), at(50, -50), at(50, 50), at(-50, 50)])


@pytest.mark.parametrize(
    ("level", "cut", "fill"), [(7.0, 30_000.0, 0.0), (12.0, 0.0, 20_000.0), (10.0, 0.0, 0.0)]
)
def test_level_ground(flat, square, level, cut, fill):
    found = cut_and_fill(flat, square, level, 1.0)
    assert found.area == pytest.approx(10_000, rel=0.01)
    assert (found.cut, found.fill) == (
        pytest.approx(cut, rel=0.01, abs=1),
        pytest.approx(fill, rel=0.01, abs=1),
    )


def test_slope_is_dug_on_one_side_and_filled_on_the_other(ground, square):
    slope = ground(lambda x, y: 10.0 + 0.1 * x)
    found = cut_and_fill(slope, square, 10.0, 1.0)
    # Half of 100 m x 50 m x 5 m each.
    assert found.cut == pytest.approx(12_500, rel=0.01)
    assert found.fill == pytest.approx(12_500, rel=0.01)
    assert (found.lowest, found.highest) == (pytest.approx(-5, abs=0.1), pytest.approx(5, abs=0.1))


def test_two_surveys(ground, flat, square):
    later = ground(lambda x, y: np.where((np.abs(x) < 10) & (np.abs(y) < 10), 4.0, 10.0), "later")
    found = cut_and_fill(flat, square, later, 0.5)
    assert found.cut == pytest.approx(20 * 20 * 6, rel=0.02)
    assert found.fill == pytest.approx(0.0, abs=1e-6)


def test_gaps_are_told_and_nothing_at_all_is_refused(ground, square):
    half = ground(lambda x, y: np.where(x < 0, 10.0, np.nan))
    found = cut_and_fill(half, square, 9.0, 1.0)
    assert found.area == pytest.approx(5_000, rel=0.02)
    assert found.unknown == pytest.approx(5_000, rel=0.02)
    with pytest.raises(InvalidParameter):
        cut_and_fill(ground(lambda x, y: np.full(len(x), np.nan)), square, 9.0, 1.0)
    with pytest.raises(AnswerTooLarge):
        cut_and_fill(half, square, 9.0, 0.1, maximum=999_999)
