"""What data queries found, in the formats of EDR: CoverageJSON, GeoJSON, CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from providers.coverages.coverage_json import dump, grid_domain, nd_array, referencing
from providers.coverages.references import transformer
from providers.edr.samples import Document, Grid, Path, Sample, Samples, Series, Values
from providers.errors import AnswerTooLarge
from providers.features.crs import ReferenceSystem, reference_system
from providers.features.query import CRS84

MEDIA_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "covjson": "application/vnd.cov+json",
        "geojson": "application/geo+json",
        "csv": "text/csv; charset=utf-8",
    }
)
MAXIMUM_ROWS = 100_000
DISTANCE = "distance"
"""The parameter of a path's distances in metres, "path_distance" where a parameter of the data has that name."""


def encode(samples: Samples, form: str, *, keep_crs: bool = True) -> bytes:
    """The answer in "covjson", "geojson" or "csv"; GeoJSON is in CRS84 unless `keep_crs`. Raises AnswerTooLarge."""
    if form == "covjson":
        return dump(coverage_json(samples))
    _check_rows(samples)
    return _csv(samples) if form == "csv" else dump(geojson(samples, keep_crs=keep_crs))


def _check_rows(samples: Samples) -> None:
    rows = sum(_count(one) for one in samples.found)
    if rows > MAXIMUM_ROWS:
        raise AnswerTooLarge(
            f"The answer would have {rows} rows; at most {MAXIMUM_ROWS} are given at once in this format. Ask for a smaller place, "
            "fewer instants, or f=covjson, which holds more"
        )


def _count(sample: Sample) -> int:
    if isinstance(sample, Grid):
        return int(next(iter(sample.values.values())).values.size)
    return len(sample.x) if isinstance(sample, Path) else max(len(sample.times), 1)


# --- CoverageJSON --------------------------------------------------------------------------------------------------------


def coverage_json(samples: Samples) -> Document:
    """One thing as a Coverage, several as a CoverageCollection (21-069r2, clauses 6 and 8)."""
    parameters = dict(samples.parameters)
    if any(isinstance(one, Path) for one in samples.found):
        parameters[_distance_name(samples)] = _distance_parameter(_distance_name(samples))
    coverages = [_coverage(one, samples) for one in samples.found]
    if len(coverages) == 1 and not samples.collected:
        return {**coverages[0], "parameters": parameters}
    kinds = {one["domain"]["domainType"] for one in coverages}
    timed = any("t" in one["domain"]["axes"] for one in coverages)
    return {
        "type": "CoverageCollection",
        **({"domainType": kinds.pop()} if len(kinds) == 1 else {}),
        "parameters": parameters,
        "referencing": referencing(samples.reference, timed=timed),
        "coverages": coverages,
    }


def _coverage(sample: Sample, samples: Samples) -> Document:
    if isinstance(sample, Grid):
        return _grid(sample, samples)
    if isinstance(sample, Series):
        return _series(sample, samples)
    return _path(sample, samples)


def _grid(grid: Grid, samples: Samples) -> Document:
    rows, columns = grid.shape
    axes = {"t": len(grid.times)} if grid.times else {}
    return {
        "type": "Coverage",
        "domain": grid_domain(grid.bounds, grid.shape, samples.reference, grid.times),
        "ranges": _ranges(grid.values, {**axes, "y": rows, "x": columns}),
    }


def _ranges(values: Mapping[str, Values], axes: Mapping[str, int]) -> Document:
    return {name: nd_array(one.values, one.valid, axes) for name, one in values.items()}


def _series(series: Series, samples: Samples) -> Document:
    """Domain type PointSeries, or Point where there is no time (clauses 6.1.6 and 6.1.7)."""
    named = {"id": series.id, "title": {"en": series.title or series.id}} if series.id else {}
    axes: Document = {"x": {"values": [series.x]}, "y": {"values": [series.y]}}
    if series.times:
        axes["t"] = {"values": list(series.times)}
    # A store of series knows times though none may lie in the span that was asked for.
    timed = bool(series.times) or next(iter(series.values.values())).values.size == 0
    if timed and not series.times:
        axes["t"] = {"values": []}
    return {
        "type": "Coverage",
        **named,
        "domain": {
            "type": "Domain",
            "domainType": "PointSeries" if timed else "Point",
            "axes": axes,
            "referencing": referencing(samples.reference, timed=timed),
        },
        "ranges": _ranges(series.values, {"t": len(series.times)} if timed else {}),
    }


def _path(path: Path, samples: Samples) -> Document:
    """Domain type Trajectory where each position has a time, else MultiPoint (clauses 6.1.3, 6.1.8): Trajectory demands times."""
    times = path.times or ((path.time,) * len(path.x) if path.time is not None else ())
    if times:
        tuples = [list(one) for one in zip(times, path.x.tolist(), path.y.tolist(), strict=True)]
        composite: Document = {"dataType": "tuple", "coordinates": ["t", "x", "y"], "values": tuples}
    else:
        composite = {
            "dataType": "tuple",
            "coordinates": ["x", "y"],
            "values": np.column_stack([path.x, path.y]),
        }
    length = {"composite": len(path.x)}
    distance = nd_array(path.distance, np.ones(len(path.x), np.bool_), length)
    return {
        "type": "Coverage",
        "domain": {
            "type": "Domain",
            "domainType": "Trajectory" if times else "MultiPoint",
            "axes": {"composite": composite},
            "referencing": referencing(samples.reference, timed=bool(times)),
        },
        "ranges": {**_ranges(path.values, length), _distance_name(samples): distance},
    }


def _distance_name(samples: Samples) -> str:
    return DISTANCE if DISTANCE not in samples.parameters else f"path_{DISTANCE}"


def _distance_parameter(name: str) -> Document:
    return {
        "type": "Parameter",
        "id": name,
        "description": {"en": "Distance along the line from its start, on the ground"},
        "observedProperty": {"id": name, "label": {"en": "Distance"}},
        "unit": {
            "label": {"en": "metre"},
            "symbol": {"value": "m", "type": "http://www.opengis.net/def/uom/UCUM/"},
        },
    }


# --- tables: GeoJSON and CSV ---------------------------------------------------------------------------------------------


def geojson(samples: Samples, *, keep_crs: bool) -> Document:
    """A FeatureCollection: a point for each position or cell with data (EDR, requirement class edr-geojson)."""
    target = samples.reference if keep_crs else reference_system(CRS84)
    features = [feature for one in samples.found for feature in _features(one, samples, target)]
    parameters = dict(samples.parameters)
    if any(isinstance(one, Path) for one in samples.found):
        parameters[_distance_name(samples)] = _distance_parameter(_distance_name(samples))
    return {
        "type": "FeatureCollection",
        "features": features,
        "parameters": list(parameters.values()),
        "numberReturned": len(features),
    }


def _features(sample: Sample, samples: Samples, target: ReferenceSystem) -> Iterator[Document]:
    names = list(samples.parameters)
    if isinstance(sample, Series):
        x, y = _moved(np.array([sample.x]), np.array([sample.y]), samples.reference, target)
        listed = {name: _listed(one) for name, one in sample.values.items()}
        values: Document = dict(listed)
        if not sample.times:
            values = {name: one[0] if one else None for name, one in listed.items()}
        properties = {**_label(sample), **({"datetime": list(sample.times)} if sample.times else {})}
        identifier = {"id": sample.id} if sample.id else {}
        yield identifier | _feature(x[0], y[0], target, {**properties, "parameter-name": names, **values})
        return
    for x_values, y_values, time, columns in _parts(sample, samples):
        x, y = _moved(x_values, y_values, samples.reference, target)
        columned = [_listed(one) for one in columns.values()]
        for row in range(len(x)):
            found = dict(zip(columns, (column[row] for column in columned), strict=True))
            if isinstance(sample, Grid) and all(value is None for value in found.values()):
                continue  # a cell outside the area, or without data
            moment = {} if time is None else {"datetime": time if isinstance(time, str) else time[row]}
            yield _feature(x[row], y[row], target, {**moment, "parameter-name": names, **found})


def _label(series: Series) -> Document:
    return {"label": series.title or series.id} if series.id else {}


def _feature(x: float, y: float, target: ReferenceSystem, properties: Document) -> Document:
    place = [float(y), float(x)] if target.swap else [float(x), float(y)]
    return {"type": "Feature", "geometry": {"type": "Point", "coordinates": place}, "properties": properties}


def _moved(
    x: NDArray[np.float64], y: NDArray[np.float64], source: ReferenceSystem, target: ReferenceSystem
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if source is target or source.horizontal == target.horizontal:
        return x, y
    found = transformer(source.horizontal, target.horizontal).transform(x, y)
    return np.asarray(found[0]), np.asarray(found[1])


type _Part = tuple[NDArray[np.float64], NDArray[np.float64], str | Sequence[str] | None, dict[str, Values]]


def _parts(sample: Grid | Path, samples: Samples) -> Iterator[_Part]:
    """The positions of a grid at one time after the other, or of a path: x, y, time, columns of values."""
    if isinstance(sample, Path):
        distance = Values(sample.distance, np.ones(len(sample.x), np.bool_))
        columns = {**sample.values, _distance_name(samples): distance}
        yield sample.x, sample.y, sample.times or sample.time, columns
        return
    rows, columns_count = sample.shape
    west, south, east, north = sample.bounds
    half_x, half_y = (east - west) / columns_count / 2, (north - south) / rows / 2
    x, y = np.meshgrid(
        np.linspace(west + half_x, east - half_x, columns_count),
        np.linspace(north - half_y, south + half_y, rows),
    )
    for number in range(max(len(sample.times), 1)):
        columns = {
            name: Values(one.values[number].ravel(), one.valid[number].ravel())
            for name, one in sample.values.items()
        }
        yield x.ravel(), y.ravel(), sample.times[number] if sample.times else None, columns


def _listed(values: Values) -> list[Any]:
    """Plain numbers; None where there are no data."""
    good = values.valid
    if not np.issubdtype(values.values.dtype, np.integer):
        good = good & np.isfinite(values.values)
    # 32-bit numbers as they are written with their own digits, not those of a 64-bit number next to them.
    plain = (
        [float(str(value)) for value in values.values]
        if values.values.dtype == np.float32
        else values.values.tolist()
    )
    return [value if fine else None for value, fine in zip(plain, good.tolist(), strict=True)]


def _csv(samples: Samples) -> bytes:
    """One row a position and time, UTF-8 with CRLF (RFC 4180); what is no data is an empty field, a cell without any no row."""
    text = io.StringIO()
    writer = csv.writer(text)
    geographic = samples.reference.horizontal.is_geographic
    places = ["longitude", "latitude"] if geographic else ["x", "y"]
    first = samples.found[0]
    if isinstance(first, Series):
        writer.writerow(["location", *places, "time", *samples.parameters])
        for one in samples.found:
            assert isinstance(one, Series)
            writer.writerows(_series_rows(one))
        return text.getvalue().encode()
    distance = [_distance_name(samples)] if isinstance(first, Path) else []
    writer.writerow([*places, "time", *samples.parameters, *distance])
    for sample in samples.found:
        assert not isinstance(sample, Series)
        for x, y, time, columns in _parts(sample, samples):
            listed = [_listed(one) for one in columns.values()]
            moments = [time or ""] * len(x) if not time or isinstance(time, str) else list(time)
            for row in zip(x.tolist(), y.tolist(), moments, *listed, strict=True):
                if isinstance(sample, Path) or any(value is not None for value in row[3:]):
                    writer.writerow(row)
    return text.getvalue().encode()


def _series_rows(series: Series) -> Iterator[list[Any]]:
    columns = [_listed(one) for one in series.values.values()]
    times = series.times or (("",) if columns and columns[0] else ())
    for number, time in enumerate(times):
        yield [series.id, series.x, series.y, time, *(column[number] for column in columns)]
