"""The capabilities of WMS 1.1.1 and 1.3.0, written from the layers themselves: MapProxy would have to build each of them.

10,000 layers are one string of 15 MB: parts are joined, no tree is built.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from urllib.parse import quote

import numpy as np

from tiles.crs import parse_crs, transformer
from tiles.errors import UnsupportedCrs
from tiles.mapproxy.layer import DEFAULT_STYLE, MapLayer, MapView, ServiceMetadata
from tiles.mapproxy.layer_grids import zone_crs_of
from tiles.mapproxy.wms_place import ALWAYS_OFFERED_CRS
from tiles.mapproxy.wms_requests import INFO_FORMATS, MAXIMUM_LAYERS, OFFERED_FORMATS
from tiles.maps.source import MAXIMUM_EDGE

_XLINK = 'xmlns:xlink="http://www.w3.org/1999/xlink"'
LEGENDS_OF_LAYERS = 200
"""Up to so many layers every style says where its legend is, beyond only the default one: half of a long document."""
_EXCEPTIONS = {"1.3.0": "XML", "1.1.1": "application/vnd.ogc.se_xml"}


def wms_capabilities(view: MapView, version: str) -> bytes:
    """The document of one version, "1.1.1" or "1.3.0"."""
    layers = view.layers()
    parts = [*_head(view, version), *_root(view, layers, version)]
    legends = len(layers) <= LEGENDS_OF_LAYERS
    for layer in layers:
        parts.extend(_layer(view, layer, version, legends=legends))
    parts.append("</Layer>\n</Capability>\n")
    parts.append("</WMS_Capabilities>\n" if version == "1.3.0" else "</WMT_MS_Capabilities>\n")
    return "".join(parts).encode("utf-8", "replace")


def _resource(url: str) -> str:
    return f'<OnlineResource {_XLINK} xlink:type="simple" xlink:href="{escape(url)}"/>'


def _head(view: MapView, version: str) -> Iterator[str]:
    yield '<?xml version="1.0" encoding="UTF-8"?>\n'
    if version == "1.3.0":
        yield (
            '<WMS_Capabilities version="1.3.0" xmlns="http://www.opengis.net/wms" xmlns:sld="http://www.opengis.net/sld" '
            'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="http://www.opengis.net/wms '
            "http://schemas.opengis.net/wms/1.3.0/capabilities_1_3_0.xsd http://www.opengis.net/sld "
            'http://schemas.opengis.net/sld/1.1.0/sld_capabilities.xsd">\n'
        )
    else:
        yield (
            '<!DOCTYPE WMT_MS_Capabilities SYSTEM "http://schemas.opengis.net/wms/1.1.1/WMS_MS_Capabilities.dtd">\n'
            '<WMT_MS_Capabilities version="1.1.1">\n'
        )
    yield from _service(view.metadata, view.url, version)
    yield "<Capability>\n<Request>\n"
    service = escape(f"{view.url}/service?")
    for name, formats in _operations(version):
        yield f"<{name}>"
        yield "".join(f"<Format>{one}</Format>" for one in formats)
        yield f"<DCPType><HTTP><Get>{_resource_of(service)}</Get></HTTP></DCPType></{name}>\n"
    yield f"</Request>\n<Exception><Format>{_EXCEPTIONS[version]}</Format></Exception>\n"


def _resource_of(escaped: str) -> str:
    return f'<OnlineResource {_XLINK} xlink:type="simple" xlink:href="{escaped}"/>'


def _operations(version: str) -> Iterator[tuple[str, Sequence[str]]]:
    new = version == "1.3.0"
    yield "GetCapabilities", ("text/xml" if new else "application/vnd.ogc.wms_xml",)
    yield "GetMap", OFFERED_FORMATS
    yield "GetFeatureInfo", INFO_FORMATS
    space = "sld:" if new else ""
    yield f"{space}DescribeLayer", ("text/xml",)
    yield f"{space}GetLegendGraphic", ("image/png",)


def _service(about: ServiceMetadata, url: str, version: str) -> Iterator[str]:
    # 06-042 clause 7.2.4.2: the name is "WMS" in 1.3.0, "OGC:WMS" in 1.1.1; the order of elements is the schema's.
    yield f"<Service>\n<Name>{'WMS' if version == '1.3.0' else 'OGC:WMS'}</Name>\n<Title>{escape(about.title)}</Title>\n"
    if about.abstract:
        yield f"<Abstract>{escape(about.abstract)}</Abstract>\n"
    yield _keywords(about.keywords)
    yield _resource(about.url or url) + "\n"
    if about.organisation or about.contact_name or about.email:
        person, organisation = escape(about.contact_name), escape(about.organisation)
        yield (
            f"<ContactInformation><ContactPersonPrimary><ContactPerson>{person}</ContactPerson><ContactOrganization>"
            f"{organisation}</ContactOrganization></ContactPersonPrimary>"
        )
        if about.email:
            mail = escape(about.email)
            yield f"<ContactElectronicMailAddress>{mail}</ContactElectronicMailAddress>"
        yield "</ContactInformation>\n"
    yield f"<Fees>{escape(about.fees)}</Fees>\n<AccessConstraints>{escape(about.access_constraints)}</AccessConstraints>\n"
    if version == "1.3.0":
        yield (
            f"<LayerLimit>{MAXIMUM_LAYERS}</LayerLimit><MaxWidth>{MAXIMUM_EDGE}</MaxWidth>"
            f"<MaxHeight>{MAXIMUM_EDGE}</MaxHeight>\n"
        )
    yield "</Service>\n"


def _keywords(words: Sequence[str]) -> str:
    if not words:
        return ""
    return f"<KeywordList>{''.join(f'<Keyword>{escape(word)}</Keyword>' for word in words)}</KeywordList>\n"


def _root(view: MapView, layers: Sequence[MapLayer], version: str) -> Iterator[str]:
    """The layer without a name that holds the others: what it says they inherit."""
    key = "CRS" if version == "1.3.0" else "SRS"
    yield f"<Layer>\n<Title>{escape(view.metadata.title)}</Title>\n"
    yield "".join(f"<{key}>{code}</{key}>" for code in (*ALWAYS_OFFERED_CRS, *view.zone_crs)) + "\n"
    if layers:
        boxes = np.array([layer.bbox84 for layer in layers])
        west, south = boxes[:, :2].min(axis=0)
        east, north = boxes[:, 2:].max(axis=0)
        yield _geographic_box((float(west), float(south), float(east), float(north)), version)


def _geographic_box(box: Sequence[float], version: str) -> str:
    west, south, east, north = (f"{value:.7g}" if abs(value) < 1e-4 else f"{value:.7f}" for value in box)
    if version == "1.3.0":
        return (
            f"<EX_GeographicBoundingBox><westBoundLongitude>{west}</westBoundLongitude><eastBoundLongitude>{east}"
            f"</eastBoundLongitude><southBoundLatitude>{south}</southBoundLatitude><northBoundLatitude>{north}"
            "</northBoundLatitude></EX_GeographicBoundingBox>\n"
        )
    return f'<LatLonBoundingBox minx="{west}" miny="{south}" maxx="{east}" maxy="{north}"/>\n'


def _layer(view: MapView, layer: MapLayer, version: str, *, legends: bool) -> Iterator[str]:
    new = version == "1.3.0"
    flags = f'queryable="{int(layer.queryable)}" opaque="{int(layer.opaque)}"'
    yield f"<Layer {flags}{' cascaded="1"' if layer.cascaded else ''}>\n<Name>{layer.name}</Name>\n"
    yield f"<Title>{escape(layer.title)}</Title>\n"
    if layer.abstract:
        yield f"<Abstract>{escape(layer.abstract)}</Abstract>\n"
    yield _keywords(layer.keywords)
    key = "CRS" if new else "SRS"
    zones = dict.fromkeys(([layer.crs] if layer.crs else []) + zone_crs_of(layer.bbox84))
    own = [code for code in zones if code not in ALWAYS_OFFERED_CRS]
    yield "".join(f"<{key}>{code}</{key}>" for code in own)
    yield _geographic_box(layer.bbox84, version)
    yield _box_in("CRS:84" if new else "EPSG:4326", layer.bbox84, key)
    if layer.crs and layer.crs not in ALWAYS_OFFERED_CRS:
        yield _projected_box(layer, key, swapped=new)
    if layer.time is not None:
        yield _time(layer, version)
    if layer.attribution:
        yield f"<Attribution><Title>{escape(layer.attribution)}</Title>"
        yield (
            f"{_resource(layer.attribution_url)}</Attribution>\n"
            if layer.attribution_url
            else "</Attribution>\n"
        )
    for number, style in enumerate(layer.styles):
        title = escape(style.title or (DEFAULT_STYLE if number == 0 else style.id))
        legend = _legend_url(view, layer, style.id, version) if legends or number == 0 else ""
        yield f"<Style><Name>{escape(style.id)}</Name><Title>{title}</Title>{legend}</Style>\n"
    yield "</Layer>\n"


def _legend_url(view: MapView, layer: MapLayer, style: str, version: str) -> str:
    address = (
        f"{view.url}/service?SERVICE=WMS&VERSION={version}&REQUEST=GetLegendGraphic&FORMAT=image/png&LAYER={layer.name}"
        f"&STYLE={quote(style)}{'&SLD_VERSION=1.1.0' if version == '1.3.0' else ''}"
    )
    return f'<LegendURL width="160" height="40"><Format>image/png</Format>{_resource(address)}</LegendURL>'


def _box_in(code: str, box: Sequence[float], key: str) -> str:
    values = zip(("minx", "miny", "maxx", "maxy"), box, strict=True)
    return (
        f'<BoundingBox {key}="{code}" ' + " ".join(f'{name}="{value!r}"' for name, value in values) + "/>\n"
    )


def _projected_box(layer: MapLayer, key: str, *, swapped: bool) -> str:
    """The box in the storage CRS, in the axis order of its authority where the version wants it; "" where it has none."""
    try:
        west, south, east, north = transformer("OGC:CRS84", layer.crs).transform_bounds(*layer.bbox84)
        axes = parse_crs(layer.crs).axis_info
    except UnsupportedCrs:
        return ""
    if not np.isfinite((west, south, east, north)).all():
        return ""
    box = (round(west, 3), round(south, 3), round(east, 3), round(north, 3))
    if swapped and axes and axes[0].direction == "north":
        box = (box[1], box[0], box[3], box[2])
    return _box_in(layer.crs, box, key)


def _time(layer: MapLayer, version: str) -> str:
    """06-042 annex C.2; in 1.1.1 the values stand in an Extent element of their own."""
    time = layer.time
    if time is None:
        return ""
    nearest = int(bool(time.instants))
    details = f'default="{escape(time.default)}" nearestValue="{nearest}" multipleValues="0"'
    if version == "1.3.0":
        return f'<Dimension name="time" units="ISO8601" {details}>{time.extent}</Dimension>\n'
    return f'<Dimension name="time" units="ISO8601"/>\n<Extent name="time" {details}>{time.extent}</Extent>\n'
