"""The simulated buried pipe networks: water, sewer and district heating under the real streets.

Each line carries z, the height of the pipe's axis above the sea (ground minus depth). Lines of one network meet where
the streets meet; networks run beside and beneath each other in between.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import LineString
from shapely.geometry.base import BaseGeometry

from server.demo.ground import Ground
from server.demo.openstreetmap import Element, Extract
from server.demo.vector_files import Column

_SEED = 60174
_STEP_METRES = 12.0
_TAPER_METRES = 8.0

COLUMNS = (
    Column("pipe_id", "str:24"),
    Column("kind", "str:20"),
    Column("管线类型", "str:20"),
    Column("diameter", "float"),
    Column("depth", "float"),
    Column("material", "str:30"),
    Column("材质", "str:30"),
    Column("year", "int"),
    Column("street", "str:120"),
    Column("权属单位", "str:40"),
    Column("length", "float"),
)


@dataclass(frozen=True, slots=True)
class Network:
    """One kind of pipe. `offset` is metres to the left of the street's axis, `depth` metres from ground to pipe axis.

    `diameters` (metres) are for streets from major to minor; `materials` pairs of English and Chinese names with the
    first year in which they were laid.
    """

    name: str
    chinese: str
    operator: str
    offset: float
    depth: float
    diameters: tuple[float, float, float]
    materials: tuple[tuple[str, str, int], ...]


NETWORKS = (
    Network(
        "water",
        "给水",
        "供水公司(模拟)",
        1.8,
        2.1,
        (0.4, 0.3, 0.15),
        (("cast iron", "铸铁", 1910), ("ductile iron", "球墨铸铁", 1965), ("polyethylene", "聚乙烯", 1995)),
    ),
    Network(
        "sewer",
        "污水",
        "排水公司(模拟)",
        0.0,
        3.2,
        (0.8, 0.6, 0.3),
        (("brick", "砖砌", 1890), ("concrete", "混凝土", 1930), ("PVC", "聚氯乙烯", 1985)),
    ),
    Network(
        "heat",
        "热力",
        "供热公司(模拟)",
        -1.8,
        1.4,
        (0.5, 0.35, 0.2),
        (("steel in duct", "管沟钢管", 1955), ("pre-insulated steel", "预制保温钢管", 1980)),
    ),
)
_RANKS: Mapping[str, int] = {
    "primary": 0,
    "secondary": 0,
    "tertiary": 1,
    "unclassified": 1,
    "residential": 2,
    "pedestrian": 2,
}


def pipe_features(extract: Extract, ground: Ground) -> Iterator[tuple[BaseGeometry, dict[str, Any]]]:
    """Lines with z in the city grid and the attributes of `COLUMNS`; the same ones every time."""
    streets = sorted((one for one in extract.lines if _carries_pipes(one)), key=lambda one: one.osm_id)
    for network in NETWORKS:
        random = np.random.default_rng([_SEED, *network.name.encode()])
        for street in streets:
            rank = _RANKS[street.tags["highway"].removesuffix("_link")]
            material, chinese, since = network.materials[random.integers(len(network.materials))]
            depth = round(network.depth + float(random.uniform(-0.25, 0.25)), 2)
            line = _lay(street.planar, network.offset, depth, ground)
            yield (
                line,
                {
                    "pipe_id": f"{network.name[0].upper()}-{street.osm_id}",
                    "kind": network.name,
                    "管线类型": network.chinese,
                    "diameter": network.diameters[rank],
                    "depth": depth,
                    "material": material,
                    "材质": chinese,
                    "year": since + int(random.integers(0, 26)),
                    "street": street.tags.get("name"),
                    "权属单位": network.operator,
                    "length": round(line.length, 2),
                },
            )


def _carries_pipes(element: Element[LineString]) -> bool:
    """Whether pipes lie under this way: a street on the ground, not a tunnel, a bridge or a path."""
    tags = element.tags
    return (
        tags.get("highway", "").removesuffix("_link") in _RANKS
        and tags.get("tunnel", "no") == "no"
        and tags.get("bridge", "no") == "no"
        and element.planar.length > 4.0
    )


def _lay(axis: LineString, offset: float, depth: float, ground: Ground) -> LineString:
    """The pipe under a street: beside its axis by `offset`, on the axis at both ends, `depth` below the ground."""
    dense = shapely.get_coordinates(shapely.segmentize(axis, _STEP_METRES))
    steps = np.hypot(*np.diff(dense, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    taper = np.clip(np.minimum(along, along[-1] - along) / _TAPER_METRES, 0, 1)
    shifted = dense + _left_of(dense) * (offset * taper)[:, None]
    z = ground.sample(shifted[:, 0], shifted[:, 1]) - depth
    return LineString(np.round(np.column_stack([shifted, z]), 3))


def _left_of(coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit vectors to the left of a line at each of its vertices, shape (n, 2)."""
    direction = np.gradient(coordinates, axis=0)
    length = np.maximum(np.hypot(direction[:, 0], direction[:, 1]), 1e-9)
    left: NDArray[np.float64] = np.column_stack([-direction[:, 1], direction[:, 0]]) / length[:, None]
    return left
