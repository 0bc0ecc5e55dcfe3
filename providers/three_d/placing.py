"""One way from a collection's CRS to WGS 84 for all of its objects, now and after every edit."""

from __future__ import annotations

import numpy as np
import pyproj

from tiles.three_d.placement import HorizontalPath, horizontal_paths

_STEPS = 9


def chosen_path(crs: pyproj.CRS, bbox84: tuple[float, ...]) -> int:
    """The number of the best way (`horizontal_paths`) that reaches all of a collection, else of that which reaches most.

    Judged by places spread over the collection, not by one part of its features: two parts that went different ways would
    not fit together. Raises PlacementError where there is no way.
    """
    paths = horizontal_paths(crs)
    if len(paths) == 1 or not bbox84:
        return 0
    middle = len(bbox84) // 2
    east = bbox84[middle] + (360.0 if bbox84[0] > bbox84[middle] else 0.0)
    longitude, latitude = np.meshgrid(
        np.linspace(bbox84[0], east, _STEPS), np.linspace(bbox84[1], bbox84[middle + 1], _STEPS)
    )
    places = np.column_stack(((longitude.ravel() + 180.0) % 360.0 - 180.0, latitude.ravel()))
    reached = [_reached(path, paths, places) for path in paths]
    return int(np.argmax(reached))


def _reached(path: HorizontalPath, paths: tuple[HorizontalPath, ...], places: np.ndarray) -> int:
    """How many of `places` (n, 2; about in WGS 84) a way reaches."""
    # In the collection's own CRS by any way that knows them: here a metre does not matter.
    for other in reversed(paths):
        own = other.inverse(places)
        if np.isfinite(own).all():
            break
    return int(np.isfinite(path.forward(own)).all(axis=1).sum())
