"""Data queries over time series: which named places a query means, and what was observed there.

A position means the place nearest to it, a line the places nearest to its vertices in their order; areas, boxes, discs and corridors
mean the places in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path as File

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from providers.coverages.errors import OutsideCoverage
from providers.coverages.references import transformer
from providers.edr.lines import corridor_area
from providers.edr.query import DataQuery, polygon_of, to_degrees
from providers.edr.samples import Samples, Series, Values
from providers.errors import InvalidParameter, ItemNotFound
from providers.features.crs import reference_system
from providers.features.query import CRS84
from providers.sensors.answers import (
    ALL_TIMES,
    MAXIMUM_VALUES,
    SeriesQuery,
    chosen_parameters,
    describe_parameter,
    locations_by_distance,
    nearest_location,
    observed_columns,
)
from providers.sensors.store import Location, SeriesStore, rfc3339

type Finder = Callable[[File, DataQuery], list[str]]


def answer_series(path: File, query: DataQuery, location: str | None = None) -> Samples:
    """What a query finds in a series store; `location` is the id of a "locations" query.

    Raises InvalidParameter, AnswerTooLarge, StoreError; ItemNotFound for an unknown location, OutsideCoverage where no place is meant.
    """
    if query.kind == "locations":
        chosen = [location or ""]
    else:
        chosen = _FINDERS[query.kind](path, query)
        if not chosen:
            raise OutsideCoverage(
                f"No location of this collection lies where {query.kind} asks; /locations lists all of them"
            )
    several = query.kind in ("radius", "area", "cube", "corridor") or query.geometry_is_multiple
    return _observed(path, query, chosen, collected=several)


def _observed(path: File, query: DataQuery, location_ids: list[str], *, collected: bool) -> Samples:
    store = SeriesStore(path)
    parameters = chosen_parameters(store, query.parameters or None)
    asked = SeriesQuery(span=query.time.span if query.time is not None else ALL_TIMES)
    budget = MAXIMUM_VALUES
    found = []
    for location_id in location_ids:
        place = store.location(location_id)
        if place is None:
            raise ItemNotFound(location_id)
        columns, times = observed_columns(store, location_id, parameters, asked, budget)
        budget -= sum(len(column) for column in columns.values())
        x, y = _placed(query, place)
        values = {name: _values(column) for name, column in columns.items()}
        found.append(Series(x, y, tuple(map(rfc3339, times)), values, place.id, place.title))
    described = {parameter.name: describe_parameter(parameter) for parameter in parameters}
    return Samples(query.reference, described, found, collected=collected and len(found) > 1)


def _values(column: list[float | None]) -> Values:
    values = np.array([np.nan if value is None else value for value in column], np.float64)
    return Values(values, np.isfinite(values))


def _placed(query: DataQuery, place: Location) -> tuple[float, float]:
    if query.reference.is_wgs84:
        return place.longitude, place.latitude
    change = transformer(reference_system(CRS84).horizontal, query.reference.horizontal)
    x, y = change.transform(place.longitude, place.latitude)
    return float(x), float(y)


# --- which places --------------------------------------------------------------------------------------------------------


def _nearest(path: File, query: DataQuery) -> list[str]:
    """The places nearest to each position, none twice."""
    shape = query.geometry
    if shape.has_m:
        raise InvalidParameter("coords", shape.kind, "positions without times (M); datetime selects times")
    points = np.concatenate(shape.parts)
    longitudes, latitudes = to_degrees(query, points[:, 0].copy(), points[:, 1].copy())
    if len(points) > _MOST_POINTS:
        raise InvalidParameter("coords", shape.kind, f"at most {_MOST_POINTS} positions")
    nearest = (
        nearest_location(path, _turned(x), y)
        for x, y in zip(longitudes.tolist(), latitudes.tolist(), strict=True)
    )
    return list(dict.fromkeys(nearest))


_MOST_POINTS = 200


def _turned(longitude: float) -> float:
    return (longitude + 180.0) % 360.0 - 180.0


def _within_radius(path: File, query: DataQuery) -> list[str]:
    part = query.geometry.parts[0]
    longitudes, latitudes = to_degrees(query, part[:, 0].copy(), part[:, 1].copy())
    found = locations_by_distance(path, _turned(float(longitudes[0])), float(latitudes[0]), query.distance)
    return [location for _, location in found]


def _in_area(path: File, query: DataQuery) -> list[str]:
    return _within(path, query, polygon_of(query.geometry))


def _in_corridor(path: File, query: DataQuery) -> list[str]:
    return _within(path, query, corridor_area(query))


def _in_box(path: File, query: DataQuery) -> list[str]:
    assert query.bbox is not None  # parse_query demands it
    west, south, east, north = query.bbox
    return _within(path, query, shapely.box(west, south, east + 360.0 if east < west else east, north))


def _within(path: File, query: DataQuery, area: BaseGeometry) -> list[str]:
    """The places in or on an area of the query's CRS, on any turn of the globe."""
    places = SeriesStore(path).locations()
    points = [_placed(query, place) for place in places]
    turns = (0.0, -360.0, 360.0) if query.reference.horizontal.is_geographic else (0.0,)
    inside = np.zeros(len(places), np.bool_)
    for turn in turns:
        inside |= _covers(area, ((x + turn, y) for x, y in points))
    return [place.id for place, is_in in zip(places, inside.tolist(), strict=True) if is_in]


def _covers(area: BaseGeometry, points: Iterable[tuple[float, float]]) -> NDArray[np.bool_]:
    positions = np.array(list(points), np.float64).reshape(-1, 2)
    covered: NDArray[np.bool_] = shapely.intersects_xy(area, positions[:, 0], positions[:, 1])
    return covered


_FINDERS: dict[str, Finder] = {
    "position": _nearest,
    "trajectory": _nearest,
    "radius": _within_radius,
    "area": _in_area,
    "cube": _in_box,
    "corridor": _in_corridor,
}
