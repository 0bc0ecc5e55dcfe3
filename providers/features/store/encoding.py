"""GeoJSON Feature bytes (RFC 7946; OGC API - Features Part 2 where another CRS is asked).

One function writes the stored fragments and what is encoded on the fly, so both are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import orjson
import shapely
from numpy.typing import NDArray

from providers.features.crs import HEIGHT_DECIMALS, ReferenceSystem, transform_between


def geometries_in(
    geometries: NDArray[np.object_], source: ReferenceSystem, target: ReferenceSystem
) -> NDArray[np.object_]:
    """Geometries (x = east, y = north in `source`) as they go on the wire in `target`: its authority's axis order, rounded.

    Degrees keep 7 decimals, lengths 4, heights 3; heights pass unchanged. Coordinates that cannot be transformed come
    out as infinite. None stays None.
    """
    has_z = shapely.has_z(geometries)
    three = bool(has_z.any())
    coordinates = shapely.get_coordinates(geometries, include_z=three)
    x, y = coordinates[:, 0], coordinates[:, 1]
    transform = transform_between(source, target)
    if transform is not None and len(coordinates):
        x, y = transform(x, y)
    moved = np.empty_like(coordinates)
    first, second = (1, 0) if target.swap else (0, 1)
    moved[:, first] = np.round(x, target.decimals)
    moved[:, second] = np.round(y, target.decimals)
    if three:
        moved[:, 2] = np.round(coordinates[:, 2], HEIGHT_DECIMALS)
    moved += 0.0  # -0.0 becomes 0.0
    result = geometries.copy()
    if not three or has_z.all():
        return np.asarray(shapely.set_coordinates(result, moved), dtype=object)
    # Two- and three-dimensional geometries in one array: each keeps its own dimension.
    solid = np.repeat(has_z, shapely.get_num_coordinates(geometries))
    result[has_z] = shapely.set_coordinates(geometries[has_z], moved[solid])
    result[~has_z] = shapely.set_coordinates(geometries[~has_z], moved[~solid, :2])
    return result


def encode_features(
    ids: Sequence[str],
    geometries: NDArray[np.object_] | None,
    names: Sequence[str],
    columns: Sequence[Sequence[Any]],
) -> list[bytes]:
    """Feature bytes. `geometries` come ready (rounded, axis order of the wire), None for `"geometry": null` throughout.

    `columns` has one sequence of JSON values per name, as long as `ids`.
    """
    dumps, fragment = orjson.dumps, orjson.Fragment
    texts: Iterable[str | None] = [None] * len(ids) if geometries is None else shapely.to_geojson(geometries)
    rows = zip(*columns, strict=True) if columns else iter([()] * len(ids))
    return [
        dumps(
            {
                "type": "Feature",
                "id": feature_id,
                "geometry": None if text is None else fragment(text),
                "properties": dict(zip(names, row, strict=True)),
            }
        )
        for feature_id, text, row in zip(ids, texts, rows, strict=True)
    ]
