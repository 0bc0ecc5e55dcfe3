"""Buildings of the extract, with a height for each and a word on where that height comes from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from shapely.geometry import MultiPolygon
from shapely.geometry.base import BaseGeometry

from server.demo.ground import Ground
from server.demo.openstreetmap import Element, Extract
from server.demo.vector_files import Column

STOREY_METRES = 3.2
# Where neither a height nor storeys are mapped. 6 storeys is the median of the extract's 165 mapped buildings.
DEFAULT_METRES = round(6 * STOREY_METRES, 2)
_SMALL_METRES: Mapping[str, float] = {
    "kiosk": 3.5,
    "shed": 3.0,
    "roof": 4.5,
    "pavilion": 4.5,
    "entrance": 3.5,
    "underpass_entrance": 3.5,
    "glasshouse": 6.0,
    "service": 4.0,
    "utility": 4.0,
    "ship": 8.0,
    "chapel": 10.0,
}
_METRES = re.compile(r"\s*([0-9]+(?:[.,][0-9]+)?)\s*(?:m|metres|meters)?\s*", re.IGNORECASE)

COLUMNS = (
    Column("osm_id", "str:24"),
    Column("name", "str:120"),
    Column("name_fi", "str:120"),
    Column("name_sv", "str:120"),
    Column("name_en", "str:120"),
    Column("name_zh", "str:120"),
    Column("building", "str:40"),
    Column("levels", "float"),
    Column("height", "float"),
    Column("height_source", "str:20"),
    Column("min_height", "float"),
    Column("ground", "float"),
    Column("street", "str:80"),
    Column("housenumber", "str:20"),
    Column("postcode", "str:10"),
    Column("city", "str:40"),
    Column("roof_shape", "str:30"),
    Column("material", "str:40"),
    Column("colour", "str:30"),
    Column("start_date", "str:40"),
    Column("architect", "str:120"),
)


@dataclass(frozen=True, slots=True)
class Building:
    """One building. `height` is that of the roof above the ground, `ground` the lowest ground at its walls (metres)."""

    element: Element[MultiPolygon]
    kind: str
    levels: float | None
    height: float
    height_source: str
    ground: float

    @property
    def footprint(self) -> MultiPolygon:
        """The footprint in the city grid."""
        return self.element.planar


def parse_metres(text: str | None) -> float | None:
    """A height in metres as OpenStreetMap writes it ("18", "12.13 m"); None for anything else, and for 0 or less."""
    match = _METRES.fullmatch(text or "")
    value = float(match.group(1).replace(",", ".")) if match else 0.0
    return value if value > 0 else None


def height_of(tags: Mapping[str, str]) -> tuple[float, str]:
    """(height in metres, its source: "height", "levels" or "default")."""
    metres = parse_metres(tags.get("height"))
    if metres is not None:
        return metres, "height"
    levels = parse_metres(tags.get("building:levels"))
    if levels is not None:
        return round(levels * STOREY_METRES, 2), "levels"
    return _SMALL_METRES.get(tags.get("building", ""), DEFAULT_METRES), "default"


def find_buildings(extract: Extract, ground: Ground) -> list[Building]:
    """Every building of the extract, placed on the ground."""
    found = []
    for element in extract.areas:
        tags = element.tags
        if tags.get("building", "no") == "no":
            continue
        height, source = height_of(tags)
        corners = shapely.get_coordinates(element.planar)
        lowest = float(np.min(ground.sample(corners[:, 0], corners[:, 1])))
        levels = parse_metres(tags.get("building:levels"))
        found.append(Building(element, tags["building"], levels, height, source, round(lowest, 2)))
    return found


def names_of(tags: Mapping[str, str]) -> dict[str, str | None]:
    """The name and its Finnish, Swedish, English and Chinese forms."""
    chinese = tags.get("name:zh") or tags.get("name:zh-Hans")
    languages = {f"name_{code}": tags.get(f"name:{code}") for code in ("fi", "sv", "en")}
    return {"name": tags.get("name"), **languages, "name_zh": chinese}


def building_features(buildings: Sequence[Building]) -> Iterator[tuple[BaseGeometry, dict[str, Any]]]:
    """Features in CRS84 with the attributes of `COLUMNS`."""
    for building in buildings:
        tags = building.element.tags
        yield (
            building.element.geographic,
            {
                "osm_id": building.element.osm_id,
                **names_of(tags),
                "building": building.kind,
                "levels": building.levels,
                "height": building.height,
                "height_source": building.height_source,
                "min_height": parse_metres(tags.get("min_height")),
                "ground": building.ground,
                "street": tags.get("addr:street"),
                "housenumber": tags.get("addr:housenumber"),
                "postcode": tags.get("addr:postcode"),
                "city": tags.get("addr:city"),
                "roof_shape": tags.get("roof:shape"),
                "material": tags.get("building:material"),
                "colour": tags.get("building:colour"),
                "start_date": tags.get("start_date"),
                "architect": tags.get("architect"),
            },
        )
