"""The nodes of a scene layer, and their pages.

I3S only knows replacement: a node's mesh goes when its children are shown. Where our tiles add, a tile with children becomes two
nodes: one above, and a leaf of the same mesh beside the children, so that what the tile shows stays. Both name one resource.

Node 0 is a root without a mesh, as clients expect. Then follow the tiles, parents before children, then the leaves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiles.three_d.facts import DerivedFacts
from tiles.three_d.placement import LocalFrame, to_ecef
from tiles.three_d.plan import Refinement
from tiles.three_d.quadtree import tile_code, tile_codes_to_index

NODES_PER_PAGE = 64
# A client of 3D Tiles refines where an error is seen as 16 pixels; a node where its sphere covers so many square pixels.
_PIXELS = 16.0
_NEVER = 1e12


class NodeMesh(NamedTuple):
    """What a page tells of a node's mesh. `material` is the number of the layer's material definition."""

    vertex_count: int
    feature_count: int
    material: int


@dataclass(frozen=True)
class NodeTree:
    """The nodes of a tileset at one moment."""

    facts: DerivedFacts
    refinement: Refinement

    @cached_property
    def _parents(self) -> NDArray[np.int64]:
        """Row of each tile's parent, -1 for the root."""
        level, x, y = tile_codes_to_index(self.facts.codes)
        parents = np.searchsorted(self.facts.codes, tile_code(np.maximum(level - 1, 0), x >> 1, y >> 1))
        return np.where(level == 0, -1, parents)

    @cached_property
    def _children(self) -> list[list[int]]:
        """Rows of each tile's children."""
        result: list[list[int]] = [[] for _ in range(len(self.facts.codes))]
        for row, parent in enumerate(self._parents.tolist()):
            if parent >= 0:
                result[parent].append(row)
        return result

    @cached_property
    def _leaves(self) -> list[int]:
        """Rows of the tiles that stand a second time, as leaves."""
        if self.refinement is Refinement.REPLACE:
            return []
        return [row for row, below in enumerate(self._children) if below and self.facts.has_content[row]]

    @property
    def count(self) -> int:
        """Nodes in all."""
        return 1 + len(self.facts.codes) + len(self._leaves)

    @property
    def pages(self) -> int:
        """Pages in all."""
        return -(-self.count // NODES_PER_PAGE)

    def code_of(self, resource: int) -> int | None:
        """The tile whose mesh has this resource number, None where there is none."""
        row = resource - 1
        if not 0 <= row < len(self.facts.codes) or not self.facts.has_content[row]:
            return None
        return int(self.facts.codes[row])

    def codes_on(self, page: int) -> list[int]:
        """The tiles with meshes that a page names."""
        rows = {self._row(number) for number in self._numbers(page)}
        return [
            int(self.facts.codes[row]) for row in sorted(rows) if row >= 0 and self.facts.has_content[row]
        ]

    def page(self, page: int, meshes: Mapping[int, NodeMesh], *, attributes: bool = True) -> dict[str, Any]:
        """A node page; `meshes` by the codes of `codes_on`. A layer of one mesh has no `attributes`."""
        nodes = [self._node(number, meshes) for number in self._numbers(page)]
        if not attributes:
            for node in nodes:
                node.get("mesh", {}).pop("attribute", None)
        return {"nodes": nodes}

    def _numbers(self, page: int) -> range:
        return range(page * NODES_PER_PAGE, min((page + 1) * NODES_PER_PAGE, self.count))

    def _row(self, number: int) -> int:
        """The tile of a node; -1 for the root."""
        tiles = len(self.facts.codes)
        return number - 1 if number <= tiles else self._leaves[number - tiles - 1]

    def _node(self, number: int, meshes: Mapping[int, NodeMesh]) -> dict[str, Any]:
        tiles = len(self.facts.codes)
        if number == 0:
            return {"index": 0, "lodThreshold": 0.0, "obb": self._box(0), "children": [1]}
        row = self._row(number)
        is_leaf = number > tiles
        node: dict[str, Any] = {
            "index": number,
            "parentIndex": row + 1 if is_leaf else int(self._parents[row]) + 1,
            "lodThreshold": _NEVER if is_leaf else self._threshold(row),
            "obb": self._box(row),
        }
        if not is_leaf and self._children[row]:
            below = [child + 1 for child in self._children[row]]
            own = [tiles + 1 + self._leaf_of[row]] if row in self._leaf_of else []
            node["children"] = own + below
        mesh = meshes.get(int(self.facts.codes[row]))
        if mesh is not None:
            resource = row + 1
            node["mesh"] = {
                "material": {"definition": mesh.material, "resource": resource},
                "geometry": {
                    "definition": 0,
                    "resource": resource,
                    "vertexCount": mesh.vertex_count,
                    "featureCount": mesh.feature_count,
                },
                "attribute": {"resource": resource},
            }
        return node

    @cached_property
    def _leaf_of(self) -> dict[int, int]:
        return {row: number for number, row in enumerate(self._leaves)}

    def _threshold(self, row: int) -> float:
        """Square pixels that the node's sphere covers where its error is seen as `_PIXELS`."""
        error = float(self.facts.errors[row])
        if not self._children[row] or error <= 0.0:
            return _NEVER
        return float(np.pi / 4.0 * (2.0 * _PIXELS * self._radius(row) / error) ** 2)

    def _half_size(self, row: int) -> tuple[float, float, float]:
        west, south, east, north = (float(value) for value in self.facts.regions[row])
        bottom, top = float(self.facts.bottoms[row]), float(self.facts.tops[row])
        middle = (south + north) / 2.0
        around = np.array(
            [[west, middle], [east, middle], [(west + east) / 2.0, south], [(west + east) / 2.0, north]]
        )
        places = to_ecef(around[:, 0], around[:, 1], np.full(4, top))
        wide, high = np.linalg.norm(places[1] - places[0]), np.linalg.norm(places[3] - places[2])
        # A region's edges bend away from its flat middle; the box has to hold them.
        bend = (wide**2 + high**2) / 8.0 / 6_356_000.0
        return float(wide) / 2.0, float(high) / 2.0, (top - bottom) / 2.0 + float(bend)

    def _radius(self, row: int) -> float:
        return float(np.linalg.norm(self._half_size(row)))

    def _box(self, row: int) -> dict[str, Any]:
        """The oriented bounding box: centre in degrees and metres, half sizes east, north, up in metres, turned by a quaternion."""
        west, south, east, north = (float(value) for value in self.facts.regions[row])
        longitude, latitude = (west + east) / 2.0, (south + north) / 2.0
        height = (float(self.facts.bottoms[row]) + float(self.facts.tops[row])) / 2.0
        axes = LocalFrame.at(longitude, latitude, height).axes
        return {
            "center": [(longitude + 180.0) % 360.0 - 180.0, latitude, height],
            "halfSize": list(self._half_size(row)),
            "quaternion": _quaternion(axes.T),
        }

    def centre(self, code: int) -> tuple[float, float, float]:
        """The centre of the box of a tile: what its positions count from. Longitude, latitude (degrees), height (m)."""
        row = int(np.searchsorted(self.facts.codes, code))
        longitude, latitude, height = self._box(row)["center"]
        return longitude, latitude, height


def _quaternion(matrix: NDArray[np.float64]) -> list[float]:
    """Unit quaternion (x, y, z, w) of a rotation matrix."""
    w = np.sqrt(max(0.0, 1.0 + matrix[0, 0] + matrix[1, 1] + matrix[2, 2])) / 2.0
    x = np.copysign(
        np.sqrt(max(0.0, 1.0 + matrix[0, 0] - matrix[1, 1] - matrix[2, 2])) / 2.0, matrix[2, 1] - matrix[1, 2]
    )
    y = np.copysign(
        np.sqrt(max(0.0, 1.0 - matrix[0, 0] + matrix[1, 1] - matrix[2, 2])) / 2.0, matrix[0, 2] - matrix[2, 0]
    )
    z = np.copysign(
        np.sqrt(max(0.0, 1.0 - matrix[0, 0] - matrix[1, 1] + matrix[2, 2])) / 2.0, matrix[1, 0] - matrix[0, 1]
    )
    return [float(x), float(y), float(z), float(w)]
