"""Values between scattered places: inverse distances, or a linear surface over their triangulation."""

from __future__ import annotations

from enum import StrEnum

import numpy as np
import shapely
from numpy.typing import NDArray

from tiles.three_d.errors import ThreeDError

Numbers = NDArray[np.float64]

_NEIGHBOURS = 12
_POWER = 2.0
_CHUNK = 4096


class Interpolation(StrEnum):
    """How values between boreholes are found."""

    IDW = "idw"
    """Mean of the twelve nearest, weighted by 1 / distance squared; everywhere, and never beyond their range."""
    LINEAR = "linear"
    """Linear over the Delaunay triangulation; nothing (NaN) outside its hull."""


def interpolate(places: Numbers, values: Numbers, at: Numbers, how: Interpolation) -> Numbers:
    """Values (m, c) at `at` (m, 2) of `values` (n, c) at `places` (n, 2), all places different.

    Raises ThreeDError where there are too few: 1 for inverse distances, 3 not on one line for the linear surface.
    """
    if how is Interpolation.LINEAR:
        return _linear(places, values, at)
    if len(places) < 1:
        raise ThreeDError("nothing can be interpolated from no place at all")
    return _inverse_distances(places, values, at)


def _inverse_distances(places: Numbers, values: Numbers, at: Numbers) -> Numbers:
    count = min(_NEIGHBOURS, len(places))
    result = np.empty((len(at), values.shape[1]))
    for begin in range(0, len(at), _CHUNK):
        some = at[begin : begin + _CHUNK]
        squares = np.sum((some[:, None] - places[None]) ** 2, axis=2)
        near = np.argpartition(squares, count - 1, axis=1)[:, :count]
        distance = np.take_along_axis(squares, near, axis=1)
        # A micrometre: at a place itself its own value wins.
        weight = 1.0 / np.maximum(distance, 1e-12) ** (_POWER / 2.0)
        result[begin : begin + _CHUNK] = (
            np.einsum("mk,mkc->mc", weight, values[near]) / weight.sum(axis=1)[:, None]
        )
    return result


def _linear(places: Numbers, values: Numbers, at: Numbers) -> Numbers:
    found = shapely.delaunay_triangles(shapely.multipoints(places))
    triangles = shapely.get_parts(found)
    if len(triangles) == 0:
        raise ThreeDError(
            f"a linear surface needs three places that are not on one line; there are {len(places)}"
        )
    corners = shapely.get_coordinates(triangles).reshape(-1, 4, 2)[:, :3]
    rows = _rows_of(corners.reshape(-1, 2), places).reshape(-1, 3)
    result = np.full((len(at), values.shape[1]), np.nan)
    which, triangle = shapely.STRtree(triangles).query(shapely.points(at), predicate="intersects")
    # A point on an edge is in two triangles, which agree there.
    a, b, c = (corners[triangle, corner] for corner in range(3))
    area = _cross(b - a, c - a)
    p = at[which]
    share = np.stack((_cross(b - p, c - p), _cross(c - p, a - p), _cross(a - p, b - p)), axis=1)
    share /= area[:, None]
    result[which] = np.einsum("qk,qkc->qc", share, values[rows[triangle]])
    return result


def _cross(one: Numbers, other: Numbers) -> Numbers:
    return np.asarray(one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0])


def _rows_of(corners: Numbers, places: Numbers) -> NDArray[np.intp]:
    """The row (n,) in `places` of each corner, which is one of them bit by bit."""
    order = np.lexsort((places[:, 1], places[:, 0]))
    known = {tuple(place): row for row, place in zip(order.tolist(), places[order].tolist(), strict=True)}
    return np.array([known[tuple(corner)] for corner in corners.tolist()], dtype=np.intp)
