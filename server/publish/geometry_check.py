"""Look at every geometry before it is published: numbers, rules of Simple Features, extent."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

from server.publish.errors import EmptyDataset, InvalidGeometry
from server.publish.vectors import Geometries

_NAMED = 5
_ENOUGH = 1_000


class GeometryCheck:
    """Checks batches one after the other and remembers what it found.

    `repair` makes invalid geometries valid and keeps the parts of their dimension; without it `finish` refuses them all in
    one message. `bounds` is (minx, miny, maxx, maxy) of what was seen, in the dataset's CRS.
    """

    def __init__(self, source: str, *, repair: bool) -> None:
        self._source = source
        self._repair = repair
        self._invalid: list[str] = []
        self._invalid_count = 0
        self.count = 0
        self.missing = 0
        self.repaired = 0
        self.lost = 0
        self.bounds: NDArray[np.float64] | None = None

    @property
    def refused(self) -> bool:
        """Whether something was found that `finish` will refuse: no need to store any more."""
        return self._invalid_count > 0

    def look(self, geometries: Geometries, names: list[str]) -> Geometries:
        """Check one batch; `names` says how to speak of each feature. Gives the geometries, repaired where asked.

        Raises InvalidGeometry at once for coordinates that are no finite numbers, and after a thousand invalid geometries.
        """
        self._check_numbers(geometries, names)
        absent = shapely.is_missing(geometries) | shapely.is_empty(geometries)
        self.count += len(geometries)
        self.missing += int(absent.sum())
        invalid = ~absent & ~shapely.is_valid(geometries)
        if invalid.any():
            geometries = self._invalid_ones(geometries, np.flatnonzero(invalid), names)
        self._extend(geometries)
        return geometries

    def _check_numbers(self, geometries: Geometries, names: list[str]) -> None:
        coordinates, owners = shapely.get_coordinates(geometries, include_z=True, return_index=True)
        # Height NaN means "no height" to shapely; only an infinite one is wrong.
        bad = ~np.isfinite(coordinates[:, :2]).all(axis=1) | np.isinf(coordinates[:, 2])
        if bad.any():
            feature = int(owners[bad][0])
            x, y = coordinates[bad][0][:2]
            raise InvalidGeometry(
                f"{names[feature]} of {self._source} has the coordinates ({x}, {y}): every coordinate must be a finite "
                "number. Correct it in the source."
            )

    def _invalid_ones(self, geometries: Geometries, where: NDArray[np.int64], names: list[str]) -> Geometries:
        if not self._repair:
            for index in where[: _NAMED - len(self._invalid)] if len(self._invalid) < _NAMED else ():
                self._invalid.append(f"{names[index]} ({shapely.is_valid_reason(geometries[index])})")
            self._invalid_count += len(where)
            if self._invalid_count >= _ENOUGH:
                self._refuse()
            return geometries
        geometries = geometries.copy()
        for index in where:
            sound = _same_dimension(geometries[index])
            geometries[index] = sound
            self.repaired += sound is not None
            self.lost += sound is None
        self.missing += int(shapely.is_missing(geometries[where]).sum())
        return geometries

    def _extend(self, geometries: Geometries) -> None:
        bounds = shapely.total_bounds(geometries)
        if np.isnan(bounds).any():
            return
        if self.bounds is None:
            self.bounds = bounds
        else:
            self.bounds = np.concatenate(
                (np.minimum(self.bounds[:2], bounds[:2]), np.maximum(self.bounds[2:], bounds[2:]))
            )

    def _refuse(self) -> None:
        more = self._invalid_count - len(self._invalid)
        raise InvalidGeometry(
            f"{self._source} has {'at least ' if self._invalid_count >= _ENOUGH else ''}{self._invalid_count} invalid "
            f"geometries: {', '.join(self._invalid)}{f' and {more} more' if more else ''}. Correct them in the source, or "
            "publish with --repair."
        )

    def finish(self) -> list[str]:
        """Refuse what has to be refused, else give the warnings. Raises InvalidGeometry and EmptyDataset."""
        if self._invalid_count:
            self._refuse()
        if self.count == 0:
            raise EmptyDataset(f"{self._source} has no features: there is nothing to publish.")
        if self.missing == self.count:
            raise EmptyDataset(f"None of the {self.count} features of {self._source} has a geometry.")
        warnings = []
        if self.missing:
            warnings.append(
                f"{self.missing} of {self.count} features have no geometry; they appear on no map."
            )
        if self.repaired:
            warnings.append(f"{self.repaired} invalid geometries were repaired.")
        if self.lost:
            warnings.append(f"{self.lost} invalid geometries had nothing left after the repair.")
        return warnings


def _same_dimension(geometry: shapely.Geometry) -> shapely.Geometry | None:
    """The geometry made valid, without the points and lines that a broken polygon leaves behind."""
    dimension = shapely.get_dimensions(geometry)
    sound = shapely.make_valid(geometry, method="structure", keep_collapsed=False)
    parts = [part for part in shapely.get_parts(sound) if shapely.get_dimensions(part) == dimension]
    if not parts:
        return None
    flat = list(shapely.get_parts(np.array(parts, dtype=object)))
    if len(flat) == 1:
        only: shapely.Geometry = flat[0]
        return only
    if dimension == 2:
        return shapely.MultiPolygon(flat)
    return shapely.MultiLineString(flat) if dimension == 1 else shapely.MultiPoint(flat)
