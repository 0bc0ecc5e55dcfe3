"""What a surface is: the palette in which city models are coloured and their surfaces told apart."""

from __future__ import annotations

from typing import Final

from tiles.three_d.mesh import SurfaceClass

# Semantic surfaces (CityJSON 2.0, clause 3.3; CityGML 2.0 and 3.0) and, where a surface has none, its object's type; linear RGB.
# New classes go to the end: stored models hold the numbers.
PALETTE: Final = (
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
    SurfaceClass("InteriorWallSurface", (0.80, 0.78, 0.72)),
    SurfaceClass("FloorSurface", (0.50, 0.47, 0.43)),
    SurfaceClass("CeilingSurface", (0.82, 0.80, 0.76)),
    SurfaceClass("WaterGroundSurface", (0.30, 0.28, 0.22)),
    SurfaceClass("WaterClosureSurface", (0.20, 0.38, 0.52)),
    SurfaceClass("OtherConstruction", (0.56, 0.54, 0.52)),
    SurfaceClass("Waterway", (0.16, 0.36, 0.52)),
    SurfaceClass("Marking", (0.85, 0.85, 0.82)),
    SurfaceClass("Hole", (0.10, 0.10, 0.10)),
)
_CLASS_OF = {entry.name: number for number, entry in enumerate(PALETTE)}
# Names of CityGML 3.0 and parts of objects that are drawn as something that has a class of its own.
_ALIKE = {
    "WindowSurface": "Window",
    "DoorSurface": "Door",
    "ReliefFeature": "TINRelief",
    "Square": "TransportSquare",
    "Track": "Road",
    "BuildingConstructiveElement": "Building",
    "BridgeConstructionElement": "Bridge",
    "BridgeConstructiveElement": "Bridge",
    "TunnelConstructiveElement": "Tunnel",
    "GenericOccupiedSpace": "GenericCityObject",
    "GenericUnoccupiedSpace": "GenericCityObject",
    "GenericLogicalSpace": "GenericCityObject",
    "GenericThematicSurface": "GenericCityObject",
    "TransportationComplex": "Road",
    "Section": "Road",
    "Intersection": "Road",
    "TrafficSpace": "TrafficArea",
    "AuxiliaryTrafficSpace": "AuxiliaryTrafficArea",
    "HoleSurface": "Hole",
    "RoofEdgeSurface": "RoofSurface",
}
ROOF_SURFACE: Final = _CLASS_OF["RoofSurface"]
WALL_SURFACE: Final = _CLASS_OF["WallSurface"]
GROUND_SURFACE: Final = _CLASS_OF["GroundSurface"]
OTHER: Final = _CLASS_OF["GenericCityObject"]

# Types that stand up from the ground: from afar a box or a raised plan stands for them. Of the others (roads, land use, relief)
# nothing coarser than the surface itself looks right.
STANDING_TYPES: Final = frozenset(
    ("Building", "Bridge", "OtherConstruction", "CityFurniture", "GenericCityObject")
)


def class_of(name: str | None, fallback: int) -> int:
    """Index in `PALETTE` of a semantic surface or object type; BuildingPart and its like count as their parent."""
    if name is None:
        return fallback
    found = _CLASS_OF.get(name)
    if found is not None:
        return found
    stem = name.removesuffix("Part").removesuffix("Installation").removesuffix("Furniture").lstrip("+")
    return _CLASS_OF.get(_ALIKE.get(name, stem), fallback)


def object_class(kind: str) -> int:
    """Index in `PALETTE` of a city object's type."""
    return class_of(kind, OTHER)
