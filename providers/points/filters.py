"""CQL2 filters on the dimensions of points: a mask of points, and what the statistics of nodes say beforehand.

The parsers and the checker are those of features; the tree that comes out has the nodes told in `providers.features.cql2`, its
geometry literals in the coordinates of the cloud. `providers.points.pruning` looks at nodes, `providers.points.masks` at points.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, reduce
from typing import Any, Final

import shapely
from pygeofilter import ast

from pointclouds.cloud.cloud import Cloud
from pointclouds.cloud.nodes import NodeTable
from pointclouds.cloud.query import Mask, PointFilter, boxes_and_area
from pointclouds.las.layout import Column
from pointclouds.writing.columns import decimals_of_values
from providers.errors import InvalidParameter
from providers.features.cql2.checking import Checker
from providers.features.cql2.geometry import known_crs, to_crs84
from providers.features.cql2.json_parser import parse_json_text
from providers.features.cql2.limits import MAXIMUM_TEXT, Refusal
from providers.features.cql2.raw import BoxLiteral, GeometryLiteral, Interval
from providers.features.cql2.text_parser import parse_text
from providers.features.crs import reference_system
from providers.features.query import CRS84, GEOMETRY
from providers.points.masks import point_mask
from providers.points.places import is_native, near_cloud
from providers.points.pruning import NodeTruth, node_truth
from providers.points.schema import TIME_FIELD, point_schema

CQL2_TEXT: Final = "cql2-text"
CQL2_JSON: Final = "cql2-json"


class _PointChecker(Checker):
    """Places geometry literals in the coordinates of a cloud."""

    def __init__(self, cloud: Cloud, hidden: frozenset[str], crs: str) -> None:
        super().__init__(point_schema(cloud, hidden), hidden, crs)
        self._cloud = cloud
        self._given = crs

    def placed(self, node: GeometryLiteral | BoxLiteral) -> shapely.Geometry:
        """The shape in native x and y; written in the cloud's own system it is taken as it is, digit by digit."""
        shape = to_crs84(node, self._given)  # checks it too
        crs = self._given if node.crs is None else known_crs(node.crs)
        if is_native(self._cloud, crs):
            return _as_written(node, reference_system(crs).swap)
        try:
            return near_cloud(shape, self._cloud)
        except ValueError as error:
            raise Refusal(
                shapely.to_wkt(shape, rounding_precision=6)[:80], f"a shape near the points ({error})"
            ) from None


def _as_written(node: GeometryLiteral | BoxLiteral, swap: bool) -> shapely.Geometry:
    if isinstance(node, BoxLiteral):
        numbers = [node.numbers[0], node.numbers[1], *node.numbers[-2:]] if len(node.numbers) == 4 else [
            node.numbers[0], node.numbers[1], node.numbers[3], node.numbers[4]]  # fmt: skip
        first, second, third, fourth = numbers
        if swap and not node.in_gis_order:
            first, second, third, fourth = second, first, fourth, third
        return shapely.box(first, second, third, fourth)
    flat = shapely.force_2d(node.shape)
    if not swap or node.in_gis_order:
        return flat
    return shapely.set_coordinates(flat, shapely.get_coordinates(flat)[:, ::-1])


@dataclass(frozen=True)
class DimensionFilter:
    """A checked CQL2 filter (see pointclouds.cloud.query.PointFilter). `text` is the filter as it was given; `decimals` as in
    `providers.points.masks.point_mask`."""

    node: Any
    fields: frozenset[str]
    text: str
    decimals: Mapping[str, int] = field(default_factory=dict)

    def may_match(self, table: NodeTable) -> Mask:
        """Nodes in which a point may match."""
        return self._truth(table).may

    def all_match(self, table: NodeTable) -> Mask:
        """Nodes of which every point matches."""
        return self._truth(table).all

    def mask(self, values: Mapping[str, Column]) -> Mask:
        """Points that match."""
        return point_mask(self.node, values, self.decimals)

    def _truth(self, table: NodeTable) -> NodeTruth:
        return node_truth(self.node, table, self.decimals)


@dataclass(frozen=True)
class AllOf:
    """Several filters, joined by AND."""

    parts: tuple[PointFilter, ...]

    @property
    def fields(self) -> frozenset[str]:
        """The fields of all."""
        return frozenset().union(*(part.fields for part in self.parts))

    def may_match(self, table: NodeTable) -> Mask:
        """Nodes in which a point may match all."""
        return reduce(
            lambda mask, part: mask & part.may_match(table), self.parts[1:], self.parts[0].may_match(table)
        )

    def all_match(self, table: NodeTable) -> Mask:
        """Nodes of which every point matches all."""
        return reduce(
            lambda mask, part: mask & part.all_match(table), self.parts[1:], self.parts[0].all_match(table)
        )

    def mask(self, values: Mapping[str, Column]) -> Mask:
        """Points that match all."""
        return reduce(lambda mask, part: mask & part.mask(values), self.parts[1:], self.parts[0].mask(values))


@dataclass(frozen=True)
class AreaFilter:
    """Points in polygons (native x and y, borders included)."""

    area: shapely.Geometry
    margin: float
    fields: frozenset[str] = frozenset(("X", "Y"))

    def may_match(self, table: NodeTable) -> Mask:
        """Nodes that the polygons meet."""
        return self._boxes(table)[0]

    def all_match(self, table: NodeTable) -> Mask:
        """Nodes that the polygons hold."""
        return self._boxes(table)[1]

    def _boxes(self, table: NodeTable) -> tuple[Mask, Mask]:
        return boxes_and_area(self.area, table.lowest[:, :2], table.highest[:, :2], self.margin)

    def mask(self, values: Mapping[str, Column]) -> Mask:
        """Points inside."""
        shapely.prepare(self.area)
        found: Mask = shapely.intersects_xy(self.area, values["X"], values["Y"])
        return found


@lru_cache(maxsize=256)
def decimals_of_dimensions(cloud: Cloud) -> Mapping[str, int]:
    """Decimals of the dimensions that are stored as multiples of a step."""
    return {one.name: decimals_of_values(one.scale, one.offset) for one in cloud.dimensions if one.is_scaled}


def all_of(parts: Sequence[PointFilter]) -> PointFilter | None:
    """One filter of several; None of none."""
    return parts[0] if len(parts) == 1 else AllOf(tuple(parts)) if parts else None


def dimension_filter(
    text: str, language: str, cloud: Cloud, filter_crs: str = CRS84, hidden: frozenset[str] = frozenset()
) -> DimensionFilter:
    """The filter of a request.

    Args:
        language: cql2-text or cql2-json.
        filter_crs: URI of what geometry literals are in.
        hidden: dimensions that this client may not see; they are unknown.

    Raises:
        InvalidParameter: it cannot be parsed, or names a dimension that is not there; the message tells which are.
    """
    try:
        if len(text) > MAXIMUM_TEXT:
            raise Refusal(f"a filter of {len(text)} characters", f"at most {MAXIMUM_TEXT} characters")
        tree = parse_text(text) if language == CQL2_TEXT else parse_json_text(text)
        try:
            checker: Checker = _PointChecker(cloud, hidden, known_crs(filter_crs))
            node = checker.check(tree)
        except Refusal as refusal:
            checker, node = _with_instants(tree, cloud, hidden, filter_crs, refusal)
    except Refusal as refusal:
        raise refusal.as_parameter("filter") from None
    fields = {
        "GpsTime" if name == TIME_FIELD and _is_gps(cloud) else name for name in checker.fields - {GEOMETRY}
    }
    if GEOMETRY in checker.fields:
        fields |= {"X", "Y"}
    # A mask without a column would not know its length.
    return DimensionFilter(node, frozenset(fields or {"X"}), text, decimals_of_dimensions(cloud))


def _is_gps(cloud: Cloud) -> bool:
    return point_schema(cloud).time_field is not None


def _with_instants(
    tree: Any, cloud: Cloud, hidden: frozenset[str], crs: str, refusal: Refusal
) -> tuple[Checker, Any]:
    """The same tree with GpsTime as an instant, as which it may be compared too. Raises the first refusal where that fails."""
    if point_schema(cloud, hidden).time_field is None:
        raise refusal
    checker = _PointChecker(cloud, hidden, known_crs(crs))
    try:
        return checker, checker.check(_renamed(tree))
    except Refusal:
        raise refusal from None


def _renamed(node: Any) -> Any:
    """A copy of a raw tree in which GpsTime is called as its instant is."""
    if isinstance(node, ast.Attribute):
        return ast.Attribute(TIME_FIELD) if node.name == "GpsTime" else node
    if isinstance(node, list):
        return [_renamed(item) for item in node]
    if isinstance(node, Interval):
        return Interval(_renamed(node.start), _renamed(node.end))
    if not isinstance(node, ast.Node):
        return node
    changed = copy.copy(node)
    for name, value in vars(node).items():
        setattr(changed, name, _renamed(value))
    return changed


def require_filter_language(value: str) -> str:
    """cql2-text or cql2-json. Raises InvalidParameter."""
    if value not in (CQL2_TEXT, CQL2_JSON):
        raise InvalidParameter("filter-lang", value, f"{CQL2_TEXT}, {CQL2_JSON}")
    return value
