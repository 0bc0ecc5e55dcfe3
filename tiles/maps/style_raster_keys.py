"""The keys of a raster style as an object."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, get_args

from tiles.errors import StyleError
from tiles.maps import style_keys as keys
from tiles.maps.band_expression import compile_expression
from tiles.maps.raster_palettes import palette_ramp
from tiles.maps.style_keys import KeyReader
from tiles.maps.style_model import RasterKind, RasterStyle

_limit = keys.number(-1e15, 1e15)
_span = keys.list_of(_limit, 2, 2)


def read_raster(value: Any, place: str) -> RasterStyle:
    """The object of the keys. Raises StyleError."""
    reader = KeyReader(value, place)
    kind = reader.take("kind", keys.choice(*get_args(RasterKind.__value__)))
    expression = reader.take("expression", _expression, None)
    count = 3 if kind == "rgb" else 1
    span = reader.take("span", _span, None)
    ramp, values = (
        reader.take("ramp", keys.list_of(_stop, 2, 256), ()),
        reader.take("values", keys.flag, False),
    )
    palette = reader.take("palette", _palette, ())
    if values and ramp:
        span, ramp = _of_values(ramp, span, place)
    style = RasterStyle(
        kind=kind,
        bands=reader.take(
            "bands", keys.list_of(keys.whole(1, 10_000), count, count), tuple(range(1, count + 1))
        ),
        span=span,
        ramp=ramp or palette,
        classes=reader.take("classes", _classes, ()),
        intervals=reader.take("intervals", keys.list_of(_interval, 1, 256), ()),
        labels=reader.take("labels", keys.list_of(_label, 0, 256), ()),
        spans=reader.take("spans", keys.list_of(_span, 3, 3), ()),
        gamma=reader.take("gamma", keys.number(0.05, 20), 1.0),
        opacity=reader.take("opacity", keys.number(0, 1), 1.0),
        hillshade=reader.take("hillshade", keys.number(0, 1), 1.0 if kind == "hillshade" else 0.0),
        multidirectional=reader.take("multidirectional", keys.flag, False),
        azimuth=reader.take("azimuth", keys.number(0, 360), 315.0),
        altitude=reader.take("altitude", keys.number(1, 90), 45.0),
        exaggeration=reader.take("exaggeration", keys.number(0.01, 100), 1.0),
        resampling=reader.take(
            "resampling",
            keys.choice("nearest", "bilinear", "cubic"),
            "nearest" if kind in ("classes", "intervals") else "bilinear",
        ),
        expression=expression,
    )
    reader.finish()
    check_raster(style, place)
    return style


def check_raster(style: RasterStyle, place: str) -> None:
    """Raise StyleError where parts of a raster style do not fit each other."""
    needs = {"ramp": style.ramp, "classes": style.classes, "intervals": style.intervals}
    if any(bool(found) != (style.kind == kind) for kind, found in needs.items()):
        raise StyleError(
            f"{place}: kind ramp needs the key ramp (or palette), kind classes the key classes, kind intervals the key "
            "intervals, and no other kind has them"
        )
    spans = [span for span in (style.span, *style.spans) if span is not None]
    if any(low >= high for low, high in spans):
        raise StyleError(f"{place}.span must rise, found {[list(span) for span in spans]}")
    if list(style.ramp) != sorted(style.ramp, key=lambda stop: stop[0]):
        raise StyleError(f"{place}.ramp must have rising positions")
    if any(not 0 <= position <= 1 for position, _ in style.ramp):
        raise StyleError(
            f"{place}.ramp has positions from 0 to 1; with `values: true` they are values of the raster"
        )
    ends = [upper for upper, _ in style.intervals]
    if None in ends[:-1] or any(a >= b for a, b in pairwise(ends) if a is not None and b is not None):
        raise StyleError(f"{place}.intervals must have rising upper ends, the last one may be null")
    if style.spans and style.kind != "rgb":
        raise StyleError(f"{place}.spans are for kind rgb; give span")
    if style.expression is not None and style.kind == "rgb":
        raise StyleError(f"{place}.expression makes one band; kind rgb needs three")
    if style.expression is not None and style.kind == "ramp" and style.span is None:
        raise StyleError(f"{place}.expression with a ramp needs span: what it gives has no statistics")


def _expression(value: Any, place: str) -> str:
    if not isinstance(value, str):
        raise StyleError(f"{place} must be text, found {value!r:.80}")
    try:
        compile_expression(value)
    except StyleError as error:
        raise StyleError(f"{place}: {error}") from error
    return value


def _stop(value: Any, place: str) -> tuple[float, str]:
    position, colour = keys.list_of(lambda item, _place: item, 2, 2)(value, place)
    return _limit(position, place), keys.colour(colour, place)


def _of_values(
    ramp: tuple[tuple[float, str], ...], span: tuple[float, float] | None, place: str
) -> tuple[tuple[float, float], tuple[tuple[float, str], ...]]:
    if span is not None:
        raise StyleError(f"{place}.ramp with values has its own span; leave span out")
    return ramp_of_values(ramp, place)


def ramp_of_values(
    stops: tuple[tuple[float, str], ...], place: str
) -> tuple[tuple[float, float], tuple[tuple[float, str], ...]]:
    """(span, ramp by positions) of a ramp by values. Raises StyleError where they do not rise."""
    low, high = stops[0][0], stops[-1][0]
    if low >= high:
        raise StyleError(f"{place}.ramp must have rising values")
    return (low, high), tuple(((value - low) / (high - low), colour) for value, colour in stops)


def _palette(value: Any, place: str) -> tuple[tuple[float, str], ...]:
    name = keys.text(value, place)
    try:
        return palette_ramp(name.removesuffix(" reversed"), reverse=name.endswith(" reversed"))
    except StyleError as error:
        raise StyleError(f"{place}: {error}") from error


def _interval(value: Any, place: str) -> tuple[float | None, str]:
    upper, colour = keys.list_of(lambda item, _place: item, 2, 2)(value, place)
    return None if upper is None else _limit(upper, place), keys.colour(colour, place)


def _label(value: Any, place: str) -> str:
    if not isinstance(value, str) or len(value) > 200:
        raise StyleError(f"{place} must be text of at most 200 letters, found {value!r:.80}")
    return value


def _classes(value: Any, place: str) -> tuple[tuple[float, str], ...]:
    if not isinstance(value, Mapping) or not 0 < len(value) <= 256:
        raise StyleError(f"{place} must map 1 to 256 numbers to colours, found {value!r:.80}")
    found = tuple(
        (
            keys.number(-(2**31), 2**31 - 1)(keys.numeric_key(key), place),
            keys.colour(colour, f"{place}.{key}"),
        )
        for key, colour in value.items()
    )
    if len({code for code, _ in found}) < len(found):
        raise StyleError(f"{place} names a number twice")
    return found
