"""Bodies under the ground: polygons between the heights of their top and their bottom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from providers.three_d.object_features import FeatureRows, FeaturesAt
from providers.three_d.underground import Setting, Shaped, UndergroundSource
from tiles.three_d.report import Survivors
from tiles.three_d.schema import PropertySpec
from tiles.three_d.underground.axes import Numbers, Placing
from tiles.three_d.underground.bodies import BodyHeights, place_bodies
from tiles.three_d.underground.kinds import colour_of
from tiles.three_d.underground.measures import numbers_of

BODY_COLOUR = "#8FA3B5"
_MEASURES = (
    PropertySpec(
        "body_height", {"en": "Height of the body", "zh": "体高"}, "m", "number", source=":body_height"
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyRules:
    """How the fields of a collection make bodies: heights of top and bottom, or depths below the ground; metres times `unit`."""

    top_field: str | None = None
    bottom_field: str | None = None
    top_depth_field: str | None = None
    bottom_depth_field: str | None = None
    unit: float = 1.0
    colour: str = BODY_COLOUR


@dataclass(frozen=True, slots=True)
class BodyShaper:
    """Makes bodies by rules."""

    rules: BodyRules
    content: str = "bodies"

    @property
    def measures(self) -> Sequence[PropertySpec]:
        """The height of each body."""
        return _MEASURES

    def shape(self, rows: FeatureRows, survivors: Survivors, placing: Placing) -> Shaped:
        """The bodies of some features. Raises PlacementError."""
        rules = self.rules

        def numbers(name: str | None) -> Numbers:
            if name is None:
                return np.full(len(rows), np.nan)
            return numbers_of(rows.columns[name]) * rules.unit

        heights = BodyHeights(
            numbers(rules.top_field),
            numbers(rules.bottom_field),
            numbers(rules.top_depth_field),
            numbers(rules.bottom_depth_field),
        )
        bodies = place_bodies(rows.geometries, heights, survivors, placing, colour_of(rules.colour))
        return Shaped(bodies, bodies.rows, {":body_height": np.round(bodies.tops - bodies.bottoms, 4)})


@dataclass(frozen=True, slots=True)
class BodyRecipe:
    """A collection of bodies."""

    kind: ClassVar[str] = "bodies"

    features: FeaturesAt
    setting: Setting
    rules: BodyRules

    def open(self) -> UndergroundSource:
        """The source. Raises StoreMissing, ThreeDError."""
        return UndergroundSource(self.features, self.setting, BodyShaper(self.rules))

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
            BodyRules(**document["rules"]),
        )
