"""Footprints with a height -> 3D Tiles 1.1."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray
from pyproj import CRS
from shapely.geometry.base import BaseGeometry

from tiles.three_d.attributes import PropertyTable, property_table
from tiles.three_d.build import BuildOptions, build_tileset
from tiles.three_d.build_tile import TileOptions
from tiles.three_d.errors import AttributeTableError, NothingToBuildError
from tiles.three_d.extrude import VERTICES_PER_CORNER, extrude
from tiles.three_d.footprints import clean_footprints, to_ragged
from tiles.three_d.glb import GlbOptions
from tiles.three_d.objects import Detail, Keys, Material, MeshPart, Outlines, Part
from tiles.three_d.placement import LocalFrame, Positions, as_crs
from tiles.three_d.report import ProblemLog, ReportProblem, Survivors, TilesetSummary
from tiles.three_d.vertical import VerticalReference, to_ellipsoid

NO_TITLES: Mapping[str, str] = MappingProxyType({})
BUILDING_COLOUR = (0.72, 0.70, 0.66)
BUILDING_MATERIAL = Material(colour=(*BUILDING_COLOUR, 1.0))
_METRES_PER_DEGREE = 111_320.0


def build_buildings(
    out_dir: Path,
    footprints: Sequence[BaseGeometry | None] | NDArray[np.object_],
    crs: CRS | str,
    heights: ArrayLike,
    base: ArrayLike,
    *,
    ids: Sequence[str],
    columns: Mapping[str, Sequence[object]],
    vertical: VerticalReference | None = None,
    titles: Mapping[str, str] = NO_TITLES,
    attribution: str = "",
    colour: tuple[float, float, float] = BUILDING_COLOUR,
    report: ReportProblem | None = None,
) -> TilesetSummary:
    """Raise footprints to blocks and write them as a 3D Tiles 1.1 tileset into `out_dir`.

    `footprints` (n,) are polygons or multipolygons in `crs` (x is easting or longitude); `heights` (n,) metres above the
    ground; `base` (n,) or one number, the ground's height in `vertical` (default: above the ellipsoid); `columns` have n
    values each. An object without a usable polygon or height is reported and left out.

    Raises AttributeTableError where lengths differ, PlacementError where the CRS or the heights cannot be placed,
    NothingToBuildError where nothing is left.
    """
    count = len(footprints)
    check_ids(ids, count)
    survivors = Survivors.all_of(ids, ProblemLog(report))
    system = as_crs(crs)
    rise = measure(heights, count, "heights")
    ground = measure(base, count, "base")
    survivors.drop(~(np.isfinite(rise) & (rise > 0.0)), "no height above 0 is given")
    survivors.drop(~np.isfinite(ground), "height of the ground is unknown here")
    clean = clean_footprints(footprints, system, survivors)
    if clean.kept.size == 0:
        raise NothingToBuildError(
            f"none of the {count} footprints can be drawn ({survivors.first_problem()}); "
            "needed are polygons with a height above 0"
        )
    kept = clean.kept
    boxes = shapely.bounds(clean.geometries)
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2.0
    bottom, said = to_ellipsoid(system, middles, ground[kept], vertical or VerticalReference.ellipsoidal())
    kept_ids = [ids[row] for row in kept.tolist()]
    taken = {name: take_rows(values, kept, count, name) for name, values in columns.items()}
    buildings = MemoryBuildings(
        clean.geometries,
        bottom,
        bottom + rise[kept],
        property_table("building", kept_ids, {"height": rise[kept]}, taken, titles),
        f"{said}; {clean.description}",
        survivors.log,
        colour,
    )
    options = BuildOptions(TileOptions(GlbOptions(attribution)), processes=1)
    with TemporaryDirectory() as private:
        return build_tileset(out_dir, Path(private), buildings, options)


class MemoryBuildings:
    """Buildings in memory as a source of objects, and its own recipe; keys are rows. For one process."""

    content = "buildings"
    details: tuple[Detail, ...] = (Detail.LOD1,)

    def __init__(
        self,
        geometries: NDArray[np.object_],
        bottoms: NDArray[np.float64],
        tops: NDArray[np.float64],
        table: PropertyTable,
        height_reference: str,
        problems: ProblemLog,
        colour: tuple[float, float, float],
    ) -> None:
        """`geometries` (n,) in longitude and latitude; `bottoms`, `tops` (n,) ellipsoidal heights; `table` has n rows."""
        self._geometries, self._bottoms, self._tops, self._table = geometries, bottoms, tops, table
        self._material = Material(colour=(*colour, 1.0))
        self.height_reference = height_reference
        self.problems = problems

    def open(self) -> MemoryBuildings:
        """Itself."""
        return self

    def outlines(self) -> Iterator[Outlines]:
        """Where all of them are."""
        yield self.load(np.arange(len(self._geometries))).outlines()

    def load(self, keys: Keys) -> LoadedBuildings:
        """The buildings of some rows."""
        return LoadedBuildings(
            keys,
            self._geometries[keys],
            self._bottoms[keys],
            self._tops[keys],
            self._table.take(keys),
            self._material,
        )


@dataclass(frozen=True, slots=True)
class LoadedBuildings:
    """n buildings in memory. `geometries` (n,) polygons in longitude and latitude; `bottoms`, `tops` (n,) ellipsoidal heights.

    `lifted` (n,): which stand above a passage and have a floor; None where none does.
    """

    keys: Keys
    geometries: NDArray[np.object_]
    bottoms: NDArray[np.float64]
    tops: NDArray[np.float64]
    table: PropertyTable
    material: Material = BUILDING_MATERIAL
    lifted: NDArray[np.bool_] | None = None

    def outlines(self) -> Outlines:
        """Where they are."""
        return building_outlines(self.keys, self.geometries, self.bottoms, self.tops)

    def parts(self, frame: LocalFrame, detail: Detail) -> Sequence[Part]:
        """Their walls and roofs, in any detail the same."""
        if not len(self.geometries):
            return ()
        mesh = extrude(
            to_ragged(self.geometries), 0, len(self.geometries), frame,
            bottom=self.bottoms, top=self.tops, lifted=self.lifted,
        )  # fmt: skip
        return (MeshPart(mesh, self.material),)


def building_outlines(
    keys: Keys,
    geometries: NDArray[np.object_],
    bottoms: NDArray[np.float64],
    tops: NDArray[np.float64],
) -> Outlines:
    """Outlines of polygons (n,) in longitude and latitude that are raised from `bottoms` to `tops` (m, (n,))."""
    boxes = shapely.bounds(geometries).reshape(-1, 4)
    corners = shapely.get_num_coordinates(geometries).astype(np.int64)
    return Outlines(
        keys, boxes, bottoms, tops, sizes_of(boxes, tops - bottoms), corners * VERTICES_PER_CORNER
    )


def measure(values: ArrayLike, count: int, name: str) -> NDArray[np.float64]:
    """One number per object as float64 (n,); a single number counts for all. Raises AttributeTableError."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 0:
        return np.full(count, float(array))
    if array.shape != (count,):
        raise AttributeTableError(
            f"{name} has shape {array.shape} for {count} objects; give one number per object"
        )
    return array


def check_ids(ids: Sequence[str], count: int) -> None:
    """Raise AttributeTableError where there is not one id per object."""
    if len(ids) != count:
        raise AttributeTableError(f"{len(ids)} ids for {count} objects; give one id per object")


def take_rows(values: Sequence[object], rows: NDArray[np.intp], count: int, name: str) -> Sequence[object]:
    """The given rows of a column; the column itself where all are taken. Raises AttributeTableError on a wrong length."""
    if len(values) != count:
        raise AttributeTableError(
            f"column {name!r} has {len(values)} values for {count} objects; give one value per object"
        )
    if len(rows) == count:
        return values
    if hasattr(values, "take"):
        return values.take(rows)  # type: ignore[no-any-return]  # numpy and Arrow arrays
    return [values[row] for row in rows.tolist()]


def sizes_of(boxes: Positions, rise: NDArray[np.float64]) -> NDArray[np.float64]:
    """Diagonals (m, (n,)) of boxes (n, 4) in degrees that are `rise` (n,) m high."""
    shrink = np.cos(np.radians((boxes[:, 1] + boxes[:, 3]) / 2.0))
    east = (boxes[:, 2] - boxes[:, 0]) * shrink * _METRES_PER_DEGREE
    north = (boxes[:, 3] - boxes[:, 1]) * _METRES_PER_DEGREE
    return np.asarray(np.sqrt(east**2 + north**2 + rise**2))
