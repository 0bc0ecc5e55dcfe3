"""Checks on map requests before MapProxy sees them: every parameter is understood here, or refused with a reason.

MapProxy turns many malformed requests into "internal error"; and a client that leaves out VERSION in WMTS GetTile is
common. What passes is handed on with exactly the parameters that were understood.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import parse_qsl, urlencode

from tiles.errors import TileOutOfRange, UnknownTileMatrixSet
from tiles.grids import TileId, grid
from tiles.mapproxy.configuration import IMAGE_FORMATS
from tiles.mapproxy.exceptions import MapRequestRefused, Protocol
from tiles.mapproxy.feature_info import FeatureInfo, read_feature_info
from tiles.mapproxy.layer import TILE_FORMATS, MapLayer
from tiles.mapproxy.parameters import integer, required
from tiles.mapproxy.wms_place import read_place

MAXIMUM_LAYERS = 50
_WMS_PATHS = ("service", "ows", "wms")
_STYLES = ("", "default")
_MAXIMUM_FIELDS = 100
_VERSION = re.compile(r"\d{1,3}(\.\d{1,3}){0,2}")
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}(:\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:\d{1,5})?")
_COLOUR = re.compile(r"0[xX][0-9A-Fa-f]{6}")
_WMTS_PATH = re.compile(r"/wmts/1\.0\.0/([^/]+)/([^/]+)/([^/]+)/([^/]+)/([^/]+)/([^/.]+)\.(\w+)")
_TMS_PATH = re.compile(r"/(?:tms|tiles)/1\.0\.0/([^/]+)/([^/]+)/([^/]+)/([^/]+)/([^/.]+)\.(\w+)")
_TMS_DOCUMENT = re.compile(r"/tms(?:/?|/1\.0\.0/?|/1\.0\.0/([^/]+)/([^/]+)/?)")


@dataclass(frozen=True, slots=True)
class Checked:
    """A request that may be passed on: its path, and the query that was understood; or one that we answer ourselves."""

    path: str
    query: str = ""
    feature_info: FeatureInfo | None = None


class RequestChecker:
    """Knows the layers of a service and the CRS its WMS offers."""

    def __init__(self, layers: Mapping[str, MapLayer], crs_codes: tuple[str, ...]) -> None:
        self._layers = layers
        self._crs_codes = frozenset(crs_codes)

    def check(self, path: str, query: str, allowed: frozenset[str]) -> Checked:
        """The request in the form MapProxy is given. Raises MapRequestRefused.

        A layer that is not in `allowed` is refused in the words of one that does not exist.
        """
        parameters = parse_parameters(query)
        kind = path.strip("/").split("/", 1)[0]
        if kind in _WMS_PATHS and path.strip("/") == kind:
            service = parameters.get("SERVICE", "WMS").upper()
            if service == "WMTS":
                return self._wmts_query("/service", parameters, allowed)
            if service != "WMS":
                raise MapRequestRefused(
                    f"service {service!r} is not offered here; offered are WMS and WMTS", "", "service"
                )
            return self._wms(parameters, allowed)
        if kind == "wmts":
            if path.rstrip("/") == "/wmts":
                return self._wmts_query("/wmts", parameters, allowed)
            return self._wmts_path(path, allowed)
        if kind in ("tms", "tiles"):
            return self._tms(path, allowed)
        raise MapRequestRefused(
            f"there is nothing at {path!r}; there are /service, /wmts, /tms and /tiles", status=404
        )

    def _wms(self, parameters: Mapping[str, str], allowed: frozenset[str]) -> Checked:
        version = wms_version(parameters)
        request = parameters.get("REQUEST", "").lower()
        known = {"SERVICE": "WMS", "VERSION": version}
        if request in ("getcapabilities", "capabilities"):
            return Checked("/service", urlencode(known | {"REQUEST": "GetCapabilities"}))
        if request in ("getfeatureinfo", "feature_info"):
            place = read_place(parameters, version, self._crs_codes)
            layers = [self._layers[name] for name in self._wms_layers(parameters, allowed, "QUERY_LAYERS")]
            return Checked("/service", feature_info=read_feature_info(parameters, version, place, layers))
        if request not in ("getmap", "map"):
            raise MapRequestRefused(
                f"request {parameters.get('REQUEST', '')!r} is not offered; offered are GetCapabilities, GetMap and"
                " GetFeatureInfo",
                "OperationNotSupported",
                "request",
            )
        names = self._wms_layers(parameters, allowed)
        known |= {
            "REQUEST": "GetMap",
            "LAYERS": ",".join(names),
            "STYLES": _wms_styles(parameters, len(names)),
        }
        known |= read_place(parameters, version, self._crs_codes).known
        known["FORMAT"] = _wms_format(parameters)
        known["TRANSPARENT"] = _wms_transparent(parameters)
        colour = parameters.get("BGCOLOR", "0xFFFFFF")
        if not _COLOUR.fullmatch(colour):
            raise MapRequestRefused(f"BGCOLOR {colour!r} is not of the form 0xRRGGBB", "", "bgcolor")
        known["BGCOLOR"] = colour
        return Checked("/service", urlencode(known))

    def _wms_layers(
        self, parameters: Mapping[str, str], allowed: frozenset[str], parameter: str = "LAYERS"
    ) -> list[str]:
        names = [name for name in required(parameters, parameter).split(",") if name]
        if not 1 <= len(names) <= MAXIMUM_LAYERS:
            raise MapRequestRefused(
                f"{parameter} names {len(names)} layers; it may be 1 to {MAXIMUM_LAYERS}",
                "",
                parameter.lower(),
            )
        for name in names:
            if name not in allowed or name not in self._layers:
                raise MapRequestRefused(f"there is no layer {name!r}", "LayerNotDefined", parameter.lower())
        return names

    def _wmts_query(self, path: str, parameters: Mapping[str, str], allowed: frozenset[str]) -> Checked:
        request = required(parameters, "REQUEST", "MissingParameterValue").lower()
        version = parameters.get("VERSION", "1.0.0")
        if request == "getcapabilities":
            return Checked(path, "SERVICE=WMTS&REQUEST=GetCapabilities&VERSION=1.0.0")
        if version != "1.0.0":
            raise MapRequestRefused(
                f"VERSION {version!r} is not offered; 1.0.0 is", "InvalidParameterValue", "version"
            )
        if request != "gettile":
            raise MapRequestRefused(
                f"request {parameters['REQUEST']!r} is not offered; offered are GetCapabilities and GetTile",
                "OperationNotSupported",
                "request",
            )
        names = ("LAYER", "TILEMATRIXSET", "TILEMATRIX", "TILEROW", "TILECOL")
        layer, tms_id, zoom, row, column = (
            required(parameters, name, "MissingParameterValue") for name in names
        )
        style = parameters.get("STYLE", "default")
        tile = self._tile(layer, style, tms_id, (zoom, column, row), allowed, code="InvalidParameterValue")
        layer_format = self._layers[layer].tile_format
        wanted = parameters.get("FORMAT", layer_format)
        if wanted != layer_format:
            raise MapRequestRefused(
                f"FORMAT {wanted!r} is not offered for layer {layer}; {layer_format} is",
                "InvalidParameterValue",
                "format",
            )
        known = {
            "SERVICE": "WMTS",
            "REQUEST": "GetTile",
            "VERSION": "1.0.0",
            "LAYER": layer,
            "STYLE": "default",
            "TILEMATRIXSET": tms_id,
            "TILEMATRIX": str(tile.z),
            "TILEROW": str(tile.y),
            "TILECOL": str(tile.x),
            "FORMAT": layer_format,
        }
        return Checked(path, urlencode(known))

    def _wmts_path(self, path: str, allowed: frozenset[str]) -> Checked:
        if path == "/wmts/1.0.0/WMTSCapabilities.xml":
            return Checked(path)
        match = _WMTS_PATH.fullmatch(path)
        if match is None:
            raise MapRequestRefused(
                f"{path!r} is not /wmts/1.0.0/WMTSCapabilities.xml, nor of the form"
                " /wmts/1.0.0/layer/default/TileMatrixSet/TileMatrix/TileRow/TileCol.png",
                "InvalidParameterValue",
                status=404,
            )
        layer, style, tms_id, zoom, row, column, extension = match.groups()
        tile = self._tile(layer, style, tms_id, (zoom, column, row), allowed, code="InvalidParameterValue")
        self._extension(layer, extension)
        return Checked(f"/wmts/1.0.0/{layer}/default/{tms_id}/{tile.z}/{tile.y}/{tile.x}.{extension}")

    def _tms(self, path: str, allowed: frozenset[str]) -> Checked:
        document = _TMS_DOCUMENT.fullmatch(path)
        if document is not None:
            layer, tms_id = document.groups()
            if layer is not None:
                self._known_layer(layer, allowed)
                _known_grid(tms_id)
            return Checked(path.rstrip("/") if layer is not None else path)
        match = _TMS_PATH.fullmatch(path)
        if match is None:
            raise MapRequestRefused(
                f"{path!r} is not of the form /tms/1.0.0/layer/TileMatrixSet/z/x/y.png (rows from the bottom; /tiles: from"
                " the top)",
                status=404,
            )
        layer, tms_id, zoom, column, row, extension = match.groups()
        # The lower half of a matrix mirrors the upper: what is outside from below is outside from the top.
        self._tile(layer, "default", tms_id, (zoom, column, row), allowed, code="")
        self._extension(layer, extension)
        return Checked(path)

    def _tile(
        self,
        layer: str,
        style: str,
        tms_id: str,
        numbers: tuple[str, str, str],
        allowed: frozenset[str],
        *,
        code: str,
    ) -> TileId:
        """Layer, style, grid and tile (zoom, column, row), all known and inside."""
        self._known_layer(layer, allowed)
        if style not in _STYLES:
            raise MapRequestRefused(
                f"style {style!r} is not offered; default is", "InvalidParameterValue", "style"
            )
        _known_grid(tms_id)
        names = ("TileMatrix", "TileCol", "TileRow")
        zoom, column, row = (integer(text, name, code) for text, name in zip(numbers, names, strict=True))
        tile = TileId(zoom, column, row)
        try:
            grid(tms_id).check(tile)
        except TileOutOfRange as error:
            raise MapRequestRefused(str(error), "TileOutOfRange", "tilerow") from error
        if zoom > _MAXIMUM_CACHED_ZOOM:
            raise MapRequestRefused(
                f"zoom level {zoom} is not drawn; 0 to {_MAXIMUM_CACHED_ZOOM} are",
                "TileOutOfRange",
                "tilematrix",
            )
        return tile

    def _known_layer(self, layer: str, allowed: frozenset[str]) -> None:
        if layer not in allowed or layer not in self._layers:
            raise MapRequestRefused(f"there is no layer {layer!r}", "InvalidParameterValue", "layer", 404)

    def _extension(self, layer: str, extension: str) -> None:
        wanted = TILE_FORMATS[self._layers[layer].tile_format]
        if extension != wanted:
            raise MapRequestRefused(
                f"tiles of layer {layer} end in .{wanted}, not .{extension}",
                "InvalidParameterValue",
                "format",
            )


_MAXIMUM_CACHED_ZOOM = 22


def parse_parameters(query: str) -> Mapping[str, str]:
    """The query with upper-case names; of a name that comes twice, the first value. Raises MapRequestRefused."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MAXIMUM_FIELDS, errors="strict")
    except ValueError as error:
        raise MapRequestRefused(
            f"the query cannot be read ({error}); at most {_MAXIMUM_FIELDS} parameters"
        ) from error
    parameters: dict[str, str] = {}
    for name, value in pairs:
        if not value.isprintable():
            raise MapRequestRefused(f"parameter {name[:40]!r} holds control characters")
        parameters.setdefault(name.upper(), value)
    return MappingProxyType(parameters)


def protocol_of(path: str, parameters: Mapping[str, str]) -> Protocol:
    """The family in which errors of a request are told; total, whatever the request says."""
    if path.startswith(("/tms", "/tiles")):
        return Protocol.TMS
    if path.startswith("/wmts") or parameters.get("SERVICE", "").upper() == "WMTS":
        return Protocol.WMTS
    old = parameters.get("VERSION", "1.3.0").startswith("1.1") or (
        "SRS" in parameters and "VERSION" not in parameters
    )
    return Protocol.WMS_111 if old else Protocol.WMS_130


def check_host(host: str) -> None:
    """Refuse a Host header that is no host: it is written into the capabilities documents."""
    if not _HOST.fullmatch(host):
        raise MapRequestRefused("the Host header of the request is not a host name with an optional port")


def wms_version(parameters: Mapping[str, str]) -> str:
    """1.1.1 or 1.3.0, negotiated from VERSION (06-042 clause 6.2.4); by SRS or CRS where it is left out."""
    asked = parameters.get("VERSION", parameters.get("WMTVER", ""))
    if not asked:
        return "1.1.1" if "SRS" in parameters and "CRS" not in parameters else "1.3.0"
    if not _VERSION.fullmatch(asked):
        raise MapRequestRefused(
            f"VERSION {asked!r} is not a version; 1.1.1 and 1.3.0 are offered", "", "version"
        )
    return "1.3.0" if tuple(map(int, asked.split("."))) >= (1, 3) else "1.1.1"


def _wms_styles(parameters: Mapping[str, str], count: int) -> str:
    styles = parameters.get("STYLES", "").split(",")
    unknown = [style for style in styles if style not in _STYLES]
    if unknown:
        raise MapRequestRefused(
            f"style {unknown[0]!r} is not offered; default is", "StyleNotDefined", "styles"
        )
    if len(styles) not in (1, count):
        raise MapRequestRefused(
            f"STYLES names {len(styles)} styles for {count} layers", "StyleNotDefined", "styles"
        )
    return ""


def _wms_format(parameters: Mapping[str, str]) -> str:
    wanted = required(parameters, "FORMAT").lower()
    plain = wanted.split(";", 1)[0].strip()
    if plain not in IMAGE_FORMATS:
        raise MapRequestRefused(
            f"FORMAT {wanted!r} is not offered; offered are {', '.join(IMAGE_FORMATS)}",
            "InvalidFormat",
            "format",
        )
    return plain


def _wms_transparent(parameters: Mapping[str, str]) -> str:
    value = parameters.get("TRANSPARENT", "FALSE").upper()
    if value not in ("TRUE", "FALSE"):
        raise MapRequestRefused(f"TRANSPARENT {value!r} is neither TRUE nor FALSE", "", "transparent")
    return value


def _known_grid(tms_id: str) -> None:
    try:
        grid(tms_id)
    except UnknownTileMatrixSet as error:
        raise MapRequestRefused(str(error), "InvalidParameterValue", "tilematrixset", 404) from error
