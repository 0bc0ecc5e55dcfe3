"""Process `cut-and-fill`: earth between the ground and a design level, or between two terrains."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from providers.analysis.cut_fill import cut_and_fill
from providers.analysis.sources import find_scene
from providers.errors import InvalidParameter
from providers.processes.description import POLYGON_SCHEMA, Processor
from providers.processes.scene_inputs import GROUND, HEIGHT_LIMIT, SceneInputs, number, one

MAXIMUM_CELLS = 1_000_000

_INPUTS = MappingProxyType(
    {
        "area": one("Area", "Polygon in CRS84", POLYGON_SCHEMA),
        "elevation": one(
            "Elevation",
            "Height of the design above the WGS 84 ellipsoid, metres; or give `design`",
            {"type": "number", "minimum": -HEIGHT_LIMIT, "maximum": HEIGHT_LIMIT},
            required=False,
        ),
        "design": one(
            "Design",
            "Id of a collection with a terrain: the design, or a later survey",
            {"type": "string", "minLength": 1, "maxLength": 200},
            required=False,
        ),
        "cellSize": number("Cell size", "Metres", 0.1, 100, 1),
        "ground": GROUND,
    }
)


class CutAndFillProcessor(Processor):
    """Volumes of earth works."""

    METADATA = MappingProxyType(
        {
            "version": "1.0.0",
            "jobControlOptions": ["sync-execute"],
            "outputTransmission": ["value"],
            "links": [],
            "id": "cut-and-fill",
            "title": {"en": "Cut and fill", "zh": "填挖方分析"},
            "description": {
                "en": "Volumes to be dug away and filled up between the terrain and a level, or between two terrains.",
                "zh": "计算地形与设计标高之间,或两期地形之间的挖方量与填方量。",
            },
            "keywords": ["3D", "terrain", "volume", "填挖方", "土方"],
            "inputs": _INPUTS,
            "outputs": {
                "volumes": {
                    "title": "Volumes",
                    "description": "Cubic and square metres; differences are design less ground",
                    "schema": {"type": "object", "contentMediaType": "application/json"},
                }
            },
            "example": {
                "inputs": {
                    "area": {
                        "type": "Polygon",
                        "coordinates": [
                            [
                                [24.94, 60.169],
                                [24.943, 60.169],
                                [24.943, 60.171],
                                [24.94, 60.171],
                                [24.94, 60.169],
                            ]
                        ],
                    },
                    "elevation": 25,
                }
            },
        }
    )

    def execute(self, data: dict[str, Any], outputs: object = None) -> tuple[str, dict[str, Any]]:
        """("application/json", volumes). Raises InvalidParameter, AnswerTooLarge, TerrainError."""
        inputs = SceneInputs(data, _INPUTS)
        area = inputs.polygon("area")
        west, south, east, north = area.bounds
        if max(east - west, north - south) > 0.2:
            raise InvalidParameter(
                "area", f"{east - west:g} x {north - south:g} degrees", "at most 0.2 degrees wide and high"
            )
        if inputs.given("elevation") == inputs.given("design"):
            raise InvalidParameter(
                "elevation", "with or without design", "one of `elevation` and `design`, not both"
            )
        size = inputs.number_or("cellSize", 0.1, 100, 1)
        ground = find_scene(self.resolver_key, (), inputs.maybe_text("ground")).ground
        if ground is None:
            raise InvalidParameter("ground", "", "a view with a terrain")
        if inputs.given("elevation"):
            found = cut_and_fill(
                ground, area, inputs.number("elevation", -HEIGHT_LIMIT, HEIGHT_LIMIT), size, MAXIMUM_CELLS
            )
        else:
            design = find_scene(self.resolver_key, (), inputs.text("design")).ground
            if design is None:
                raise InvalidParameter(
                    "design", inputs.text("design"), "the id of a collection with a terrain"
                )
            found = cut_and_fill(ground, area, design, size, MAXIMUM_CELLS)
        return "application/json", {
            "heights": "metres above the WGS 84 ellipsoid",
            "ground": ground.id,
            "cellSize": size,
            **{name: round(value, 2) for name, value in found._asdict().items()},
        }
