"""The feature types of a view: which there are, what they are called, and the reference systems they are given in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from providers.errors import UnknownReferenceSystem
from providers.features.crs import ReferenceSystem, reference_system
from providers.features.query import CRS84
from server.http.context import RequestContext
from server.http.errors import NotFound
from server.http.features import FeatureRequest
from server.http.maps import authority_code, bounds84
from server.http.wfs.errors import INVALID_VALUE, WfsError, invalid
from server.http.wfs.names import PREFIX, FeatureNames, namespace_of
from server.http.wfs.parameters import Parameters, QualifiedName
from server.registry.catalogue import Collection, RepresentationKind

URN_CRS84: Final = "urn:ogc:def:crs:OGC:1.3:CRS84"
_URN_WGS84: Final = "urn:ogc:def:crs:EPSG::4326"
_OLD_URL: Final = "http://www.opengis.net/gml/srs/epsg.xml#"
# Where China's own reference systems are of use: degrees west, south, east, north.
_CHINA: Final = (73.5, 3.0, 135.1, 53.6)
_MOST_ZONES: Final = 3


@dataclass(frozen=True)
class Service:
    """One WFS request: who asks in which view, its parameters, and the URL of the service."""

    here: RequestContext
    parameters: Parameters

    @property
    def url(self) -> str:
        """The service's own, without a query."""
        return f"{self.here.origin}{self.here.scope.prefix}/wfs"

    @property
    def namespace(self) -> str:
        """The namespace of the feature types of this view."""
        return namespace_of(self.here.scope)

    def collections(self) -> Iterator[Collection]:
        """The collections with features that who asks may see."""
        here = self.here
        for collection in here.services.visible(here.catalogue, here.scope, here.who):
            if RepresentationKind.FEATURES in collection.representations:
                yield collection

    def type_name(self, collection: Collection) -> str:
        """The name of its feature type, without prefix."""
        return self.here.scope.public_id(collection)

    def find(self, name: QualifiedName, locator: str) -> FeatureType:
        """The feature type of a name. Raises WfsError, alike for what is not there and what is not to be seen."""
        is_ours = name.namespace == self.namespace or (name.namespace is None and name.prefix in ("", PREFIX))
        # A default namespace bound in XML says nothing of names that were meant without one.
        if not is_ours and not (name.prefix == "" and name.namespace is not None):
            raise invalid(
                locator,
                name.written,
                f"names of the namespace {self.namespace}, as GetCapabilities lists them",
            )
        return self.named(name.local, locator)

    def named(self, type_name: str, locator: str) -> FeatureType:
        """The same by the name without prefix."""
        try:
            collection, decision = self.here.having(type_name, RepresentationKind.FEATURES)
        except NotFound:
            raise WfsError(
                INVALID_VALUE,
                f"{locator} is {type_name[:200]!r}, and there is no such feature type here; GetCapabilities lists what there is",
                locator,
            ) from None
        return FeatureType(type_name, FeatureRequest(collection, decision, self.here.url_of(type_name), ()))


@dataclass(frozen=True)
class FeatureType:
    """One feature type that may be seen; `name` is without prefix."""

    name: str
    asked: FeatureRequest

    @property
    def collection(self) -> Collection:
        """Its collection."""
        return self.asked.collection

    @property
    def names(self) -> FeatureNames:
        """What its properties are called. Raises what a store raises that cannot be read."""
        return FeatureNames(self.asked.source.schema, self.asked.hidden)


# --- reference systems ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NamedSystem:
    """A reference system as a client named it: `system.swap` is about the order this name stands for."""

    name: str
    system: ReferenceSystem
    in_gis_order: bool

    @property
    def uri(self) -> str:
        """The canonical URI, whose coordinates are in the authority's order."""
        return self.system.uri


def named_system(name: str, locator: str) -> NamedSystem:
    """The reference system of a URN, a URI, or one of the two old forms, which stand for longitude (easting) first.

    Raises WfsError.
    """
    code = f"EPSG:{name.removeprefix(_OLD_URL)}" if name.startswith(_OLD_URL) else name
    in_gis_order = code.upper().startswith("EPSG:")
    try:
        system = reference_system(code)
    except UnknownReferenceSystem as error:
        raise invalid(locator, name, f"a CRS like {_URN_WGS84} ({error})") from None
    return NamedSystem(name, replace(system, swap=False) if in_gis_order else system, in_gis_order)


def default_system(collection: Collection) -> NamedSystem:
    """The default CRS of a feature type: that of the stored data where it has an EPSG code in two dimensions, else EPSG:4326."""
    return named_system(default_urn(collection.storage_crs), "srsName")


@lru_cache(maxsize=256)
def default_urn(storage_crs: str) -> str:
    """The same as a URN."""
    code = authority_code(storage_crs)
    if not code:
        return _URN_WGS84
    try:
        system = reference_system(storage_crs)
    except UnknownReferenceSystem:
        return _URN_WGS84
    flat = system.horizontal.to_epsg() if system.heights else int(code.removeprefix("EPSG:"))
    return _URN_WGS84 if flat is None else _urn(flat)


def _urn(code: int) -> str:
    return f"urn:ogc:def:crs:EPSG::{code}"


def other_urns(collection: Collection) -> list[str]:
    """The other systems to name in the capabilities: the usual ones, and in China CGCS2000 with its zones of 3 degrees.

    Any other system that is known here is answered too.
    """
    codes = [4326, 3857, 4490, *(_zones(bounds84(collection)) if collection.bbox else ())]
    default = default_urn(collection.storage_crs)
    return [urn for urn in (*map(_urn, codes), URN_CRS84) if urn != default]


def _zones(box: tuple[float, float, float, float]) -> list[int]:
    """CGCS2000 / 3-degree Gauss-Kruger: EPSG:4513 to 4533 by zone (25 to 45), 4534 to 4554 by meridian (75 to 135)."""
    west, south, east, north = box
    if west > east or west > _CHINA[2] or east < _CHINA[0] or south > _CHINA[3] or north < _CHINA[1]:
        return []
    first, last = (min(20, max(0, round(edge / 3) - 25)) for edge in (west, east))
    if last - first >= _MOST_ZONES:
        return []
    zones = range(first, last + 1)
    return [*(4534 + zone for zone in zones), *(4513 + zone for zone in zones)]


def is_crs84(system: ReferenceSystem) -> bool:
    """Whether coordinates in it are those of CRS84 in GIS order."""
    return system.is_wgs84 or system.uri == CRS84
