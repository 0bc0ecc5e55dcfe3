"""A profile of points as JSON, GeoJSON, CSV, and as a picture. Nothing is done point by point."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson
from PIL import Image, ImageDraw

from pointclouds.las.layout import Column
from pointclouds.tilesets.colours import CLASS_COLOURS
from pointclouds.writing.columns import joined, texts
from providers.points.profile import GroundProfile, PointProfile

_SIZE: Final = (1200, 420)
_EDGE: Final = (64, 16, 16, 40)
"""Pixels left, above, right of and below the plot."""
_GRID, _TEXT, _TERRAIN, _PLAIN = (226, 226, 226), (70, 70, 70), (120, 60, 20), (90, 90, 90)
_MARKS: Final = 8


def columns_of(profile: PointProfile, unit: float) -> dict[str, Column]:
    """The columns that are written: distance and offset in metres, Z in the cloud's unit, then the dimensions.

    `unit` is metres of a unit of x and y.
    """
    return {
        "distance": np.round(profile.distance * unit, 3),
        "offset": np.round(profile.offset * unit, 3),
        "Z": np.round(profile.z, 3),
        **profile.columns,
    }


def ground_columns(ground: GroundProfile, unit: float) -> dict[str, list[float | None]]:
    """Distance (metres), terrain and surface (the cloud's unit of z); None where unknown."""
    return {
        "distance": np.round(ground.distance * unit, 3).tolist(),
        "terrain": _known(ground.terrain),
        "surface": _known(ground.surface),
    }


def _known(values: npt.NDArray[np.float64]) -> list[float | None]:
    return [None if missing else value for value, missing in zip(
        np.round(values, 3).tolist(), np.isnan(values).tolist(), strict=True)]  # fmt: skip


def statistics(profile: PointProfile, ground: GroundProfile | None) -> dict[str, Any]:
    """Lowest, highest and mean height of the points and of the terrain; None where there are none."""
    found: dict[str, Any] = {"points": _summary(profile.z)}
    if ground is not None:
        found["terrain"] = _summary(ground.terrain)
    return found


def _summary(values: npt.NDArray[np.float64]) -> dict[str, float] | None:
    values = values[np.isfinite(values)]
    if not values.size:
        return None
    return {
        "lowest": round(float(values.min()), 3),
        "highest": round(float(values.max()), 3),
        "mean": round(float(values.mean()), 3),
    }


def json_columns(columns: Mapping[str, Column]) -> dict[str, Any]:
    """Columns as lists that JSON can hold."""
    return {name: _listed(column) for name, column in columns.items()}


def _listed(column: Column) -> Any:
    if column.dtype.kind == "f" and not np.isfinite(column).all():
        return _known(column.astype(np.float64))
    return column.tolist()


def csv_bytes(columns: Mapping[str, Column]) -> bytes:
    """A header line and a line a point; lines end with CRLF (RFC 4180)."""
    head = ",".join(map(_quoted, columns)).encode() + b"\r\n"
    if not len(next(iter(columns.values()))):
        return head
    parts: list[bytes | list[bytes]] = []
    for column in columns.values():
        cells = texts(column)
        parts += [
            [b"" if cell == b"null" else cell for cell in cells] if column.dtype.kind == "f" else cells,
            b",",
        ]
    parts[-1] = b"\r\n"
    return head + joined(parts)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if any(letter in name for letter in ',"\r\n') else name


def geojson_bytes(
    columns: Mapping[str, Column], longitude: Column, latitude: Column, height: Column, head: bytes
) -> bytes:
    """A FeatureCollection of points in CRS84h; `head` are its further members as JSON, each followed by a comma."""
    start = b'{"type":"FeatureCollection",' + head + b'"features":['
    if not len(longitude):
        return start + b"]}"
    parts: list[bytes | list[bytes]] = [
        b'{"type":"Feature","geometry":{"type":"Point","coordinates":[',
        texts(np.round(longitude.astype(np.float64), 9)),
        b",",
        texts(np.round(latitude.astype(np.float64), 9)),
        b",",
        texts(np.round(height.astype(np.float64), 3)),
        b']},"properties":{',
    ]
    for number, (name, column) in enumerate(columns.items()):
        parts += [(b"," if number else b"") + orjson.dumps(name) + b":", texts(column)]
    parts.append(b"}},")
    return start + joined(parts)[:-1] + b"]}"


# --- picture -------------------------------------------------------------------------------------------------------------


def picture(profile: PointProfile, ground: GroundProfile | None, unit: float) -> bytes:
    """A PNG of the section: points in the colours of their classes, the terrain as a line, distance in metres and heights as axes."""
    heights = [profile.z] if ground is None else [profile.z, ground.terrain[np.isfinite(ground.terrain)]]
    low, high = _range(np.concatenate(heights))
    end = max(profile.length * unit, 1e-9)
    width, height = _SIZE[0] - _EDGE[0] - _EDGE[2], _SIZE[1] - _EDGE[1] - _EDGE[3]

    def across(distance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return _EDGE[0] + distance * unit / end * (width - 1)

    def down(z: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return _EDGE[1] + (high - z) / (high - low) * (height - 1)

    image = Image.new("RGB", _SIZE, "white")
    _axes(ImageDraw.Draw(image), (0.0, end), (low, high))
    pixels = np.array(image)
    column, row = (np.rint(part).astype(np.intp) for part in (across(profile.distance), down(profile.z)))
    inside = (row >= _EDGE[1]) & (row < _EDGE[1] + height - 1) & (column < _EDGE[0] + width - 1)
    row, column, colours = row[inside], column[inside], _colours(profile)[inside]
    for step_down, step_across in ((0, 0), (0, 1), (1, 0), (1, 1)):
        pixels[row + step_down, column + step_across] = colours
    image = Image.fromarray(pixels)
    if ground is not None:
        known = np.isfinite(ground.terrain)
        at = np.stack([across(ground.distance), down(ground.terrain)], axis=1)
        for part in np.split(np.arange(len(known)), np.flatnonzero(np.diff(known)) + 1):
            if known[part[0]] and len(part) > 1:
                ImageDraw.Draw(image).line([tuple(one) for one in at[part].tolist()], fill=_TERRAIN, width=2)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def _range(heights: npt.NDArray[np.float64]) -> tuple[float, float]:
    if not heights.size:
        return 0.0, 1.0
    low, high = float(heights.min()), float(heights.max())
    margin = max(0.05 * (high - low), 0.5)
    return low - margin, high + margin


def _colours(profile: PointProfile) -> npt.NDArray[np.uint8]:
    codes = profile.columns.get("Classification")
    if codes is None:
        return np.broadcast_to(np.array(_PLAIN, np.uint8), (len(profile), 3))
    table = np.full((256, 3), 128, np.uint8)
    for code, colour in CLASS_COLOURS.items():
        table[code] = colour
    return table[codes.astype(np.uint8)]


def _axes(draw: ImageDraw.ImageDraw, distances: tuple[float, float], heights: tuple[float, float]) -> None:
    left, top, right, bottom = _EDGE[0], _EDGE[1], _SIZE[0] - _EDGE[2] - 1, _SIZE[1] - _EDGE[3] - 1
    for value in _ticks(*distances):
        x = left + (value - distances[0]) / (distances[1] - distances[0]) * (right - left)
        draw.line([(x, top), (x, bottom)], fill=_GRID)
        draw.text((x, bottom + 6), f"{value:g} m", fill=_TEXT, anchor="ma")
    for value in _ticks(*heights):
        y = top + (heights[1] - value) / (heights[1] - heights[0]) * (bottom - top)
        draw.line([(left, y), (right, y)], fill=_GRID)
        draw.text((left - 6, y), f"{value:g}", fill=_TEXT, anchor="rm")
    draw.rectangle([left, top, right, bottom], outline=_TEXT)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers in a range, about eight."""
    rough = (high - low) / _MARKS
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [
        float(round(number * step, 9)) for number in range(int(np.ceil(low / step)), int(high // step) + 1)
    ]
