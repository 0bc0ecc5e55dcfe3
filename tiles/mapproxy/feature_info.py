"""WMS GetFeatureInfo (OGC 06-042 clause 7.4): the features under a pixel, from the data and not from a picture.

MapProxy has no part in it: it can only ask another server.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import orjson
import shapely
from pyproj.exceptions import ProjError

from tiles.crs import transformer
from tiles.mapproxy.layer import InfoPlace, MapLayer
from tiles.maps.source import Box

_CANDIDATES = 500
"""Envelopes under a pixel of one layer that are looked at; a small map has more, and then some of them answer."""
_REACH = 3.5
"""Pixels around the one asked: what a hand or a thin line needs."""

type Found = Sequence[tuple[MapLayer, Sequence[Mapping[str, Any]]]]
"""Each layer with its GeoJSON Features, nearest first."""

type FeaturesAt = Callable[[Box, int], Sequence[Mapping[str, Any]]]
"""Asked with a box in CRS84 (degrees, west first) and a number: answers at most so many GeoJSON Features whose envelope
meets the box."""


def write_feature_info(found: Found, media_type: str) -> tuple[str, bytes]:
    """(media type, document) in one of INFO_FORMATS."""
    write = {"text/plain": _as_text, "text/html": _as_html, "application/json": _as_json}[media_type]
    return media_type + ("; charset=utf-8" if media_type.startswith("text/") else ""), write(found)


def nearest_features(features_at: FeaturesAt, place: InfoPlace) -> list[Mapping[str, Any]]:
    """The features that really meet the pixel and a little around it, nearest first: at most `place.count`."""
    box = pixel_box84(place)
    return [] if box is None else _nearest(features_at, box, place.count)


def pixel_position(place: InfoPlace) -> tuple[float, float]:
    """The middle of the pixel in the map's CRS, easting first."""
    minx, miny, maxx, maxy = place.box
    across, down = (maxx - minx) / place.width, (maxy - miny) / place.height
    return minx + (place.column + 0.5) * across, maxy - (place.row + 0.5) * down


def pixel_box84(place: InfoPlace) -> Box | None:
    """West, south, east, north in degrees around the pixel; None where the pixel has no place on Earth."""
    minx, miny, maxx, maxy = place.box
    across, down = (maxx - minx) / place.width, (maxy - miny) / place.height
    x, y = pixel_position(place)
    box = (x - _REACH * across, y - _REACH * down, x + _REACH * across, y + _REACH * down)
    try:
        west, south, east, north = transformer(place.crs, "OGC:CRS84").transform_bounds(*box)
    except ProjError:
        return None
    west, south, east, north = max(west, -180.0), max(south, -90.0), min(east, 180.0), min(north, 90.0)
    # Also false where a number is none; a box over the antimeridian is left out, as no city lies there.
    return (west, south, east, north) if west <= east and south <= north else None


def _nearest(features_at: FeaturesAt, box: Box, count: int) -> list[Mapping[str, Any]]:
    """The features that really meet the box, nearest to its middle first."""
    features = [one for one in features_at(box, _CANDIDATES) if one.get("geometry") is not None]
    if not features:
        return []
    shapes = shapely.from_geojson([orjson.dumps(one["geometry"]) for one in features])
    middle = shapely.Point((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    # Without this a self-touching ring of somebody's data would be an error instead of an answer.
    shapes = shapely.make_valid(shapes)
    meets, distances = shapely.intersects(shapes, shapely.box(*box)), shapely.distance(shapes, middle)
    order = sorted(range(len(features)), key=lambda number: float(distances[number]))
    return [features[number] for number in order if meets[number]][:count]


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _as_json(found: Found) -> bytes:
    features = [dict(one) | {"layer": layer.name} for layer, group in found for one in group]
    return orjson.dumps({"type": "FeatureCollection", "features": features})


def _as_text(found: Found) -> bytes:
    lines: list[str] = []
    for layer, group in found:
        for one in group:
            lines += [f"{layer.name} {_shown(one.get('id'))}"]
            lines += [f"  {name} = {_shown(value)}" for name, value in one["properties"].items()]
    return "".join(f"{line}\n" for line in lines or ["no features"]).encode("utf-8", "replace")


def _as_html(found: Found) -> bytes:
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
