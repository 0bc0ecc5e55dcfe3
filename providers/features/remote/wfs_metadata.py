"""What a WFS says of itself (GetCapabilities, read by OWSLib) and of a feature type (DescribeFeatureType).

OWSLib gets documents that we have fetched and looked at: left alone it would fetch by itself, past the guarded way out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lxml import etree
from owslib.feature.wfs110 import WebFeatureService_1_1_0
from owslib.feature.wfs200 import WebFeatureService_2_0_0

from providers.features.query import CRS84
from providers.features.remote.documents import local_name, text_of, xml_root
from providers.features.remote.gml import named_system
from providers.features.remote.service import RemoteLayer
from providers.features.schema import FieldDefinition
from providers.outgoing import RemoteUnavailable

_READERS: Mapping[str, Any] = {"1.1.0": WebFeatureService_1_1_0, "2.0.0": WebFeatureService_2_0_0}
_XSD = "{http://www.w3.org/2001/XMLSchema}"
_TYPES: Mapping[str, tuple[str, str | None]] = {
    "date": ("string", "date"),
    # MapServer writes instants as GML time objects.
    **dict.fromkeys(("dateTime", "TimeInstantType", "TimeInstantPropertyType"), ("string", "date-time")),
    "boolean": ("boolean", None),
    **dict.fromkeys(("double", "float", "decimal"), ("number", None)),
    **dict.fromkeys(
        [
            "integer",
            "int",
            "long",
            "short",
            "byte",
            "nonNegativeInteger",
            "positiveInteger",
            "negativeInteger",
            "nonPositiveInteger",
            "unsignedInt",
            "unsignedLong",
            "unsignedShort",
            "unsignedByte",
        ],
        ("integer", None),
    ),
}
_GEOMETRIES: Mapping[str, str] = {
    "PointPropertyType": "Point",
    "MultiPointPropertyType": "MultiPoint",
    "LineStringPropertyType": "LineString",
    "CurvePropertyType": "LineString",
    "PolygonPropertyType": "Polygon",
    "SurfacePropertyType": "Polygon",
    **dict.fromkeys(("MultiLineStringPropertyType", "MultiCurvePropertyType"), "MultiLineString"),
    **dict.fromkeys(("MultiPolygonPropertyType", "MultiSurfacePropertyType"), "MultiPolygon"),
    **dict.fromkeys(
        ("GeometryPropertyType", "MultiGeometryPropertyType", "GeometricPrimitivePropertyType"), "Geometry"
    ),
}
_GEOJSON = (
    "application/geo+json",
    "application/json",
    "application/json; subtype=geojson",
    "application/vnd.geo+json",
    "geojson",
    "json",
)
# Names of FES 1.1 capabilities in the words of FES 2.0.
_OLD_OPERATORS: Mapping[str, tuple[str, ...]] = {
    "EqualTo": ("PropertyIsEqualTo",),
    "NotEqualTo": ("PropertyIsNotEqualTo",),
    "LessThan": ("PropertyIsLessThan",),
    "GreaterThan": ("PropertyIsGreaterThan",),
    "LessThanEqualTo": ("PropertyIsLessThanOrEqualTo",),
    "GreaterThanEqualTo": ("PropertyIsGreaterThanOrEqualTo",),
    "LessThanOrEqualTo": ("PropertyIsLessThanOrEqualTo",),
    "GreaterThanOrEqualTo": ("PropertyIsGreaterThanOrEqualTo",),
    "Like": ("PropertyIsLike",),
    "Between": ("PropertyIsBetween",),
    "NullCheck": ("PropertyIsNull",),
    "SimpleArithmetic": ("Arithmetic",),
    "Intersect": ("Intersects",),
}
_NEW_OPERATORS: Mapping[str, str] = {
    "PropertyIsLessThanEqualTo": "PropertyIsLessThanOrEqualTo",
    "PropertyIsGreaterThanEqualTo": "PropertyIsGreaterThanOrEqualTo",
}


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the capabilities say; `service` is OWSLib's reading of them."""

    version: str
    service: Any
    root: etree._Element

    @property
    def operators(self) -> frozenset[str]:
        """Comparison and spatial operators, by their names in FES 2.0."""
        return frozenset(_operators(self.root))

    @property
    def page_size(self) -> int | None:
        """The most features that one answer holds (`CountDefault`, `DefaultMaxFeatures`); None without a limit."""
        for element in self.root.iter("{*}Constraint"):
            if element.get("name") in ("CountDefault", "DefaultMaxFeatures"):
                for child in element.iter():
                    text = (child.text or "").strip()
                    if text.isascii() and text.isdigit() and 0 < int(text) < 1 << 31:
                        return int(text)
        return None

    @property
    def geojson_format(self) -> str | None:
        """The output format that is GeoJSON, in the service's own words."""
        for operation in self.service.operations:
            if getattr(operation, "name", None) == "GetFeature":
                values = operation.parameters.get("outputFormat", {}).get("values", [])
                known = {str(value).strip().lower(): str(value).strip() for value in values}
                return next((known[name] for name in _GEOJSON if name in known), None)
        return None

    def layers(self) -> list[RemoteLayer]:
        """The feature types."""
        return [
            RemoteLayer(str(name), text_of(item.title), text_of(getattr(item, "abstract", "")))
            for name, item in self.service.contents.items()
        ]

    def layer(self, wanted: str) -> Any:
        """OWSLib's reading of a feature type, by its name with or without prefix; None where there is none."""
        contents: Mapping[str, Any] = self.service.contents
        if wanted in contents:
            return contents[wanted]
        without = [item for name, item in contents.items() if name.rpartition(":")[2] == wanted]
        return without[0] if len(without) == 1 else None

    @property
    def licence(self) -> str:
        """Access constraints, where they say anything."""
        identification = getattr(self.service, "identification", None)
        text = text_of(getattr(identification, "accessconstraints", ""))
        return "" if text.lower() in ("", "none") else text

    @property
    def attribution(self) -> str:
        """The service provider's name."""
        provider = getattr(self.service, "provider", None)
        return text_of(getattr(provider, "name", ""))


def read_capabilities(body: bytes, url: str, name: str) -> Capabilities:
    """Capabilities of version 1.1.0 or 2.0.x. Raises RemoteUnavailable."""
    root = xml_root(body, name)
    version = str(root.get("version", ""))
    version = "2.0.0" if version.startswith("2.0") else version
    if local_name(root) != "WFS_Capabilities" or version not in _READERS:
        raise RemoteUnavailable(
            f"{name} answers {local_name(root)[:40]!r} of version {version[:20]!r} where capabilities of WFS 1.1.0 or 2.0 "
            "were asked for"
        )
    try:
        service = _READERS[version](url, version, xml=body)
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        # What OWSLib stumbles over in documents that leave out what the standard asks for.
        raise RemoteUnavailable(f"{name} answers capabilities that lack a required part") from error
    return Capabilities(version, service, root)


def _operators(root: etree._Element) -> Iterator[str]:
    for filters in root.iter("{*}Filter_Capabilities"):
        for element in filters.iter():
            name = local_name(element)
            if name in ("ComparisonOperator", "SpatialOperator"):
                given = (element.get("name") or element.text or "").strip()
                given = _NEW_OPERATORS.get(given, given)
                yield from _OLD_OPERATORS.get(given, (given,))
            elif name in _OLD_OPERATORS:
                yield from _OLD_OPERATORS[name]


def choose_crs(options: Iterable[Any]) -> tuple[str, str]:
    """(URI of the storage CRS, the service's own name of it): CRS84 or EPSG:4326 where offered, else the default.

    Raises RemoteUnavailable where PROJ knows none of them.
    """
    known: list[tuple[str, str]] = []
    for option in options:
        name = str(getattr(option, "id", option))
        found = named_system(name)
        if found is not None:
            known.append((found[0].uri, name))
    if not known:
        raise RemoteUnavailable("The feature type is offered in no CRS that is known here")
    wgs84 = "http://www.opengis.net/def/crs/EPSG/0/4326"
    for wanted in (CRS84, wgs84):
        for uri, name in known:
            if uri == wanted:
                return CRS84, name if wanted == CRS84 else "urn:ogc:def:crs:EPSG::4326"
    uri = known[0][0]
    return uri, f"urn:ogc:def:crs:EPSG::{uri.rpartition('/')[2]}"


@dataclass(frozen=True, slots=True)
class FeatureType:
    """The properties of a feature type; `column` of a field is its name in the service."""

    fields: tuple[FieldDefinition, ...]
    geometry_field: str
    geometry_type: str


def read_feature_type(body: bytes, layer: str, name: str) -> FeatureType:
    """The simple properties and the first geometry of a feature type. Raises RemoteUnavailable."""
    root = xml_root(body, name)
    local = layer.rpartition(":")[2]
    complex_type = _complex_type(root, local)
    if complex_type is None:
        raise RemoteUnavailable(f"{name} does not describe the feature type {layer[:80]!r}")
    fields: dict[str, FieldDefinition] = {}
    geometry_field, geometry_type = "", "Geometry"
    for element in complex_type.iter(f"{_XSD}element"):
        property_name = element.get("name")
        if not property_name:
            continue
        kind = _type_name(element)
        if kind in _GEOMETRIES:
            if not geometry_field:
                geometry_field, geometry_type = property_name, _GEOMETRIES[kind]
        elif property_name not in fields:
            fields[property_name] = FieldDefinition(
                property_name, *_TYPES.get(kind, ("string", None)), column=property_name
            )
    return FeatureType(tuple(fields.values()), geometry_field, geometry_type)


def _complex_type(root: etree._Element, local: str) -> etree._Element | None:
    """The complex type of the element of this name, named or inside of it."""
    for element in root.findall(f"{_XSD}element"):
        if element.get("name") != local:
            continue
        inside = element.find(f"{_XSD}complexType")
        if inside is not None:
            return inside
        wanted = (element.get("type") or "").rpartition(":")[2]
        for candidate in root.findall(f"{_XSD}complexType"):
            if candidate.get("name") == wanted:
                return candidate
    return None


def _type_name(element: etree._Element) -> str:
    named = element.get("type")
    if named is None:
        restriction = element.find(f"{_XSD}simpleType/{_XSD}restriction")
        named = restriction.get("base", "") if restriction is not None else ""
    return str(named).rpartition(":")[2]
