"""What an ArcGIS MapServer or ImageServer says of itself (REST API: f=json), for its tiles and its exports."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from providers.errors import StoreError
from providers.features.remote.documents import shown, text_of
from providers.maps.remote.facts import RemoteMapFacts, given_box, json_document, kept_members
from providers.maps.remote.image_services import plain_crs
from providers.maps.remote.pyramid import RemoteMatrix, TilePyramid, sorted_matrices
from providers.outgoing import Client
from tiles.crs import parse_crs, transformer
from tiles.errors import UnsupportedCrs

_MAXIMUM_EDGE = 2048
_FORMATS = ("png32", "png24", "png8", "png", "jpgpng", "jpg", "gif")


def read(description: Mapping[str, Any], client: Client) -> RemoteMapFacts:
    """The service of a description; `layer` are numbers with commas, which are drawn by export. Raises StoreError, RemoteUnavailable."""
    url = str(description["url"]).partition("?")[0].rstrip("/")
    is_image = url.lower().endswith("/imageserver")
    found = json_document(client, url, {"f": "json"})
    if "fullExtent" not in found and "extent" not in found:
        raise StoreError(
            f"{client.name} is no MapServer or ImageServer of ArcGIS; name the address that ends with one"
        )
    layers = _layers(description, found, client.name)
    extent = found.get("fullExtent") or found.get("extent") or {}
    crs = _crs(extent.get("spatialReference")) or "EPSG:3857"
    box = given_box(description, _box84(extent, crs))
    tiles = None if layers or str(description.get("tiles", "true")) == "false" else _pyramid(url, found)
    remote: dict[str, Any] = {**kept_members(description), "url": url, "bbox": list(box)}
    interval = _interval(found.get("timeInfo"))
    if tiles is not None:
        remote["tiles"] = tiles.to_json()
    else:
        if not is_image and "Map" not in str(found.get("capabilities", "Map")):
            raise StoreError(
                f"{client.name} draws no maps: its capabilities are {shown(found.get('capabilities'))}"
            )
        remote["image"] = {
            "kind": "arcgis",
            "url": f"{url}/{'exportImage' if is_image else 'export'}",
            "layers": layers,
            "format": _format(description, found, client.name),
            "maximum": [_edge(found.get("maxImageWidth")), _edge(found.get("maxImageHeight"))],
        }
        remote["times"] = list(interval)
    names = found.get("documentInfo") if isinstance(found.get("documentInfo"), dict) else {}
    return RemoteMapFacts(
        title=text_of((names or {}).get("Title")) or text_of(found.get("mapName")) or url.rsplit("/", 2)[-2],
        remote=remote,
        description=text_of(found.get("serviceDescription")) or text_of(found.get("description")),
        attribution=str(description.get("attribution") or text_of(found.get("copyrightText"))[:500]),
        bbox=box,
        times=interval if tiles is None else (),
        crs=crs,
    )


def _layers(description: Mapping[str, Any], found: Mapping[str, Any], name: str) -> str:
    text = str(description.get("layer") or "").replace(" ", "")
    if not text:
        return ""
    known = {str(each.get("id")) for each in found.get("layers", ()) if isinstance(each, dict)}
    missing = [part for part in text.split(",") if part not in known]
    if missing:
        raise StoreError(
            f"{name} has no layers {shown(', '.join(missing))}; there are: {', '.join(sorted(known)[:50])}"
        )
    return text


def _format(description: Mapping[str, Any], found: Mapping[str, Any], name: str) -> str:
    offered = [
        part.strip().lower() for part in str(found.get("supportedImageFormatTypes", "png32")).split(",")
    ]
    wanted = description.get("format")
    if wanted is not None and str(wanted).lower() not in offered:
        raise StoreError(f"{name} draws no {str(wanted)[:20]!r}; it draws: {shown(', '.join(offered))}")
    return str(wanted).lower() if wanted else next((each for each in _FORMATS if each in offered), "png")


def _edge(value: Any) -> int:
    return min(value, _MAXIMUM_EDGE) if type(value) is int and value > 0 else _MAXIMUM_EDGE


def _crs(reference: Any) -> str:
    """The CRS of a spatial reference: its latest EPSG code, else ESRI's; "" where PROJ knows neither."""
    if not isinstance(reference, dict):
        return ""
    for number in (reference.get("latestWkid"), reference.get("wkid")):
        for name in (plain_crs(f"EPSG:{number}"), f"ESRI:{number}"):
            try:
                parse_crs(name)
            except UnsupportedCrs:
                continue
            return name
    return ""


def _box84(extent: Mapping[str, Any], crs: str) -> tuple[float, ...]:
    try:
        corners = [float(extent[side]) for side in ("xmin", "ymin", "xmax", "ymax")]
    except (KeyError, TypeError, ValueError):
        return ()
    found = transformer(crs, "OGC:CRS84").transform_bounds(
        corners[0], corners[1], corners[2], corners[3], densify_pts=21
    )
    return tuple(found) if all(map(math.isfinite, found)) else ()


def _pyramid(url: str, found: Mapping[str, Any]) -> TilePyramid | None:
    """The cache's tiles; None where there is none, or its CRS is not known here."""
    info = found.get("tileInfo")
    if not isinstance(info, dict) or found.get("singleFusedMapCache") is False:
        return None
    crs = _crs(info.get("spatialReference"))
    if not crs:
        return None
    try:
        width, height = int(info["cols"]), int(info["rows"])
        left, top = float(info["origin"]["x"]), float(info["origin"]["y"])
        extent = found.get("fullExtent") or found["extent"]
        right, bottom = float(extent["xmax"]), float(extent["ymin"])
        low, high = found.get("minLOD", 0), found.get("maxLOD", 10**6)
        matrices = [
            RemoteMatrix(
                str(level["level"]),
                cell := float(level["resolution"]),
                left,
                top,
                max(math.ceil((right - left) / (cell * width)), 1),
                max(math.ceil((top - bottom) / (cell * height)), 1),
                width,
                height,
            )
            for level in info["lods"]
            if low <= level["level"] <= high
        ]
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        raise StoreError(
            "The service describes its tiles in a way that cannot be read; register it with tiles=false"
        ) from None
    pyramid = TilePyramid(f"{url}/tile/{{z}}/{{y}}/{{x}}", crs, sorted_matrices(matrices))
    pyramid.check()
    return pyramid


def _interval(info: Any) -> tuple[str, ...]:
    extent = info.get("timeExtent") if isinstance(info, dict) else None
    if not isinstance(extent, list) or len(extent) != 2 or not all(type(each) is int for each in extent):
        return ()
    start, end = (
        datetime.fromtimestamp(each / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        for each in extent
    )
    return (f"{start}/{end}",)
