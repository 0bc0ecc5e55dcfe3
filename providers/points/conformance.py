"""Which conformance classes the items of a point cloud pass: the self-test of features, asked of points.

The checks are `providers.features.conformance.CHECKS`. The questions take the way of a request: parsed as `/points` parses them, planned
by the nodes' statistics, answered by decoded points; what should come out is told by the evaluator of features on a part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, Final

import numpy as np
import orjson
import shapely

from pointclouds.cloud.cloud import Cloud
from pointclouds.errors import PointCloudError
from pointclouds.las.layout import Column
from pointclouds.las.times import utc_of
from providers.errors import ItemNotFound, ProviderError, UnsupportedQuery
from providers.features.conformance import (
    CHECKS,
    CQL2,
    FEATURES_1,
    FEATURES_2,
    FEATURES_3,
    FEATURES_5,
    ClassFailed,
    NotOffered,
    Probe,
    SelfTest,
)
from providers.features.crs import ReferenceSystem
from providers.features.query import ItemQuery
from providers.features.schema import CollectionSchema
from providers.features.source import Ability, ColumnPage, FeatureColumns, FeaturePage, ItemResult
from providers.points.items import column_maker, point_batches, point_feature, point_page
from providers.points.places import native_system
from providers.points.request import PointContext, PointRequest, parse_point_id, parse_points
from providers.points.schema import TIME_FIELD, point_schema

POINT_CLASSES: Final = (
    f"{FEATURES_1}/core", f"{FEATURES_1}/geojson", f"{FEATURES_2}/crs", f"{FEATURES_3}/queryables", f"{FEATURES_3}/queryables-query-parameters",
    f"{FEATURES_3}/filter", f"{FEATURES_3}/features-filter", f"{FEATURES_5}/schemas", f"{FEATURES_5}/core-roles-features",
    f"{FEATURES_5}/returnables-and-receivables", f"{FEATURES_5}/queryables",
    *(f"{CQL2}/{name}" for name in (
        "cql2-text", "cql2-json", "basic-cql2", "advanced-comparison-operators", "basic-spatial-functions", "basic-spatial-functions-plus",
        "spatial-functions", "temporal-functions", "property-property", "functions", "arithmetic",
    )),
)  # fmt: skip
"""What the items of a point cloud can pass: points are not sorted, searched by text or edited one by one."""


class _Points:
    """A point cloud as far as the checks of features ask it."""

    kind = "points"
    abilities = frozenset(
        (Ability.BBOX, Ability.EQUALS, Ability.FILTER, Ability.DATETIME, Ability.CRS, Ability.CURSOR)
    )

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    @cached_property
    def schema(self) -> CollectionSchema:
        """The dimensions."""
        return point_schema(self._cloud)

    @cached_property
    def storage(self) -> ReferenceSystem:
        """The system of the cloud's coordinates."""
        return native_system(self._cloud)

    def columns(self, query: ItemQuery) -> ColumnPage:
        """A page as columns in the cloud's own system."""
        request = self._request(query)
        parts, last = point_batches(self._cloud, request, query.limit)
        maker = column_maker(request, self._cloud, "")
        ids: list[str] = []
        values: dict[str, list[Any]] = {field.name: [] for field in self.schema.fields}
        for prefix, batch in parts:
            made = maker(batch.records)
            ids += [f"{prefix}{number}" for number in batch.numbers.tolist()]
            columns = {"X": made.x, "Y": made.y, "Z": made.z, **made.columns}
            if TIME_FIELD in values and TIME_FIELD not in columns:
                values[TIME_FIELD] += [
                    f"{one}Z"
                    for one in np.datetime_as_string(utc_of(batch.records["GpsTime"]), "ms").tolist()
                ]
            for name in values.keys() & columns.keys():
                values[name] += _json_values(columns[name])
        shapes: Any = shapely.points(np.array(values["X"], float), np.array(values["Y"], float))
        return ColumnPage(
            FeatureColumns(list(range(len(ids))), ids, shapes, values),
            None if last is None else (last,),
            None,
        )

    def page(self, query: ItemQuery) -> FeaturePage:
        """A page as GeoJSON."""
        page = point_page(self._cloud, replace(self._request(query), crs=query.crs), query.limit)
        features = orjson.loads(b"[" + page.features + b"]")
        return FeaturePage([orjson.dumps(one) for one in features], None, page.matched, page.crs)

    def item(self, feature_id: str) -> ItemResult | None:
        """One point."""
        try:
            body, _ = point_feature(self._cloud, self._request(ItemQuery()), feature_id)
        except ItemNotFound:
            return None
        return ItemResult(body, 0)

    def _request(self, query: ItemQuery) -> PointRequest:
        pairs = [*query.equals.items()]
        if query.bbox is not None:
            pairs.append(("bbox", ",".join(map(repr, query.bbox))))
        if query.filter is not None:
            pairs.append(("filter", query.filter.text))
        if query.datetime is not None:
            pairs.append(("datetime", "/".join(end or ".." for end in query.datetime)))
        request = parse_points(pairs, self._cloud, PointContext())
        if query.cursor is None:
            return request
        return replace(request, after=parse_point_id(str(query.cursor[0])))


def _json_values(column: Column) -> list[Any]:
    """Python values; None for what is no number."""
    found: list[Any] = column.tolist()
    if column.dtype.kind != "f" or np.isfinite(column).all():
        return found
    return [
        value if there else None for value, there in zip(found, np.isfinite(column).tolist(), strict=True)
    ]


def self_test(cloud: Cloud) -> SelfTest:
    """Run the checks. Never raises what a check or the cloud raises."""
    source: Any = _Points(cloud)
    result, probe = SelfTest([]), Probe(source)
    checks: Mapping[str, Any] = CHECKS
    for uri in POINT_CLASSES:
        try:
            checks[uri](probe)
        except (NotOffered, UnsupportedQuery):
            continue
        except (ClassFailed, ProviderError, PointCloudError) as error:
            result.failed[uri] = str(error)
        else:
            result.passed.append(uri)
    return result
