"""Outlines of cross sections, of width 1 and height 1 around the axis; scaled per object when they are swept along a line."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

TUBE_SIDES = 8
FINE_SIDES = 12
"""Of round bodies so wide that one sees their corners."""
_ARCH_SIDES = 12


class Section(IntEnum):
    """The shape of a cross section."""

    CIRCLE = 0
    BOX = 1
    HORSESHOE = 2
    """A flat floor, upright walls to half the height, and half an ellipse above."""

    @property
    def word(self) -> str:
        """How options and attributes name it."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Profile:
    """One outline.

    `points` (k, 2) lie right of and above the axis, seen along the line, between -0.5 and 0.5; `normals` (k, 2) point outwards
    and are unit vectors where width equals height. `edges` (e, 2) are pairs of points, counter-clockwise seen along the line;
    a corner with two normals is there twice. `outline` (c,) names each corner once, in the same order: the ring of a lid. It
    is convex.
    """

    points: Points
    normals: Points
    edges: NDArray[np.int64]
    outline: NDArray[np.int64]

    def sized(self, width: Points, height: Points) -> Points:
        """Points (s, k, 2) of sections of these widths and heights (s,)."""
        return np.asarray(self.points[None] * np.stack((width, height), axis=1)[:, None])

    def sized_normals(self, width: Points, height: Points) -> Points:
        """Unit normals (s, k, 2) of sections of these widths and heights (s,)."""
        scaled = self.normals[None] * np.stack((height, width), axis=1)[:, None]
        return np.asarray(scaled / np.linalg.norm(scaled, axis=2, keepdims=True))


def circle(sides: int = TUBE_SIDES) -> Profile:
    """A round section of `sides` corners, shaded smooth."""
    angles = np.arange(sides) * (2.0 * np.pi / sides)
    directions = np.column_stack((np.cos(angles), np.sin(angles)))
    ring = np.arange(sides)
    return Profile(directions / 2.0, directions, np.column_stack((ring, (ring + 1) % sides)), ring)


def box() -> Profile:
    """A rectangle with sharp edges."""
    corners = np.array([[0.5, -0.5], [0.5, 0.5], [-0.5, 0.5], [-0.5, -0.5]])
    normals = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    start = np.arange(4)
    points = np.stack((corners, np.roll(corners, -1, axis=0)), axis=1).reshape(-1, 2)
    return Profile(
        points, np.repeat(normals, 2, axis=0), np.column_stack((2 * start, 2 * start + 1)), 2 * start
    )


def horseshoe() -> Profile:
    """A flat floor, walls, and an arch of half an ellipse."""
    angles = np.linspace(0.0, np.pi, _ARCH_SIDES + 1)
    arch = np.column_stack((np.cos(angles), np.sin(angles))) / 2.0
    points = [[0.5, -0.5], [0.5, 0.0], *arch.tolist(), [-0.5, 0.0], [-0.5, -0.5], [-0.5, -0.5], [0.5, -0.5]]
    normals = [[1, 0], [1, 0], *(2.0 * arch).tolist(), [-1, 0], [-1, 0], [0, -1], [0, -1]]
    last = 2 + len(arch)
    arch_edges = [[2 + step, 3 + step] for step in range(len(arch) - 1)]
    edges = [[0, 1], *arch_edges, [last, last + 1], [last + 2, last + 3]]
    outline = [0, *range(2, last), last + 1]
    return Profile(np.array(points), np.array(normals, dtype=np.float64), np.array(edges), np.array(outline))


PROFILES = {Section.CIRCLE: circle(), Section.BOX: box(), Section.HORSESHOE: horseshoe()}
"""The outline of each shape."""
FINE_CIRCLE = circle(FINE_SIDES)
