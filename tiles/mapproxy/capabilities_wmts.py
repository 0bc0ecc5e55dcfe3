"""The capabilities of WMTS 1.0.0 (07-057r7), the documents of TMS 1.0.0 and the root of a KML superoverlay."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from urllib.parse import quote

from tiles.errors import TileOutOfRange
from tiles.grids import Grid, grid, tile_bounds_crs84, tile_range
from tiles.grids import TileId as Tile
from tiles.mapproxy.capabilities_wms import LEGENDS_OF_LAYERS
from tiles.mapproxy.layer import MAXIMUM_ZOOM, TILE_FORMATS, MapLayer, MapView, ServiceMetadata
from tiles.mapproxy.layer_grids import grids_of, limits
from tiles.mapproxy.wms_requests import INFO_FORMATS

_URN = {"OGC:CRS84": "urn:ogc:def:crs:OGC:1.3:CRS84", "EPSG:3857": "urn:ogc:def:crs:EPSG::3857"}
_LIMITED_LAYERS = LEGENDS_OF_LAYERS
"""Up to so many layers say which tiles they have (TileMatrixSetLimits, 3 kB a layer and grid): 10,000 would be 150 MB."""
_INFO_EXTENSIONS = {"text/plain": "txt", "text/html": "html", "application/json": "json"}
_KML_TILES = 4


def wmts_capabilities(view: MapView) -> bytes:
    """The document, for queries and for paths."""
    layers = view.layers()
    parts = [*_head(view)]
    used: dict[str, Grid] = {}
    limited = len(layers) <= _LIMITED_LAYERS
    for layer in layers:
        grids = grids_of(layer.bbox84)
        used.update((one.id, one) for one in grids)
        parts.extend(_layer(view, layer, grids, limited=limited))
    for pyramid in used.values():
        parts.extend(_matrix_set(pyramid))
    parts.append("</Contents>\n")
    address = escape(f"{view.url}/wmts/1.0.0/WMTSCapabilities.xml")
    parts.append(f'<ServiceMetadataURL xlink:href="{address}"/>\n</Capabilities>\n')
    return "".join(parts).encode("utf-8", "replace")


def _head(view: MapView) -> Iterator[str]:
    yield (
        '<?xml version="1.0" encoding="UTF-8"?>\n<Capabilities version="1.0.0" xmlns="http://www.opengis.net/wmts/1.0" '
        'xmlns:ows="http://www.opengis.net/ows/1.1" xmlns:xlink="http://www.w3.org/1999/xlink" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:gml="http://www.opengis.net/gml" '
        'xsi:schemaLocation="http://www.opengis.net/wmts/1.0 http://schemas.opengis.net/wmts/1.0/wmtsGetCapabilities_response.xsd">\n'
    )
    yield from _identification(view.metadata, view.url)
    yield "<ows:OperationsMetadata>\n"
    for name in ("GetCapabilities", "GetTile", "GetFeatureInfo"):
        yield f'<ows:Operation name="{name}"><ows:DCP><ows:HTTP>'
        yield (
            f'<ows:Get xlink:href="{escape(view.url)}/wmts?"><ows:Constraint name="GetEncoding"><ows:AllowedValues>'
            "<ows:Value>KVP</ows:Value></ows:AllowedValues></ows:Constraint></ows:Get>"
            f'<ows:Get xlink:href="{escape(view.url)}/wmts/1.0.0/"><ows:Constraint name="GetEncoding"><ows:AllowedValues>'
            "<ows:Value>RESTful</ows:Value></ows:AllowedValues></ows:Constraint></ows:Get>"
        )
        yield "</ows:HTTP></ows:DCP></ows:Operation>\n"
    yield "</ows:OperationsMetadata>\n<Contents>\n"


def _identification(about: ServiceMetadata, url: str) -> Iterator[str]:
    yield f"<ows:ServiceIdentification>\n<ows:Title>{escape(about.title)}</ows:Title>\n"
    if about.abstract:
        yield f"<ows:Abstract>{escape(about.abstract)}</ows:Abstract>\n"
    yield _keywords(about.keywords)
    yield (
        "<ows:ServiceType>OGC WMTS</ows:ServiceType><ows:ServiceTypeVersion>1.0.0</ows:ServiceTypeVersion>"
        f"<ows:Fees>{escape(about.fees)}</ows:Fees><ows:AccessConstraints>{escape(about.access_constraints)}"
        "</ows:AccessConstraints>\n</ows:ServiceIdentification>\n"
    )
    name = escape(about.organisation or about.title)
    site = escape(about.url or url)
    yield (
        f"<ows:ServiceProvider><ows:ProviderName>{name}</ows:ProviderName>"
        f'<ows:ProviderSite xlink:href="{site}"/><ows:ServiceContact/></ows:ServiceProvider>\n'
    )


def _keywords(words: Sequence[str]) -> str:
    if not words:
        return ""
    listed = "".join(f"<ows:Keyword>{escape(word)}</ows:Keyword>" for word in words)
    return f"<ows:Keywords>{listed}</ows:Keywords>\n"


def _layer(view: MapView, layer: MapLayer, grids: Sequence[Grid], *, limited: bool) -> Iterator[str]:
    west, south, east, north = layer.bbox84
    yield f"<Layer>\n<ows:Title>{escape(layer.title)}</ows:Title>\n"
    if layer.abstract:
        yield f"<ows:Abstract>{escape(layer.abstract)}</ows:Abstract>\n"
    yield _keywords(layer.keywords)
    yield (
        f"<ows:WGS84BoundingBox><ows:LowerCorner>{west!r} {south!r}</ows:LowerCorner><ows:UpperCorner>{east!r} {north!r}"
        f"</ows:UpperCorner></ows:WGS84BoundingBox>\n<ows:Identifier>{layer.name}</ows:Identifier>\n"
    )
    for number, style in enumerate(layer.styles):
        legend = (
            f"{view.url}/service?SERVICE=WMS&VERSION=1.3.0&REQUEST=GetLegendGraphic&FORMAT=image/png&LAYER={layer.name}"
            f"&STYLE={quote(style.id)}&SLD_VERSION=1.1.0"
        )
        default = ' isDefault="true"' if number == 0 else ""
        link = (
            f'<LegendURL format="image/png" xlink:href="{escape(legend)}"/>' if limited or number == 0 else ""
        )
        yield (
            f"<Style{default}><ows:Title>{escape(style.title)}</ows:Title><ows:Identifier>{escape(style.id)}"
            f"</ows:Identifier>{link}</Style>\n"
        )
    yield "".join(f"<Format>{one}</Format>" for one in TILE_FORMATS)
    if layer.queryable:
        yield "".join(f"<InfoFormat>{one}</InfoFormat>" for one in INFO_FORMATS)
    timed = layer.time is not None and bool(layer.time.instants)
    if timed and layer.time is not None:
        values = "".join(f"<Value>{one}</Value>" for one in layer.time.instants)
        yield (
            f"\n<Dimension><ows:Identifier>Time</ows:Identifier><UOM>ISO8601</UOM><Default>{layer.time.default}</Default>"
            f"<Current>true</Current>{values}</Dimension>"
        )
    for pyramid in grids:
        ranges = _limits(pyramid, layer) if limited else ""
        yield f"\n<TileMatrixSetLink><TileMatrixSet>{pyramid.id}</TileMatrixSet>{ranges}</TileMatrixSetLink>"
    base = escape(
        f"{view.url}/wmts/1.0.0/{layer.name}/{{Style}}{'/{Time}' if timed else ''}/{{TileMatrixSet}}/{{TileMatrix}}/{{TileRow}}/{{TileCol}}"
    )
    for media_type, extension in TILE_FORMATS.items():
        yield f'\n<ResourceURL format="{media_type}" resourceType="tile" template="{base}.{extension}"/>'
    if layer.queryable:
        for media_type, extension in _INFO_EXTENSIONS.items():
            yield f'\n<ResourceURL format="{media_type}" resourceType="FeatureInfo" template="{base}/{{I}}/{{J}}.{extension}"/>'
    yield "\n</Layer>\n"


def _limits(pyramid: Grid, layer: MapLayer) -> str:
    found = "".join(
        f"<TileMatrixLimits><TileMatrix>{tiles.zoom}</TileMatrix><MinTileRow>{tiles.min_row}</MinTileRow><MaxTileRow>"
        f"{tiles.max_row}</MaxTileRow><MinTileCol>{tiles.min_column}</MinTileCol><MaxTileCol>{tiles.max_column}</MaxTileCol>"
        "</TileMatrixLimits>"
        for tiles in limits(pyramid, layer.bbox84)
    )
    return f"<TileMatrixSetLimits>{found}</TileMatrixSetLimits>" if found else ""


def _matrix_set(pyramid: Grid) -> Iterator[str]:
    """07-057r7 clause 7.1.1.1.1; corners in the axis order of the CRS's authority."""
    known = (
        f"<WellKnownScaleSet>{well_known}</WellKnownScaleSet>"
        if (well_known := _WELL_KNOWN.get(pyramid.id))
        else ""
    )
    yield (
        f"<TileMatrixSet>\n<ows:Identifier>{pyramid.id}</ows:Identifier><ows:SupportedCRS>{crs_urn(pyramid)}"
        f"</ows:SupportedCRS>{known}\n"
    )
    for zoom in range(pyramid.min_zoom, min(pyramid.max_zoom, MAXIMUM_ZOOM) + 1):
        matrix = pyramid.matrix(zoom)
        corner = (matrix.top, matrix.left) if pyramid.north_first else (matrix.left, matrix.top)
        yield (
            f"<TileMatrix><ows:Identifier>{zoom}</ows:Identifier><ScaleDenominator>{pyramid.scale_denominator(zoom)!r}"
            f"</ScaleDenominator><TopLeftCorner>{corner[0]!r} {corner[1]!r}</TopLeftCorner><TileWidth>{matrix.tile_width}"
            f"</TileWidth><TileHeight>{matrix.tile_height}</TileHeight><MatrixWidth>{matrix.columns}</MatrixWidth>"
            f"<MatrixHeight>{matrix.rows}</MatrixHeight></TileMatrix>\n"
        )
    yield "</TileMatrixSet>\n"


_WELL_KNOWN = {
    "WebMercatorQuad": "urn:ogc:def:wkss:OGC:1.0:GoogleMapsCompatible",
    "WorldCRS84Quad": "urn:ogc:def:wkss:OGC:1.0:GoogleCRS84Quad",
}


def crs_urn(pyramid: Grid) -> str:
    """The URN of a grid's CRS, or its URI where it has no code."""
    code = pyramid.authority_code
    if code in _URN:
        return _URN[code]
    authority, colon, number = code.partition(":")
    return f"urn:ogc:def:crs:{authority}::{number}" if colon and authority == "EPSG" else pyramid.crs


# --- TMS -----------------------------------------------------------------------------------------------------------------

_XML = '<?xml version="1.0" encoding="UTF-8"?>\n'


def tms_root(view: MapView) -> bytes:
    """The versions of TMS that are offered."""
    title, address = escape(view.metadata.title), escape(f"{view.url}/tms/1.0.0/")
    body = f'<Services>\n<TileMapService title="{title}" version="1.0.0" href="{address}"/>\n</Services>\n'
    return f"{_XML}{body}".encode("utf-8", "replace")


def tms_service(view: MapView) -> bytes:
    """The list of tile maps: each layer on each of its grids."""
    about = view.metadata
    parts = [
        f'{_XML}<TileMapService version="1.0.0" services="{escape(view.url)}/tms/">\n<Title>{escape(about.title)}</Title>\n'
    ]
    parts.append(f"<Abstract>{escape(about.abstract)}</Abstract>\n<TileMaps>\n")
    for layer in view.layers():
        title = escape(layer.title)
        for pyramid in grids_of(layer.bbox84):
            address = escape(f"{view.url}/tms/1.0.0/{layer.name}/{pyramid.id}")
            parts.append(
                f'<TileMap title="{title}" srs="{_tms_srs(pyramid)}" profile="{_profile(pyramid)}" href="{address}"/>\n'
            )
    parts.append("</TileMaps>\n</TileMapService>\n")
    return "".join(parts).encode("utf-8", "replace")


def tms_map(view: MapView, layer: MapLayer, grid_id: str) -> bytes:
    """A tile map: its box, its format and its levels. Rows count from the bottom of the level."""
    pyramid = grid(grid_id)
    matrix = pyramid.matrix(pyramid.min_zoom)
    bottom = matrix.top - matrix.rows * matrix.tile_height * matrix.cell_size
    right = matrix.left + matrix.columns * matrix.tile_width * matrix.cell_size
    parts = [
        f'{_XML}<TileMap version="1.0.0" tilemapservice="{escape(view.url)}/tms/1.0.0/">\n<Title>{escape(layer.title)}'
        f"</Title>\n<Abstract>{escape(layer.abstract)}</Abstract>\n<SRS>{_tms_srs(pyramid)}</SRS>\n"
        f'<BoundingBox minx="{matrix.left!r}" miny="{bottom!r}" maxx="{right!r}" maxy="{matrix.top!r}"/>\n'
        f'<Origin x="{matrix.left!r}" y="{bottom!r}"/>\n<TileFormat width="{matrix.tile_width}" height="{matrix.tile_height}" '
        f'mime-type="image/png" extension="png"/>\n<TileSets profile="{_profile(pyramid)}">\n'
    ]
    for zoom in range(pyramid.min_zoom, min(pyramid.max_zoom, MAXIMUM_ZOOM) + 1):
        address = escape(f"{view.url}/tms/1.0.0/{layer.name}/{grid_id}/{zoom}")
        parts.append(
            f'<TileSet href="{address}" units-per-pixel="{pyramid.cell_size(zoom)!r}" order="{zoom}"/>\n'
        )
    parts.append("</TileSets>\n</TileMap>\n")
    return "".join(parts).encode("utf-8", "replace")


def _tms_srs(pyramid: Grid) -> str:
    return "EPSG:4326" if pyramid.authority_code == "OGC:CRS84" else pyramid.authority_code


def _profile(pyramid: Grid) -> str:
    """Level 0 of ours is one tile of the world, where the global profiles of TMS begin with more: so it is local."""
    return "local"


# --- KML -----------------------------------------------------------------------------------------------------------------


def kml_root(view: MapView, layer: MapLayer, grid_id: str) -> bytes:
    """The first document of a superoverlay: the few tiles of the deepest level that show all of the layer, and links below."""
    pyramid = grid(grid_id)
    zoom, tiles = _first_tiles(pyramid, layer)
    title = escape(layer.title)
    parts = [f'{_XML}<kml xmlns="http://www.opengis.net/kml/2.2">\n<Document>\n<name>{title}</name>\n']
    for tile in tiles:
        west, south, east, north = tile_bounds_crs84(grid_id, tile)
        row = pyramid.matrix_size(zoom)[1] - 1 - tile.y
        address = escape(f"{view.url}/kml/{layer.name}/{grid_id}/{zoom}/{tile.x}/{row}")
        box = f"<north>{north!r}</north><south>{south!r}</south><east>{east!r}</east><west>{west!r}</west>"
        parts.append(
            f"<GroundOverlay><name>{zoom}/{tile.x}/{row}</name><drawOrder>{zoom}</drawOrder><Icon><href>{address}.png</href></Icon>"
            f"<LatLonBox>{box}</LatLonBox></GroundOverlay>\n<NetworkLink><name>{zoom}/{tile.x}/{row}</name><Region>"
            f"<LatLonAltBox>{box}</LatLonAltBox><Lod><minLodPixels>128</minLodPixels><maxLodPixels>-1</maxLodPixels></Lod></Region>"
            f"<Link><href>{address}.kml</href><viewRefreshMode>onRegion</viewRefreshMode><viewFormat/></Link></NetworkLink>\n"
        )
    parts.append("</Document>\n</kml>\n")
    return "".join(parts).encode("utf-8", "replace")


def _first_tiles(pyramid: Grid, layer: MapLayer) -> tuple[int, list[Tile]]:
    found = (0, [Tile(0, column, 0) for column in range(pyramid.matrix_size(0)[0])])
    for zoom in range(min(pyramid.max_zoom, MAXIMUM_ZOOM)):
        try:
            tiles = tile_range(pyramid.id, layer.bbox84, zoom)
        except TileOutOfRange:
            break
        columns = range(tiles.min_column, tiles.max_column + 1)
        rows = range(tiles.min_row, tiles.max_row + 1)
        if len(columns) * len(rows) > _KML_TILES:
            break
        found = zoom, [Tile(zoom, column, row) for row in rows for column in columns]
    return found
