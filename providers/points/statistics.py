"""Statistics of points as JSON: counts, classes by name, spans of dimensions, density, time."""

from __future__ import annotations

from typing import Any

from pointclouds.cloud.cloud import Cloud
from pointclouds.cloud.counting import PointStatistics, statistics
from pointclouds.cloud.query import PointQuery, plan
from pointclouds.las.classes import class_name
from pointclouds.las.times import gps_interval
from providers.points.errors import TooManyPoints
from providers.points.places import length_unit
from providers.points.request import PointRequest
from providers.points.schema import has_instants

Document = dict[str, Any]


def statistics_document(cloud: Cloud, request: PointRequest, allowed: int, language: str) -> Document:
    """What the points of a request are like. `pointsRead` says how many had to be read for it, `exact` that nothing is estimated.

    Args:
        allowed: points that may be read; those of nodes that the request holds as a whole are not read.

    Raises:
        TooManyPoints: more would have to be read.
    """
    query = _query(cloud, request)
    source = plan(cloud, query)
    cut = int(source.counts[~source.whole].sum())
    if cut > allowed:
        raise TooManyPoints(cut, allowed)
    found = statistics(cloud, query)
    document: Document = {"count": found.count, "exact": found.exact, "pointsRead": found.read}
    if source.from_overview:
        document["overview"] = True
    if "Classification" not in request.hidden:
        document["classes"] = [
            {"code": code, "name": class_name(code, language), "count": number}
            for code, number in found.classes.items()
        ]
    if "ReturnNumber" not in request.hidden:
        document["returns"] = [{"return": number, "count": total} for number, total in found.returns.items()]
    document["dimensions"] = {
        name: {"minimum": one.lowest, "maximum": one.highest, "mean": one.mean, "deviation": one.deviation}
        for name, one in found.dimensions.items()
    }
    document |= _density(cloud, found) | _time(cloud, found)
    return document


def _query(cloud: Cloud, request: PointRequest) -> PointQuery:
    names = ["X", "Y", "Z", *(one.name for one in request.dimensions)]
    return PointQuery(**{**request.query.__dict__, "dimensions": tuple(dict.fromkeys(names))})


def _density(cloud: Cloud, found: PointStatistics) -> Document:
    """Points a square metre of the box that the points lie in."""
    x, y = found.dimensions.get("X"), found.dimensions.get("Y")
    if x is None or y is None:
        return {}
    unit = length_unit(cloud)
    area = (x.highest - x.lowest) * (y.highest - y.lowest) * unit * unit
    return {"density": {"pointsPerSquareMetre": found.count / area, "area": area}} if area > 0 else {}


def _time(cloud: Cloud, found: PointStatistics) -> Document:
    gps = found.dimensions.get("GpsTime")
    if gps is None:
        return {}
    document: Document = {"minimum": gps.lowest, "maximum": gps.highest}
    interval = gps_interval(gps.lowest, gps.highest) if has_instants(cloud) else None
    if interval is not None:
        document["interval"] = [
            one.isoformat(timespec="milliseconds").replace("+00:00", "Z") for one in interval
        ]
    return {"gpsTime": document}
