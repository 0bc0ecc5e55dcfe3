"""Distances between a planned line and what is there."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from providers.analysis.clearance import clearances
from providers.analysis.distances import segment_to_triangles
from providers.analysis.scene import Scene


def _line(at, *points):
    return np.array([[*at(x, y), z] for x, y, z in points])


def test_crossing_over_a_pipe(street, at):
    # The pipe lies from 7 to 8 m; the new one crosses at 9.5 m with a radius of 0.25 m.
    found = clearances(street, _line(at, (-20, 5, 9.5), (8, 5, 9.5)), 0.25, 5.0)
    pipe = next(one for one in found if one.object.id == "under-1")
    assert pipe.distance == pytest.approx(1.25, abs=0.02)
    assert pipe.horizontal == pytest.approx(0.0, abs=0.02)
    assert pipe.vertical == pytest.approx(1.5, abs=0.02)
    assert 18.9 < pipe.along < 21.1


def test_nearest_first_and_within_the_limit(street, at):
    line = _line(at, (9, -5, 6), (9, 5, 6))
    found = clearances(street, line, 0.0, 3.5)
    assert [one.object.id for one in found] == ["under-0"]
    assert found[0].distance == pytest.approx(3.0, abs=0.02)
    assert [one.object.id for one in clearances(street, line, 0.0, 8.5)] == ["under-0", "houses-0", "under-1"]
    assert clearances(street, line, 0.0, 2.9) == []


def test_overlap_is_below_zero(street, at):
    found = clearances(street, _line(at, (-20, 0, 7.5), (20, 0, 7.5)), 0.3, 1.0)
    assert found[0].distance == pytest.approx(-0.3, abs=1e-6)
    assert {one.object.id for one in found if one.distance < 0} == {"under-0", "under-1"}


def test_only_the_collections_asked_for(street, at):
    line = _line(at, (9, -5, 6), (9, 5, 6))
    assert {one.object.collection for one in clearances(street, line, 0.0, 20.0, ("houses",))} == {"houses"}
    assert clearances(Scene(()), line, 0.0, 20.0) == []


@pytest.mark.parametrize("seed", range(20))
def test_distance_agrees_with_sampling(seed):
    """The closed form against the least distance of 400 x 2,000 sampled points, which can only be larger."""
    random = np.random.default_rng(seed)
    triangle = random.uniform(-5, 5, (1, 3, 3))
    start, end = random.uniform(-8, 8, (2, 3))
    found = segment_to_triangles(start, end, triangle)
    share = np.linspace(0, 1, 400)[:, None]
    weights = random.dirichlet([1.0, 1.0, 1.0], 2000)
    weights[:3] = np.eye(3)
    on_line, on_face = start + share * (end - start), weights @ triangle[0]
    sampled = np.linalg.norm(on_line[:, None] - on_face[None], axis=2).min()
    assert found.distance[0] <= sampled + 1e-9
    assert found.distance[0] >= sampled - 0.35
    assert np.linalg.norm(found.on_line[0] - found.on_triangle[0]) == pytest.approx(
        found.distance[0], abs=1e-9
    )


def test_distance_to_a_flat_triangle_is_that_to_its_longest_edge():
    line = np.array([[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [2.0, 0.0, 0.0]]])
    found = segment_to_triangles(np.array([1.5, 3.0, 0.0]), np.array([1.5, 2.0, 0.0]), line)
    assert found.distance[0] == pytest.approx(
        shapely.LineString([(0, 0), (2, 0)]).distance(shapely.Point(1.5, 2))
    )
