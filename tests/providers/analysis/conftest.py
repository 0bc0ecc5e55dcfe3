"""Small cities made of boxes, as glbs of the product's own writer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from providers.analysis.place import Place
from providers.analysis.scene import Box3, Scene
from tiles.three_d.glb import write_tile
from tiles.three_d.mesh import Mesh
from tiles.three_d.objects import Material, MeshPart
from tiles.three_d.schema import PropertySpec, SchemaBuilder

LONGITUDE, LATITUDE = 24.94, 60.17
_FACES = ((0, 3, 2, 1), (4, 5, 6, 7), (0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7))

type Block = tuple[float, float, float, float, float, float]
"""west, south, bottom, east, north, top in metres around the test's place, heights above the ellipsoid."""


@dataclass
class Blocks:
    """A tileset of closed boxes, one tile."""

    id: str
    blocks: Sequence[Block]
    content: str = "buildings"
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    asked: list[Box3] = field(default_factory=list)
    hidden: frozenset[str] = frozenset()

    @property
    def title(self) -> str:
        return self.id.title()

    def meeting(self, box: Box3) -> Iterator[bytes]:
        self.asked.append(box)
        if self.blocks:
            yield self._glb()

    def _glb(self) -> bytes:
        place = Place.at(LONGITUDE, LATITUDE)
        corners, triangles, ids = [], [], []
        for number, (west, south, bottom, east, north, top) in enumerate(self.blocks):
            flat = [(west, south), (east, south), (east, north), (west, north)]
            base = len(corners)
            corners += [(x, y, bottom) for x, y in flat] + [(x, y, top) for x, y in flat]
            for a, b, c, d in _FACES:
                triangles += [(base + a, base + b, base + c), (base + a, base + c, base + d)]
                ids += [number, number]
        # The frame of a glb is flat; heights above the ellipsoid are bent back as the place's frame does.
        positions = np.array(corners, dtype=np.float64)
        positions[:, 2] -= (positions[:, 0] ** 2 + positions[:, 1] ** 2) / (2.0 * 6_371_000.0)
        rows = np.array(triangles, dtype=np.int64)
        mesh = Mesh(
            positions[rows.ravel()],
            np.tile([0.0, 0.0, 1.0], (rows.size, 1)),
            np.repeat(ids, 3),
            np.arange(rows.size).reshape(-1, 3),
        )
        builder = SchemaBuilder("block", [PropertySpec(name) for name in self.columns])
        builder.add(self.columns)
        table = builder.finish().table(
            [f"{self.id}-{number}" for number in range(len(self.blocks))], self.columns
        )
        return write_tile([MeshPart(mesh, Material())], place.frame, table)


@dataclass
class Plane:
    """A ground whose height above the ellipsoid is a function of metres east and north."""

    height: Callable[[np.ndarray, np.ndarray], np.ndarray]
    id: str = "ground"

    def heights(self, lonlat: np.ndarray) -> np.ndarray:
        place = Place.at(LONGITUDE, LATITUDE)
        flat = place.from_geodetic(lonlat, np.zeros(len(lonlat)))
        return np.asarray(self.height(flat[:, 0], flat[:, 1]), dtype=np.float64)


@pytest.fixture
def blocks() -> type[Blocks]:
    return Blocks


@pytest.fixture
def ground() -> type[Plane]:
    return Plane


@pytest.fixture
def flat() -> Plane:
    """Level ground 10 m above the ellipsoid."""
    return Plane(lambda x, y: np.full(len(x), 10.0))


@pytest.fixture
def at() -> Callable[[float, float], tuple[float, float]]:
    """Longitude and latitude of a place so many metres east and north of the origin."""

    def lonlat(x: float, y: float) -> tuple[float, float]:
        found = Place.at(LONGITUDE, LATITUDE).to_geodetic(np.array([[x, y, 0.0]]))[0]
        return float(found[0]), float(found[1])

    return lonlat


@pytest.fixture
def street(blocks: type[Blocks], flat: Plane) -> Scene:
    """A house of 20 m, a cellar below it, a pipe under the street and a bridge over it."""
    houses = blocks("houses", [(10, -10, 10, 30, 10, 30)], columns={"名称": ["学校"], "floors": [5]})
    under = blocks("under", [(12, -8, 4, 28, 8, 9), (-1, -50, 7, 1, 50, 8)], "pipes")
    bridge = blocks("bridges", [(-5, -60, 20, 5, -40, 21)], "bridges")
    return Scene((houses, under, bridge), flat)
