"""WMTS 1.0.0 by query and by path (07-057r7), TMS, tiles by z/x/y and KML: what a request for a tile or a document says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tiles.errors import TileOutOfRange, UnknownTileMatrixSet
from tiles.grids import Grid, TileId, grid
from tiles.mapproxy.exceptions import MapRequestRefused
from tiles.mapproxy.layer import DEFAULT_STYLE, MAXIMUM_ZOOM, TILE_FORMATS, MapLayer, MapView
from tiles.mapproxy.parameters import integer, required
from tiles.mapproxy.time_dimension import Chosen
from tiles.mapproxy.wms_requests import read_count, read_info_format, read_pixel, read_style

_CODE = "InvalidParameterValue"
_INFO_EXTENSIONS = {"txt": "text/plain", "html": "text/html", "json": "application/json"}
_WMTS_PATH = re.compile(
    r"/wmts/1\.0\.0/(?P<names>[^/]+/[^/]+(?:/[^/]+){1,2})/(?P<tile>[^/]+/[^/]+/[^/.]+)\.(?P<extension>\w+)"
)
_WMTS_INFO_PATH = re.compile(
    r"/wmts/1\.0\.0/(?P<names>[^/]+/[^/]+(?:/[^/]+){1,2})/(?P<tile>[^/]+/[^/]+/[^/]+)/(?P<pixel>[^/]+/[^/.]+)\.(?P<extension>\w+)"
)
_TMS_PATH = re.compile(
    r"/(tms/1\.0\.0|tiles/1\.0\.0|tiles|xyz)/([^/]+)/([^/]+)/([^/]+)/([^/]+)/([^/.]+)\.(\w+)"
)
_TMS_DOCUMENT = re.compile(r"/tms(?P<version>/1\.0\.0)?(?:/(?P<layer>[^/]+)/(?P<grid>[^/]+?))?/?")
_KML_PATH = re.compile(r"/kml/([^/]+)/([^/]+)(?:/([^/]+)/([^/]+)/([^/.]+)\.(\w+)|/?)")
_EXTENSIONS = {"png": "png", "jpeg": "jpeg", "jpg": "jpeg", "webp": "webp"}
KML_GRIDS = ("WorldCRS84Quad", "WebMercatorQuad")
"""A KML overlay lies in degrees: a tile of another projection would stand askew."""


@dataclass(frozen=True, slots=True)
class GetTile:
    """A tile; `tile.y` counts as the grid counts, `protocol_row` as the request did."""

    layer: MapLayer
    style: str | None
    time: Chosen
    grid_id: str
    tile: TileId
    extension: str
    protocol_row: int


@dataclass(frozen=True, slots=True)
class GetTileInfo:
    """What is at a pixel of a tile."""

    asked: GetTile
    column: int
    row: int
    count: int
    media_type: str


@dataclass(frozen=True, slots=True)
class WmtsCapabilities:
    """The document of the WMTS."""


@dataclass(frozen=True, slots=True)
class TmsDocument:
    """The root of TMS (`version` False), its list of tile maps, or one of them."""

    version: bool
    layer: MapLayer | None = None
    grid_id: str = ""


@dataclass(frozen=True, slots=True)
class KmlDocument:
    """The KML of a tile: links to the four tiles below it."""

    layer: MapLayer
    grid_id: str
    tile: TileId


def read_wmts_query(parameters: Mapping[str, str], view: MapView) -> GetTile | GetTileInfo | WmtsCapabilities:
    """WMTS by query; VERSION may be left out. Raises MapRequestRefused."""
    request = required(parameters, "REQUEST", "MissingParameterValue").lower()
    if request == "getcapabilities":
        _check_accepted(parameters.get("ACCEPTVERSIONS", ""))
        return WmtsCapabilities()
    version = parameters.get("VERSION", "") or "1.0.0"
    if version != "1.0.0":
        raise MapRequestRefused(f"VERSION {version[:40]!r} is not offered; 1.0.0 is", _CODE, "version")
    if request not in ("gettile", "getfeatureinfo"):
        raise MapRequestRefused(
            f"request {parameters['REQUEST'][:40]!r} is not offered; offered are GetCapabilities, GetTile and GetFeatureInfo",
            "OperationNotSupported",
            "request",
        )
    names = ("LAYER", "TILEMATRIXSET", "TILEMATRIX", "TILEROW", "TILECOL")
    layer, grid_id, *numbers = (required(parameters, name, "MissingParameterValue") for name in names)
    wanted = parameters.get("FORMAT", "") or "image/png"
    if wanted.lower() not in TILE_FORMATS:
        raise MapRequestRefused(
            f"FORMAT {wanted[:60]!r} is not offered; offered are {', '.join(TILE_FORMATS)}", _CODE, "format"
        )
    tile = _tile(
        view,
        (layer, parameters.get("STYLE", ""), parameters.get("TIME", ""), grid_id),
        (numbers[0], numbers[2], numbers[1]),
        TILE_FORMATS[wanted.lower()],
    )
    if request == "gettile":
        return tile
    matrix = grid(grid_id).matrix(tile.tile.z)
    column, row = read_pixel(parameters, ("I",), ("J",), matrix.tile_width, matrix.tile_height)
    wanted = required(parameters, "INFOFORMAT", "MissingParameterValue")
    return _info(tile, column, row, read_count(parameters), read_info_format(wanted, _CODE))


def _check_accepted(versions: str) -> None:
    accepted = [one.strip() for one in versions.split(",") if one.strip()]
    if accepted and "1.0.0" not in accepted:
        raise MapRequestRefused(
            f"ACCEPTVERSIONS {versions[:60]!r} does not hold 1.0.0",
            "VersionNegotiationFailed",
            "acceptversions",
        )


def read_wmts_path(path: str, view: MapView) -> GetTile | GetTileInfo | WmtsCapabilities:
    """WMTS by path: /wmts/1.0.0/Layer/Style[/Time]/TileMatrixSet/TileMatrix/TileRow/TileCol.png. Raises MapRequestRefused."""
    if path == "/wmts/1.0.0/WMTSCapabilities.xml":
        return WmtsCapabilities()
    match = _WMTS_PATH.fullmatch(path)
    info = None if match else _WMTS_INFO_PATH.fullmatch(path)
    found = match or info
    if found is None:
        raise MapRequestRefused(
            f"{path[:200]!r} is not /wmts/1.0.0/WMTSCapabilities.xml, nor of the form"
            " /wmts/1.0.0/layer/style/TileMatrixSet/TileMatrix/TileRow/TileCol.png, with a time after the style where a layer"
            " has one, nor with /column/row.json after TileCol",
            _CODE,
            status=404,
        )
    layer, style, *rest = found["names"].split("/")
    grid_id = rest[-1]
    time = rest[0] if len(rest) == 2 else ""
    zoom, row, column = found["tile"].split("/")
    extension = _EXTENSIONS.get(found["extension"].lower()) if match else "png"
    if extension is None:
        raise _unknown_extension(found["extension"])
    tile = _tile(view, (layer, style, time, grid_id), (zoom, column, row), extension)
    if info is None:
        return tile
    media_type = _INFO_EXTENSIONS.get(info["extension"].lower())
    if media_type is None:
        raise MapRequestRefused(
            f"information ends in one of .{', .'.join(_INFO_EXTENSIONS)}, not .{info['extension'][:20]}",
            _CODE,
            "infoformat",
        )
    pixel = dict(zip(("I", "J"), info["pixel"].split("/"), strict=True))
    matrix = grid(grid_id).matrix(tile.tile.z)
    i, j = read_pixel(pixel, ("I",), ("J",), matrix.tile_width, matrix.tile_height)
    return _info(tile, i, j, 1, media_type)


def _info(tile: GetTile, column: int, row: int, count: int, media_type: str) -> GetTileInfo:
    if not tile.layer.queryable:
        raise MapRequestRefused(
            f"layer {tile.layer.name} cannot be queried", "OperationNotSupported", "layer"
        )
    return GetTileInfo(tile, column, row, count, media_type)


def read_tms(path: str, view: MapView) -> GetTile | TmsDocument:
    """TMS (rows from the bottom) or /tiles, /xyz (rows from the top). Raises MapRequestRefused."""
    document = _TMS_DOCUMENT.fullmatch(path)
    if document is not None and (document["version"] or not document["layer"]):
        if document["layer"] is None:
            return TmsDocument(bool(document["version"]))
        layer = _known_layer(view, document["layer"])
        _known_grid(document["grid"])
        return TmsDocument(True, layer, document["grid"])
    match = _TMS_PATH.fullmatch(path)
    if match is None:
        raise MapRequestRefused(
            f"{path[:200]!r} is not of the form /tms/1.0.0/layer/TileMatrixSet/z/x/y.png (rows from the bottom; /xyz/layer/"
            "TileMatrixSet/z/x/y.png: from the top)",
            status=404,
        )
    kind, layer_name, grid_id, zoom, column, row, extension = match.groups()
    if extension.lower() not in _EXTENSIONS:
        raise _unknown_extension(extension)
    return _tile(
        view,
        (layer_name, "", "", grid_id),
        (zoom, column, row),
        _EXTENSIONS[extension.lower()],
        from_bottom=kind.startswith("tms"),
    )


def read_kml(path: str, view: MapView) -> GetTile | KmlDocument:
    """/kml/layer/TileMatrixSet, and the documents and images below it. Raises MapRequestRefused."""
    match = _KML_PATH.fullmatch(path)
    if match is None:
        raise MapRequestRefused(
            f"{path[:200]!r} is not of the form /kml/layer/TileMatrixSet, nor /kml/layer/TileMatrixSet/z/x/y.kml",
            status=404,
        )
    layer, grid_id, zoom, column, row, extension = match.groups()
    if grid_id not in KML_GRIDS:
        raise MapRequestRefused(
            f"KML is not offered on {grid_id[:70]!r}; on {', '.join(KML_GRIDS)} it is", "", "grid", 404
        )
    numbers = ("0", "0", "0") if zoom is None else (zoom, column, row)
    wanted = "kml" if extension is None else extension.lower()
    if wanted != "kml" and wanted not in _EXTENSIONS:
        raise _unknown_extension(extension)
    tile = _tile(view, (layer, "", "", grid_id), numbers, _EXTENSIONS.get(wanted, "png"), from_bottom=True)
    if wanted != "kml":
        return tile
    return KmlDocument(tile.layer, grid_id, TileId(tile.tile.z, tile.tile.x, tile.protocol_row))


def _tile(
    view: MapView,
    names: tuple[str, str, str, str],
    numbers: tuple[str, str, str],
    extension: str,
    *,
    from_bottom: bool = False,
) -> GetTile:
    """Layer, style, time and grid, and zoom, column and row: all known and inside."""
    layer_name, style_name, time_value, grid_id = names
    layer = _known_layer(view, layer_name)
    style = read_style(layer, style_name, _CODE)
    pyramid = _known_grid(grid_id)
    parts = ("TileMatrix", "TileCol", "TileRow")
    zoom, column, row = (integer(text, name, _CODE) for text, name in zip(numbers, parts, strict=True))
    if not pyramid.min_zoom <= zoom <= min(pyramid.max_zoom, MAXIMUM_ZOOM):
        raise MapRequestRefused(
            f"zoom level {zoom} is not drawn on {grid_id}; {pyramid.min_zoom} to {min(pyramid.max_zoom, MAXIMUM_ZOOM)} are",
            "TileOutOfRange",
            "tilematrix",
        )
    # Grids that count rows from the bottom (cornerOfOrigin) are upside down to WMTS, and to TMS as they are.
    upside_down = pyramid.matrix(zoom).from_bottom != from_bottom
    rows = pyramid.matrix_size(zoom)[1]
    tile = TileId(zoom, column, rows - 1 - row if upside_down else row)
    try:
        pyramid.check(tile)
    except TileOutOfRange as error:
        raise MapRequestRefused(str(error), "TileOutOfRange", "tilerow") from error
    return GetTile(layer, style, _time(layer, time_value), grid_id, tile, extension, row)


def _time(layer: MapLayer, value: str) -> Chosen:
    """Tiles are kept: of a layer with a continuous time only the whole is offered, else the cache would have no end."""
    if layer.time is None or not layer.time.instants:
        if value.lower() in ("", DEFAULT_STYLE):
            return Chosen()
        raise MapRequestRefused(
            f"layer {layer.name} has no times to choose from in tiles; leave TIME out, or ask WMS",
            _CODE,
            "time",
        )
    try:
        return layer.time.choose(value)
    except MapRequestRefused as error:
        raise MapRequestRefused(str(error), _CODE, "time") from error


def _known_layer(view: MapView, name: str) -> MapLayer:
    layer = view.layer(name)
    if layer is None:
        raise MapRequestRefused(f"there is no layer {name[:130]!r}", _CODE, "layer", 404)
    return layer


def _known_grid(grid_id: str) -> Grid:
    try:
        return grid(grid_id)
    except UnknownTileMatrixSet as error:
        raise MapRequestRefused(str(error), _CODE, "tilematrixset", 404) from error


def _unknown_extension(extension: str) -> MapRequestRefused:
    return MapRequestRefused(
        f"tiles end in one of .{', .'.join(sorted(set(_EXTENSIONS)))}, not .{extension[:20]}", _CODE, "format"
    )
