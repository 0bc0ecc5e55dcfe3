"""CityJSON -> 3D Tiles 1.1, and the footprints of its objects for the 2D representations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS

from tiles.three_d.attributes import property_table
from tiles.three_d.buildings import NO_TITLES, sizes_of
from tiles.three_d.cityjson_model import GROUND_SURFACE, PALETTE, CityModel
from tiles.three_d.cityjson_read import crs_of, read_cityjson
from tiles.three_d.errors import NothingToBuildError, PlacementError
from tiles.three_d.glb import Appearance
from tiles.three_d.mesh import Mesh
from tiles.three_d.placement import LocalFrame, Positions, as_crs, to_ecef, unwrap_longitudes
from tiles.three_d.ragged import limits, spans
from tiles.three_d.report import ProblemLog, ReportProblem, Survivors, TilesetSummary
from tiles.three_d.surfaces import PolygonSoup, surface_normals, triangulate
from tiles.three_d.tileset import Features, TilesetFiles, cut_into_tiles, write_tileset
from tiles.three_d.vertical import VerticalReference, to_geodetic

_POLYGON_TYPE = shapely.GeometryType.POLYGON
# Surfaces steeper than this have no area in plan worth joining.
_LEAST_PLAN_SHARE = 0.05


class CityJSONFootprints(NamedTuple):
    """Top-level city objects in plan. `geometries` (n,) are (multi)polygons in `crs`, None where an object has no area;
    `columns` hold type, lod, height (m, top minus bottom) and all attributes; `crs` is None where the file says none."""

    ids: list[str]
    geometries: NDArray[np.object_]
    columns: dict[str, list[object]]
    crs: CRS | None


class _Arrays(NamedTuple):
    """The surfaces of a whole model as arrays. `vertex` (c,) of each corner, `features` limits
    in surfaces (n + 1,)."""

    vertex: NDArray[np.int64]
    rings: NDArray[np.int64]
    surfaces: NDArray[np.int64]
    features: NDArray[np.int64]
    classes: NDArray[np.uint8]

    def corner_owner(self) -> NDArray[np.int64]:
        """The feature of every corner."""
        per_feature = np.diff(self.rings[self.surfaces][self.features])
        return np.repeat(np.arange(len(per_feature)), per_feature)

    def soup(self, vertices: Positions) -> PolygonSoup:
        """The surfaces with their corners taken from `vertices` (v, 3)."""
        return PolygonSoup(vertices[self.vertex], self.rings, self.surfaces)


def build_cityjson(
    out_dir: Path,
    path: Path,
    *,
    crs: CRS | str | None = None,
    vertical: VerticalReference | None = None,
    titles: Mapping[str, str] = NO_TITLES,
    attribution: str = "",
    report: ReportProblem | None = None,
) -> TilesetSummary:
    """Write a CityJSON or CityJSONSeq file as a 3D Tiles 1.1 tileset into `out_dir`.

    Every top-level city object is one feature with the surfaces of itself and its children at their best level of
    detail, coloured by semantic surface, else by type. `crs` overrides the file's own; `vertical` is `automatic()` where
    not given. Broken objects are reported and left out.

    Raises CityJSONError where the file is not CityJSON, PlacementError where it cannot be placed (no CRS, no geoid),
    NothingToBuildError where nothing is left.
    """
    log = ProblemLog(report)
    model = read_cityjson(path, log)
    system = as_crs(crs) if crs is not None else crs_of(model.reference_system)
    if not model.features:
        raise NothingToBuildError(f"{path.name} holds no city object with surfaces")
    if system is None:
        raise PlacementError(
            f"{path.name} has no metadata.referenceSystem; say which CRS it is in (EPSG code)"
        )
    arrays = _arrays(model)
    survivors = Survivors.all_of([feature.id for feature in model.features], log)
    placed = to_geodetic(system, model.vertices, vertical or VerticalReference.automatic())
    place = np.column_stack((unwrap_longitudes(placed.longitude), placed.latitude, placed.height))
    owner = arrays.corner_owner()
    bad = ~np.isfinite(place).all(axis=1)
    survivors.drop_owners(
        owner, bad[arrays.vertex], "a coordinate is outside the area of its CRS or not a number"
    )
    place[bad] = 0.0
    shapes = _Shapes.of(arrays, place)
    survivors.drop(shapes.triangle_counts == 0, "no surface with an area")
    kept = np.flatnonzero(survivors.alive)
    if kept.size == 0:
        raise NothingToBuildError(f"no city object of {path.name} can be drawn ({survivors.first_problem()})")
    features = _features(model, shapes, kept, titles)
    tiled = cut_into_tiles(features)
    shapes.order = kept[tiled.order]
    return write_tileset(
        TilesetFiles(out_dir, "cityjson", Appearance(palette=PALETTE, double_sided=True), attribution),
        features.take(tiled.order),
        tiled,
        shapes.mesh,
        log=log,
        height_reference=placed.description,
    )


def read_cityjson_footprints(path: Path) -> CityJSONFootprints:
    """The plan of every top-level city object: its ground surfaces joined, else all its surfaces seen from above.

    Raises CityJSONError where the file is not CityJSON, PlacementError where its CRS is unknown to PROJ.
    """
    model = read_cityjson(path, ProblemLog())
    columns = model.columns()
    ids = [feature.id for feature in model.features]
    system = crs_of(model.reference_system)
    if not ids:
        return CityJSONFootprints(ids, np.empty(0, dtype=object), columns, system)
    arrays = _arrays(model)
    owner = arrays.corner_owner()
    heights = model.vertices[arrays.vertex, 2]
    starts = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
    rise = np.maximum.reduceat(heights, starts) - np.minimum.reduceat(heights, starts)
    columns = {
        "type": columns.pop("type"),
        "lod": columns.pop("lod"),
        "height": rise.round(3).tolist(),
    } | columns
    return CityJSONFootprints(ids, _plans(arrays, model.vertices), columns, system)


def _arrays(model: CityModel) -> _Arrays:
    def joined(name: str) -> NDArray[np.int64]:
        return np.array(
            [one for feature in model.features for one in getattr(feature.surfaces, name)], dtype=np.int64
        )

    return _Arrays(
        vertex=joined("corners"),
        rings=limits(joined("ring_sizes")),
        surfaces=limits(joined("ring_counts")),
        features=limits([len(feature.surfaces) for feature in model.features]),
        classes=model.classes(),
    )


def _features(
    model: CityModel, shapes: _Shapes, kept: NDArray[np.intp], titles: Mapping[str, str]
) -> Features:
    low, high = shapes.low[kept], shapes.high[kept]
    rise = high[:, 2] - low[:, 2]
    rows = kept.tolist()
    columns = {name: [values[row] for row in rows] for name, values in model.columns().items()}
    ids = [model.features[row].id for row in rows]
    table = property_table("cityobject", ids, {"height": rise.round(3)}, columns, titles)
    boxes = np.column_stack((low[:, :2], high[:, :2]))
    return Features(
        boxes, low[:, 2], high[:, 2], sizes_of(boxes, rise), shapes.triangle_counts[kept] * 3, table
    )


class _Shapes:
    """Triangles of all features; gives the mesh of a run of them in `order`."""

    def __init__(self, arrays: _Arrays, corners: Positions, place: Positions) -> None:
        soup = PolygonSoup(corners, arrays.rings, arrays.surfaces)
        normals, _ = surface_normals(soup)
        self._triangles, owner = triangulate(soup, normals)
        self._corners = corners
        self._normals = normals[owner]
        self._classes = arrays.classes[owner]
        self._begin = np.searchsorted(owner, arrays.features[:-1])
        self._end = np.searchsorted(owner, arrays.features[1:])
        self.triangle_counts = (self._end - self._begin).astype(np.int64)
        starts = arrays.rings[arrays.surfaces][arrays.features[:-1]]
        self.low = np.minimum.reduceat(place, starts, axis=0)
        self.high = np.maximum.reduceat(place, starts, axis=0)
        self.order = np.arange(len(self._begin))

    @classmethod
    def of(cls, arrays: _Arrays, place: Positions) -> _Shapes:
        """The shapes of a model whose vertices lie at `place` (v, 3): longitude, latitude, height."""
        ecef = to_ecef(place[:, 0], place[:, 1], place[:, 2])
        return cls(arrays, ecef[arrays.vertex], place[arrays.vertex])

    def mesh(self, start: int, stop: int, frame: LocalFrame) -> Mesh:
        """The features start..stop-1 of `order`, flat-shaded."""
        chosen = self.order[start:stop]
        begin, end = self._begin[chosen], self._end[chosen]
        rows = spans(begin, end)
        corners = self._corners[self._triangles[rows].ravel()]
        return Mesh(
            positions=frame.to_local(corners),
            normals=np.repeat(frame.rotate(self._normals[rows]), 3, axis=0),
            feature_ids=np.repeat(np.arange(stop - start), (end - begin) * 3),
            triangles=np.arange(len(corners), dtype=np.int64).reshape(-1, 3),
            classes=np.repeat(self._classes[rows], 3),
        )


def _plans(arrays: _Arrays, vertices: Positions) -> NDArray[np.object_]:
    """The plan of every feature as a (multi)polygon, None where it has no area."""
    soup = arrays.soup(vertices)
    normals, areas = surface_normals(soup)
    feature = np.repeat(np.arange(len(arrays.features) - 1), np.diff(arrays.features))
    ground = arrays.classes == GROUND_SURFACE
    has_ground = np.zeros(len(arrays.features) - 1, dtype=np.bool_)
    has_ground[feature[ground & (areas > 0.0)]] = True
    wanted = np.where(has_ground[feature], ground, np.abs(normals[:, 2]) > _LEAST_PLAN_SHARE) & (areas > 0.0)
    rows = np.flatnonzero(wanted)
    polygons = _polygons(soup, rows)
    joined = np.full(len(has_ground), None, dtype=object)
    owner = feature[rows]
    borders = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]][: len(owner)])
    for begin, end in zip(borders.tolist(), [*borders[1:].tolist(), len(owner)], strict=True):
        plan = shapely.union_all(polygons[begin:end])
        if shapely.area(plan) > 0.0:
            joined[owner[begin]] = plan
    return joined


def _polygons(soup: PolygonSoup, rows: NDArray[np.intp]) -> NDArray[np.object_]:
    """The surfaces `rows` seen from above as valid polygons."""
    ring_rows = spans(soup.surfaces[rows], soup.surfaces[rows + 1])
    begin, end = soup.rings[ring_rows], soup.rings[ring_rows + 1]
    # Simple features close their rings: the first corner once more.
    index = spans(begin, end + 1)
    closing = np.cumsum(end - begin + 1) - 1
    index[closing] = begin
    coordinates = np.ascontiguousarray(soup.corners[index, :2])
    ring_limits = limits(end - begin + 1)
    polygon_limits = limits(soup.surfaces[rows + 1] - soup.surfaces[rows])
    polygons = shapely.from_ragged_array(_POLYGON_TYPE, coordinates, (ring_limits, polygon_limits))
    return np.asarray(shapely.make_valid(polygons, method="structure", keep_collapsed=False))
