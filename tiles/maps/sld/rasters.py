"""RasterSymbolizer of SLD (05-077r4, clause 11.7) from and to ours."""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import Element

from tiles.errors import StyleError
from tiles.maps.images import parse_colour
from tiles.maps.sld.elements import child, children, local, number, text
from tiles.maps.style_branches import Notes, hex_colour
from tiles.maps.style_model import RasterStyle
from tiles.maps.style_raster_keys import check_raster, ramp_of_values

_PLACE = "RasterSymbolizer"
_STANDARD_RELIEF = 55.0
"""ReliefFactor of Earth in the standards; our exaggeration is 1 there."""


def read_raster_symbolizer(element: Element, notes: Notes) -> RasterStyle:
    """The raster style. Raises StyleError where it is contradictory."""
    opacity = number(text(element, "Opacity") or text(child(element, "Opacity"), "Literal") or "1", "Opacity")
    bands, gamma, spans = _channels(child(element, "ChannelSelection"), notes)
    own_gamma, own_span = _contrast(child(element, "ContrastEnhancement"), notes)
    colour_map = child(element, "ColorMap")
    for one in children(element, "VendorOption"):
        notes.add(f"{_PLACE}: vendor option {one.get('name')!r} is not known here")
    for name in ("OverlapBehavior", "ImageOutline"):
        if child(element, name) is not None:
            notes.add(f"{_PLACE}: {name} is not drawn")
    shading = _shading(child(element, "ShadedRelief"), notes)
    common = {"opacity": min(1.0, max(0.0, opacity))} | shading
    if colour_map is not None:
        return _coloured(colour_map, bands[:1] or (1,), common, notes)
    if len(bands) == 3 or (not bands and not shading):
        three = bands if len(bands) == 3 else (1, 2, 3)
        return RasterStyle(
            "rgb",
            three,
            span=own_span,
            spans=spans if len(spans) == 3 else (),
            gamma=gamma * own_gamma,
            **common,
        )
    if shading:
        return RasterStyle("hillshade", bands or (1,), **common)
    grey = ((0.0, "#000000"), (1.0, "#ffffff"))
    span = own_span or (spans[0] if spans else None)
    return RasterStyle("ramp", bands, span=span, ramp=grey, gamma=gamma * own_gamma, **common)


def _channels(
    element: Element | None, notes: Notes
) -> tuple[tuple[int, ...], float, tuple[tuple[float, float], ...]]:
    """Band numbers, gamma, and the span of each channel that has one."""
    names = ("RedChannel", "GreenChannel", "BlueChannel")
    channels = [found for found in (child(element, name) for name in names) if found is not None]
    if len(channels) != 3:
        grey = child(element, "GrayChannel")
        channels = [] if grey is None else [grey]
    bands, gammas, spans = [], [1.0], []
    for channel in channels:
        name = text(channel, "SourceChannelName")
        if not (name.isdecimal() and 1 <= int(name) <= 10_000):
            raise StyleError(f"SourceChannelName is {name[:40]!r}; allowed are band numbers from 1")
        bands.append(int(name))
        gamma, span = _contrast(child(channel, "ContrastEnhancement"), notes)
        gammas.append(gamma)
        spans += [] if span is None else [span]
    if len(set(gammas[1:])) > 1:
        notes.add("ChannelSelection: the gamma of the first channel is used for all")
    return tuple(bands), gammas[1] if len(gammas) > 1 else 1.0, tuple(spans)


def _contrast(element: Element | None, notes: Notes) -> tuple[float, tuple[float, float] | None]:
    """Gamma, and the span where Normalize gives one (minValue and maxValue)."""
    if element is None:
        return 1.0, None
    gamma = number(text(element, "GammaValue") or "1", "GammaValue")
    if child(element, "Histogram") is not None:
        notes.add("ContrastEnhancement: Histogram is drawn as Normalize")
    options = {
        one.get("name", ""): text(one)
        for kind in ("Normalize", "Histogram")
        for one in children(child(element, kind), "VendorOption")
    }
    span = None
    if "minValue" in options and "maxValue" in options:
        low, high = number(options["minValue"], "minValue"), number(options["maxValue"], "maxValue")
        span = (low, high) if low < high else None
    return min(20.0, max(0.05, gamma)), span


def _shading(element: Element | None, notes: Notes) -> dict[str, Any]:
    if element is None:
        return {}
    relief = number(text(element, "ReliefFactor") or str(_STANDARD_RELIEF), "ReliefFactor")
    if text(element, "BrightnessOnly") in ("1", "true"):
        notes.add("ShadedRelief: BrightnessOnly is not drawn in another way")
    return {"hillshade": 1.0, "exaggeration": min(100.0, max(0.01, relief / _STANDARD_RELIEF))}


def _coloured(element: Element, bands: tuple[int, ...], common: dict[str, Any], notes: Notes) -> RasterStyle:
    interpolate = child(element, "Interpolate")
    categorize = child(element, "Categorize")
    if interpolate is not None:
        points = [
            (number(text(one, "Data"), "Data"), _colour(text(one, "Value")))
            for one in children(interpolate, "InterpolationPoint")
        ]
        return _ramp(points, bands, common)
    if categorize is not None:
        return _categories(categorize, bands, common)
    entries = [
        (number(one.get("quantity", ""), "quantity"), _entry_colour(one))
        for one in children(element, "ColorMapEntry")
    ]
    labels = tuple(one.get("label", "")[:200] for one in children(element, "ColorMapEntry"))
    labels = labels if any(labels) else ()
    if not entries:
        raise StyleError(
            f"ColorMap holds {[local(one) for one in children(element)][:3]}, and no ColorMapEntry"
        )
    if len(entries) > 256:
        raise StyleError(f"ColorMap has {len(entries)} entries; allowed are 256")
    kind = element.get("type", "ramp")
    if kind == "values":
        found = RasterStyle(
            "classes", bands, classes=tuple(entries), labels=labels, resampling="nearest", **common
        )
    elif kind == "intervals":
        # A colour holds up to its quantity, which does not belong to it.
        found = RasterStyle(
            "intervals", bands, intervals=tuple(entries), labels=labels, resampling="nearest", **common
        )
    else:
        if kind != "ramp":
            notes.add(f"ColorMap of type {kind[:40]!r} is drawn as ramp")
        return _ramp(entries, bands, common)
    check_raster(found, _PLACE)
    return found


def _ramp(stops: list[tuple[float, str]], bands: tuple[int, ...], common: dict[str, Any]) -> RasterStyle:
    if len(stops) == 1:
        stops = [stops[0], (stops[0][0] + 1.0, stops[0][1])]
    span, ramp = ramp_of_values(tuple(stops), _PLACE)
    found = RasterStyle("ramp", bands, span=span, ramp=ramp, **common)
    check_raster(found, _PLACE)
    return found


def _categories(element: Element, bands: tuple[int, ...], common: dict[str, Any]) -> RasterStyle:
    colours = [_colour(text(one)) for one in children(element, "Value")]
    limits = [number(text(one), "Threshold") for one in children(element, "Threshold")]
    if len(colours) != len(limits) + 1:
        raise StyleError("Categorize has one Value more than Thresholds")
    intervals = tuple(zip((*limits, None), colours, strict=True))
    found = RasterStyle("intervals", bands, intervals=intervals, resampling="nearest", **common)
    check_raster(found, _PLACE)
    return found


def _colour(value: str) -> str:
    parse_colour(value)
    return value.lower()


def _entry_colour(element: Element) -> str:
    red, green, blue, _ = parse_colour(element.get("color", ""))
    opacity = number(element.get("opacity", "1"), "opacity")
    return hex_colour(red, green, blue, 255 * min(1.0, max(0.0, opacity)))
