"""Services that draw any box: WMS, ArcGIS MapServer and ImageServer, OGC API - Maps. How each is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from tiles.crs import parse_crs
from tiles.maps.source import Box

_SAME = (
    ("EPSG:3857", "EPSG:900913", "EPSG:102100", "EPSG:102113", "EPSG:3785"),
    ("EPSG:4326", "CRS:84", "OGC:CRS84", "EPSG:4490"),
)
"""Names of systems whose coordinates, easting first, are the same to a few centimetres."""


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """One image to ask for: `crs` as the service names it, `box` easting first."""

    box: Box
    crs: str
    width: int
    height: int
    instant: str | None = None


class ImageService(Protocol):
    """A service that draws boxes."""

    @property
    def offered(self) -> tuple[str, ...]:
        """The CRS it draws in, by its own names; () for any with an EPSG code."""
        ...

    @property
    def maximum(self) -> tuple[int, int]:
        """Width and height of the largest image it draws."""
        ...

    def asked(self, request: ImageRequest) -> tuple[str, dict[str, str]]:
        """URL and parameters of an image."""
        ...


@dataclass(frozen=True, slots=True)
class WebMapService:
    """WMS 1.1.1 and 1.3.0 (OGC 01-068r3, 06-042): the latter orders a box as the CRS's authority does, unless `axes` says "xy"."""

    url: str
    layers: str
    styles: str
    version: str
    format: str
    offered: tuple[str, ...]
    maximum: tuple[int, int]
    transparent: bool = True
    axes: str = ""
    others: tuple[tuple[str, str], ...] = ()

    def asked(self, request: ImageRequest) -> tuple[str, dict[str, str]]:
        """A GetMap request (06-042 clause 7.3)."""
        return self.url, {"REQUEST": "GetMap", **self._common(request)}

    def asked_info(
        self, request: ImageRequest, column: int, row: int, media_type: str, count: int
    ) -> tuple[str, dict[str, str]]:
        """A GetFeatureInfo request (06-042 clause 7.4)."""
        names = ("I", "J") if self.version == "1.3.0" else ("X", "Y")
        return self.url, {
            "REQUEST": "GetFeatureInfo",
            **self._common(request),
            "QUERY_LAYERS": self.layers,
            "INFO_FORMAT": media_type,
            "FEATURE_COUNT": str(count),
            names[0]: str(column),
            names[1]: str(row),
        }

    def _common(self, request: ImageRequest) -> dict[str, str]:
        is_new = self.version == "1.3.0"
        swap = self.axes == "yx" or (is_new and self.axes != "xy" and north_first(request.crs))
        return {
            "SERVICE": "WMS",
            "VERSION": self.version,
            "LAYERS": self.layers,
            "STYLES": self.styles,
            "CRS" if is_new else "SRS": request.crs,
            "BBOX": box_text(request.box, swap=swap),
            "WIDTH": str(request.width),
            "HEIGHT": str(request.height),
            "FORMAT": self.format,
            "TRANSPARENT": "TRUE" if self.transparent else "FALSE",
            "EXCEPTIONS": "XML" if is_new else "application/vnd.ogc.se_xml",
            **({"TIME": request.instant} if request.instant else {}),
            **dict(self.others),
        }


@dataclass(frozen=True, slots=True)
class ArcgisExport:
    """`export` of an ArcGIS MapServer, `exportImage` of an ImageServer. `layers`: numbers with commas, "" for those shown at first."""

    url: str
    layers: str
    maximum: tuple[int, int]
    format: str = "png32"
    offered: tuple[str, ...] = ()

    def asked(self, request: ImageRequest) -> tuple[str, dict[str, str]]:
        """An export request; instants are milliseconds since 1970."""
        code = spatial_reference(request.crs)
        parameters = {
            "f": "image",
            "bbox": box_text(request.box),
            "bboxSR": code,
            "imageSR": code,
            "size": f"{request.width},{request.height}",
            "format": self.format,
            "transparent": "true",
        }
        if not self.url.endswith("exportImage"):
            parameters["dpi"] = "96"
        if self.layers:
            parameters["layers"] = f"show:{self.layers}"
        if request.instant:
            parameters["time"] = _milliseconds(request.instant)
        return self.url, parameters


@dataclass(frozen=True, slots=True)
class OgcMap:
    """The map of a collection of OGC API - Maps (20-058): bbox in the axis order of `bbox-crs`."""

    url: str
    offered: tuple[str, ...]
    maximum: tuple[int, int]
    format: str = "png"

    def asked(self, request: ImageRequest) -> tuple[str, dict[str, str]]:
        """A map request (20-058 clauses 8 to 11)."""
        uri = crs_uri_of(request.crs)
        return self.url, {
            "f": self.format,
            "bbox": box_text(request.box, swap=north_first(request.crs)),
            "bbox-crs": uri,
            "crs": uri,
            "width": str(request.width),
            "height": str(request.height),
            "transparent": "true",
            **({"datetime": request.instant} if request.instant else {}),
        }


def service_of(remote: Mapping[str, Any]) -> ImageService | None:
    """The image service of a remote map as the registry keeps it; None where it has tiles only."""
    image = remote.get("image")
    if image is None:
        return None
    offered = tuple(str(each) for each in image.get("crs", ()))
    width, height = image.get("maximum", (2048, 2048))
    maximum = (int(width), int(height))
    kind = image["kind"]
    if kind == "wms":
        return WebMapService(
            url=image["url"],
            layers=image["layers"],
            styles=image.get("styles", ""),
            version=image["version"],
            format=image["format"],
            offered=offered,
            maximum=maximum,
            transparent=bool(image.get("transparent", True)),
            axes=image.get("axes", ""),
        )
    if kind == "arcgis":
        return ArcgisExport(image["url"], image.get("layers", ""), maximum, image.get("format", "png32"))
    return OgcMap(image["url"], offered, maximum, image.get("format", "png"))


def choose_crs(asked: str, offered: tuple[str, ...]) -> str:
    """The offered CRS to ask for: the same one under any name, else web Mercator, else degrees, else the first."""
    if not offered:
        return _coded(asked)
    by_name = {name.upper(): name for name in offered}
    for name in (asked, *equals_of(asked), *_SAME[0], *_SAME[1]):
        found = by_name.get(name.upper())
        if found is not None:
            return found
    return offered[0]


def equals_of(crs: str) -> tuple[str, ...]:
    """Other names of the same coordinates; () where there are none."""
    code = _coded(crs)
    return next((group for group in _SAME if code in group), (code,))


def plain_crs(name: str) -> str:
    """A CRS as PROJ knows it, for a name that only services use."""
    return "EPSG:3857" if name.upper() in _SAME[0] else name


def north_first(crs: str) -> bool:
    """Whether the authority of a CRS gives northing or latitude first ("CRS:84" does not, "EPSG:4326" does)."""
    if crs.upper() in ("CRS:84", "OGC:CRS84"):
        return False
    if crs.upper() == "EPSG:4490":
        return True  # parse_crs gives it as CRS84
    axes = parse_crs(plain_crs(crs)).axis_info
    return len(axes) >= 2 and axes[0].direction == "north" and axes[1].direction == "east"


def box_text(box: Box, *, swap: bool = False) -> str:
    """Four numbers with commas, northing first where `swap`."""
    minx, miny, maxx, maxy = (f"{value:.10f}".rstrip("0").rstrip(".") for value in box)
    return f"{miny},{minx},{maxy},{maxx}" if swap else f"{minx},{miny},{maxx},{maxy}"


def spatial_reference(crs: str) -> str:
    """The number by which ArcGIS knows a CRS."""
    code = _coded(crs)
    return "4326" if code in ("CRS:84", "OGC:CRS84") else code.rpartition(":")[2]


def crs_uri_of(crs: str) -> str:
    """The OGC URI of a CRS."""
    if crs.upper() in ("CRS:84", "OGC:CRS84"):
        return "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
    authority, _, code = _coded(crs).partition(":")
    return f"http://www.opengis.net/def/crs/{authority}/0/{code}"


def _coded(crs: str) -> str:
    """AUTHORITY:CODE of a CRS, as far as it has one; web Mercator where there is none."""
    if crs.upper() in ("EPSG:4490", *_SAME[0], *_SAME[1]):
        return plain_crs(crs.upper())
    authority = parse_crs(crs).to_authority()
    return "EPSG:3857" if authority is None else f"{authority[0]}:{authority[1]}"


def _milliseconds(instant: str) -> str:
    from datetime import datetime

    ends = [
        "null" if text in ("", "..") else str(round(datetime.fromisoformat(text).timestamp() * 1000))
        for text in instant.split("/")
    ]
    return ",".join(ends)
