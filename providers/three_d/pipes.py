"""Pipe and cable networks: lines and points of a collection as tubes, ducts and wells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import shapely
from numpy.typing import NDArray

from providers.three_d.object_features import FeatureRows, FeaturesAt
from providers.three_d.underground import Setting, Shaped, UndergroundSource
from tiles.three_d.report import Survivors
from tiles.three_d.schema import PropertySpec
from tiles.three_d.underground.axes import LineHeights, Numbers, Placing
from tiles.three_d.underground.kinds import OTHER, is_gravity, kind_of, kinds_of, palette
from tiles.three_d.underground.measures import numbers_of, sizes_of
from tiles.three_d.underground.network import LineSizes, Network, WellHeights, place_network
from tiles.three_d.underground.profiles import Section

DEPTHS_TO = ("axis", "top", "bottom", "kind")
"""What a depth is measured to; "kind": by the kind of the line, as CJJ 61 has it (gravity lines: bottom; others: top)."""

WELL_DIAMETER = 0.7
"""Of a manhole without one (m): the opening that a person needs."""

_SHAPES = {
    "circle": Section.CIRCLE,
    "circular": Section.CIRCLE,
    "round": Section.CIRCLE,
    "圆形": Section.CIRCLE,
    "圆": Section.CIRCLE,
    "圆管": Section.CIRCLE,
    "box": Section.BOX,
    "rectangular": Section.BOX,
    "rectangle": Section.BOX,
    "rect_closed": Section.BOX,
    "rect_open": Section.BOX,
    "trapezoidal": Section.BOX,
    "方形": Section.BOX,
    "矩形": Section.BOX,
    "方沟": Section.BOX,
    "管沟": Section.BOX,
    "管块": Section.BOX,
    "horseshoe": Section.HORSESHOE,
    "arch": Section.HORSESHOE,
    "马蹄形": Section.HORSESHOE,
    "拱形": Section.HORSESHOE,
    "直墙拱形": Section.HORSESHOE,
}
_NO_SHAPE = -1


class Rows(Protocol):
    """What is looked at of some features: geometries (n,) and columns of n values."""

    @property
    def geometries(self) -> NDArray[np.object_]: ...

    @property
    def columns(self) -> Mapping[str, Sequence[Any]]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PipeRules:
    """How the fields of a collection make a network. Fields are names, None where there is none; lengths are metres.

    `size_unit` is metres per unit of the diameters and sections. Depths and heights are metres times `depth_unit`.
    """

    diameter_field: str | None = None
    size_field: str | None = None
    shape_field: str | None = None
    width_field: str | None = None
    height_field: str | None = None
    size_unit: float = 1.0
    default_width: float | None = None
    default_height: float | None = None
    default_shape: str = "circle"
    wall: float = 0.0
    start_depth_field: str | None = None
    end_depth_field: str | None = None
    start_level_field: str | None = None
    end_level_field: str | None = None
    default_depth: float | None = None
    depth_unit: float = 1.0
    depth_to: str = "axis"
    level_to: str = "axis"
    z_to: str = "axis"
    kind_field: str | None = None
    network_kind: str | None = None
    colours: Mapping[str, str] = field(default_factory=dict)
    top_field: str | None = None
    bottom_field: str | None = None
    well_depth_field: str | None = None

    def fields(self) -> list[str]:
        """The names of all fields that are looked at."""
        named = (
            self.diameter_field,
            self.size_field,
            self.shape_field,
            self.width_field,
            self.height_field,
            self.start_depth_field,
            self.end_depth_field,
            self.start_level_field,
            self.end_level_field,
            self.kind_field,
            self.top_field,
            self.bottom_field,
            self.well_depth_field,
        )
        return [name for name in named if name is not None]


def shape_network(rows: Rows, rules: PipeRules, survivors: Survivors, placing: Placing) -> Network:
    """The network of some features; what cannot be drawn drops out of `survivors`. Raises PlacementError."""
    geometries = rows.geometries
    points = shapely.get_type_id(geometries) == 0
    kind = _kinds(rows, rules)
    sizes = _sizes(rows, rules, points, kind)
    heights = _heights(rows, rules, sizes, kind)
    wells = WellHeights(
        _numbers(rows, rules.top_field),
        _numbers(rows, rules.bottom_field),
        _well_depths(rows, rules),
    )
    return place_network(geometries, heights, wells, sizes, survivors, placing, palette(rules.colours))


def _numbers(rows: Rows, name: str | None, unit: float = 1.0) -> Numbers:
    if name is None:
        return np.full(len(rows.geometries), np.nan)
    return numbers_of(rows.columns[name]) * unit


def _kinds(rows: Rows, rules: PipeRules) -> NDArray[np.int64]:
    given = OTHER if rules.network_kind is None else kind_of(rules.network_kind)
    if rules.kind_field is None:
        return np.full(len(rows.geometries), given, dtype=np.int64)
    found = kinds_of(rows.columns[rules.kind_field])
    return np.where(found == OTHER, given, found)


def _sizes(rows: Rows, rules: PipeRules, points: NDArray[np.bool_], kind: NDArray[np.int64]) -> LineSizes:
    """Sections: two numbers make a box, one a circle, a shape's name whatever it says; a well without a size has its own."""
    count = len(rows.geometries)
    width, height = np.full(count, np.nan), np.full(count, np.nan)
    for name in (rules.diameter_field, rules.size_field):
        if name is not None:
            one, other = sizes_of(rows.columns[name])
            height = np.where(np.isnan(width), other, height)
            width = np.where(np.isnan(width), one, width)
    for name, values in ((rules.width_field, width), (rules.height_field, height)):
        if name is not None:
            given = numbers_of(rows.columns[name])
            # A section that has no width or height says so with 0.
            np.copyto(values, given, where=np.isfinite(given) & (given > 0.0))
    width, height = width * rules.size_unit, height * rules.size_unit
    if rules.default_width is not None:
        missing = np.isnan(width)
        height = np.where(missing & np.isnan(height), rules.default_height or np.nan, height)
        width = np.where(missing, rules.default_width, width)
    width = np.where(points & np.isnan(width), WELL_DIAMETER, width)
    shape = _shapes(rows, rules)
    default = _SHAPES[rules.default_shape]
    two = np.isfinite(height) & (height != width)
    section = np.where(
        shape == _NO_SHAPE, np.where(two & (default == Section.CIRCLE), Section.BOX, default), shape
    )
    height = np.where(np.isnan(height), width, height)
    width = np.where(points, np.fmax(width, height), width)
    return LineSizes(section.astype(np.int64), width, np.where(points, width, height), kind, rules.wall)


def _shapes(rows: Rows, rules: PipeRules) -> NDArray[np.int64]:
    if rules.shape_field is None:
        return np.full(len(rows.geometries), _NO_SHAPE, dtype=np.int64)
    values = rows.columns[rules.shape_field]
    known = {value: int(_SHAPES.get(str(value).strip().lower(), _NO_SHAPE)) for value in set(values)}
    return np.fromiter((known[value] for value in values), dtype=np.int64, count=len(values))


def _heights(rows: Rows, rules: PipeRules, sizes: LineSizes, kind: NDArray[np.int64]) -> LineHeights:
    start_level = _numbers(rows, rules.start_level_field, rules.depth_unit)
    end_level = _numbers(rows, rules.end_level_field, rules.depth_unit)
    start_depth = _numbers(rows, rules.start_depth_field, rules.depth_unit)
    end_depth = _numbers(rows, rules.end_depth_field, rules.depth_unit)
    if rules.default_depth is not None:
        flat = np.isnan(start_depth) & np.isnan(end_depth) & ~shapely.has_z(rows.geometries)
        start_depth = np.where(flat, rules.default_depth, start_depth)
    by_level = np.isfinite(start_level) | np.isfinite(end_level)
    by_depth = ~by_level & (np.isfinite(start_depth) | np.isfinite(end_depth))
    half = sizes.height / 2.0
    lift = np.where(
        by_level,
        _lift(rules.level_to, half, kind),
        np.where(by_depth, _lift(rules.depth_to, half, kind), _lift(rules.z_to, half, kind)),
    )
    return LineHeights(start_level, end_level, start_depth, end_depth, lift)


def _lift(to: str, half: Numbers, kind: NDArray[np.int64]) -> Numbers:
    """Metres from where a height is measured up to the axis."""
    if to == "top":
        return -half
    if to == "bottom":
        return half
    if to == "kind":
        return np.where(is_gravity()[kind], half, -half)
    return np.zeros(len(half))


def _well_depths(rows: Rows, rules: PipeRules) -> Numbers:
    """Depths of wells: their own field, else the depth of the lines' field, else the default."""
    depth = _numbers(rows, rules.well_depth_field, rules.depth_unit)
    depth = np.where(np.isnan(depth), _numbers(rows, rules.start_depth_field, rules.depth_unit), depth)
    if rules.default_depth is not None:
        depth = np.where(np.isnan(depth), rules.default_depth, depth)
    return depth


_MEASURES = (
    PropertySpec(
        "section_width",
        {"en": "Width of the section", "zh": "断面宽"},
        "m",
        "number",
        source=":section_width",
    ),
    PropertySpec(
        "section_height",
        {"en": "Height of the section", "zh": "断面高"},
        "m",
        "number",
        source=":section_height",
    ),
)


@dataclass(frozen=True, slots=True)
class NetworkShaper:
    """Makes tubes, ducts and wells by rules; "tunnels" are the hollow ones."""

    rules: PipeRules
    content: str = "pipes"

    @property
    def measures(self) -> Sequence[PropertySpec]:
        """Width and height of the section in metres."""
        return _MEASURES

    def shape(self, rows: FeatureRows, survivors: Survivors, placing: Placing) -> Shaped:
        """The network of some features. Raises PlacementError."""
        network = shape_network(rows, self.rules, survivors, placing)
        at = network.rows
        sizes = {
            ":section_width": np.round(network.sizes.width[at], 4),
            ":section_height": np.round(network.sizes.height[at], 4),
        }
        return Shaped(network, at, sizes)


@dataclass(frozen=True, slots=True)
class PipeRecipe:
    """A network of pipes or cables."""

    kind: ClassVar[str] = "pipes"

    features: FeaturesAt
    setting: Setting
    rules: PipeRules

    def open(self) -> UndergroundSource:
        """The source. Raises StoreMissing, ThreeDError."""
        return UndergroundSource(self.features, self.setting, NetworkShaper(self.rules, self.kind))

    def to_json(self) -> dict[str, Any]:
        """What `from_json` needs, without the folder."""
        return {
            "features": self.features.to_json(),
            "setting": self.setting.to_json(),
            "rules": asdict(self.rules),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any], generation: Path) -> Self:
        """The recipe of a generation."""
        return cls(
            FeaturesAt.from_json(document["features"], generation),
            Setting.from_json(document["setting"], generation),
            PipeRules(**document["rules"]),
        )
