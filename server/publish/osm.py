"""OpenStreetMap: which tags become fields, and feature ids that say what an object is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_AREA_KEYS = (
    "aeroway,amenity,boundary,building,craft,geological,historic,landuse,leisure,military,natural,office,place,shop,"
    "sport,tourism,highway=platform,public_transport=platform"
)
_ADDRESS_KEYS = ("addr:street", "addr:housenumber", "addr:postcode", "addr:city")
_DEFAULT_KEYS: Mapping[str, tuple[str, ...]] = {
    "points": ("name", "amenity", "shop", "place", "highway", "barrier", "man_made", "ref", *_ADDRESS_KEYS),
    "lines": (
        "name",
        "highway",
        "railway",
        "waterway",
        "aerialway",
        "barrier",
        "man_made",
        "ref",
        "surface",
        "layer",
    ),
    "multilinestrings": ("name", "type", "route", "ref", "network", "operator"),
    "multipolygons": (
        "name",
        "type",
        "building",
        "building:levels",
        "height",
        "amenity",
        "landuse",
        "leisure",
        "natural",
        "place",
        "shop",
        "tourism",
        "office",
        "man_made",
        *_ADDRESS_KEYS,
    ),
    "other_relations": ("name", "type"),
}


def osm_configuration(workspace: Path, tags: Sequence[str]) -> Path:
    """Write a configuration of GDAL's OSM driver that makes a field of each of `tags` (else of the usual ones).

    Field names are the keys as they are ("building:levels"). With tags asked for, all others are left out; else they are
    in the field other_tags.
    """
    lines = [f"closed_ways_are_polygons={_AREA_KEYS}", "attribute_name_laundering=no", ""]
    for layer, keys in _DEFAULT_KEYS.items():
        lines += [
            f"[{layer}]",
            "osm_id=yes",
            f"attributes={','.join(dict.fromkeys(tags or keys))}",
            f"other_tags={'no' if tags else 'yes'}",
            "unsignificant=created_by,converted_by,source,time,ele,attribution" if layer == "points" else "",
            "ignore=created_by,converted_by,source,time,ele,note,todo,openGeoDB:,fixme,FIXME",
            "",
        ]
    path = workspace / "osmconf.ini"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def osm_ids(layer: str, columns: Mapping[str, Sequence[Any]]) -> list[str]:
    """Ids n123, w123 and r123 for nodes, ways and relations, whose numbers overlap."""
    kind = {"points": "n", "lines": "w"}.get(layer, "r")
    numbers = columns["osm_id"]
    ways = columns.get("osm_way_id", [None] * len(numbers))
    return [f"{kind}{number}" if number else f"w{way}" for number, way in zip(numbers, ways, strict=True)]
