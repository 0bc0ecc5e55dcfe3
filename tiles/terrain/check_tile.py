"""What can be wrong with one quantized-mesh tile."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tiles.terrain.errors import TerrainError
from tiles.terrain.mesh import LARGEST, TileMesh
from tiles.terrain.quantized_mesh import METADATA_EXTENSION, NORMALS_EXTENSION, WATER_EDGE, WATER_EXTENSION
from tiles.three_d.placement import to_ecef, up_vectors

type Fault = tuple[str, str]
"""A short stable name of the rule, and what is wrong."""

_SEMI_AXES = np.array([6378137.0, 6378137.0, 6356752.314245179])
_SLACK = 1.0
_EDGES = ("west", "south", "east", "north")


def check_tile(mesh: TileMesh, extensions: Sequence[str] = ()) -> list[Fault]:
    """What is wrong with a tile that could be read; `extensions` are those that layer.json promises."""
    faults = _header(mesh) or _vertices(mesh)
    if faults:
        return faults
    faults = _triangles(mesh)
    if faults:
        return faults
    return [*_edges(mesh), *_sphere(mesh), *_horizon(mesh), *_extensions(mesh, extensions)]


def _header(mesh: TileMesh) -> list[Fault]:
    if not np.isfinite(mesh.header).all():
        return [("header", f"holds numbers that are not finite: {mesh.header}")]
    low, high = mesh.header[3:5]
    if low > high or low < -20_000.0 or high > 20_000.0:
        return [("heights", f"lowest {low} m and highest {high} m are no range of heights on Earth")]
    if mesh.header[8] <= 0.0:
        return [("sphere", f"the bounding sphere has radius {mesh.header[8]}")]
    return []


def _vertices(mesh: TileMesh) -> list[Fault]:
    if len(mesh.u) < 3 or len(mesh.triangles) < 1:
        return [("mesh", f"has {len(mesh.u)} vertices and {len(mesh.triangles)} triangles")]
    for name, values in (("u", mesh.u), ("v", mesh.v), ("height", mesh.h)):
        if values.min() < 0 or values.max() > LARGEST:
            return [
                ("range", f"{name} runs from {values.min()} to {values.max()}; allowed are 0 to {LARGEST}")
            ]
    return []


def _triangles(mesh: TileMesh) -> list[Fault]:
    index = mesh.triangles
    if index.min() < 0 or index.max() >= len(mesh.u):
        return [("indices", f"run from {index.min()} to {index.max()}; there are {len(mesh.u)} vertices")]
    if len(np.unique(index)) != len(mesh.u):
        return [("indices", f"{len(mesh.u) - len(np.unique(index))} vertices belong to no triangle")]
    if len(np.unique(np.column_stack((mesh.u, mesh.v)), axis=0)) != len(mesh.u):
        return [("mesh", "two vertices lie at the same place")]
    x, y = mesh.u[index], mesh.v[index]
    twice = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    if twice.min() <= 0:
        return [("winding", f"{int((twice <= 0).sum())} triangles are flat or seen from below")]
    if twice.sum() != 2 * LARGEST**2:
        return [("cover", f"the triangles cover {twice.sum() / (2 * LARGEST**2):.4f} of the tile")]
    sides = np.sort(np.concatenate((index[:, [0, 1]], index[:, [1, 2]], index[:, [2, 0]])), axis=1)
    unique, uses = np.unique(sides, axis=0, return_counts=True)
    outer = unique[uses == 1]
    on_border = np.zeros(len(outer), dtype=np.bool_)
    for axis, value in ((mesh.u, 0), (mesh.v, 0), (mesh.u, LARGEST), (mesh.v, LARGEST)):
        on_border |= (axis[outer] == value).all(axis=1)
    if uses.max() > 2 or not on_border.all():
        return [("cover", "triangles overlap, or leave holes between them")]
    return []


def _edges(mesh: TileMesh) -> list[Fault]:
    faults = []
    ends = ((mesh.u, 0), (mesh.v, 0), (mesh.u, LARGEST), (mesh.v, LARGEST))
    for name, listed, (axis, value) in zip(_EDGES, mesh.edges, ends, strict=True):
        there = np.flatnonzero(axis == value)
        if listed.size and listed.max() >= len(mesh.u):
            faults.append(("edges", f"the {name}ern edge names vertex {listed.max()} of {len(mesh.u)}"))
        elif not np.array_equal(np.sort(listed), there):
            faults.append(
                (
                    "edges",
                    f"the {name}ern edge lists {len(listed)} vertices; {len(there)} lie on it, or it lists others",
                )
            )
    return faults


def _sphere(mesh: TileMesh) -> list[Fault]:
    ecef = to_ecef(*mesh.places.T)
    center, radius = np.array(mesh.header[5:8]), mesh.header[8]
    slack = _SLACK + mesh.step
    away = float(np.linalg.norm(ecef - center, axis=1).max())
    faults: list[Fault] = []
    if away > radius + slack:
        faults.append(("sphere", f"a vertex lies {away - radius:.1f} m outside the bounding sphere"))
    elif radius > 4.0 * away + slack:
        faults.append(("sphere", f"the bounding sphere's radius is {radius:.0f} m, the tile's {away:.0f} m"))
    middle = np.array(mesh.header[:3])
    if np.linalg.norm(middle - (ecef.min(axis=0) + ecef.max(axis=0)) / 2.0) > away + slack:
        faults.append(("center", "the center lies outside the tile"))
    return faults


def _horizon(mesh: TileMesh) -> list[Fault]:
    """The occlusion point has to be seen from wherever a vertex is: its own distance to the horizon must reach over theirs."""
    point = np.array(mesh.header[9:12])
    size = float(np.linalg.norm(point))
    if size < 0.9:
        return [
            (
                "horizon",
                f"the horizon occlusion point lies inside the globe ({size:.3f} radii from its middle)",
            )
        ]
    direction = point / size
    scaled = to_ecef(*mesh.places.T) / _SEMI_AXES
    length = np.linalg.norm(scaled, axis=1)
    if mesh.box[2] - mesh.box[0] >= 180.0:
        return []  # half the globe or all of it: never below every horizon
    # A vertex at angle a from the point's direction and angle b above its own horizon is hidden only where the point is.
    a = np.arccos(np.clip(scaled @ direction / length, -1.0, 1.0))
    b = np.arccos(np.minimum(1.0 / length, 1.0))
    needed = 1.0 / np.cos(np.clip(a + b, 0.0, np.pi / 2 - 1e-9))
    worst = float(needed.max())
    if size < min(worst, 19.9) * (1.0 - 1e-6):
        return [("horizon", f"the horizon occlusion point lies {size:.6f} radii out; {worst:.6f} are needed")]
    return []


def _extensions(mesh: TileMesh, promised: Sequence[str]) -> list[Fault]:
    faults: list[Fault] = []
    known = {NORMALS_EXTENSION, WATER_EXTENSION, METADATA_EXTENSION}
    faults.extend(("extension", f"{number} is not known") for number in sorted(set(mesh.extensions) - known))
    if "octvertexnormals" in promised and NORMALS_EXTENSION not in mesh.extensions:
        faults.append(("normals", "layer.json promises normals; this tile has none"))
    if "watermask" in promised and WATER_EXTENSION not in mesh.extensions:
        faults.append(("water", "layer.json promises a water mask; this tile has none"))
    faults.extend(check_normals(mesh))
    water = mesh.extensions.get(WATER_EXTENSION)
    if water is not None and len(water) not in (1, WATER_EDGE**2):
        faults.append(("water", f"the water mask has {len(water)} bytes; allowed are 1 and {WATER_EDGE**2}"))
    return faults


def check_normals(mesh: TileMesh) -> list[Fault]:
    """One normal a vertex, and none that points into the ground."""
    content = mesh.extensions.get(NORMALS_EXTENSION)
    if content is None:
        return []
    if len(content) != 2 * len(mesh.u):
        return [("normals", f"{len(content)} bytes; {len(mesh.u)} vertices need {2 * len(mesh.u)}")]
    try:
        normals = mesh.normals()
    except TerrainError as error:
        return [("normals", str(error))]
    if normals is None or not np.isfinite(normals).all():
        return [("normals", "hold one without a direction")]
    up = up_vectors(mesh.places[:, 0], mesh.places[:, 1])
    lowest = float((normals * up).sum(axis=1).min())
    # Octahedral coding in bytes turns a normal by less than a degree.
    return [] if lowest > -0.02 else [("normals", "point into the ground")]
