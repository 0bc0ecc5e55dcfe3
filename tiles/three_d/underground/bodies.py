"""Polygons with heights of their top and their bottom -> closed bodies: underground rooms, basements, stations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from tiles.three_d.extrude import VERTICES_PER_CORNER, extrude
from tiles.three_d.footprints import RaggedPolygons, clean_footprints, to_ragged
from tiles.three_d.mesh import Mesh, join_meshes
from tiles.three_d.objects import Keys, Material, MeshPart, Outlines
from tiles.three_d.placement import LocalFrame
from tiles.three_d.report import Survivors
from tiles.three_d.underground.axes import Numbers, Placing, outlines_around
from tiles.three_d.underground.kinds import Colour
from tiles.three_d.vertical import to_ellipsoid


@dataclass(frozen=True, slots=True)
class BodyHeights:
    """What n polygons know of their heights (m), NaN where nothing: `top` and `bottom`, or their depths below the ground."""

    top: Numbers
    bottom: Numbers
    top_depth: Numbers
    bottom_depth: Numbers


@dataclass(frozen=True, slots=True)
class Bodies:
    """Placed bodies. `rows` (m,) of those that can be drawn; `bottoms`, `tops` (m,) ellipsoidal heights."""

    rows: NDArray[np.intp]
    geometries: NDArray[np.object_]
    bottoms: Numbers
    tops: Numbers
    colour: Colour
    said: str

    def outlines(self, keys: Keys) -> Outlines:
        """Outlines of the bodies; `keys` (m,) theirs."""
        bounds = shapely.bounds(self.geometries).reshape(-1, 4)
        low = np.column_stack((bounds[:, :2], self.bottoms))
        high = np.column_stack((bounds[:, 2:], self.tops))
        corners = shapely.get_num_coordinates(self.geometries).astype(np.int64)
        # Twice the caps of a building: a body has a floor.
        weights = corners * (VERTICES_PER_CORNER + 3)
        return outlines_around(low, high, keys, np.zeros(len(self.rows)), weights)

    def parts(self, frame: LocalFrame) -> list[MeshPart]:
        """The bodies in a tile's frame; feature ids count along `rows`."""
        polygons = to_ragged(self.geometries)
        count = len(self.rows)
        raised = extrude(polygons, 0, count, frame, bottom=self.bottoms, top=self.tops)
        mesh = join_meshes([raised, _floors(polygons, count, frame, self.bottoms)])
        return [MeshPart(mesh, Material(colour=(*self.colour, 1.0)))]


def _floors(polygons: RaggedPolygons, count: int, frame: LocalFrame, bottoms: Numbers) -> Mesh:
    """The undersides: roofs of bodies without a height, turned over."""
    flat = extrude(polygons, 0, count, frame, bottom=bottoms, top=bottoms)
    # Four of five vertices of a corner are of walls, which come first.
    first = len(flat.positions) * (VERTICES_PER_CORNER - 1) // VERTICES_PER_CORNER
    triangles = flat.triangles[flat.triangles[:, 0] >= first][:, ::-1]
    used, triangles = np.unique(triangles, return_inverse=True)
    return Mesh(flat.positions[used], -flat.normals[used], flat.feature_ids[used], triangles.reshape(-1, 3))


def place_bodies(
    geometries: NDArray[np.object_],
    heights: BodyHeights,
    survivors: Survivors,
    placing: Placing,
    colour: Colour,
) -> Bodies:
    """Place polygons (n,) between their heights; what cannot be drawn drops out of `survivors`.

    Raises PlacementError where the CRS or its heights have no way to WGS 84.
    """
    survivors.drop(shapely.is_missing(geometries) | shapely.is_empty(geometries), "no geometry")
    top, bottom = heights.top, heights.bottom
    under = np.flatnonzero(survivors.alive & (np.isnan(top) | np.isnan(bottom)))
    if len(under):
        inside = shapely.point_on_surface(geometries[under])
        ground = np.full(len(geometries), np.nan)
        places = np.column_stack((shapely.get_x(inside), shapely.get_y(inside)))
        ground[under] = 0.0 if placing.ground is None else placing.ground_at(places)
        # A body of which only the bottom's depth is known begins at the ground.
        top_depth = np.where(np.isnan(heights.top_depth), 0.0, heights.top_depth)
        top = np.where(np.isnan(top), ground - top_depth, top)
        bottom = np.where(np.isnan(bottom), ground - heights.bottom_depth, bottom)
    survivors.drop(np.isnan(top) | np.isnan(bottom), "no height or depth of its top and bottom is given")
    with np.errstate(invalid="ignore"):
        survivors.drop(bottom >= top, "the bottom is not below the top")
    clean = clean_footprints(geometries, placing.crs, survivors, placing.path)
    kept = clean.kept
    bounds = shapely.bounds(clean.geometries).reshape(-1, 4)
    middles = (bounds[:, :2] + bounds[:, 2:]) / 2.0
    low, said = to_ellipsoid(placing.crs, middles, bottom[kept], placing.vertical)
    high = low + (top - bottom)[kept]
    return Bodies(kept, clean.geometries, low, high, colour, f"{said}; {clean.description}")
