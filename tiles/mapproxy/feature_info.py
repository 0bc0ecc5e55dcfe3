"""WMS GetFeatureInfo (OGC 06-042 clause 7.4): the features under a pixel, from the data and not from a picture.

MapProxy has no part in it: it can only ask another server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import orjson
import shapely
from pyproj.exceptions import ProjError

from tiles.mapproxy.exceptions import MapRequestRefused
from tiles.mapproxy.layer import FeaturesAt, MapLayer
from tiles.mapproxy.parameters import integer, required
from tiles.mapproxy.wms_place import WmsPlace
from tiles.maps.crs import transformer
from tiles.maps.source import Box

INFO_FORMATS = ("text/plain", "text/html", "application/json")
MAXIMUM_FEATURES = 50
_CANDIDATES = 500
"""Envelopes under a pixel of one layer that are looked at; a small map has more, and then some of them answer."""
_REACH = 3.5
"""Pixels around the one asked: what a hand or a thin line needs."""


@dataclass(frozen=True, slots=True)
class FeatureInfo:
    """A GetFeatureInfo request that was understood. `column` and `row` count pixels from the upper left, from 0."""

    layers: tuple[str, ...]
    place: WmsPlace
    column: int
    row: int
    count: int
    media_type: str


def read_feature_info(
    parameters: Mapping[str, str], version: str, place: WmsPlace, layers: Sequence[MapLayer]
) -> FeatureInfo:
    """Read what GetFeatureInfo adds to GetMap. Raises MapRequestRefused."""
    for layer in layers:
        if layer.features_at is None:
            raise MapRequestRefused(
                f"layer {layer.name} is an image and has no features", "LayerNotQueryable", "query_layers"
            )
    names = ("I", "J") if version == "1.3.0" else ("X", "Y")
    column, row = (
        integer(required(parameters, name, "InvalidPoint"), name, "InvalidPoint") for name in names
    )
    if not (0 <= column < place.width and 0 <= row < place.height):
        raise MapRequestRefused(
            f"pixel {column}, {row} is not in a map of {place.width} x {place.height} pixels",
            "InvalidPoint",
            names[0].lower(),
        )
    media_type = parameters.get("INFO_FORMAT", "") or "text/plain"
    plain = media_type.split(";", 1)[0].strip().lower()
    if plain not in INFO_FORMATS:
        raise MapRequestRefused(
            f"INFO_FORMAT {media_type!r} is not offered; offered are {', '.join(INFO_FORMATS)}",
            "InvalidFormat",
            "info_format",
        )
    count = integer(parameters.get("FEATURE_COUNT", "") or "1", "FEATURE_COUNT")
    if count < 1:
        raise MapRequestRefused(f"FEATURE_COUNT {count} is less than 1", "", "feature_count")
    asked = tuple(layer.name for layer in layers)
    return FeatureInfo(asked, place, column, row, min(count, MAXIMUM_FEATURES), plain)


def answer_feature_info(
    asked: FeatureInfo, layers: Mapping[str, MapLayer], environ: dict[str, Any]
) -> tuple[str, bytes]:
    """(media type, document). FEATURE_COUNT holds for each layer. Raises MapSourceError where data cannot be read."""
    found: list[tuple[MapLayer, list[Mapping[str, Any]]]] = []
    box = _box84(asked)
    for name in asked.layers:
        layer = layers[name]
        features: list[Mapping[str, Any]] = []
        if box is not None and layer.features_at is not None:
            features = _nearest(layer.features_at, environ, box, asked.count)
        found.append((layer, features))
    write = {"text/plain": _as_text, "text/html": _as_html, "application/json": _as_json}[asked.media_type]
    media_type = asked.media_type
    return media_type + ("; charset=utf-8" if media_type.startswith("text/") else ""), write(found)


def _box84(asked: FeatureInfo) -> Box | None:
    """West, south, east, north in degrees around the pixel; None where the pixel has no place on Earth."""
    minx, miny, maxx, maxy = asked.place.box
    across, down = (maxx - minx) / asked.place.width, (maxy - miny) / asked.place.height
    x, y = minx + (asked.column + 0.5) * across, maxy - (asked.row + 0.5) * down
    box = (x - _REACH * across, y - _REACH * down, x + _REACH * across, y + _REACH * down)
    try:
        west, south, east, north = transformer(asked.place.crs, "OGC:CRS84").transform_bounds(*box)
    except ProjError:
        return None
    west, south, east, north = max(west, -180.0), max(south, -90.0), min(east, 180.0), min(north, 90.0)
    # Also false where a number is none; a box over the antimeridian is left out, as no city lies there.
    return (west, south, east, north) if west <= east and south <= north else None


def _nearest(
    features_at: FeaturesAt, environ: dict[str, Any], box: Box, count: int
) -> list[Mapping[str, Any]]:
    """The features that really meet the box, nearest to its middle first."""
    features = [one for one in features_at(environ, box, _CANDIDATES) if one.get("geometry") is not None]
    if not features:
        return []
    shapes = shapely.from_geojson([orjson.dumps(one["geometry"]) for one in features])
    middle = shapely.Point((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    # Without this a self-touching ring of somebody's data would be an error instead of an answer.
    shapes = shapely.make_valid(shapes)
    meets, distances = shapely.intersects(shapes, shapely.box(*box)), shapely.distance(shapes, middle)
    order = sorted(range(len(features)), key=lambda number: float(distances[number]))
    return [features[number] for number in order if meets[number]][:count]


type _Found = Sequence[tuple[MapLayer, Sequence[Mapping[str, Any]]]]


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _as_json(found: _Found) -> bytes:
    features = [dict(one) | {"layer": layer.name} for layer, group in found for one in group]
    return orjson.dumps({"type": "FeatureCollection", "features": features})


def _as_text(found: _Found) -> bytes:
    lines: list[str] = []
    for layer, group in found:
        for one in group:
            lines += [f"{layer.name} {_shown(one.get('id'))}"]
            lines += [f"  {name} = {_shown(value)}" for name, value in one["properties"].items()]
    return "".join(f"{line}\n" for line in lines or ["no features"]).encode("utf-8", "replace")


def _as_html(found: _Found) -> bytes:
    parts = [
        '<!DOCTYPE html>\n<html><head><meta charset="utf-8"><title>GetFeatureInfo</title></head><body>\n'
    ]
    for layer, group in found:
        for one in group:
            rows = "".join(
                f'<tr><th scope="row">{escape(name)}</th><td>{escape(_shown(value))}</td></tr>\n'
                for name, value in one["properties"].items()
            )
            caption = f"{layer.title} {_shown(one.get('id'))}"
            parts.append(f"<table><caption>{escape(caption)}</caption>\n{rows}</table>\n")
    if len(parts) == 1:
        parts.append("<p>no features</p>\n")
    return "".join([*parts, "</body></html>\n"]).encode("utf-8", "replace")
