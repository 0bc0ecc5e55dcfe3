"""The few solids that models are made of, as meshes with feature ids 0. Lengths in metres, z up."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tiles.three_d.mesh import Mesh

type Point = tuple[float, float, float]


def box(low: Point, high: Point) -> Mesh:
    """A box with flat faces between two corners."""
    corners = np.array([[(low, high)[(n >> axis) & 1][axis] for axis in range(3)] for n in range(8)])
    faces = ((0, 4, 6, 2), (1, 3, 7, 5), (0, 1, 5, 4), (2, 6, 7, 3), (0, 2, 3, 1), (4, 5, 7, 6))
    return _flat([corners[list(face)] for face in faces])


def frustum(start: Point, end: Point, radii: tuple[float, float], sides: int, *, smooth: bool = True) -> Mesh:
    """A round pole or cone between two points, of the given radii there, closed at its end."""
    axis = np.array(end) - np.array(start)
    along = axis / np.linalg.norm(axis)
    beside = np.cross(along, [0.0, 1.0, 0.0] if abs(along[1]) < 0.9 else [1.0, 0.0, 0.0])
    beside /= np.linalg.norm(beside)
    angles = np.arange(sides + 1) * (2.0 * math.pi / sides)
    around = np.cos(angles)[:, None] * beside + np.sin(angles)[:, None] * np.cross(along, beside)
    lower, upper = np.array(start) + radii[0] * around, np.array(end) + radii[1] * around
    lid = [upper[:-1]] if radii[1] > 0.0 else []
    if not smooth:
        walls = [np.array([lower[n], lower[n + 1], upper[n + 1], upper[n]]) for n in range(sides)]
        return _flat([*walls, *lid])
    lean = (radii[0] - radii[1]) / float(np.linalg.norm(axis))
    normals = around + lean * along
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    first = np.arange(sides)
    triangles = [np.column_stack((first, first + 1, first + sides + 2))]
    if radii[1] > 0.0:
        triangles.append(np.column_stack((first, first + sides + 2, first + sides + 1)))
    wall = _mesh(
        np.concatenate((lower, upper)), np.concatenate((normals, normals)), np.concatenate(triangles)
    )
    return joined([wall, _flat(lid)]) if lid else wall


def ball(centre: Point, radii: Point, *, rings: int, sides: int, rough: float = 0.0, seed: int = 0) -> Mesh:
    """An ellipsoid; `rough` moves its vertices by up to that share of the radii, always in the same way for a `seed`."""
    heights = np.linspace(-math.pi / 2.0, math.pi / 2.0, rings + 1)
    angles = np.arange(sides) * (2.0 * math.pi / sides)
    unit = np.array(
        [
            (math.cos(up) * math.cos(turn), math.cos(up) * math.sin(turn), math.sin(up))
            for up in heights[1:-1]
            for turn in angles
        ]
    )
    unit = np.concatenate(([[0.0, 0.0, -1.0]], unit, [[0.0, 0.0, 1.0]]))
    moved = unit * (1.0 + rough * np.random.default_rng(seed).uniform(-1.0, 1.0, (len(unit), 1)))
    normals = unit / np.array(radii)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    triangles: list[tuple[int, int, int]] = []
    last = len(unit) - 1
    for n in range(sides):
        m = (n + 1) % sides
        triangles.append((0, 1 + m, 1 + n))
        top = 1 + (rings - 2) * sides
        triangles.append((last, top + n, top + m))
        for ring in range(rings - 2):
            a, b = 1 + ring * sides + n, 1 + ring * sides + m
            triangles += [(a, b, b + sides), (a, b + sides, a + sides)]
    return _mesh(np.array(centre) + moved * np.array(radii), normals, np.array(triangles))


def leaf(points: Sequence[Point]) -> Mesh:
    """A flat polygon that is seen from both sides."""
    corners = np.array(points)
    return _flat([corners, corners[::-1]])


def joined(meshes: Sequence[Mesh]) -> Mesh:
    """Several solids as one mesh."""
    starts = np.cumsum([0, *(len(mesh.positions) for mesh in meshes[:-1])])
    return _mesh(
        np.concatenate([mesh.positions for mesh in meshes]),
        np.concatenate([mesh.normals for mesh in meshes]),
        np.concatenate([mesh.triangles + start for mesh, start in zip(meshes, starts, strict=True)]),
    )


def _flat(faces: Sequence[NDArray[np.float64]]) -> Mesh:
    """Convex faces, each with its own corners and one normal."""
    positions, normals, triangles = [], [], []
    count = 0
    for face in faces:
        normal = np.cross(face[1] - face[0], face[2] - face[0])
        positions.append(face)
        normals.append(np.tile(normal / np.linalg.norm(normal), (len(face), 1)))
        triangles += [(count, count + n, count + n + 1) for n in range(1, len(face) - 1)]
        count += len(face)
    return _mesh(np.concatenate(positions), np.concatenate(normals), np.array(triangles))


def _mesh(positions: NDArray[np.float64], normals: NDArray[np.float64], triangles: NDArray[np.int64]) -> Mesh:
    return Mesh(positions, normals, np.zeros(len(positions), dtype=np.int64), triangles.astype(np.int64))
