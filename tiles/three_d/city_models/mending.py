"""Polygons in space that cross themselves, made valid in their own plane."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

from tiles.three_d.city_models.checks import SMALLEST_AREA, SurfaceReport, flat_polygons
from tiles.three_d.city_models.model import NO_IMAGE
from tiles.three_d.city_models.soup import Numbers, Soup
from tiles.three_d.placement import Positions
from tiles.three_d.ragged import limits


def mend(soup: Soup, rows: Numbers, flat: Positions, report: SurfaceReport) -> None:
    """Replace the surfaces `rows`, which cross themselves, by valid ones of the same plane; `flat` (c, 2) as from `crossing_surfaces`.

    A mended surface loses its texture: corners that are new have no place in the image. What has no area left is left out.
    """
    whole = shapely.make_valid(flat_polygons(soup, flat, rows), method="structure", keep_collapsed=False)
    parts, owner = shapely.get_parts(whole, return_index=True)
    polygonal = (shapely.get_type_id(parts) == shapely.GeometryType.POLYGON) & (
        shapely.area(parts) > SMALLEST_AREA
    )
    parts, owner = shapely.orient_polygons(parts[polygonal]), owner[polygonal]
    lost = np.ones(len(rows), dtype=np.bool_)
    lost[owner] = False
    report.tell(
        soup.level[rows[lost]], "{} surfaces left out: they cross themselves and have no area", "repaired"
    )
    report.tell(soup.level[rows[~lost]], "{} surfaces mended: they crossed themselves", "repaired")
    if len(parts):
        _append(soup, parts, rows[owner], flat)
    stays = np.ones(len(soup), dtype=np.bool_)
    stays[rows] = False
    order = np.flatnonzero(stays)
    soup.take(order[np.argsort(soup.level[order], kind="stable")])


def _append(soup: Soup, parts: NDArray[np.object_], source: Numbers, flat: Positions) -> None:
    """Add `parts`, polygons in the planes of the surfaces `source`, behind the others."""
    _, coordinates, (ring_limits, polygon_limits) = shapely.to_ragged_array(parts, include_z=False)
    keep = np.ones(len(coordinates), dtype=np.bool_)
    keep[ring_limits[1:] - 1] = False
    counts = np.diff(ring_limits) - 1
    corner_source = np.repeat(np.repeat(source, np.diff(polygon_limits)), counts)
    places = _raised(soup, coordinates[keep], corner_source, flat)
    count = len(soup.vertices)
    soup.vertices = np.concatenate((soup.vertices, places))
    soup.corners = np.concatenate((soup.corners, count + np.arange(len(places))))
    soup.rings = np.concatenate((soup.rings, soup.rings[-1] + limits(counts)[1:]))
    soup.surfaces = np.concatenate((soup.surfaces, soup.surfaces[-1] + polygon_limits[1:]))
    for name in ("level", "classes", "shells", "colours"):
        values = getattr(soup, name)
        setattr(soup, name, np.concatenate((values, values[source])))
    soup.images = np.concatenate((soup.images, np.full(len(source), NO_IMAGE)))
    soup.fans = np.concatenate((soup.fans, np.zeros(len(source), dtype=np.bool_)))
    if soup.coordinates is not None:
        soup.coordinates = np.concatenate((soup.coordinates, np.zeros((len(places), 2), dtype=np.float32)))


def _raised(soup: Soup, coordinates: Positions, source: Numbers, flat: Positions) -> Positions:
    """Places (n, 3) in the CRS of `coordinates` (n, 2) in the planes of their `source` surfaces."""
    result = np.empty((len(coordinates), 3))
    at = soup.corner_limits()
    for surface in np.unique(source).tolist():
        begin, end = int(at[surface]), int(at[surface + 1])
        known = flat[begin:end]
        given = soup.vertices[soup.corners[begin:end]]
        mine = source == surface
        wanted = coordinates[mine]
        # The plane as an affine map of its own axes; corners that were there keep their exact place.
        basis = np.column_stack((known, np.ones(len(known))))
        anchor = given[0]
        fitted, *_ = np.linalg.lstsq(basis, given - anchor, rcond=None)
        raised = np.column_stack((wanted, np.ones(len(wanted)))) @ fitted + anchor
        apart = np.abs(wanted[:, None, :] - known[None, :, :]).max(axis=2)
        nearest = np.argmin(apart, axis=1)
        same = apart[np.arange(len(wanted)), nearest] < 1e-9
        raised[same] = given[nearest[same]]
        result[mine] = raised
    return result
