"""What a collection page says of the collection's map: styles with legends, instants, and how to use it elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from server.pages.language import Messages
from server.pages.links import Links, is_one_file
from server.registry.catalogue import Collection, RepresentationKind

Kind = RepresentationKind
_MAX_ZOOM = 20


class StyleChoice(NamedTuple):
    """A style that the reader may choose; the default comes first."""

    id: str
    title: str


class Example(NamedTuple):
    """Code to copy: which client it is for, and the code."""

    label: str
    code: str


def map_choices(
    collection: Collection,
    styles: Sequence[StyleChoice],
    instants: Sequence[str],
    links: Links,
    messages: Messages,
) -> dict[str, Any] | None:
    """Settings of the map's controls (static/js/map-choices.js reads them); None for a collection without a map."""
    if Kind.MAP not in collection.representations:
        return None
    plain = {"id": "", "title": "", "tiles": links.map_tiles(collection), "legend": None, "page": None}
    return {
        "styles": [
            _style(collection, style, links, messages, is_default=place == 0)
            for place, style in enumerate(styles)
        ]
        or [plain],
        "instants": list(instants),
        "maxZoom": _MAX_ZOOM,
    }


def _style(
    collection: Collection, style: StyleChoice, links: Links, messages: Messages, *, is_default: bool
) -> dict[str, Any]:
    def below(*more: str, **query: str) -> str:
        return links.collection(collection, "styles", style.id, *more, **query)

    tiles = below("map", "tiles", "WebMercatorQuad") + "/{z}/{y}/{x}?f=png"
    return {
        "id": style.id,
        "title": style.title,
        # The default's address without a style is the one that everybody asks for: its tiles are kept already.
        "tiles": links.map_tiles(collection) if is_default else tiles,
        "legend": below("legend", f="png", lang=messages.language),
        "page": below(f="html"),
    }


def examples_of(collection: Collection, links: Links, origin: str) -> tuple[Example, ...]:
    """How web and desktop clients are given the map of a collection; () without a map."""
    if Kind.MAP not in collection.representations:
        return ()
    layer = links.id_of(collection)
    template = origin + links.map_tiles(collection)
    wms = f"{origin}{links.maps}/service"
    open_layers = template.replace("?f=png", "")
    credit = collection.attribution.replace("\\", "\\\\").replace('"', '\\"')
    found = [
        Example(
            "MapLibre GL JS",
            f'map.addSource("{layer}", {{\n  type: "raster", tileSize: 256, attribution: "{credit}",\n'
            f'  tiles: ["{template}"],\n}});\n'
            f'map.addLayer({{ id: "{layer}", type: "raster", source: "{layer}" }});',
        ),
        Example(
            "OpenLayers",
            f'new ol.layer.Tile({{\n  source: new ol.source.XYZ({{ url: "{open_layers}", attributions: "{credit}" }}),\n}});',
        ),
        Example("Leaflet", f'L.tileLayer("{open_layers}", {{ attribution: "{credit}" }}).addTo(map);'),
        Example(
            "GDAL",
            f'gdalinfo "WMS:{wms}?SERVICE=WMS&VERSION=1.3.0&REQUEST=GetMap&LAYERS={layer}&CRS=EPSG:3857"',
        ),
    ]
    if Kind.COVERAGE in collection.representations:
        found.append(_values_example(collection, origin + links.collection(collection, "coverage")))
    return tuple(found)


def _values_example(collection: Collection, coverage: str) -> Example:
    """How a program reads values: of one file by ranges, of a mosaic a coarse whole, as it may be of any size."""
    if is_one_file(collection):
        read = f'with rasterio.open("/vsicurl/{coverage}") as raster:\n    print(raster.profile)'
        return Example("Python", f"import rasterio\n\n{read}")
    read = (
        f'url = "{coverage}?f=netcdf&scale-factor=8"  # and bbox=..., datetime=...\n'
        'urllib.request.urlretrieve(url, "part.nc")\n'
        'print(xarray.open_dataset("part.nc", engine="h5netcdf"))'
    )
    return Example("Python", f"import urllib.request\n\nimport xarray\n\n{read}")
