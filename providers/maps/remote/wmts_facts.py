"""What a WMTS says of its layers and tile matrix sets: GetCapabilities 1.0.0 (OGC 07-057r7), by KVP and REST."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from lxml import etree

from providers.errors import StoreError
from providers.features.remote.documents import local_name, shown, text_of, xml_root
from providers.maps.remote.facts import RemoteMapFacts, document, given_box, kept_members
from providers.maps.remote.image_services import equals_of, north_first, plain_crs
from providers.maps.remote.pyramid import RemoteMatrix, TilePyramid, sorted_matrices
from providers.maps.remote.wms_facts import _below, _children, _endpoint, _text
from providers.outgoing import Client, RemoteUnavailable
from tiles.crs import metres_per_unit, parse_crs, transformer
from tiles.errors import UnsupportedCrs
from tiles.grids import STANDARD_PIXEL

_FORMATS = ("image/png", "image/png8", "image/webp", "image/jpeg", "image/jpgpng", "image/gif", "tiles")
_CRS_NAME = re.compile(
    r"(?:.*[:/])?(EPSG|OGC|CRS|ESRI)(?:[:/]+[\d.]*[:/]+|[:/]+)(\w+)", re.IGNORECASE | re.ASCII
)


def read(description: Mapping[str, Any], client: Client) -> RemoteMapFacts:
    """The layer of a description. Raises StoreError, RemoteUnavailable."""
    url = _endpoint(str(description["url"]))
    is_document = urlsplit(url).path.lower().endswith(".xml")
    parameters = {} if is_document else {"SERVICE": "WMTS", "REQUEST": "GetCapabilities", "VERSION": "1.0.0"}
    root = xml_root(document(client, url, parameters).body, client.name)
    if local_name(root) != "Capabilities":
        words = shown(" ".join(text for text in root.itertext() if text.strip()))
        raise RemoteUnavailable(f"{client.name} answers no capabilities of a WMTS: {words}")
    layers = {_text(layer, "Identifier"): layer for layer in _below(root, "Contents", "Layer")}
    name = str(description.get("layer") or (next(iter(layers)) if len(layers) == 1 else ""))
    layer = layers.get(name)
    if layer is None:
        raise StoreError(
            f"{client.name} has no layer {name[:80]!r}; there are: {shown(', '.join(list(layers)[:50]))}"
        )
    box = given_box(description, _box84(layer))
    style = _style(layer, description.get("style"))
    image_format = _format(layer, description.get("format"), client.name)
    link, crs, matrices = _matrix_set(root, layer, description, box, client.name)
    times, has_time = _times(layer)
    template = _template(root, layer, url, name, style, image_format, link, has_time=has_time)
    pyramid = TilePyramid(template, crs, matrices)
    pyramid.check()
    legend = next(
        (
            str(each.get("{http://www.w3.org/1999/xlink}href", ""))
            for element in _children(layer, "Style")
            if _text(element, "Identifier") == style
            for each in _children(element, "LegendURL")
        ),
        "",
    )
    remote = {
        **kept_members(description),
        "layer": name,
        "tiles": pyramid.to_json(),
        "bbox": list(box),
        "times": list(times),
        **({"legend": legend} if legend else {}),
    }
    return RemoteMapFacts(
        title=text_of(_text(layer, "Title")) or name,
        remote=remote,
        description=text_of(_text(layer, "Abstract")),
        attribution=str(description.get("attribution") or _provider(root)),
        bbox=box,
        times=tuple(each for each in times if each[:4].isdigit()),
        crs=crs,
    )


def crs_name(text: str) -> str:
    """ "EPSG:4490" of urn:ogc:def:crs:EPSG::4490, a URI, or the code itself. "" for what is none."""
    match = _CRS_NAME.fullmatch(text.strip())
    if match is None:
        return ""
    authority, code = match.group(1).upper(), match.group(2).upper()
    return "OGC:CRS84" if code in ("CRS84", "84") else f"{authority}:{code}"


def _box84(layer: etree._Element) -> tuple[float, ...]:
    for element in _children(layer, "WGS84BoundingBox"):
        corners = _numbers(_text(element, "LowerCorner")) + _numbers(_text(element, "UpperCorner"))
        if len(corners) == 4:
            return corners
    return ()


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.replace(",", " ").split())
    except ValueError:
        return ()


def _style(layer: etree._Element, wanted: Any) -> str:
    styles = _children(layer, "Style")
    names = [_text(style, "Identifier") for style in styles]
    if wanted is not None:
        if wanted not in names:
            raise StoreError(
                f"the layer has no style {str(wanted)[:80]!r}; there are: {shown(', '.join(names))}"
            )
        return str(wanted)
    default = next((_text(style, "Identifier") for style in styles if style.get("isDefault") == "true"), None)
    return default if default is not None else names[0] if names else "default"


def _format(layer: etree._Element, wanted: Any, name: str) -> str:
    offered = [(each.text or "").strip() for each in _children(layer, "Format")]
    if wanted is not None and wanted not in offered:
        raise StoreError(f"{name} has no tiles as {str(wanted)[:60]!r}; it has: {shown(', '.join(offered))}")
    found = str(wanted) if wanted is not None else next((each for each in _FORMATS if each in offered), None)
    if found is None:
        raise StoreError(
            f"{name} has tiles as none of {', '.join(_FORMATS)}; it has: {shown(', '.join(offered))}"
        )
    return found


def _matrix_set(
    root: etree._Element,
    layer: etree._Element,
    description: Mapping[str, Any],
    box: tuple[float, float, float, float],
    name: str,
) -> tuple[str, str, tuple[RemoteMatrix, ...]]:
    """Identifier, CRS and matrices: of the set that is named, else of the one that is used most widely."""
    links = {_text(link, "TileMatrixSet"): link for link in _children(layer, "TileMatrixSetLink")}
    sets = {_text(each, "Identifier"): each for each in _below(root, "Contents", "TileMatrixSet")}
    wanted = description.get("matrix_set")
    if wanted is not None and wanted not in links:
        raise StoreError(
            f"the layer has no tile matrix set {str(wanted)[:80]!r}; there are: {shown(', '.join(links))}"
        )
    readable = {
        each: crs_name(_text(sets[each], "SupportedCRS"))
        for each in ([str(wanted)] if wanted is not None else links)
        if each in sets and _is_known(crs_name(_text(sets[each], "SupportedCRS")))
    }
    if not readable:
        raise StoreError(
            f"{name} has the layer in no tile matrix set whose CRS is known here: {shown(', '.join(links))}"
        )
    chosen = min(readable, key=lambda each: _rank(readable[each]))
    crs = readable[chosen]
    limits = {
        _text(each, "TileMatrix"): tuple(
            int(_text(each, side)) for side in ("MinTileCol", "MinTileRow", "MaxTileCol", "MaxTileRow")
        )
        for each in _below(links[chosen], "TileMatrixSetLimits", "TileMatrixLimits")
    }
    rows = [_matrix(each, crs, limits) for each in _children(sets[chosen], "TileMatrix")]
    swap = _is_swapped(rows, crs, box, description.get("axes"))
    matrices = [each._replace(left=each.top, top=each.left) if swap else each for each in rows]
    if limits:
        matrices = [each for each in matrices if each.limits]
    return chosen, plain_crs(crs), sorted_matrices(matrices)


def _is_known(crs: str) -> bool:
    if not crs:
        return False
    try:
        parse_crs(plain_crs(crs))
    except UnsupportedCrs:
        return False
    return True


def _rank(crs: str) -> int:
    if "EPSG:3857" in equals_of(crs):
        return 0
    return 1 if "EPSG:4326" in equals_of(crs) else 2


def _matrix(element: etree._Element, crs: str, limits: Mapping[str, tuple[int, ...]]) -> RemoteMatrix:
    """A matrix with its corner as it is written: the first number as `left`."""
    identifier = _text(element, "Identifier")
    try:
        corner = _numbers(_text(element, "TopLeftCorner"))
        sizes = [
            int(_text(element, side)) for side in ("MatrixWidth", "MatrixHeight", "TileWidth", "TileHeight")
        ]
        cell = float(_text(element, "ScaleDenominator")) * STANDARD_PIXEL / metres_per_unit(plain_crs(crs))
        return RemoteMatrix(
            identifier,
            cell,
            corner[0],
            corner[1],
            sizes[0],
            sizes[1],
            sizes[2],
            sizes[3],
            limits.get(identifier, ()),
        )
    except (ValueError, IndexError):
        raise StoreError(f"the tile matrix {identifier[:60]!r} of the service cannot be read") from None


def _is_swapped(
    matrices: list[RemoteMatrix], crs: str, box: tuple[float, float, float, float], axes: Any
) -> bool:
    """Whether corners are written northing first: as the CRS's authority does, unless the layer then lies outside of its tiles."""
    if axes is not None:
        return str(axes) == "yx"
    if not matrices:
        raise StoreError("the tile matrix set of the layer has no matrices")
    expected = north_first(crs)
    limits = transformer("OGC:CRS84", plain_crs(crs)).transform_bounds(*box, densify_pts=21)

    def meets(*, swap: bool) -> bool:
        each = matrices[0]
        placed = each._replace(left=each.top, top=each.left) if swap else each
        extent = placed.box(0, 0, each.columns - 1, each.rows - 1)
        return (
            extent[0] < limits[2]
            and extent[2] > limits[0]
            and extent[1] < limits[3]
            and extent[3] > limits[1]
        )

    return expected if meets(swap=expected) or not meets(swap=not expected) else not expected


def _times(layer: etree._Element) -> tuple[tuple[str, ...], bool]:
    for dimension in _children(layer, "Dimension"):
        if _text(dimension, "Identifier").lower() == "time":
            return tuple((each.text or "").strip() for each in _children(dimension, "Value"))[:10_000], True
    return (), False


def _template(
    root: etree._Element,
    layer: etree._Element,
    url: str,
    name: str,
    style: str,
    image_format: str,
    matrix_set: str,
    *,
    has_time: bool,
) -> str:
    """The URL of a tile: the layer's own template (REST) where it has one of the format, else by KVP."""
    defaults = {
        _text(each, "Identifier").lower(): _text(each, "Default") for each in _children(layer, "Dimension")
    }
    for resource in _children(layer, "ResourceURL"):
        if resource.get("resourceType") == "tile" and resource.get("format") == image_format:
            return _filled(str(resource.get("template", "")), style, matrix_set, defaults)
    others = "".join(
        f"&{quote(each)}={quote(value)}" for each, value in defaults.items() if each != "time" and value
    )
    time = "&TIME={time}" if has_time else ""
    return (
        f"{_kvp(root, url)}SERVICE=WMTS&REQUEST=GetTile&VERSION=1.0.0&LAYER={quote(name, safe=':')}&STYLE={quote(style)}"
        f"&FORMAT={quote(image_format, safe='/')}&TILEMATRIXSET={quote(matrix_set, safe=':')}"
        f"&TILEMATRIX={{z}}&TILEROW={{y}}&TILECOL={{x}}{time}{others}"
    )


def _filled(template: str, style: str, matrix_set: str, defaults: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        word = match.group(1).lower()
        if word in ("tilematrix", "tilerow", "tilecol"):
            return {"tilematrix": "{z}", "tilerow": "{y}", "tilecol": "{x}"}[word]
        if word == "time":
            return "{time}"
        known = {"style": style, "tilematrixset": matrix_set, **defaults}
        return quote(known.get(word, "default"), safe=":")

    return re.sub(r"\{(\w+)\}", value, template)


def _kvp(root: etree._Element, url: str) -> str:
    """The address of GetTile: the service's own where it names one on the same host, else the one that was given."""
    for operation in _below(root, "OperationsMetadata", "Operation"):
        if operation.get("name") != "GetTile":
            continue
        for get in _below(operation, "DCP", "HTTP", "Get"):
            found = str(get.get("{http://www.w3.org/1999/xlink}href", ""))
            if urlsplit(found).netloc == urlsplit(url).netloc and _speaks_kvp(get):
                return found if found.endswith(("?", "&")) else found + ("&" if "?" in found else "?")
    return url + ("&" if "?" in url else "?")


def _speaks_kvp(get: etree._Element) -> bool:
    """Whether an address takes parameters: it says so, or says nothing of encodings."""
    values = {
        (each.text or "").strip().upper() for each in _below(get, "Constraint", "AllowedValues", "Value")
    }
    return not values or "KVP" in values


def _provider(root: etree._Element) -> str:
    return text_of(_text(root, "ServiceProvider", "ProviderName"))[:500]
