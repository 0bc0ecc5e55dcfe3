"""Boreholes: points with intervals as stacked cylinders.

Either each feature is an interval of a borehole, or each is a borehole that has a list of its intervals in a field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from providers.three_d.object_features import FeatureRows, FeaturesAt
from providers.three_d.underground import Setting, Shaped, UndergroundSource
from tiles.three_d.report import Survivors
from tiles.three_d.schema import Column, PropertySpec
from tiles.three_d.underground.axes import Numbers, Placing
from tiles.three_d.underground.boreholes import Intervals, intervals_of, place_boreholes
from tiles.three_d.underground.measures import numbers_of

_MEASURES = (
    PropertySpec("from_depth", {"en": "From depth", "zh": "层顶深度"}, "m", "number", source=":from_depth"),
    PropertySpec("to_depth", {"en": "To depth", "zh": "层底深度"}, "m", "number", source=":to_depth"),
    PropertySpec(
        "interval_thickness", {"en": "Thickness", "zh": "层厚"}, "m", "number", source=":interval_thickness"
    ),
    PropertySpec(
        "interval_lithology", {"en": "Lithology", "zh": "岩性"}, None, "string", source=":interval_lithology"
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BoreholeRules:
    """How the fields of a collection make boreholes.

    With `intervals_field` a feature is a borehole; else it is an interval, `from_field` (or `thickness_field`) and `to_field`
    being depths below the top of its borehole, metres times `depth_unit`. `top_field` is the height of that top; without it
    the point's own z, else the ground. `diameter` is that of the drawing (m): a true one would not be seen.
    """

    intervals_field: str | None = None
    hole_field: str | None = None
    from_field: str | None = None
    to_field: str | None = None
    thickness_field: str | None = None
    lithology_field: str | None = None
    top_field: str | None = None
    depth_unit: float = 1.0
    diameter: float = 1.0
    colours: Mapping[str, str] = field(default_factory=dict)


def tops_of(rows: FeatureRows, rules: BoreholeRules) -> Numbers:
    """Heights (n,) of the boreholes' tops, NaN where no field tells."""
    if rules.top_field is None:
        return np.full(len(rows), np.nan)
    return numbers_of(rows.columns[rules.top_field])


def read_intervals(rows: FeatureRows, rules: BoreholeRules, survivors: Survivors) -> Intervals:
    """The intervals of some features, `hole` being their rows; broken ones are told to the log of `survivors`."""
    if rules.intervals_field is not None:
        values = rows.columns[rules.intervals_field]
        log = survivors.log
        left_out = log.counts["skipped"]
        found = intervals_of(values, rows.ids, log)
        if log.counts["skipped"] > left_out:
            # Told already; without intervals they are not drawn, and are not to be told again.
            whole = np.zeros(len(rows), dtype=np.bool_)
            whole[found.hole] = True
            survivors.alive[~whole] = False
        return found
    end = _numbers(rows, rules.to_field) * rules.depth_unit
    start = _numbers(rows, rules.from_field) * rules.depth_unit
    start = np.where(np.isnan(start), end - _numbers(rows, rules.thickness_field) * rules.depth_unit, start)
    survivors.drop(np.isnan(start) | np.isnan(end), "no depths from and to are given")
    survivors.drop(start == end, "interval without a thickness")
    for row in np.flatnonzero(survivors.alive & (start > end)).tolist():
        survivors.log.add(
            rows.ids[row], f"interval from {start[row]:g} to {end[row]:g} m is reversed", "repaired"
        )
    at = np.flatnonzero(survivors.alive)
    names = rows.columns[rules.lithology_field] if rules.lithology_field else [""] * len(rows)
    low, high = np.minimum(start, end), np.maximum(start, end)
    return Intervals(at, low[at], high[at], [str(names[row] or "") for row in at.tolist()])


def _numbers(rows: FeatureRows, name: str | None) -> Numbers:
    return np.full(len(rows), np.nan) if name is None else numbers_of(rows.columns[name])


@dataclass(slots=True)
class BoreholeShaper:
    """Makes stacked cylinders by rules."""

    rules: BoreholeRules
    content: str = "boreholes"

    @property
    def measures(self) -> Sequence[PropertySpec]:
        """Depths, thickness and lithology of each interval."""
        return _MEASURES

    def shape(self, rows: FeatureRows, survivors: Survivors, placing: Placing) -> Shaped:
        """The boreholes, or intervals, of some features. Raises PlacementError."""
        intervals = read_intervals(rows, self.rules, survivors)
        placed = place_boreholes(
            rows.geometries,
            tops_of(rows, self.rules),
            intervals,
            survivors,
            placing,
            diameter=self.rules.diameter,
            colours=self.rules.colours,
        )
        drawn = placed.intervals
        measures: dict[str, Column] = {
            ":from_depth": np.round(drawn.start, 4),
            ":to_depth": np.round(drawn.end, 4),
            ":interval_thickness": np.round(drawn.end - drawn.start, 4),
            ":interval_lithology": drawn.lithology,
        }
        return Shaped(placed, placed.rows[drawn.hole], measures)


@dataclass(frozen=True, slots=True)
class BoreholeRecipe:
    """A collection of boreholes."""

    kind: ClassVar[str] = "boreholes"

    features: FeaturesAt
    setting: Setting
    rules: BoreholeRules

    def open(self) -> UndergroundSource:
        """The source. Raises StoreMissing, ThreeDError."""
        return UndergroundSource(self.features, self.setting, BoreholeShaper(self.rules))

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
            BoreholeRules(**document["rules"]),
        )
