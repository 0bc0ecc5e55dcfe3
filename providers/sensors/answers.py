"""Answers about a series store: locations as GeoJSON, observations as CoverageJSON and CSV.

CoverageJSON 1.0 (OGC 21-069r2) domain type PointSeries: axes x, y and t, one NdArray a parameter along t; a gap is null.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyproj import Geod

from providers.errors import AnswerTooLarge, InvalidParameter, ItemNotFound
from providers.features.query import CRS84, BBox
from providers.sensors.store import Location, Parameter, SeriesStore, Span, rfc3339

COVERAGE_JSON = "application/vnd.cov+json"
CSV = "text/csv; charset=utf-8"
MAXIMUM_VALUES = 100_000
MAXIMUM_LOCATIONS = 10_000
ALL_TIMES = Span(None, None)
_GEOD = Geod(ellps="WGS84")


@dataclass(frozen=True, slots=True)
class SeriesQuery:
    """What is wanted of some locations: `parameters` None for all; more than `maximum_values` values is an error."""

    span: Span = ALL_TIMES
    parameters: tuple[str, ...] | None = None
    maximum_values: int = MAXIMUM_VALUES


def list_locations(path: Path, bbox: BBox | None = None, limit: int = MAXIMUM_LOCATIONS) -> dict[str, Any]:
    """The locations as a GeoJSON FeatureCollection (EDR clause 8.2.8), at most `limit`, within `bbox` (CRS84)."""
    store = SeriesStore(path)
    summary = store.summary()
    inside = [place for place in store.locations() if bbox is None or _within(place, bbox)]
    names = [parameter.name for parameter in summary.parameters]
    interval = f"{summary.start or '..'}/{summary.end or '..'}"
    return {
        "type": "FeatureCollection",
        "features": [_feature(place, names, interval) for place in inside[:limit]],
        "parameters": [describe_parameter(parameter) for parameter in summary.parameters],
        "numberMatched": len(inside),
        "numberReturned": min(limit, len(inside)),
    }


def _within(place: Location, box: BBox) -> bool:
    across = box.west > box.east
    inside = (
        (place.longitude >= box.west or place.longitude <= box.east)
        if across
        else (box.west <= place.longitude <= box.east)
    )
    return inside and box.south <= place.latitude <= box.north


def _feature(place: Location, parameters: Sequence[str], interval: str) -> dict[str, Any]:
    """One location as a GeoJSON Feature with the properties that EDR names (label, datetime, parameter-name)."""
    own = {
        "label": place.title,
        "name": place.title,
        "datetime": interval,
        "parameter-name": list(parameters),
    }
    return {
        "type": "Feature",
        "id": place.id,
        "geometry": {"type": "Point", "coordinates": [place.longitude, place.latitude]},
        "properties": {**place.properties, **own},
    }


def describe_parameter(parameter: Parameter) -> dict[str, Any]:
    """A CoverageJSON Parameter object (clause 6.3); the unit is a UCUM code."""
    description = {"description": {"en": parameter.description}} if parameter.description else {}
    return {
        "type": "Parameter",
        "id": parameter.name,
        **description,
        "observedProperty": {"id": parameter.observed_property, "label": {"en": parameter.title}},
        "unit": {
            "label": {"en": parameter.unit},
            "symbol": {"value": parameter.unit, "type": "http://www.opengis.net/def/uom/UCUM/"},
        },
    }


def location_series(path: Path, location_ids: Sequence[str], query: SeriesQuery) -> dict[str, Any]:
    """The series of one location as a Coverage, of several as a CoverageCollection.

    Raises ItemNotFound for an unknown location, InvalidParameter for an unknown parameter, AnswerTooLarge beyond
    `query.maximum_values`.
    """
    store = SeriesStore(path)
    chosen = chosen_parameters(store, query.parameters)
    budget = query.maximum_values
    coverages = []
    for location_id in location_ids:
        columns, times = observed_columns(store, location_id, chosen, query, budget)
        budget -= sum(len(column) for column in columns.values())
        coverages.append((_required(store, location_id), times, columns))
    described = {parameter.name: describe_parameter(parameter) for parameter in chosen}
    if len(coverages) == 1:
        return {**_coverage(*coverages[0]), "parameters": described}
    return {
        "type": "CoverageCollection",
        "domainType": "PointSeries",
        "parameters": described,
        "referencing": _referencing(),
        "coverages": [_coverage(*one) for one in coverages],
    }


def _required(store: SeriesStore, location_id: str) -> Location:
    place = store.location(location_id)
    if place is None:
        raise ItemNotFound(location_id)
    return place


def chosen_parameters(store: SeriesStore, names: Sequence[str] | None) -> tuple[Parameter, ...]:
    """The parameters asked for, in the order of publication. Raises InvalidParameter for one that is unknown."""
    known = store.parameters()
    if names is None:
        return known
    allowed = {parameter.name for parameter in known}
    unknown = [name for name in names if name not in allowed]
    if unknown or not names:
        raise InvalidParameter("parameter-name", ",".join(names), "a list of " + ", ".join(sorted(allowed)))
    return tuple(parameter for parameter in known if parameter.name in names)


def observed_columns(
    store: SeriesStore, location_id: str, parameters: Sequence[Parameter], query: SeriesQuery, budget: int
) -> tuple[dict[str, list[float | None]], list[int]]:
    """The values of each parameter along one common time axis; times of which a parameter has no row become null."""
    _required(store, location_id)
    found: dict[str, dict[int, float | None]] = {}
    for parameter in parameters:
        rows = store.observations(location_id, parameter.name, query.span, budget + 1)
        budget -= len(rows)
        if budget < 0:
            raise AnswerTooLarge(
                f"The answer would hold more than {query.maximum_values} values; ask for a shorter datetime interval, "
                "fewer locations or fewer parameter-name values"
            )
        found[parameter.name] = dict(rows)
    times = sorted(set().union(*found.values()))
    return {name: [values.get(time) for time in times] for name, values in found.items()}, times


def _coverage(
    place: Location, times: Sequence[int], columns: dict[str, list[float | None]]
) -> dict[str, Any]:
    return {
        "type": "Coverage",
        "id": place.id,
        "title": {"en": place.title},
        "domain": {
            "type": "Domain",
            "domainType": "PointSeries",
            "axes": {
                "x": {"values": [place.longitude]},
                "y": {"values": [place.latitude]},
                "t": {"values": [rfc3339(time) for time in times]},
            },
            "referencing": _referencing(),
        },
        "ranges": {
            name: {
                "type": "NdArray",
                "dataType": "float",
                "axisNames": ["t"],
                "shape": [len(values)],
                "values": values,
            }
            for name, values in columns.items()
        },
    }


def _referencing() -> list[dict[str, Any]]:
    return [
        {"coordinates": ["x", "y"], "system": {"type": "GeographicCRS", "id": CRS84}},
        {"coordinates": ["t"], "system": {"type": "TemporalRS", "calendar": "Gregorian"}},
    ]


def latest_values(path: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """The last reported value of each location and parameter: {location: {parameter: {"time", "value"}}}."""
    answer: dict[str, dict[str, dict[str, Any]]] = {}
    for location_id, parameter, time, value in SeriesStore(path).latest():
        answer.setdefault(location_id, {})[parameter] = {"time": rfc3339(time), "value": value}
    return answer


def nearest_location(path: Path, longitude: float, latitude: float) -> str:
    """Id of the location nearest to a point in CRS84 by geodesic distance. Raises ItemNotFound in an empty store."""
    places = locations_by_distance(path, longitude, latitude)
    if not places:
        raise ItemNotFound(f"POINT({longitude} {latitude})")
    return places[0][1]


def locations_by_distance(
    path: Path, longitude: float, latitude: float, within: float = math.inf
) -> list[tuple[float, str]]:
    """(geodesic distance in metres on WGS 84, location id), nearest first, no farther than `within` metres."""
    distances = (
        (float(_GEOD.inv(longitude, latitude, place.longitude, place.latitude)[2]), place.id)
        for place in SeriesStore(path).locations()
    )
    return sorted(one for one in distances if one[0] <= within)


def stream_series_csv(
    path: Path, location_ids: Sequence[str], span: Span = ALL_TIMES, parameters: Sequence[str] | None = None
) -> Iterator[bytes]:
    """CSV of one location after the other: location, longitude, latitude, time, one column a parameter.

    UTF-8 with CRLF line ends (RFC 4180); a gap, and a time at which a parameter was not observed, is an empty field. Read
    in slices, so memory stays the same whatever the length. Raises ItemNotFound and InvalidParameter before the first bytes.
    """
    store = SeriesStore(path)
    chosen = [parameter.name for parameter in chosen_parameters(store, parameters)]
    places = [_required(store, location_id) for location_id in location_ids]
    return _csv_parts(store, places, chosen, span)


def _csv_parts(
    store: SeriesStore, places: Sequence[Location], parameters: Sequence[str], span: Span
) -> Iterator[bytes]:
    yield _csv_rows([("location", "longitude", "latitude", "time", *parameters)])
    for place in places:
        start = _csv_rows([(place.id, place.longitude, place.latitude)]).decode().removesuffix("\r\n")
        for rows in store.rows_by_time(place.id, parameters, span):
            # Numbers and instants need no quotes, and this is a third of what csv.writer takes for them.
            lines = [
                f"{start},{time},{','.join(['' if value is None else repr(value) for value in values])}\r\n"
                for time, *values in rows
            ]
            yield "".join(lines).encode()


def _csv_rows(rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()
