"""Which format and which language a client asked for: `f` and `lang` first, then Accept and Accept-Language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from providers.formatters.registry import ITEM_FORMATS
from server.http.errors import NotAcceptable

# Short names of `f`, and the media types of Accept that mean the same.
MEDIA_TYPES: Mapping[str, str] = {
    "json": "application/json",
    "geojson": "application/geo+json",
    "html": "text/html; charset=utf-8",
    "csv": "text/csv; charset=utf-8",
    "covjson": "application/vnd.cov+json",
    "gtiff": "image/tiff; application=geotiff",
    "netcdf": "application/x-netcdf",
    "mvt": "application/vnd.mapbox-vector-tile",
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "openapi": "application/vnd.oai.openapi+json;version=3.0",
    "schema": "application/schema+json",
    "problem": "application/problem+json",
    "ply": "application/x-ply",
    "laz": "application/vnd.laszip",
    "las": "application/vnd.las",
    "copc": "application/vnd.laszip+copc",
    **{form.name: form.media_type for form in ITEM_FORMATS.values()},
}
_ALIASES: Mapping[str, str] = {
    "application/json": "json",
    "application/geo+json": "geojson",
    "application/vnd.geo+json": "geojson",
    "text/html": "html",
    "application/xhtml+xml": "html",
    "text/csv": "csv",
    "application/vnd.cov+json": "covjson",
    "application/prs.coverage+json": "covjson",
    "image/tiff": "gtiff",
    "application/x-netcdf": "netcdf",
    "application/netcdf": "netcdf",
    "application/vnd.mapbox-vector-tile": "mvt",
    "application/x-protobuf": "mvt",
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/webp": "webp",
    "application/vnd.oai.openapi+json": "openapi",
    "application/schema+json": "schema",
    "application/x-ply": "ply",
    "model/ply": "ply",
    "application/vnd.laszip": "laz",
    "application/x-laz": "laz",
    "application/vnd.las": "las",
    "application/x-las": "las",
    "application/vnd.laszip+copc": "copc",
    **{
        media_type: form.name
        for form in ITEM_FORMATS.values()
        for media_type in (form.media_type.partition(";")[0], *form.accepts)
    },
}
ITEM_FORMS: Sequence[str] = (
    "geojson",
    "html",
    *(form.name for form in ITEM_FORMATS.values() if form.items),
)
"""The formats of items and item, the default first."""


def _quality(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def accepted_names(accept: str) -> list[str]:
    """Format names of an Accept header, best first; "*" stands for any."""
    ranked: list[tuple[float, int, str]] = []
    for position, part in enumerate(accept.split(",")):
        media_type, _, parameters = part.partition(";")
        media_type = media_type.strip().lower()
        name = "*" if media_type.endswith("/*") else _ALIASES.get(media_type)
        quality = _quality(parameters)
        if name is not None and quality > 0:
            ranked.append((-quality, position, name))
    return [name for _, _, name in sorted(ranked)]


def choose_format(f: str | None, accept: str, offered: Sequence[str]) -> str:
    """The format to answer in, one of `offered` (its first is the default).

    Raises NotAcceptable where `f` names a format that is not offered; an Accept header that fits nothing gets the default.
    """
    if f is not None:
        if f in offered:
            return f
        aliases = {"json": ("geojson", "covjson", "schema", "openapi"), "geojson": ("json",), "pbf": ("mvt",)}
        for alias in aliases.get(f, ()):
            if alias in offered:
                return alias
        raise NotAcceptable(f"f={f!r} is not offered here; allowed: {', '.join(offered)}")
    for name in accepted_names(accept):
        if name == "*":
            return offered[0]
        if name in offered:
            return name
        if name == "json" and "geojson" in offered:
            return "geojson"
    return offered[0]


@lru_cache(maxsize=1024)
def _wants_geojson(accept: str) -> bool:
    return choose_format(None, accept, ITEM_FORMS) == "geojson"


def wants_geojson(accept: str) -> bool:
    """True where an Accept header asks for items as GeoJSON."""
    if not accept or accept == "*/*":
        return True
    return len(accept) < 512 and _wants_geojson(accept)
