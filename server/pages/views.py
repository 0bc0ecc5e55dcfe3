"""What a template needs of a collection, worked out beforehand: labels, numbers, links and the settings of a preview."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote

from pyproj import CRS
from pyproj.exceptions import ProjError

from server.pages.language import Messages
from server.pages.links import Links, downloads, is_one_file
from server.registry.catalogue import Collection, Representation, RepresentationKind, Tenant

Kind = RepresentationKind

# Shown as badges; every collection has a record, and tiles and maps are ways to see the others.
_BADGES = (
    Kind.FEATURES,
    Kind.COVERAGE,
    Kind.TILESET_3D,
    Kind.TERRAIN,
    Kind.POINT_CLOUD,
    Kind.SERIES,
)
_UNITS = {"metre": "m", "degree": "°"}
_SEARCHED_WORDS = 16
_WKT_NAME = re.compile(r'[A-Z_]+\["([^"]{1,200})"')
_BACKDROP_LAYERS = 4


class Fact(NamedTuple):
    """One line of a metadata table; `href` makes the value a link."""

    label: str
    value: str
    href: str | None = None


class Service(NamedTuple):
    """An address to copy into a client."""

    label: str
    address: str
    hint: str


class DownloadLink(NamedTuple):
    """A file to download."""

    label: str
    href: str
    name: str
    media_type: str


class Licence(NamedTuple):
    """Credit and licence of one or more collections."""

    attribution: str
    licence: str
    licence_url: str | None


@dataclass(frozen=True, slots=True)
class Card:
    """A collection in a list."""

    id: str
    title: str
    description: str
    href: str
    tenant: str
    tenant_title: str
    tenant_href: str
    simulated: bool
    badges: tuple[tuple[str, str], ...]
    credit: Licence
    size: str


def text_of(texts: Mapping[str, str], language: str) -> str:
    """The text in `language`, else in English, else empty."""
    return texts.get(language) or texts.get("en") or ""


def number(value: float, digits: int = 0) -> str:
    """A number with a thin grouping that reads the same in both languages: 12,345."""
    return f"{value:,.{digits}f}"


def tenant_title(tenant: Tenant | None, fallback: str, language: str) -> str:
    """A tenant's title; `fallback` (its id) where it is not in the catalogue."""
    return (text_of(tenant.titles, language) if tenant else "") or fallback


def credits_of(collections: Iterable[Collection]) -> tuple[Licence, ...]:
    """The distinct credits of what a page shows, in order of appearance."""
    found = {
        Licence(c.attribution, c.licence, c.licence_url): None
        for c in collections
        if c.attribution or c.licence
    }
    return tuple(found)


def search(collections: Sequence[Collection], q: str, kind: str) -> list[Collection]:
    """Collections that hold every word of `q` in id, titles, descriptions, keywords or tenant, and have `kind`."""
    words = q.casefold().split()[:_SEARCHED_WORDS]

    def matches(c: Collection) -> bool:
        if kind and kind not in c.representations:
            return False
        text = " ".join(
            (c.qualified_id, *c.titles.values(), *c.descriptions.values(), *c.keywords)
        ).casefold()
        return all(word in text for word in words)

    return [c for c in collections if matches(c)] if words or kind else list(collections)


def size_of(collection: Collection, messages: Messages) -> str:
    """How much there is, in the unit of the collection's main form; empty where nothing counts it."""
    for kind, key in (
        (Kind.POINT_CLOUD, "count.points"),
        (Kind.SERIES, "count.observations"),
        (Kind.FEATURES, "count.features"),
    ):
        representation = collection.representations.get(kind)
        count = representation.properties.get("count") if representation else None
        if isinstance(count, int):
            return messages(key, count=number(count))
    coverage = collection.representations.get(Kind.COVERAGE)
    if coverage and "width" in coverage.properties and "height" in coverage.properties:
        return messages(
            "count.pixels",
            width=number(coverage.properties["width"]),
            height=number(coverage.properties["height"]),
        )
    return ""


def badges_of(collection: Collection, messages: Messages) -> tuple[tuple[str, str], ...]:
    """(kind, label) of the forms worth telling a reader about."""
    return tuple(
        (kind.value, messages(f"kind.{kind.value}")) for kind in _BADGES if kind in collection.representations
    )


def card_of(collection: Collection, tenant: Tenant | None, links: Links, messages: Messages) -> Card:
    """The card of a collection in the view of `links`."""
    language = messages.language
    return Card(
        id=links.id_of(collection),
        title=collection.title(language),
        description=text_of(collection.descriptions, language),
        href=links.collection(collection, f="html"),
        tenant=collection.tenant,
        tenant_title=tenant_title(tenant, collection.tenant, language),
        tenant_href=Links(links.base_path, collection.tenant).portal,
        simulated=collection.simulated,
        badges=badges_of(collection, messages),
        credit=Licence(collection.attribution, collection.licence, collection.licence_url),
        size=size_of(collection, messages),
    )


def flat_bbox(collection: Collection) -> tuple[float, float, float, float]:
    """West, south, east, north in degrees (CRS84) of a 2D or 3D extent."""
    b = collection.bbox
    return (b[0], b[1], b[3], b[4]) if len(b) == 6 else (b[0], b[1], b[2], b[3])


def facts_of(collection: Collection, messages: Messages) -> tuple[Fact, ...]:
    """The metadata table of a collection page."""
    west, south, east, north = flat_bbox(collection)
    facts = [
        Fact(messages("fact.id"), collection.qualified_id),
        Fact(messages("fact.extent"), f"{west:.5f}, {south:.5f}, {east:.5f}, {north:.5f}"),
    ]
    if len(collection.bbox) == 6:
        facts.append(
            Fact(messages("fact.height"), f"{collection.bbox[2]:,.1f} – {collection.bbox[5]:,.1f} m")
        )
    if collection.interval:
        start, end = (_day(t) or messages("fact.open") for t in collection.interval)
        facts.append(Fact(messages("fact.time"), f"{start} – {end}"))
    facts.append(Fact(messages("fact.crs"), crs_name(collection.storage_crs), _web(collection.storage_crs)))
    size = size_of(collection, messages)
    if size:
        facts.append(Fact(messages("fact.size"), size))
    for representation in collection.representations.values():
        facts += _facts_of_kind(representation, messages)
    facts += [
        Fact(messages("fact.licence"), collection.licence, _web(collection.licence_url)),
        Fact(messages("fact.attribution"), collection.attribution),
        Fact(messages("fact.updated"), _day(collection.updated)),
        Fact(messages("fact.generation"), str(collection.generation)),
    ]
    if collection.keywords:
        facts.append(Fact(messages("fact.keywords"), ", ".join(collection.keywords)))
    return tuple(fact for fact in facts if fact.value)


def _band_title(band: Mapping[str, Any], properties: Mapping[str, Any], messages: Messages) -> str:
    key = f"{properties.get('store')}.band.{band.get('name')}"
    return messages(key) if messages.has(key) else str(band.get("title") or band.get("name"))


def _facts_of_kind(representation: Representation, messages: Messages) -> list[Fact]:
    properties = representation.properties
    facts: list[Fact] = []
    if representation.kind is Kind.FEATURES and properties.get("geometry_type"):
        facts.append(Fact(messages("fact.geometry"), str(properties["geometry_type"])))
    if representation.kind is Kind.COVERAGE and properties.get("resolution"):
        x, y = properties["resolution"]
        unit = crs_unit(str(properties.get("crs", "")))
        facts.append(Fact(messages("fact.resolution"), f"{x:g} × {y:g} {unit}".rstrip()))
        bands = [_band_title(band, properties, messages) for band in properties.get("bands", [])]
        facts.append(Fact(messages("fact.bands"), ", ".join(bands)))
    if representation.kind is Kind.SERIES:
        names = [_parameter_name(p) for p in properties.get("parameters", [])]
        facts.append(Fact(messages("fact.parameters"), ", ".join(names)))
    reference = properties.get("height_reference") or properties.get("vertical_reference")
    if reference:
        kind = messages(f"kind.{representation.kind.value}")
        facts.append(Fact(messages("fact.height_reference", kind=kind), str(reference)))
    return facts


def _parameter_name(parameter: Mapping[str, Any]) -> str:
    name = str(parameter.get("title") or parameter.get("name"))
    unit = parameter.get("unit")
    return f"{name} ({unit})" if unit and unit != "1" else name  # UCUM "1": a plain count


def crs_name(uri: str) -> str:
    """ "EPSG:3879" of an OGC CRS URI; the name of a CRS in WKT; other texts cut."""
    parts = uri.rstrip("/").split("/")
    if uri.startswith(("http://", "https://")) and len(parts) >= 3:
        return f"{parts[-3]}:{parts[-1]}"
    named = _WKT_NAME.match(uri)
    return named[1] if named else uri[:80]


@lru_cache(maxsize=256)
def crs_unit(uri: str) -> str:
    """ "m" or "°" of a CRS by URI or WKT, the unit's own name where it is another, "" where PROJ does not know the CRS."""
    try:
        axes = CRS.from_user_input(uri).axis_info
    except ProjError:
        return ""
    return _UNITS.get(axes[0].unit_name, axes[0].unit_name) if axes else ""


def _web(uri: str | None) -> str | None:
    """The address where it is one a link may lead to: never `javascript:` from someone's metadata."""
    return uri if uri and uri.startswith(("http://", "https://")) else None


def _day(moment: str | None) -> str:
    """RFC 3339 shortened to the minute; a value at midnight to its day."""
    if not moment:
        return ""
    day, _, clock = moment.partition("T")
    return day if not clock or clock.startswith("00:00") else f"{day} {clock[:5]}"


def services_of(collection: Collection, links: Links, origin: str, messages: Messages) -> tuple[Service, ...]:
    """Addresses to paste into QGIS and other clients; absolute."""
    kinds = collection.representations
    found: list[Service] = []
    layer = links.id_of(collection)

    def add(key: str, address: str, **values: str) -> None:
        hint = messages(f"service.{key}.hint", **values)
        found.append(Service(messages(f"service.{key}"), origin + address, hint))

    if Kind.FEATURES in kinds:
        add("features", f"{links.services}/")
    if Kind.TILES in kinds:
        add("tiles", links.vector_tiles(collection))
    if Kind.MAP in kinds:
        add("wms", f"{links.maps}/service?service=WMS&request=GetCapabilities", layer=layer)
        add("wmts", f"{links.maps}/wmts?service=WMTS&request=GetCapabilities", layer=layer)
        add("xyz", links.map_tiles(collection))
        add("maps", links.collection(collection, "map"))
    if Kind.COVERAGE in kinds:
        add("coverage", links.collection(collection, "coverage"))
        west, south, east, north = flat_bbox(collection)
        middle = f"POINT({(west + east) / 2:.5f}%20{(south + north) / 2:.5f})"
        add("position", f"{links.collection(collection, 'position')}?coords={middle}")
    if Kind.TILESET_3D in kinds:
        add("3dtiles", links.collection(collection, "3dtiles", "tileset.json"))
    if Kind.TERRAIN in kinds:
        add("terrain", links.collection(collection, "terrain", "layer.json"))
    if Kind.SERIES in kinds:
        add("edr", links.collection(collection, "locations"))
    return tuple(found)


def downloads_of(collection: Collection, links: Links, messages: Messages) -> tuple[DownloadLink, ...]:
    """Files to download; of a point cloud: see point_views."""
    found = [
        DownloadLink(
            messages(d.label), links.collection(collection, "download", d.name), d.name, d.media_type
        )
        for d in downloads(collection)
    ]
    if Kind.COVERAGE in collection.representations and not is_one_file(collection):
        cut = (
            (messages("download.gtiff"), "gtiff", "tif", "image/tiff; application=geotiff"),
            (messages("download.netcdf"), "netcdf", "nc", "application/x-netcdf"),
        )
        for label, form, ending, media_type in cut:
            address = links.collection(collection, "coverage", f=form)
            found.append(DownloadLink(label, address, f"{collection.id}.{ending}", media_type))
    return tuple(found)


def geometry_of(collection: Collection) -> str:
    """ "point", "line", "polygon" or "mixed": how a map should draw the features."""
    representation = collection.representations.get(Kind.FEATURES)
    name = str(representation.properties.get("geometry_type", "")) if representation else ""
    for part, shape in (("Point", "point"), ("LineString", "line"), ("Polygon", "polygon")):
        if part in name:
            return shape
    return "mixed"


def vector_layer(collection: Collection, links: Links, messages: Messages) -> dict[str, Any]:
    """A vector tile layer as the map script draws it. The layer inside a tile is named by the collection's own id."""
    tiles = collection.representations[Kind.TILES].properties
    return {
        "id": links.id_of(collection),
        "title": collection.title(messages.language),
        "tiles": links.vector_tiles(collection),
        "sourceLayer": collection.id,
        "geometry": geometry_of(collection),
        "minZoom": int(tiles.get("min_zoom", 0)),
        "maxZoom": int(tiles.get("max_zoom", 14)),
        "bounds": flat_bbox(collection),
    }


def backdrop(collections: Iterable[Collection], links: Links, messages: Messages) -> list[dict[str, Any]]:
    """Vector layers of real data, polygons first, that give a map of the same place its bearings."""
    order = {"polygon": 0, "line": 1}
    layers = [
        vector_layer(c, links, messages)
        for c in collections
        if Kind.TILES in c.representations and not c.simulated and geometry_of(c) in order
    ]
    return sorted(layers, key=lambda layer: order[layer["geometry"]])[:_BACKDROP_LAYERS]


def preview_of(
    collection: Collection, siblings: Iterable[Collection], links: Links, messages: Messages
) -> dict[str, Any]:
    """The settings of the map on a collection page (static/js/collection.js reads them)."""
    others = [s for s in siblings if s.id != collection.id and s.tenant == collection.tenant]
    settings: dict[str, Any] = {
        "bounds": flat_bbox(collection),
        "backdrop": backdrop(others, links, messages),
        "layer": None,
        "choices": None,
        "series": None,
    }
    kinds = collection.representations
    if Kind.TILES in kinds and Kind.SERIES not in kinds:  # a series shows its locations, which can be chosen
        settings["layer"] = vector_layer(collection, links, messages)
    if Kind.SERIES in kinds:
        series = kinds[Kind.SERIES].properties
        interval = collection.interval
        settings["series"] = {
            "locations": links.collection(collection, "locations"),
            "start": interval.start if interval else None,
            "end": interval.end if interval else None,
            "parameters": [dict(p) for p in series.get("parameters", [])],
        }
    return settings


def anchor(text: str) -> str:
    """A text made safe as one part of a path."""
    return quote(text, safe="")
