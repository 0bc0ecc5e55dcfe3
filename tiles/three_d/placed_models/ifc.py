"""IFC by IfcOpenShell: each product with a body is an object, with its class, storey and property sets.

The geometry is made in a process of its own: the library is native code, and what a broken file does to it must not end the one who publishes.
"""

from __future__ import annotations

import multiprocessing
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from tiles.three_d.city_models.classes import PALETTE
from tiles.three_d.city_models.model import CityBatch
from tiles.three_d.errors import CityModelError, PlacementError
from tiles.three_d.placed_models.placement import ModelPlacement
from tiles.three_d.placed_models.triangles import Piece, Solid, batch_of
from tiles.three_d.report import ProblemLog

MARK = b"ISO-10303-21"
MOST_BYTES = 2 << 30
LONGEST_SECONDS = 3_600.0
_OBJECTS_A_FILE = 500
_MOST_ATTRIBUTES = 100
_EPSG = re.compile(r"EPSG:+(\d+)$", re.IGNORECASE)
_CLASSES = {entry.name: number for number, entry in enumerate(PALETTE)}
# What of an IFC model looks like which surface of a city model.
_SURFACES = {
    "IfcWall": "WallSurface", "IfcCurtainWall": "WallSurface", "IfcRoof": "RoofSurface", "IfcSlab": "FloorSurface",
    "IfcWindow": "Window", "IfcDoor": "Door", "IfcCovering": "CeilingSurface", "IfcSpace": "GenericCityObject",
    "IfcSite": "LandUse", "IfcGeographicElement": "PlantCover", "IfcFurnishingElement": "CityFurniture",
    "IfcPavement": "Road", "IfcRoad": "Road", "IfcBridge": "Bridge",
}  # fmt: skip
_UNSEEN = frozenset(("IfcOpeningElement", "IfcSpace", "IfcAnnotation", "IfcGrid", "IfcVirtualElement"))


@dataclass(frozen=True, slots=True)
class MapConversion:
    """IfcMapConversion: a plane of a CRS. x' = scale * (x cos - y sin) + eastings, and so on, in metres of the map."""

    crs: str
    eastings: float
    northings: float
    height: float
    turn: tuple[float, float]
    scale: float

    def placed(self, points: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Points (n, 3) of the model (m) in the CRS."""
        along, across = self.turn
        x, y = points[:, 0] * self.scale, points[:, 1] * self.scale
        return np.column_stack(
            (
                x * along - y * across + self.eastings,
                x * across + y * along + self.northings,
                points[:, 2] * self.scale + self.height,
            )
        )


class IFCFile:
    """One IFC file (a `CityModelFile`). `placement` overrides what the file says of its place."""

    north_first = False

    def __init__(self, path: Path, placement: ModelPlacement | None, workspace: Path) -> None:
        """Raises CityModelError where it is no IFC, PlacementError where nothing says where it stands."""
        if path.stat().st_size > MOST_BYTES:
            raise CityModelError(f"{path.name} is larger than {MOST_BYTES:,} bytes")
        self.path = path
        self.fraction = 0.0
        self._folder = workspace / f"ifc-{path.stem[:80]}"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._run("place")
        found = orjson.loads((self._folder / "place.json").read_bytes())
        self._placed: ModelPlacement | MapConversion
        if placement is not None:
            self._placed = placement
        elif found.get("conversion"):
            value = found["conversion"]
            self._placed = MapConversion(**{**value, "turn": tuple(value["turn"])})
        elif found.get("site"):
            self._placed = ModelPlacement(**found["site"])
        else:
            raise PlacementError(
                f"{path.name} does not say where it stands: it has neither an IfcMapConversion to a CRS nor a latitude and longitude "
                "of its site; give its place (longitude, latitude and height)"
            )
        placed = self._placed
        self.reference_system: str | None = (
            placed.crs().to_wkt() if isinstance(placed, ModelPlacement) else placed.crs
        )

    def batches(self, log: ProblemLog) -> Iterator[CityBatch]:
        """All products with a body. Raises CityModelError where the library cannot read the file."""
        self._run("geometry")
        parts = sorted(self._folder.glob("part-*.json"))
        for number, file in enumerate(parts, 1):
            document = orjson.loads(file.read_bytes())
            for identifier, problem in document["problems"]:
                log.add(identifier, problem, "skipped")
            with np.load(file.with_suffix(".npz"), allow_pickle=False) as arrays:
                solids = [self._solid(head, arrays) for head in document["objects"]]
            self.fraction = number / len(parts)
            if solids:
                yield batch_of(solids)

    def _solid(self, head: dict[str, Any], arrays: Any) -> Solid:
        pieces = []
        for piece in head["pieces"]:
            begin, end = piece["triangles"]
            points = np.asarray(arrays["corners"][begin:end], dtype=np.float64).reshape(-1, 3)
            corners = self._placed.placed(points).reshape(-1, 3, 3)
            colour = tuple(piece["colour"]) if piece["colour"] else None
            pieces.append(Piece(corners, head["surface"], colour, closed=False))
        return Solid(head["id"], head["type"], head["attributes"], tuple(pieces))

    def _run(self, task: str) -> None:
        """Do a part of the work in a process of its own. Raises CityModelError."""
        context = multiprocessing.get_context("spawn")
        work = context.Process(target=_WORK[task], args=(str(self.path), str(self._folder)), daemon=True)
        work.start()
        work.join(LONGEST_SECONDS)
        if work.is_alive():
            work.kill()
            work.join()
            raise CityModelError(f"{self.path.name} takes more than {LONGEST_SECONDS:,.0f} seconds to read")
        error = self._folder / "error.txt"
        if error.is_file():
            raise CityModelError(f"{self.path.name} cannot be read as IFC: {error.read_text()[:500]}")
        if work.exitcode != 0:
            raise CityModelError(
                f"{self.path.name} cannot be read as IFC: the library that reads it ended ({work.exitcode}); is the file whole?"
            )


# --- in the process of its own ----------------------------------------------------------------------------------------


def _opened(path: str, folder: str) -> Any:
    """The file; None, and error.txt, where it is no IFC."""
    import ifcopenshell

    try:
        return ifcopenshell.open(path)
    except (OSError, RuntimeError, ValueError, ifcopenshell.Error) as error:
        Path(folder, "error.txt").write_text(str(error) or type(error).__name__)
        return None


def _find_place(path: str, folder: str) -> None:
    model = _opened(path, folder)
    if model is None:
        return
    try:
        found = {"conversion": _conversion(model), "site": _site(model)}
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        Path(folder, "error.txt").write_text(f"what it says of its place is broken ({error})")
        return
    Path(folder, "place.json").write_bytes(orjson.dumps(found))


def _all(model: Any, name: str) -> list[Any]:
    """Entities of a class, none where the schema does not know it (IFC2x3 has no map conversion)."""
    try:
        return list(model.by_type(name))
    except RuntimeError:
        return []


def _conversion(model: Any) -> dict[str, Any] | None:
    for conversion in _all(model, "IfcMapConversion"):
        target = conversion.TargetCRS
        code = _EPSG.search(str(getattr(target, "Name", "") or "").strip().replace(" ", ""))
        if code is None:
            continue
        along = conversion.XAxisAbscissa if conversion.XAxisAbscissa is not None else 1.0
        across = conversion.XAxisOrdinate if conversion.XAxisOrdinate is not None else 0.0
        length = float(np.hypot(along, across)) or 1.0
        return {
            "crs": f"EPSG:{code[1]}",
            "eastings": float(conversion.Eastings),
            "northings": float(conversion.Northings),
            "height": float(conversion.OrthogonalHeight or 0.0),
            "turn": [float(along) / length, float(across) / length],
            # The scale leads from the model's units to the map's; the geometry comes in metres already.
            "scale": 1.0,
        }
    return None


def _site(model: Any) -> dict[str, Any] | None:
    for site in _all(model, "IfcSite"):
        latitude, longitude = (
            _degrees(getattr(site, name, None)) for name in ("RefLatitude", "RefLongitude")
        )
        if latitude is None or longitude is None:
            continue
        height = float(site.RefElevation or 0.0) * _length_unit(model)
        return {"longitude": longitude, "latitude": latitude, "height": height, "heading": _true_north(model)}
    return None


def _degrees(value: Any) -> float | None:
    """IfcCompoundPlaneAngleMeasure: degrees, minutes, seconds, millionths of a second, all of one sign."""
    if not value:
        return None
    parts = [float(part) for part in value]
    return sum(part / divisor for part, divisor in zip(parts, (1.0, 60.0, 3600.0, 3.6e9), strict=False))


def _length_unit(model: Any) -> float:
    import ifcopenshell.util.unit

    return float(ifcopenshell.util.unit.calculate_unit_scale(model))


def _true_north(model: Any) -> float:
    """The heading of the model's y axis: minus the angle of true north, which is given as a direction in the model's plane."""
    for context in _all(model, "IfcGeometricRepresentationContext"):
        north = getattr(context, "TrueNorth", None)
        if north is not None:
            x, y = north.DirectionRatios[:2]
            return float(np.degrees(np.arctan2(-x, y))) % 360.0
    return 0.0


def _make_geometry(path: str, folder: str) -> None:
    import ifcopenshell.geom

    model = _opened(path, folder)
    if model is None:
        return
    settings = ifcopenshell.geom.settings()
    settings.set("use-world-coords", True)
    settings.set("weld-vertices", False)
    wanted = [
        product
        for product in _all(model, "IfcProduct")
        if product.is_a() not in _UNSEEN and product.Representation
    ]
    part = _Part(Path(folder))
    seen: set[int] = set()
    if wanted:
        iterator = ifcopenshell.geom.iterator(settings, model, 1, include=wanted)
        going = iterator.initialize()
        while going:
            shape = iterator.get()
            seen.add(int(shape.id))
            part.add(model.by_id(shape.id), shape)
            going = bool(iterator.next())
    for product in wanted:
        if product.id() not in seen:
            part.problems.append([str(product.GlobalId), f"no body can be made of this {product.is_a()}"])
    part.flush()


class _Part:
    """Objects on their way to files of some hundreds."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number = 0
        self._objects: list[dict[str, Any]] = []
        self._corners: list[np.ndarray[Any, np.dtype[np.float64]]] = []
        self._count = 0
        self.problems: list[list[str]] = []

    def add(self, product: Any, shape: Any) -> None:
        """Take one product and its shape."""
        geometry = shape.geometry
        vertices = np.array(geometry.verts, dtype=np.float64).reshape(-1, 3)
        faces = np.array(geometry.faces, dtype=np.int64).reshape(-1, 3)
        if not len(faces):
            self.problems.append([str(product.GlobalId), "its body has no triangles"])
            return
        looks = np.array(geometry.material_ids, dtype=np.int64)
        pieces = []
        for look in np.unique(looks).tolist():
            chosen = vertices[faces[looks == look]]
            self._corners.append(chosen)
            colour = _colour(geometry.materials[look]) if 0 <= look < len(geometry.materials) else None
            pieces.append({"triangles": [self._count, self._count + len(chosen)], "colour": colour})
            self._count += len(chosen)
        kind = product.is_a()
        self._objects.append(
            {
                "id": str(product.GlobalId),
                "type": kind,
                "surface": _surface(product),
                "attributes": _attributes(product),
                "pieces": pieces,
            }
        )
        if len(self._objects) >= _OBJECTS_A_FILE:
            self.flush()

    def flush(self) -> None:
        """Write what was taken."""
        if not self._objects and not self.problems:
            return
        name = f"part-{self._number:06d}"
        corners = np.concatenate(self._corners) if self._corners else np.empty((0, 3, 3))
        np.savez(self._folder / f"{name}.npz", corners=corners)
        document = {"objects": self._objects, "problems": self.problems}
        (self._folder / f"{name}.json").write_bytes(orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY))
        self._number += 1
        self._objects, self._corners, self.problems, self._count = [], [], [], 0


def _surface(product: Any) -> int:
    for name, surface in _SURFACES.items():
        if product.is_a(name):
            return _CLASSES[surface]
    return _CLASSES["Building"]


def _colour(material: Any) -> list[float] | None:
    """Linear red, green, blue, alpha of a surface style, None where it has none."""
    try:
        shown = [float(material.diffuse.r()), float(material.diffuse.g()), float(material.diffuse.b())]
        clear = float(material.transparency)
    except (AttributeError, TypeError, RuntimeError):
        return None
    light = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in shown]
    return [*light, 1.0 - clear if 0.0 <= clear <= 1.0 else 1.0]


def _attributes(product: Any) -> dict[str, Any]:
    """Class, name, storey, and the plain values of property sets as "set.property"."""
    from ifcopenshell.util import element

    found: dict[str, Any] = {"ifc_class": product.is_a(), "name": product.Name}
    container = element.get_container(product)
    if container is not None:
        found["storey"] = container.Name
    for name, values in element.get_psets(product).items():
        for key, value in values.items():
            if key != "id" and isinstance(value, str | int | float | bool) and len(found) < _MOST_ATTRIBUTES:
                found[f"{name}.{key}"] = value
    return {
        name: value
        for name, value in found.items()
        if not (isinstance(value, float) and not np.isfinite(value))
    }


_WORK = {"place": _find_place, "geometry": _make_geometry}
