"""Points brought into another CRS while they are read."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyproj
from pyproj.aoi import AreaOfInterest
from pyproj.crs import CompoundCRS, GeographicCRS, ProjectedCRS
from pyproj.crs.coordinate_operation import UTMConversion
from pyproj.exceptions import ProjError
from pyproj.transformer import TransformerGroup

from pointclouds.crs import horizontal_part, parse_crs, vertical_part
from pointclouds.errors import UnreadablePointCloudError, UnusableCrsError
from pointclouds.formats.quantising import choose_offset
from pointclouds.las.layout import Records
from pointclouds.las.reader import CHUNK_POINTS
from pointclouds.sources import Box3, PointSource, SourceDescription

_STEPS: Final = 0.001
_EDGE: Final = 21
_GOOD: Final = 0.1
_REACH: Final = 2**31 - 2
_CGCS2000: Final = 4490
_CGCS2000_NAMES: Final = ("China Geodetic Coordinate System 2000", "CGCS2000", "China 2000", "D_China_2000")
_FIRST_MERIDIAN, _LAST_MERIDIAN, _FIRST_CODE = 75, 135, 4534


class ReprojectedSource:
    """Another source's points in another CRS: the same order, the same count. Pickles; each process has a transformation of its own."""

    def __init__(
        self, source: PointSource, target: pyproj.CRS, way: tuple[str, str], note: str, *, upright: bool
    ) -> None:
        """`way`: WKT from and to, in which x, y and z are transformed; `target` is what the points are said to be in; `upright`:
        heights change, for which only the best operation that PROJ knows will do."""
        self._source = source
        self._way, self._upright = way, upright
        self._transformer: pyproj.Transformer | None = None
        given = source.description
        if given.box is None:
            raise UnusableCrsError(
                f"{given.name} does not say where its points lie; it cannot be reprojected"
            )
        self._area = _area(pyproj.CRS.from_wkt(way[0]), given.box)
        box = _box(self._transform, given.box, given.name)
        low, high = (box[0], box[1], box[2]), (box[3], box[4], box[5])
        offset = choose_offset(low, high)
        step = max(
            _STEPS,
            *(max(last - at, at - first) / _REACH for first, last, at in zip(low, high, offset, strict=True)),
        )
        scale = 10.0 ** np.ceil(np.log10(step) - 1e-9)
        if scale > 1:
            raise UnusableCrsError(
                f"{given.name}: in {target.name} its points would span {box[3] - box[0]:.0f} by {box[4] - box[1]:.0f}; "
                "check the CRS against the coordinates"
            )
        self._description = replace(
            given,
            box=box,
            crs=target,
            scale=(float(scale),) * 3,
            offset=offset,
            notes=(*given.notes, note, *_accuracy(self._transformer)),
        )

    @property
    def description(self) -> SourceDescription:
        """What it holds, in the new CRS; the box is a little larger than the points' own."""
        return self._description

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_transformer": None}

    def _transform(
        self, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], z: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.float64], ...]:
        if self._transformer is None:
            self._transformer = _transformer(*self._way, self._area, upright=self._upright)
        result: tuple[npt.NDArray[np.float64], ...] = self._transformer.transform(x, y, z)
        return result

    def chunks(
        self, points: int = CHUNK_POINTS, start: int = 0, stop: int | None = None
    ) -> Iterator[Records]:
        """See PointSource.chunks. A point that cannot be transformed is an error."""
        given, made = self._source.description, self._description
        for records in self._source.chunks(points, start, stop):
            places = [
                records[name] * given.scale[axis] + given.offset[axis] for axis, name in enumerate("XYZ")
            ]
            moved = self._transform(*places)
            # The source may hold on to its own records.
            target = records.copy()
            for axis, name in enumerate("XYZ"):
                steps = np.rint((moved[axis] - made.offset[axis]) / made.scale[axis])
                if not (np.abs(steps) <= _REACH).all():
                    raise _outside(given.name, made.crs)
                target[name] = steps
            yield target


def _outside(name: str, crs: pyproj.CRS | None) -> UnreadablePointCloudError:
    called = crs.name if crs is not None else "the new CRS"
    return UnreadablePointCloudError(
        f"{name}: points lie where {called} cannot show them; check the CRS against the coordinates"
    )


def _area(crs: pyproj.CRS, box: Box3) -> AreaOfInterest | None:
    """The box in degrees, by which PROJ chooses between operations; None where it cannot be told."""
    geodetic = crs.geodetic_crs
    if geodetic is None or crs.is_geocentric:
        return None
    if crs.is_geographic:
        west, south, east, north = box[0], box[1], box[3], box[4]
    else:
        forth = pyproj.Transformer.from_crs(horizontal_part(crs), geodetic.to_2d(), always_xy=True)
        west, south, east, north = forth.transform_bounds(box[0], box[1], box[3], box[4])
    if not (-360 <= west <= east <= 360 and -90 <= south <= north <= 90):
        return None
    return AreaOfInterest(west, south, east, north)


def _transformer(source: str, target: str, area: Any, *, upright: bool) -> pyproj.Transformer:
    """`area` as `_area` gives it. Never a ballpark; where heights change the best operation only: without its grid PROJ would return z unchanged."""
    start, end = pyproj.CRS.from_wkt(source), pyproj.CRS.from_wkt(target)
    missing = UnusableCrsError(
        f"PROJ knows no way from {start.name} to {end.name} that is better than a guess; "
        "install the grid it needs, or choose another CRS"
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a better operation lacks its grid: said in a note
            group = TransformerGroup(start, end, always_xy=True, allow_ballpark=False, area_of_interest=area)
    except ProjError as error:
        raise missing from error
    if not group.transformers or (upright and not group.best_available):
        raise missing
    return group.transformers[0]


def _accuracy(transformer: pyproj.Transformer | None) -> tuple[str, ...]:
    """A note where datums differ and the operation is good to more than a decimetre only."""
    if transformer is None or transformer.accuracy <= _GOOD:
        return ()
    return (f"the change of datum ({transformer.description}) is good to {transformer.accuracy:g} m",)


def _box(transform: Any, box: Box3, name: str) -> Box3:
    """The new box: the old one's surface and inside, sampled, and a thousandth more on each side."""
    axes = [np.linspace(box[axis], box[axis + 3], _EDGE if axis < 2 else 3) for axis in range(3)]
    grid = np.meshgrid(*axes, indexing="ij")
    try:
        moved = transform(*(values.ravel() for values in grid))
    except ProjError as error:
        raise UnusableCrsError(f"{name}: its points cannot be reprojected: {error}") from error
    if not np.isfinite(moved).all():
        raise UnusableCrsError(
            f"{name}: x {box[0]:.6g} to {box[3]:.6g}, y {box[1]:.6g} to {box[4]:.6g} cannot be reprojected; "
            "check the CRS against the coordinates"
        )
    low, high = [float(values.min()) for values in moved], [float(values.max()) for values in moved]
    slack = [0.001 * (last - first) + 0.01 for first, last in zip(low, high, strict=True)]
    return (
        *(low[0] - slack[0], low[1] - slack[1], low[2] - slack[2]),
        *(high[0] + slack[0], high[1] + slack[1], high[2] + slack[2]),
    )


def reproject(source: PointSource, crs: str | pyproj.CRS) -> PointSource:
    """The source's points in another, projected CRS; the source itself where it is in it already.

    Heights change only where both CRSs say what theirs count from, or the source is geocentric; else they are kept, and the
    source's vertical CRS stays beside the new horizontal one.

    Raises:
        UnusableCrsError: either CRS is of no use, the target has a vertical CRS and the source none, or PROJ has no sound way.
    """
    target = parse_crs(crs, "--target-crs")
    given = source.description
    if given.crs is None:
        raise UnusableCrsError(
            f"{given.name} names no CRS to be reprojected from; say which one it is with --crs"
        )
    if not horizontal_part(target).is_projected:
        raise UnusableCrsError(
            f"{target.name} is not projected; points are kept in a projected CRS (metres or feet)"
        )
    if given.crs.equals(target, ignore_axis_order=True):
        return source
    return (
        _flat(source, given.crs, target)
        if not given.crs.is_geocentric
        else _upright(source, given.crs, target)
    )


def _upright(source: PointSource, crs: pyproj.CRS, target: pyproj.CRS) -> PointSource:
    """From geocentric: heights come out of x, y and z, above the ellipsoid."""
    whole = target if vertical_part(target) is not None else horizontal_part(target).to_3d()
    note = f"reprojected from {crs.name} (geocentric) to {whole.name}; heights are above the ellipsoid"
    if vertical_part(target) is not None:
        note = f"reprojected from {crs.name} (geocentric) to {whole.name}"
    return ReprojectedSource(source, whole, (crs.to_wkt(), whole.to_wkt()), note, upright=True)


def _flat(source: PointSource, crs: pyproj.CRS, target: pyproj.CRS) -> PointSource:
    name = source.description.name
    has, wants = vertical_part(crs), vertical_part(target)
    above_ellipsoid = has is None and len(crs.axis_info) == 3
    if wants is not None and has is None and not above_ellipsoid:
        raise UnusableCrsError(
            f"{name}: heights are wanted above {wants.name}, and {crs.name} does not say what its heights count from; "
            "name its vertical CRS too, for example --crs EPSG:28992+5709"
        )
    if wants is not None and not (has is not None and has.equals(wants)):
        note = f"reprojected from {crs.name} to {target.name}, heights included"
        return ReprojectedSource(source, target, (crs.to_wkt(), target.to_wkt()), note, upright=True)
    start, end = horizontal_part(crs).to_2d(), horizontal_part(target).to_2d()
    whole = target if wants is not None else _with_heights(end, has, above_ellipsoid=above_ellipsoid)
    if start.equals(end, ignore_axis_order=True) and wants is None:
        return source
    note = f"reprojected from {start.name} to {end.name}; heights are kept as they are"
    return ReprojectedSource(source, whole, (start.to_wkt(), end.to_wkt()), note, upright=False)


def _with_heights(flat: pyproj.CRS, vertical: pyproj.CRS | None, *, above_ellipsoid: bool) -> pyproj.CRS:
    if vertical is not None:
        return CompoundCRS(f"{flat.name} + {vertical.name}", [flat, vertical])
    return flat.to_3d() if above_ellipsoid else flat


def projected_crs_of(crs: pyproj.CRS, box: Box3) -> pyproj.CRS:
    """The projected CRS in which geographic or geocentric points are kept.

    CGCS2000: its 3-degree Gauss-Kruger zone by the central meridian (EPSG:4534-4554). Otherwise the UTM zone of the place on the same
    datum (EPSG's where it lists one), polar stereographic beyond 84 N and 80 S. Never a change of datum.

    Args:
        box: of the points, in `crs`.

    Raises:
        UnusableCrsError: no degrees of longitude and latitude, as far as the numbers tell.
    """
    longitude, latitude = _middle(crs, box)
    geodetic = horizontal_part(crs).geodetic_crs
    if geodetic is None or not (-180 <= longitude <= 360 and -90 <= latitude <= 90):
        raise UnusableCrsError(
            f"x {box[0]:.6g} to {box[3]:.6g}, y {box[1]:.6g} to {box[4]:.6g} are no longitudes and latitudes of {crs.name}; "
            "name the CRS they are in with --crs"
        )
    longitude = (longitude + 180) % 360 - 180
    datum = geodetic.datum.name if geodetic.datum is not None else ""
    if (geodetic.to_epsg() == _CGCS2000 or datum in _CGCS2000_NAMES) and (
        _FIRST_MERIDIAN - 1.5 <= longitude <= _LAST_MERIDIAN + 1.5
    ):
        zone = round((longitude - _FIRST_MERIDIAN) / 3)
        return pyproj.CRS.from_epsg(_FIRST_CODE + zone)
    if latitude > 84 or latitude < -80:
        return pyproj.CRS.from_epsg(5041 if latitude > 0 else 5042)
    return _utm(geodetic, longitude, latitude)


def _utm(geodetic: pyproj.CRS, longitude: float, latitude: float) -> pyproj.CRS:
    from pyproj.database import query_utm_crs_info

    zone = int((longitude + 180) // 6) + 1
    area = AreaOfInterest(longitude, latitude, longitude, latitude)
    datum = geodetic.datum.name if geodetic.datum is not None else ""
    wanted = "WGS 84" if datum.startswith("World Geodetic System 1984") else datum
    for found in query_utm_crs_info(datum_name=wanted, area_of_interest=area):
        crs = pyproj.CRS.from_authority(found.auth_name, found.code)
        if f"zone {zone}" in crs.name:
            return crs
    hemisphere = "N" if latitude >= 0 else "S"
    flat = GeographicCRS(geodetic.name, geodetic.datum) if geodetic.is_geocentric else geodetic.to_2d()
    name = f"{flat.name} / UTM zone {zone}{hemisphere}"
    return ProjectedCRS(UTMConversion(str(zone), hemisphere=hemisphere), name=name, geodetic_crs=flat)


def _middle(crs: pyproj.CRS, box: Box3) -> tuple[float, float]:
    """Longitude and latitude of the box's middle, on the CRS's own datum."""
    x, y, z = ((box[axis] + box[axis + 3]) / 2 for axis in range(3))
    if not crs.is_geocentric:
        factor = np.degrees(horizontal_part(crs).axis_info[0].unit_conversion_factor)
        return float(x * factor), float(y * factor)
    # Good to a fifth of a degree, which is enough to choose a zone.
    return float(np.degrees(np.arctan2(y, x))), float(np.degrees(np.arctan2(z, np.hypot(x, y))))
