"""What a WMS says of its layers: GetCapabilities 1.3.0 and 1.1.1 (OGC 06-042, 01-068r3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from lxml import etree

from providers.errors import StoreError
from providers.features.remote.documents import local_name, shown, text_of, xml_root
from providers.maps.remote.facts import RemoteMapFacts, document, given_box, kept_members
from providers.maps.remote.image_services import equals_of, north_first
from providers.outgoing import Client, RemoteUnavailable
from tiles.crs import parse_crs
from tiles.errors import UnsupportedCrs

_VERSIONS = ("1.3.0", "1.1.1")
_FORMATS = (
    "image/png",
    "image/png; mode=24bit",
    "image/png32",
    "image/png8",
    "image/webp",
    "image/jpeg",
    "image/gif",
)
_MOST_CRS = 64
_MAXIMUM_EDGE = 2048
_OWN_PARAMETERS = frozenset({"service", "request", "version"})


def read(description: Mapping[str, Any], client: Client) -> RemoteMapFacts:
    """The layers of a description (several with commas, drawn over each other). Raises StoreError, RemoteUnavailable."""
    url = _endpoint(str(description["url"]))
    root, version = _capabilities(client, url, description.get("version"))
    names = [name.strip() for name in str(description.get("layer") or "").split(",") if name.strip()]
    found = {name: _find(root, name) for name in names}
    missing = [name for name, chain in found.items() if not chain]
    if missing or not names:
        offered = ", ".join(_names(root)[:50])
        asked = f"no layer {shown(', '.join(missing))!r}" if missing else "several layers; name one after #"
        raise StoreError(f"{client.name} has {asked}; there are: {shown(offered)}")
    chains = list(found.values())
    top = chains[0][-1]
    styles = _styles(chains, description.get("style"), client.name)
    times, dated = _times(chains[-1])
    image: dict[str, Any] = {
        "kind": "wms",
        "url": url,
        "version": version,
        "layers": ",".join(names),
        "styles": ",".join(styles),
        "format": _format(root, description.get("format"), client.name),
        "crs": _crs(chains, description.get("crs")),
        "maximum": _maximum(root),
        "transparent": not all(chain[-1].get("opaque") == "1" for chain in chains),
    }
    if description.get("axes") is not None:
        if description["axes"] not in ("xy", "yx"):
            raise StoreError(f"axes of a wms source is xy or yx, not {str(description['axes'])[:20]!r}")
        image["axes"] = description["axes"]
    box = given_box(description, _box(chains))
    legend = _reachable(_legend(chains[-1], styles[-1]), root, url)
    queryable = any(chain[-1].get("queryable") == "1" for chain in chains)
    remote = {
        **kept_members(description),
        "image": image,
        "bbox": list(box),
        "times": list(times),
        **({"legend": legend} if legend else {}),
        **({"info_formats": _operation_formats(root, "GetFeatureInfo")} if queryable else {}),
    }
    return RemoteMapFacts(
        title=text_of(_text(top, "Title")) or names[0],
        remote=remote,
        description=text_of(_text(top, "Abstract")),
        attribution=str(description.get("attribution") or _attribution(chains[-1])),
        bbox=box,
        times=dated,
        keywords=tuple(
            text_of(each.text) for each in _below(top, "KeywordList", "Keyword") if text_of(each.text)
        )[:50],
        crs=_plain(image["crs"][0]) if image["crs"] else "EPSG:3857",
    )


def _endpoint(url: str) -> str:
    """The URL without the parameters of a request that someone copied with it; others, such as map=, stay."""
    parts = urlsplit(url)
    kept = [
        pair
        for pair in parts.query.split("&")
        if pair and parse_qsl(pair, keep_blank_values=True)[0][0].lower() not in _OWN_PARAMETERS
    ]
    return urlunsplit((parts.scheme, parts.netloc, parts.path, "&".join(kept), ""))


def _capabilities(client: Client, url: str, wanted: Any) -> tuple[etree._Element, str]:
    """The document, and the version to speak: the one wanted, else the newest that both know."""
    if wanted is not None and wanted not in _VERSIONS:
        raise StoreError(f"version of a wms source is {' or '.join(_VERSIONS)}, not {str(wanted)[:20]!r}")
    parameters = {"SERVICE": "WMS", "REQUEST": "GetCapabilities", "VERSION": str(wanted or _VERSIONS[0])}
    root = xml_root(_without_doctype(document(client, url, parameters).body), client.name)
    if local_name(root) not in ("WMS_Capabilities", "WMT_MS_Capabilities"):
        words = shown(" ".join(text for text in root.itertext() if text.strip()))
        raise RemoteUnavailable(f"{client.name} answers no capabilities of a WMS: {words}")
    return root, _VERSIONS[0] if root.get("version", "").startswith("1.3") else _VERSIONS[1]


def _without_doctype(body: bytes) -> bytes:
    """A WMS 1.1.1 document carries a document type without entities of its own, which is not needed; one with them is refused later."""
    start = body.find(b"<!DOCTYPE", 0, 5_000)
    end = body.find(b">", start)
    if start < 0 or end < 0 or b"[" in body[start:end]:
        # MapServer and GeoServer declare VendorSpecificCapabilities inline: element declarations alone are harmless.
        inner_end = body.find(b"]>", start) if start >= 0 else -1
        inner = body[start:inner_end]
        if start < 0 or inner_end < 0 or b"<!ENTITY" in inner or b"%" in inner:
            return body
        return body[:start] + body[inner_end + 2 :]
    return body[:start] + body[end + 1 :]


def _children(element: etree._Element, name: str) -> list[etree._Element]:
    return [child for child in element if local_name(child) == name]


def _below(element: etree._Element, *path: str) -> list[etree._Element]:
    found = [element]
    for name in path:
        found = [child for each in found for child in _children(each, name)]
    return found


def _text(element: etree._Element, *path: str) -> str:
    found = _below(element, *path)
    return (found[0].text or "").strip() if found else ""


def _layers(root: etree._Element) -> list[list[etree._Element]]:
    """Every layer with those around it, the outermost first."""
    found: list[list[etree._Element]] = []
    waiting = [[layer] for layer in _below(root, "Capability", "Layer")]
    while waiting:
        chain = waiting.pop(0)
        found.append(chain)
        waiting += [[*chain, layer] for layer in _children(chain[-1], "Layer")]
    return found


def _find(root: etree._Element, name: str) -> list[etree._Element]:
    return next((chain for chain in _layers(root) if _text(chain[-1], "Name") == name), [])


def _names(root: etree._Element) -> list[str]:
    return [name for chain in _layers(root) if (name := _text(chain[-1], "Name"))]


def _crs(chains: list[list[etree._Element]], wanted: Any) -> list[str]:
    """CRS that all the layers have and PROJ knows: those most asked for first. 1.1.1 may list several in one element."""
    sets = []
    for chain in chains:
        names: dict[str, None] = {}
        for layer in chain:
            for each in (*_children(layer, "CRS"), *_children(layer, "SRS")):
                names.update(dict.fromkeys((each.text or "").split()))
        sets.append(names)
    common = [name for name in sets[0] if all(name in names for names in sets[1:])]
    if wanted is not None:
        if wanted not in common:
            raise StoreError(
                f"the layer is not offered in {str(wanted)[:40]!r}; it is in: {shown(', '.join(common))}"
            )
        common = [str(wanted)]
    usual = ("EPSG:3857", "EPSG:900913", "EPSG:4490", "CRS:84", "EPSG:4326")
    china = [name for name in common if name.startswith(("EPSG:45", "EPSG:44"))]
    ordered = dict.fromkeys([name for name in (*usual, *china) if name in common] + common)
    known = [name for name in ordered if _is_known(name)][:_MOST_CRS]
    if not known:
        raise StoreError(f"the layer is offered in no CRS that is known here: {shown(', '.join(common))}")
    return known


def _is_known(name: str) -> bool:
    if not name.upper().startswith(("EPSG:", "CRS:84", "OGC:CRS84", "ESRI:")):
        return False
    try:
        north_first(name)
        parse_crs(_plain(name))
    except UnsupportedCrs:
        return False
    return True


def _plain(name: str) -> str:
    return "EPSG:3857" if "EPSG:3857" in equals_of(name) else name


def _box(chains: list[list[etree._Element]]) -> tuple[float, ...]:
    """The box in degrees around the layers, each its own or inherited."""
    boxes = [box for chain in chains if (box := _own_box(chain))]
    if not boxes:
        return ()
    west, south, east, north = zip(*boxes, strict=True)
    return min(west), min(south), max(east), max(north)


def _own_box(chain: list[etree._Element]) -> tuple[float, ...]:
    sides = ("westBoundLongitude", "southBoundLatitude", "eastBoundLongitude", "northBoundLatitude")
    for layer in reversed(chain):
        try:
            for element in _children(layer, "EX_GeographicBoundingBox"):
                return tuple(float(_text(element, side)) for side in sides)
            for element in _children(layer, "LatLonBoundingBox"):
                return tuple(float(element.get(side, "")) for side in ("minx", "miny", "maxx", "maxy"))
        except ValueError:
            continue
    return ()


def _styles(chains: list[list[etree._Element]], wanted: Any, name: str) -> list[str]:
    """A style for each layer: the one wanted where the layer has it, else its default."""
    if wanted is None:
        return ["" for _ in chains]
    chosen = []
    for chain in chains:
        has = [_text(style, "Name") for layer in chain for style in _children(layer, "Style")]
        chosen.append(str(wanted) if wanted in has else "")
    if not any(chosen):
        offered = sorted(
            {
                _text(style, "Name")
                for chain in chains
                for layer in chain
                for style in _children(layer, "Style")
            }
        )
        raise StoreError(
            f"{name} has no style {str(wanted)[:80]!r} for the layer; there are: {shown(', '.join(offered))}"
        )
    return chosen


def _legend(chain: list[etree._Element], style: str) -> str:
    """The legend of the style (of the first one, where none is named)."""
    for layer in reversed(chain):
        for each in _children(layer, "Style"):
            if style and _text(each, "Name") != style:
                continue
            for resource in _below(each, "LegendURL", "OnlineResource"):
                return str(resource.get("{http://www.w3.org/1999/xlink}href", ""))
    return ""


def _reachable(address: str, root: etree._Element, url: str) -> str:
    """An address that the service gives, below the name by which it was reached, where it calls itself by another one."""
    own = _below(root, "Capability", "Request", "GetMap", "DCPType", "HTTP", "Get", "OnlineResource")
    called = urlsplit(str(own[0].get("{http://www.w3.org/1999/xlink}href", ""))) if own else None
    given, found = urlsplit(url), urlsplit(address)
    if not address or called is None or found.netloc != called.netloc:
        return address
    path = given.path if found.path == called.path else found.path
    return urlunsplit((given.scheme, given.netloc, path, found.query, ""))


def _attribution(chain: list[etree._Element]) -> str:
    for layer in reversed(chain):
        text = _text(layer, "Attribution", "Title")
        if text:
            return text_of(text)[:500]
    return ""


def _times(chain: list[etree._Element]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What the layer's dimension time lists: as written, and the same where it is dates."""
    for layer in reversed(chain):
        for element in (*_children(layer, "Extent"), *_children(layer, "Dimension")):
            if (element.get("name") or "").lower() == "time" and (element.text or "").strip():
                listed = tuple(part.strip() for part in (element.text or "").split(",") if part.strip())[
                    :10_000
                ]
                return listed, tuple(part for part in listed if part[:4].isdigit())
    return (), ()


def _operation_formats(root: etree._Element, operation: str) -> list[str]:
    return [
        (each.text or "").strip()
        for each in _below(root, "Capability", "Request", operation, "Format")
        if each.text
    ][:50]


def _format(root: etree._Element, wanted: Any, name: str) -> str:
    offered = _operation_formats(root, "GetMap")
    if wanted is not None:
        if wanted not in offered:
            raise StoreError(f"{name} draws no {str(wanted)[:60]!r}; it draws: {shown(', '.join(offered))}")
        return str(wanted)
    found = next((each for each in _FORMATS if each in offered), None)
    if found is None:
        raise StoreError(f"{name} draws none of {', '.join(_FORMATS)}; it draws: {shown(', '.join(offered))}")
    return found


def _maximum(root: etree._Element) -> list[int]:
    sizes = []
    for name in ("MaxWidth", "MaxHeight"):
        text = _text(root, "Service", name)
        sizes.append(
            min(int(text), _MAXIMUM_EDGE)
            if text.isascii() and text.isdigit() and int(text) > 0
            else _MAXIMUM_EDGE
        )
    return sizes
