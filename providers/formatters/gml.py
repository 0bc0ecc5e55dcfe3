"""Features as GML 3.2.1 by the Simple Features profile, level 0 (OGC 10-100r3): members, geometries and the application schema.

Texts are put together by hand and not by an XML library: 100,000 features a second of CPU instead of some 10,000. Every value
passes `value_text` or `escaped`; element names come from `GmlSchema`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from providers.errors import UnknownReferenceSystem
from providers.features.crs import CRS84H, ReferenceSystem, reference_system
from providers.features.query import CRS84
from providers.features.schema import FieldDefinition
from providers.features.source import FeatureColumns
from providers.features.store.encoding import geometries_in
from providers.formatters.columns import Geometries, column_of, free_names, placed
from providers.formatters.wkt_text import Shape, shapes_of_geometries
from providers.formatters.xml_text import escaped, text_of_id, value_text, xml_id, xml_name

GML = "http://www.opengis.net/gml/3.2"
GML_SCHEMA = "http://schemas.opengis.net/gml/3.2.1/gml.xsd"
_PROPERTY_TYPES = {
    "Point": "gml:PointPropertyType",
    "LineString": "gml:CurvePropertyType",
    "Polygon": "gml:SurfacePropertyType",
    "MultiPoint": "gml:MultiPointPropertyType",
    "MultiLineString": "gml:MultiCurvePropertyType",
    "MultiPolygon": "gml:MultiSurfacePropertyType",
}
_VALUE_TYPES = {
    ("integer", None): "xs:long",
    ("number", None): "xs:double",
    ("boolean", None): "xs:boolean",
    ("string", "date"): "xs:date",
    ("string", "date-time"): "xs:dateTime",
}


@dataclass(frozen=True)
class GmlSchema:
    """What a feature type holds: fields, and one geometry property that is named `geometry_name` unless a field is."""

    fields: tuple[FieldDefinition, ...]
    geometry_type: str = "Geometry"
    geometry_name: str = "geometry"
    skip_geometry: bool = False

    @cached_property
    def elements(self) -> dict[str, str]:
        """The element name of each field, by the field's name; unique and valid (NCName)."""
        names = [field.name for field in self.fields]
        return dict(zip(names, free_names(names, allowed=xml_name), strict=True))

    @cached_property
    def geometry(self) -> str:
        """The element name of the geometry property."""
        return free_names([self.geometry_name], self.elements.values(), xml_name)[0]


@dataclass(frozen=True, slots=True)
class GmlNamespace:
    """The namespace of a feature type, its prefix, and the element name of its features."""

    uri: str
    prefix: str
    element: str


@dataclass(frozen=True, slots=True)
class GmlReference:
    """How geometries are written: `srs_name` as it stands in srsName, `target` with its axis order, from `storage`."""

    srs_name: str
    storage: ReferenceSystem
    target: ReferenceSystem


def gml_reference(
    uri: str, storage: ReferenceSystem, style: Literal["uri", "urn", "epsg"] = "uri"
) -> GmlReference:
    """The reference for a CRS: `http://...` and `urn:...` in the authority's axis order, `EPSG:n` always x = east.

    Raises UnknownReferenceSystem.
    """
    target = reference_system(uri)
    if target.border:
        return GmlReference(target.uri, storage, target)
    authority, code = target.uri.split("/")[-3::2]
    if style == "uri":
        return GmlReference(target.uri, storage, target)
    if target.uri in (CRS84, CRS84H):
        name = f"urn:ogc:def:crs:OGC:{'1.3' if target.uri == CRS84 else ''}:{code}"
        return GmlReference("EPSG:4326" if style == "epsg" else name, storage, target)
    if style == "urn":
        return GmlReference(f"urn:ogc:def:crs:{authority}::{code}", storage, target)
    if authority != "EPSG":
        raise UnknownReferenceSystem(f"{uri!r} has no EPSG code")
    east_first = ReferenceSystem(
        **{
            **{name: getattr(target, name) for name in target.__dataclass_fields__},
            "swap": False,
        }
    )
    return GmlReference(f"EPSG:{code}", storage, east_first)


# --- ids -----------------------------------------------------------------------------------------------------------------


def gml_id(element: str, feature_id: str) -> str:
    """`element.id` as an xs:ID; two features never have the same."""
    return f"{element}.{xml_id(feature_id)}"


def feature_id_of(element: str, identifier: str) -> str:
    """The feature id behind what `gml_id` made, and behind a plain id."""
    prefix = f"{element}."
    return text_of_id(identifier[len(prefix) :]) if identifier.startswith(prefix) else identifier


# --- features ------------------------------------------------------------------------------------------------------------


def gml_members(
    columns: FeatureColumns,
    schema: GmlSchema,
    namespace: GmlNamespace,
    crs: GmlReference,
    ids: Sequence[str] | None = None,
) -> Iterator[bytes]:
    """One feature element a feature, without a member element around it; fields without a value are left out.

    `columns` are in the storage CRS, x = east. `ids` are the features' own, in place of `columns.ids`.
    """
    element = f"{namespace.prefix}:{namespace.element}"
    identifiers = [gml_id(namespace.element, one) for one in (columns.ids if ids is None else ids)]
    properties: list[list[str]] = []
    for field in schema.fields:
        name = f"{namespace.prefix}:{schema.elements[field.name]}"
        start, end = f"<{name}>", f"</{name}>"
        texts = value_text(field, column_of(columns, field.name))
        properties.append(["" if text is None else f"{start}{text}{end}" for text in texts])
    if not schema.skip_geometry:
        start, end = (f"<{mark}{namespace.prefix}:{schema.geometry}>" for mark in ("", "/"))
        shapes = geometry_elements(columns.geometries, crs, identifiers)
        properties.append(["" if text is None else f"{start}{text}{end}" for text in shapes])
    rows = zip(*properties, strict=True) if properties else ((),) * len(columns)
    for identifier, row in zip(identifiers, rows, strict=True):
        yield f'<{element} gml:id="{identifier}">{"".join(row)}</{element}>'.encode()


def geometry_elements(
    geometries: Geometries, reference: GmlReference, ids: Sequence[str] | None = None
) -> list[str | None]:
    """GML of each geometry, None where there is none. `ids`: of the features; the geometry of `a.1` is `a.1.g`."""
    name = escaped(reference.srs_name)
    moved = placed(geometries_in(geometries, reference.storage, reference.target))
    return [
        None
        if shape is None
        else _geometry(
            shape,
            f"g.{number}" if ids is None else f"{ids[number]}.g",
            f' srsName="{name}" srsDimension="{3 if shape.has_z else 2}"',
        )
        for number, shape in enumerate(shapes_of_geometries(moved))
    ]


def _geometry(shape: Shape, identifier: str, srs: str = "") -> str:
    tag = f' gml:id="{identifier}"{srs}'
    parts = shape.parts
    match shape.kind:
        case "Point":
            return f"<gml:Point{tag}><gml:pos>{parts[0][0]}</gml:pos></gml:Point>"
        case "LineString":
            return f"<gml:LineString{tag}><gml:posList>{_list(parts[0][0])}</gml:posList></gml:LineString>"
        case "Polygon":
            return _polygon(parts[0], tag)
        case "MultiPoint":
            members = [
                f'<gml:pointMember><gml:Point gml:id="{identifier}.{i}"><gml:pos>{part[0]}</gml:pos></gml:Point></gml:pointMember>'
                for i, part in enumerate(parts)
            ]
            return f"<gml:MultiPoint{tag}>{''.join(members)}</gml:MultiPoint>"
        case "MultiLineString":
            members = [
                f'<gml:curveMember><gml:LineString gml:id="{identifier}.{i}"><gml:posList>{_list(part[0])}</gml:posList></gml:LineString></gml:curveMember>'
                for i, part in enumerate(parts)
            ]
            return f"<gml:MultiCurve{tag}>{''.join(members)}</gml:MultiCurve>"
        case "MultiPolygon":
            members = [
                f"<gml:surfaceMember>{_polygon(part, f' gml:id="{identifier}.{i}"')}</gml:surfaceMember>"
                for i, part in enumerate(parts)
            ]
            return f"<gml:MultiSurface{tag}>{''.join(members)}</gml:MultiSurface>"
    members = [
        f"<gml:geometryMember>{_geometry(member, f'{identifier}.{i}')}</gml:geometryMember>"
        for i, member in enumerate(shape.members)
    ]
    return f"<gml:MultiGeometry{tag}>{''.join(members)}</gml:MultiGeometry>"


def _polygon(rings: list[str], tag: str) -> str:
    exterior, *interiors = [
        f"<gml:LinearRing><gml:posList>{_list(ring)}</gml:posList></gml:LinearRing>" for ring in rings
    ]
    inside = "".join(f"<gml:interior>{ring}</gml:interior>" for ring in interiors)
    return f"<gml:Polygon{tag}><gml:exterior>{exterior}</gml:exterior>{inside}</gml:Polygon>"


def _list(coordinates: str) -> str:
    return coordinates.replace(", ", " ")


# --- application schema --------------------------------------------------------------------------------------------------


def application_schema_elements(schema: GmlSchema, namespace: GmlNamespace) -> str:
    """The declarations of one feature type: its element and its complex type."""
    lines = []
    for field in schema.fields:
        kind = _VALUE_TYPES.get((field.type, field.format)) or _VALUE_TYPES.get(
            (field.type, None), "xs:string"
        )
        lines.append(
            f'          <xs:element name="{schema.elements[field.name]}" type="{kind}" minOccurs="0"/>'
        )
    if not schema.skip_geometry:
        kind = _PROPERTY_TYPES.get(schema.geometry_type, "gml:GeometryPropertyType")
        lines.append(f'          <xs:element name="{schema.geometry}" type="{kind}" minOccurs="0"/>')
    properties = "\n".join(lines)
    element, prefix = namespace.element, namespace.prefix
    return f"""  <xs:element name="{element}" type="{prefix}:{element}Type" substitutionGroup="gml:AbstractFeature"/>
  <xs:complexType name="{element}Type">
    <xs:complexContent>
      <xs:extension base="gml:AbstractFeatureType">
        <xs:sequence>
{properties}
        </xs:sequence>
      </xs:extension>
    </xs:complexContent>
  </xs:complexType>
"""


def application_schema(schema: GmlSchema, namespace: GmlNamespace, url: str = GML_SCHEMA) -> bytes:
    """An XML Schema with one feature type; `url` is where the schema of GML lies."""
    uri = escaped(namespace.uri)
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:gml="{GML}" xmlns:gmlsf="http://www.opengis.net/gmlsf/2.0" xmlns:{namespace.prefix}="{uri}" targetNamespace="{uri}" elementFormDefault="qualified" version="1.0">
  <xs:annotation>
    <xs:appinfo source="http://schemas.opengis.net/gmlsfProfile/2.0/gmlsfLevels.xsd">
      <gmlsf:ComplianceLevel>0</gmlsf:ComplianceLevel>
    </xs:appinfo>
  </xs:annotation>
  <xs:import namespace="{GML}" schemaLocation="{escaped(url)}"/>
{application_schema_elements(schema, namespace)}</xs:schema>
""".encode()
