"""WMS requests (OGC 06-042, 01-068r3): every parameter is understood here, or refused with a reason.

MapProxy turns many malformed requests into "internal error"; it is given exactly what was understood.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tiles.mapproxy.exceptions import MapRequestRefused
from tiles.mapproxy.layer import DEFAULT_STYLE, MapLayer, MapView
from tiles.mapproxy.parameters import integer, number, required
from tiles.mapproxy.time_dimension import Chosen
from tiles.mapproxy.wms_place import WmsPlace, read_place

MAXIMUM_LAYERS = 50
INFO_FORMATS = ("text/plain", "text/html", "application/json")
MAXIMUM_FEATURES = 50
IMAGE_FORMATS = {
    "image/png": "image/png",
    "image/png; mode=8bit": "image/png; mode=8bit",
    "image/png8": "image/png; mode=8bit",
    "image/jpeg": "image/jpeg",
    "image/jpg": "image/jpeg",
    "image/webp": "image/webp",
    "image/tiff": "image/tiff",
    "image/geotiff": "image/tiff",
}
"""What FORMAT may say, with the media type that answers it: aliases of other servers too."""
OFFERED_FORMATS = ("image/png", "image/png; mode=8bit", "image/jpeg", "image/webp", "image/tiff")
_OPAQUE_FORMATS = ("image/jpeg",)
_VERSION = re.compile(r"\d{1,3}(\.\d{1,3}){0,2}")
_COLOUR = re.compile(r"(?:0[xX]|#)([0-9A-Fa-f]{6})")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*")


@dataclass(frozen=True, slots=True)
class StyledLayer:
    """A layer, the style it was asked in (None: its default) and the time that answers."""

    layer: MapLayer
    style: str | None
    time: Chosen


@dataclass(frozen=True, slots=True)
class GetMap:
    """A map of layers, the first one lowest. `background` is rrggbb."""

    version: str
    layers: tuple[StyledLayer, ...]
    place: WmsPlace
    media_type: str
    transparent: bool
    background: str


@dataclass(frozen=True, slots=True)
class GetFeatureInfo:
    """What is at a pixel. `column` and `row` count from the upper left, from 0; `count` holds for each layer."""

    layers: tuple[StyledLayer, ...]
    place: WmsPlace
    column: int
    row: int
    count: int
    media_type: str


@dataclass(frozen=True, slots=True)
class GetLegendGraphic:
    """The legend of a layer (05-078r4 clause 12): of one `rule`, or for a `scale` denominator, where they are given."""

    layer: MapLayer
    style: str | None
    rule: str | None
    scale: float | None
    language: str


@dataclass(frozen=True, slots=True)
class DescribeLayer:
    """What is behind layers (05-078r4 clause 10)."""

    layers: tuple[MapLayer, ...]


@dataclass(frozen=True, slots=True)
class GetCapabilities:
    """The service's document of a version."""

    version: str


type WmsRequest = GetMap | GetFeatureInfo | GetLegendGraphic | DescribeLayer | GetCapabilities
OPERATIONS = ("GetCapabilities", "GetMap", "GetFeatureInfo", "GetLegendGraphic", "DescribeLayer")


def read_wms(parameters: Mapping[str, str], view: MapView) -> WmsRequest:
    """The request. A layer the client may not see is refused in the words of one that does not exist.

    Raises MapRequestRefused.
    """
    version = wms_version(parameters)
    request = parameters.get("REQUEST", "").lower()
    for name in ("SLD", "SLD_BODY"):
        if parameters.get(name):
            raise MapRequestRefused(
                f"{name} is not offered: keep the style on the server (PUT /ogc/styles/ID takes SLD) and name it in STYLES",
                "OperationNotSupported",
                name.lower(),
            )
    if request in ("getcapabilities", "capabilities"):
        return GetCapabilities(version)
    if request in ("getmap", "map"):
        return _get_map(parameters, version, view)
    if request in ("getfeatureinfo", "feature_info"):
        return _get_feature_info(parameters, version, view)
    if request == "getlegendgraphic":
        return _get_legend_graphic(parameters, view)
    if request == "describelayer":
        return DescribeLayer(tuple(_layers(parameters, view, "LAYERS")))
    raise MapRequestRefused(
        f"request {parameters.get('REQUEST', '')[:40]!r} is not offered; offered are {', '.join(OPERATIONS)}",
        "OperationNotSupported",
        "request",
    )


def wms_version(parameters: Mapping[str, str]) -> str:
    """1.1.1 or 1.3.0, negotiated from VERSION (06-042 clause 6.2.4); by SRS or CRS where it is left out."""
    asked = parameters.get("VERSION", parameters.get("WMTVER", ""))
    if not asked:
        return "1.1.1" if "SRS" in parameters and "CRS" not in parameters else "1.3.0"
    if not _VERSION.fullmatch(asked):
        raise MapRequestRefused(
            f"VERSION {asked[:40]!r} is not a version; 1.1.1 and 1.3.0 are offered", "", "version"
        )
    return "1.3.0" if tuple(map(int, asked.split("."))) >= (1, 3) else "1.1.1"


def _get_map(parameters: Mapping[str, str], version: str, view: MapView) -> GetMap:
    layers = _styled(parameters, _layers(parameters, view, "LAYERS"))
    place = read_place(parameters, version, view)
    wanted = required(parameters, "FORMAT")
    media_type = IMAGE_FORMATS.get(_plain_format(wanted))
    if media_type is None:
        raise MapRequestRefused(
            f"FORMAT {wanted[:60]!r} is not offered; offered are {', '.join(OFFERED_FORMATS)}",
            "InvalidFormat",
            "format",
        )
    transparent = parameters.get("TRANSPARENT", "FALSE").upper()
    if transparent not in ("TRUE", "FALSE", ""):
        raise MapRequestRefused(
            f"TRANSPARENT {transparent[:40]!r} is neither TRUE nor FALSE", "", "transparent"
        )
    colour = parameters.get("BGCOLOR", "") or "0xFFFFFF"
    match = _COLOUR.fullmatch(colour)
    if match is None:
        raise MapRequestRefused(f"BGCOLOR {colour[:40]!r} is not of the form 0xRRGGBB", "", "bgcolor")
    see_through = transparent == "TRUE" and media_type not in _OPAQUE_FORMATS
    return GetMap(version, layers, place, media_type, see_through, match.group(1).lower())


def _plain_format(wanted: str) -> str:
    """A media type without the parameters that say nothing to us, in lower case."""
    plain, _, rest = wanted.lower().partition(";")
    kept = "; mode=8bit" if "mode=8bit" in rest.replace(" ", "") else ""
    return plain.strip() + kept


def _get_feature_info(parameters: Mapping[str, str], version: str, view: MapView) -> GetFeatureInfo:
    place = read_place(parameters, version, view)
    layers = _layers(parameters, view, "QUERY_LAYERS")
    for layer in layers:
        if not layer.queryable:
            raise MapRequestRefused(
                f"layer {layer.name} cannot be queried", "LayerNotQueryable", "query_layers"
            )
    columns = ("I", "X") if version == "1.3.0" else ("X", "I")
    rows = ("J", "Y") if version == "1.3.0" else ("Y", "J")
    column, row = read_pixel(parameters, columns, rows, place.width, place.height)
    styles = _styles_by_name(parameters, view)
    styled = tuple(StyledLayer(layer, styles.get(layer.name), _time(parameters, layer)) for layer in layers)
    media_type = read_info_format(parameters.get("INFO_FORMAT", ""), "InvalidFormat")
    return GetFeatureInfo(styled, place, column, row, read_count(parameters), media_type)


def read_pixel(
    parameters: Mapping[str, str], columns: tuple[str, ...], rows: tuple[str, ...], width: int, height: int
) -> tuple[int, int]:
    """Column and row, under the first of the names that is given. Raises MapRequestRefused."""
    names = [
        next((name for name in choices if name in parameters), choices[0]) for choices in (columns, rows)
    ]
    column, row = (
        integer(required(parameters, name, "InvalidPoint"), name, "InvalidPoint") for name in names
    )
    if not (0 <= column < width and 0 <= row < height):
        raise MapRequestRefused(
            f"pixel {column}, {row} is not in a map of {width} x {height} pixels",
            "InvalidPoint",
            names[0].lower(),
        )
    return column, row


def read_info_format(wanted: str, code: str) -> str:
    """One of INFO_FORMATS; text/plain for nothing. Raises MapRequestRefused."""
    plain = (wanted or "text/plain").split(";", 1)[0].strip().lower()
    if plain in ("application/geojson", "application/geo+json"):
        plain = "application/json"
    if plain not in INFO_FORMATS:
        raise MapRequestRefused(
            f"INFO_FORMAT {wanted[:60]!r} is not offered; offered are {', '.join(INFO_FORMATS)}",
            code,
            "info_format",
        )
    return plain


def read_count(parameters: Mapping[str, str]) -> int:
    """FEATURE_COUNT, at most MAXIMUM_FEATURES. Raises MapRequestRefused."""
    count = integer(parameters.get("FEATURE_COUNT", "") or "1", "FEATURE_COUNT")
    if count < 1:
        raise MapRequestRefused(f"FEATURE_COUNT {count} is less than 1", "", "feature_count")
    return min(count, MAXIMUM_FEATURES)


def _get_legend_graphic(parameters: Mapping[str, str], view: MapView) -> GetLegendGraphic:
    name = required(parameters, "LAYER")
    layer = _layer(view, name, "layer")
    wanted = parameters.get("FORMAT", "") or "image/png"
    if _plain_format(wanted) not in ("image/png", "image/png; mode=8bit"):
        raise MapRequestRefused(
            f"FORMAT {wanted[:60]!r} is not offered for legends; image/png is", "InvalidFormat", "format"
        )
    scale = parameters.get("SCALE", "")
    language = parameters.get("LANGUAGE", "") or "en"
    if not _LANGUAGE.fullmatch(language):
        raise MapRequestRefused(f"LANGUAGE {language[:40]!r} is no language tag", "", "language")
    return GetLegendGraphic(
        layer,
        read_style(layer, parameters.get("STYLE", ""), "StyleNotDefined"),
        parameters.get("RULE") or None,
        _scale(scale) if scale else None,
        language,
    )


def _scale(text: str) -> float:
    scale = number(text, "SCALE")
    if scale <= 0:
        raise MapRequestRefused(f"SCALE {text[:40]!r} is no scale denominator", "", "scale")
    return scale


def _layers(parameters: Mapping[str, str], view: MapView, parameter: str) -> list[MapLayer]:
    names = required(parameters, parameter).split(",")
    if len(names) > MAXIMUM_LAYERS:
        raise MapRequestRefused(
            f"{parameter} names {len(names)} layers; it may be 1 to {MAXIMUM_LAYERS}", "", parameter.lower()
        )
    return [_layer(view, name, parameter.lower()) for name in names]


def _layer(view: MapView, name: str, locator: str) -> MapLayer:
    layer = view.layer(name)
    if layer is None:
        raise MapRequestRefused(f"there is no layer {name[:130]!r}", "LayerNotDefined", locator)
    return layer


def _styled(parameters: Mapping[str, str], layers: list[MapLayer]) -> tuple[StyledLayer, ...]:
    styles = parameters.get("STYLES", "").split(",")
    if len(styles) == 1 and not styles[0]:
        styles = [""] * len(layers)
    if len(styles) != len(layers):
        raise MapRequestRefused(
            f"STYLES names {len(styles)} styles for {len(layers)} layers", "StyleNotDefined", "styles"
        )
    return tuple(
        StyledLayer(layer, read_style(layer, style, "StyleNotDefined"), _time(parameters, layer))
        for layer, style in zip(layers, styles, strict=True)
    )


def _styles_by_name(parameters: Mapping[str, str], view: MapView) -> dict[str, str | None]:
    """Styles of GetFeatureInfo: by the layers of the map part of the request, where it names them."""
    if not parameters.get("LAYERS") or not parameters.get("STYLES"):
        return {}
    return {one.layer.name: one.style for one in _styled(parameters, _layers(parameters, view, "LAYERS"))}


def read_style(layer: MapLayer, style: str, code: str) -> str | None:
    """The style as the view is asked for it: None for the default one, however it is called. Raises MapRequestRefused."""
    if style in ("", DEFAULT_STYLE):
        return None
    ids = [one.id for one in layer.styles]
    if style not in ids:
        raise MapRequestRefused(
            f"style {style[:70]!r} is not offered for layer {layer.name}; offered are {', '.join(ids[:20])}",
            code,
            "styles" if code == "StyleNotDefined" else "style",
        )
    return None if style == ids[0] else style


def _time(parameters: Mapping[str, str], layer: MapLayer) -> Chosen:
    """What answers TIME; a layer without time does not look at it (06-042 annex C.3.3)."""
    return Chosen() if layer.time is None else layer.time.choose(parameters.get("TIME", ""))
