"""Legends: the rules of a style with their symbols, classes with their colours, a colour bar with numbers."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from tiles.maps.fonts import watermark_font
from tiles.maps.images import encode_image, parse_colour
from tiles.maps.mapnik_drawing import SAMPLE_TEXT, box_wkt, draw_geometry, line_wkt, point_wkt
from tiles.maps.raster_colours import FLAT_GREY
from tiles.maps.source import Pixels, empty_image
from tiles.maps.style_filters import (
    AllOf,
    AnyOf,
    Comparison,
    Filter,
    GeometryIs,
    Like,
    Not,
    OneOf,
    Present,
)
from tiles.maps.style_model import (
    IconSymbol,
    LabelSymbol,
    LineSymbol,
    PointSymbol,
    PolygonSymbol,
    RasterStyle,
    Rule,
    Style,
)
from tiles.maps.style_zooms import denominator_of, fixed_symbol, scale_range

_WIDTH, _HEIGHT = 32, 20
_PADDING, _GAP, _TEXT = 6, 6, 12
_BAR = (20, 150)
_MOST_ENTRIES = 256
_TYPICAL_ZOOM = 16.0
_EDGE = (120, 120, 120, 255)
_WORDS = {"en": ("other", "and", "or", "not", "all"), "zh": ("其他", "且", "或", "非", "全部")}


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """One line of a legend: its name, and the picture of its symbols, (h, w, 4) where the scale is 1."""

    name: str
    rule: Rule | None = None
    colour: str | None = None


def legend_entries(
    style: Style, language: str = "en", *, rule: str | None = None, zoom: float | None = None
) -> tuple[LegendEntry, ...]:
    """The lines of a legend; of a ramp there are none, it has a bar.

    `rule` keeps the one of that name, `zoom` those drawn at that level. Rules alike but in their zoom levels are one line.
    """
    if style.raster is not None:
        return tuple(_raster_entries(style.raster, language))
    merged: dict[str, LegendEntry] = {}
    for one in (one for rules in style.passes for one in rules):
        covered = scale_range(one)
        if rule is not None and one.name != rule:
            continue
        if zoom is not None and not covered.low <= denominator_of(zoom) < covered.high:
            continue
        if (
            all(isinstance(symbol, LabelSymbol) for symbol in one.symbols)
            and rule is None
            and _has_others(style)
        ):
            continue
        name = _rule_name(one, language)
        before = merged.get(name)
        if before is not None and before.rule is not None:
            # Casing and filling of a street are two passes and one line.
            symbols = tuple(dict.fromkeys(before.rule.symbols + one.symbols))[:8]
            merged[name] = replace(before, rule=replace(before.rule, symbols=symbols))
        elif len(merged) < _MOST_ENTRIES:
            merged[name] = LegendEntry(name, one)
    return tuple(merged.values())


def _has_others(style: Style) -> bool:
    return any(
        not isinstance(symbol, LabelSymbol)
        for rules in style.passes
        for rule in rules
        for symbol in rule.symbols
    )


def _rule_name(rule: Rule, language: str) -> str:
    titles = dict(rule.title)
    named = titles.get(language) or titles.get("en")
    if named or (rule.name and not rule.name.replace("-", "").isdigit()):
        return named or rule.name
    words = _WORDS.get(language, _WORDS["en"])
    if rule.otherwise:
        return words[0]
    return words[4] if rule.filter is None else _filter_name(rule.filter, words)[:80]


def _filter_name(filter_: Filter, words: tuple[str, ...]) -> str:
    match filter_:
        case OneOf(_, values):
            return ", ".join(str(one) for one in dict.fromkeys(map(str, values)))
        case Comparison(_, "=", value):
            return str(value)
        case Comparison(field, operator, value):
            return f"{field} {operator} {value}"
        case Present(field):
            return field
        case Like(_, pattern):
            return pattern
        case GeometryIs(kind):
            return kind
        case AllOf(parts):
            return f" {words[1]} ".join(_filter_name(part, words) for part in parts)
        case AnyOf(parts):
            return f" {words[2]} ".join(_filter_name(part, words) for part in parts)
        case Not(part):
            return f"{words[3]} {_filter_name(part, words)}"


def _raster_entries(style: RasterStyle, language: str) -> Iterator[LegendEntry]:
    labels = dict(enumerate(style.labels))
    for index, (code, colour) in enumerate(style.classes):
        yield LegendEntry(labels.get(index) or _number(code), colour=colour)
    low: float | None = None
    for index, (upper, colour) in enumerate(style.intervals):
        if upper is None:
            written = f"≥ {_number(low)}" if low is not None else _WORDS.get(language, _WORDS["en"])[4]
        else:
            written = f"< {_number(upper)}" if low is None else f"{_number(low)} – {_number(upper)}"
        yield LegendEntry(labels.get(index) or written, colour=colour)
        low = upper


def _number(value: float | None) -> str:
    return f"{value:,.6g}" if value is not None else ""


# --- pictures ------------------------------------------------------------------------------------------------------------


def legend_image(
    style: Style,
    language: str = "en",
    scale: float = 1.0,
    *,
    rule: str | None = None,
    zoom: float | None = None,
    title: str | None = None,
) -> Pixels:
    """The legend as a picture on a white ground, (h, w, 4). `scale` from 0.5 to 4 makes it larger."""
    return _legend_image(style, language, min(4.0, max(0.5, scale)), rule, zoom, title)


@lru_cache(maxsize=64)
def _legend_image(
    style: Style, language: str, scale: float, rule: str | None, zoom: float | None, title: str | None
) -> Pixels:
    heading = (
        title if title is not None else dict(style.title).get(language) or dict(style.title).get("en") or ""
    )
    if style.raster is not None and style.raster.kind == "ramp":
        return _bar_image(style.raster, heading, scale)
    entries = legend_entries(style, language, rule=rule, zoom=zoom)
    pictures = [(_swatch(style, entry, language, zoom, scale), entry.name) for entry in entries]
    if style.raster is not None and not entries:
        # Which band heights are in tells a reader nothing; which ones are red, green and blue does.
        written = "" if style.raster.kind == "hillshade" else " / ".join(map(str, style.raster.bands))
        pictures = [(_channels(style.raster, scale), written)]
    return _table(pictures, heading, scale)


def _font(scale: float) -> Any:
    return watermark_font(round(_TEXT * scale))[0]


def _table(pictures: list[tuple[Pixels, str]], heading: str, scale: float) -> Pixels:
    font = _font(scale)
    padding, gap = round(_PADDING * scale), round(_GAP * scale)
    line = round((_HEIGHT + 4) * scale)
    left = max((picture.shape[1] for picture, _ in pictures), default=0)
    texts = [name[:120] for _, name in pictures]
    width = max([left + gap + font.getlength(text) for text in texts] + [font.getlength(heading)] + [1])
    top = line if heading else 0
    heights = [max(line, picture.shape[0] + 4) for picture, _ in pictures]
    size = (round(width) + 2 * padding, max(1, top + sum(heights)) + 2 * padding)
    image = Image.new("RGBA", size, (255, 255, 255, 255))
    drawing = ImageDraw.Draw(image)
    if heading:
        drawing.text((padding, padding), heading, font=font, fill=(20, 20, 20, 255))
    y = padding + top
    for (picture, _), text, height in zip(pictures, texts, heights, strict=True):
        swatch = Image.fromarray(np.ascontiguousarray(picture))
        place = (padding + (left - swatch.width) // 2, y + (height - swatch.height) // 2)
        image.alpha_composite(swatch, place)
        middle = y + height // 2
        drawing.text((padding + left + gap, middle), text, font=font, fill=(40, 40, 40, 255), anchor="lm")
        y += height
    return np.asarray(image)


def _swatch(style: Style, entry: LegendEntry, language: str, zoom: float | None, scale: float) -> Pixels:
    width, height = round(_WIDTH * scale), round(_HEIGHT * scale)
    if entry.colour is not None or entry.rule is None:
        return _patch(entry.colour or "#00000000", width, height)
    rule = entry.rule
    at = zoom if zoom is not None else _zoom_of(rule)
    drawn = [fixed_symbol(symbol, at) for symbol in rule.symbols]
    # Larger symbols get a larger picture.
    reach = max(
        (
            float(one.size)
            for one in drawn
            if isinstance(one, PointSymbol | IconSymbol) and not isinstance(one.size, tuple)
        ),
        default=0.0,
    )
    height = max(height, min(round(64 * scale), round((reach + 4) * scale)))
    polygons = any(isinstance(symbol, PolygonSymbol) for symbol in drawn)
    picture = empty_image(width, height)
    layers = []
    for symbol in drawn:
        fields: dict[str, str] = {}
        sampled = symbol
        if isinstance(symbol, PolygonSymbol) or (isinstance(symbol, LineSymbol) and polygons):
            wkt = box_wkt(width, height, 2)
        elif isinstance(symbol, LineSymbol):
            wkt = line_wkt(width, height)
        else:
            wkt = point_wkt(width, height)
        if isinstance(symbol, LabelSymbol):
            if len(drawn) > 1:
                continue
            fields = {"text": SAMPLE_TEXT.get(language, SAMPLE_TEXT["en"])}
            sampled = LabelSymbol("text", symbol.fill, symbol.size, symbol.halo, symbol.halo_width)
        sample = Style(passes=((Rule((sampled,)),),), icon_folder=style.icon_folder)
        layers.append(draw_geometry(sample, wkt, width, height, fields=fields, scale=scale))
    image = Image.fromarray(np.array(picture))
    for layer in layers:
        image.alpha_composite(Image.fromarray(np.ascontiguousarray(layer)))
    return np.asarray(image)


def _zoom_of(rule: Rule) -> float:
    """A level at which the rule is drawn, the typical one where it is."""
    from tiles.maps.style_zooms import zoom_of

    low, high = scale_range(rule)
    lowest = zoom_of(high) if high != float("inf") else 0.0
    highest = zoom_of(low) if low > 0 else 24.0
    return min(max(_TYPICAL_ZOOM, lowest + 0.5), highest)


def _patch(colour: str, width: int, height: int) -> Pixels:
    image = Image.new("RGBA", (width, height), parse_colour(colour))
    ImageDraw.Draw(image).rectangle((0, 0, width - 1, height - 1), outline=_EDGE)
    return np.asarray(image)


def _channels(style: RasterStyle, scale: float) -> Pixels:
    """Imagery as three bars, relief as a grey patch."""
    width, height = round(_WIDTH * scale), round(_HEIGHT * scale)
    if style.kind != "rgb":
        return np.asarray(Image.new("RGBA", (width, height), FLAT_GREY))
    image = Image.new("RGBA", (width, height))
    drawing = ImageDraw.Draw(image)
    for index, colour in enumerate(((214, 60, 50, 255), (60, 160, 70, 255), (50, 90, 200, 255))):
        drawing.rectangle((index * width // 3, 0, (index + 1) * width // 3 - 1, height - 1), fill=colour)
    return np.asarray(image)


def _bar_image(style: RasterStyle, heading: str, scale: float) -> Pixels:
    """A colour bar from the highest value, at the top, to the lowest, with numbers at its stops."""
    font = _font(scale)
    width, height = (round(edge * scale) for edge in _BAR)
    padding, gap, line = round(_PADDING * scale), round(_GAP * scale), round((_TEXT + 3) * scale)
    low, high = style.span or (0.0, 1.0)
    ticks = [
        (position, _tick(low + (high - low) * position, style.span is None)) for position in _positions(style)
    ]
    top = padding + (line + gap if heading else 0) + line // 2
    right = max(font.getlength(text) for _, text in ticks)
    total = max(padding * 2 + width + gap + right, padding * 2 + font.getlength(heading))
    image = Image.new("RGBA", (round(total), top + height + line), (255, 255, 255, 255))
    drawing = ImageDraw.Draw(image)
    drawing.text((padding, padding), heading, font=font, fill=(20, 20, 20, 255))
    steps = np.linspace(1, 0, height)
    channels = np.array([parse_colour(colour) for _, colour in style.ramp], dtype=float)
    positions = [position for position, _ in style.ramp]
    bar = np.stack([np.interp(steps, positions, channels[:, one]) for one in range(4)], axis=-1)
    pixels = np.repeat(np.rint(bar).astype(np.uint8)[:, None], width, axis=1)
    image.alpha_composite(Image.fromarray(np.ascontiguousarray(pixels)), (padding, top))
    drawing.rectangle((padding, top, padding + width - 1, top + height - 1), outline=_EDGE)
    for position, text in ticks:
        y = top + round((1 - position) * (height - 1))
        drawing.line((padding + width, y, padding + width + gap // 2, y), fill=_EDGE)
        drawing.text((padding + width + gap, y), text, font=font, fill=(40, 40, 40, 255), anchor="lm")
    return np.asarray(image)


def _tick(value: float, relative: bool) -> str:
    return f"{value:.0%}" if relative else f"{value:,.4g}"


def _positions(style: RasterStyle) -> list[float]:
    """Where numbers stand: at the stops where they do not crowd, else evenly."""
    stops = sorted({position for position, _ in style.ramp})
    if len(stops) <= 9 and all(b - a >= 0.08 for a, b in pairwise(stops)):
        return stops
    return [0.0, 0.25, 0.5, 0.75, 1.0]


# --- documents -----------------------------------------------------------------------------------------------------------


def legend_document(style: Style, language: str = "en") -> dict[str, Any]:
    """The legend as JSON: `rules` with a picture each (a data URL), or the `ramp` of a raster with its values."""
    titles = dict(style.title)
    document: dict[str, Any] = {"title": titles.get(language) or titles.get("en") or ""}
    if style.raster is not None and style.raster.kind == "ramp":
        low, high = style.raster.span or (0.0, 1.0)
        document["unit"] = "value" if style.raster.span else "share of the data's range"
        document["ramp"] = [
            {"value": low + (high - low) * position, "colour": colour}
            for position, colour in style.raster.ramp
        ]
        return document
    document["rules"] = [
        {
            "title": entry.name,
            "colour": entry.colour,
            "image": _data_url(_swatch(style, entry, language, None, 1.0)),
        }
        for entry in legend_entries(style, language)
    ]
    return document


def _data_url(pixels: Pixels) -> str:
    return (
        "data:image/png;base64,"
        + base64.b64encode(encode_image(np.ascontiguousarray(pixels), "image/png")).decode()
    )


def legend_html(style: Style, language: str = "en") -> str:
    """The legend as a piece of HTML, everything in it escaped."""
    document = legend_document(style, language)
    title = html.escape(document["title"])
    if "ramp" in document:
        image = _data_url(legend_image(style, language))
        return f'<figure class="legend"><img src="{image}" alt="{title}"></figure>'
    rows = "".join(
        f'<li><img src="{rule["image"]}" alt=""> {html.escape(rule["title"])}</li>'
        for rule in document["rules"]
    )
    return f'<figure class="legend"><figcaption>{title}</figcaption><ul>{rows}</ul></figure>'
