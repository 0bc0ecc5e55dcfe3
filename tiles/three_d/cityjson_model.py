"""What CityJSON holds, flattened for drawing: surfaces as arrays of corners, one feature per top-level city object."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiles.three_d.mesh import SurfaceClass
from tiles.three_d.placement import Positions

# Semantic surfaces (CityJSON 2.0, clause 3.3) and, where a geometry has none, its object's type; with linear RGB.
PALETTE = (
    SurfaceClass("RoofSurface", (0.55, 0.18, 0.12)),
    SurfaceClass("WallSurface", (0.78, 0.74, 0.66)),
    SurfaceClass("GroundSurface", (0.35, 0.33, 0.30)),
    SurfaceClass("ClosureSurface", (0.62, 0.62, 0.62)),
    SurfaceClass("OuterCeilingSurface", (0.66, 0.62, 0.56)),
    SurfaceClass("OuterFloorSurface", (0.50, 0.47, 0.43)),
    SurfaceClass("Window", (0.25, 0.42, 0.58)),
    SurfaceClass("Door", (0.32, 0.20, 0.11)),
    SurfaceClass("WaterSurface", (0.13, 0.35, 0.55)),
    SurfaceClass("TrafficArea", (0.30, 0.30, 0.31)),
    SurfaceClass("AuxiliaryTrafficArea", (0.42, 0.42, 0.38)),
    SurfaceClass("Building", (0.72, 0.68, 0.60)),
    SurfaceClass("Bridge", (0.52, 0.50, 0.48)),
    SurfaceClass("Tunnel", (0.40, 0.38, 0.36)),
    SurfaceClass("Road", (0.30, 0.30, 0.31)),
    SurfaceClass("Railway", (0.36, 0.30, 0.26)),
    SurfaceClass("TransportSquare", (0.45, 0.43, 0.40)),
    SurfaceClass("PlantCover", (0.22, 0.42, 0.16)),
    SurfaceClass("SolitaryVegetationObject", (0.16, 0.36, 0.12)),
    SurfaceClass("WaterBody", (0.13, 0.35, 0.55)),
    SurfaceClass("LandUse", (0.48, 0.52, 0.32)),
    SurfaceClass("TINRelief", (0.45, 0.42, 0.33)),
    SurfaceClass("CityFurniture", (0.40, 0.40, 0.44)),
    SurfaceClass("GenericCityObject", (0.60, 0.60, 0.60)),
)
_CLASS_OF = {entry.name: number for number, entry in enumerate(PALETTE)}
GROUND_SURFACE = _CLASS_OF["GroundSurface"]
_OTHER = _CLASS_OF["GenericCityObject"]


def class_of(name: str | None, fallback: int) -> int:
    """Index in `PALETTE` of a semantic surface or object type; BuildingPart and its like count as their parent."""
    if name is None:
        return fallback
    stem = name.removesuffix("Part").removesuffix("Installation").lstrip("+")
    return _CLASS_OF.get(name, _CLASS_OF.get(stem, fallback))


def object_class(kind: str) -> int:
    """Index in `PALETTE` of a city object's type."""
    return class_of(kind, _OTHER)


@dataclass(slots=True)
class Surfaces:
    """Surfaces while they are collected. `corners` are vertex indices, `ring_sizes` corners of each ring, `ring_counts`
    rings of each surface, `classes` the index of each surface in `PALETTE`."""

    corners: list[int] = field(default_factory=list)
    ring_sizes: list[int] = field(default_factory=list)
    ring_counts: list[int] = field(default_factory=list)
    classes: list[int] = field(default_factory=list)

    def add(self, rings: list[list[int]], number: int) -> None:
        """Add one surface, its outer ring first. Closing and repeated corners are left out; raises TypeError, ValueError."""
        kept: list[list[int]] = []
        for place, ring in enumerate(rings):
            distinct = [corner for at, corner in enumerate(ring) if corner != ring[at - 1]]
            if len(distinct) >= 3:
                kept.append(distinct)
            elif place == 0:
                raise ValueError(
                    f"a surface has an outer ring of {len(distinct)} distinct corners; needed are 3"
                )
        for ring in kept:
            self.corners.extend(ring)
            self.ring_sizes.append(len(ring))
        self.ring_counts.append(len(kept))
        self.classes.append(number)

    def extend(self, other: Surfaces) -> None:
        """Add all surfaces of `other`."""
        self.corners.extend(other.corners)
        self.ring_sizes.extend(other.ring_sizes)
        self.ring_counts.extend(other.ring_counts)
        self.classes.extend(other.classes)

    def __len__(self) -> int:
        return len(self.ring_counts)


@dataclass(frozen=True, slots=True)
class CityFeature:
    """One top-level city object with the surfaces of itself and its children at their best level of detail."""

    id: str
    type: str
    lod: str
    attributes: dict[str, Any]
    surfaces: Surfaces


@dataclass(frozen=True, slots=True)
class CityModel:
    """A whole file. `vertices` (v, 3) in the CRS `reference_system` names (None where the file does not say)."""

    features: tuple[CityFeature, ...]
    vertices: Positions
    reference_system: str | None

    def classes(self) -> NDArray[np.uint8]:
        """The class of every surface, features one after the other."""
        return np.fromiter(
            (number for feature in self.features for number in feature.surfaces.classes), dtype=np.uint8
        )

    def columns(self) -> dict[str, list[object]]:
        """Type, level of detail and every attribute as columns, None where an object lacks one."""
        names: dict[str, None] = {}
        for feature in self.features:
            names.update(dict.fromkeys(feature.attributes))
        names.pop("type", None)
        names.pop("lod", None)
        columns: dict[str, list[object]] = {
            "type": [feature.type for feature in self.features],
            "lod": [feature.lod for feature in self.features],
        }
        for name in names:
            columns[name] = [feature.attributes.get(name) for feature in self.features]
        return columns
