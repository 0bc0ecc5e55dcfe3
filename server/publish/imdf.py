"""Archives of the Indoor Mapping Data Format (OGC 20-094): units of all levels as one layer of polygons with heights.

A unit stands from the floor of its level to the next one: `base` and `top` are metres above the ground that the building stands on, by the
ordinal of the level and its height where it tells one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from server.publish.errors import DamagedFile

STOREY_METRES = 4.0
_CLEAR = 0.3
"""Metres that a unit is drawn lower than its storey, so that the floor above is seen as one."""
FILES = ("manifest.json", "level.geojson", "unit.geojson")
_LANGUAGES = ("zh", "zh-Hans", "zh-CN", "en")


def imdf_folder(folder: Path) -> Path | None:
    """Where the files of an archive lie, None where it is no IMDF."""
    places = [folder, *(place for place in sorted(folder.iterdir()) if place.is_dir())]
    return next((place for place in places if all((place / name).is_file() for name in FILES)), None)


def units_of(folder: Path, target: Path) -> Path:
    """Write all units as GeoJSON to `target`. Raises DamagedFile."""
    levels = {str(one.get("id")): one for one in _features(folder / "level.geojson")}
    lowest = {name: _level(one) for name, one in levels.items()}
    venue = _labels(_features(folder / "venue.geojson")) if (folder / "venue.geojson").is_file() else ""
    features = []
    for unit in _features(folder / "unit.geojson"):
        properties = _properties(unit)
        level = levels.get(str(properties.get("level_id")))
        base, height = lowest.get(str(properties.get("level_id")), (0.0, STOREY_METRES))
        level_properties = _properties(level or {})
        features.append(
            {
                "type": "Feature",
                "id": unit.get("id"),
                "geometry": unit.get("geometry"),
                "properties": {
                    "unit_id": unit.get("id"),
                    "name": _label(properties.get("name")),
                    "category": properties.get("category"),
                    "restriction": properties.get("restriction"),
                    "level": _label(level_properties.get("short_name"))
                    or _label(level_properties.get("name")),
                    "ordinal": level_properties.get("ordinal"),
                    "venue": venue or None,
                    "base": base,
                    "top": round(base + height - _CLEAR, 3),
                },
            }
        )
    target.write_bytes(orjson.dumps({"type": "FeatureCollection", "features": features}))
    return target


def _features(file: Path) -> list[dict[str, Any]]:
    try:
        document = orjson.loads(file.read_bytes())
        features = document["features"]
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise DamagedFile(
            f"{file.name} of the IMDF archive is no GeoJSON FeatureCollection: {error}."
        ) from error
    if not isinstance(features, list) or not all(isinstance(one, dict) for one in features):
        raise DamagedFile(f"{file.name} of the IMDF archive has features that are no objects.")
    return features


def _properties(feature: Mapping[str, Any]) -> Mapping[str, Any]:
    found = feature.get("properties")
    return found if isinstance(found, Mapping) else {}


def _level(level: Mapping[str, Any]) -> tuple[float, float]:
    """Base and height (m) of a level."""
    properties = _properties(level)
    ordinal, height = properties.get("ordinal"), properties.get("height")
    own = float(height) if isinstance(height, int | float) and 0 < height < 100 else STOREY_METRES
    number = (
        ordinal if isinstance(ordinal, int) and not isinstance(ordinal, bool) and abs(ordinal) < 1_000 else 0
    )
    return number * STOREY_METRES, own


def _labels(features: list[dict[str, Any]]) -> str:
    return next((label for one in features if (label := _label(_properties(one).get("name")))), "")


def _label(value: Any) -> str | None:
    """A name of IMDF: texts by language."""
    if isinstance(value, str):
        return value
    if not isinstance(value, Mapping):
        return None
    for language in (*_LANGUAGES, *value):
        text = value.get(language)
        if isinstance(text, str) and text:
            return text
    return None
