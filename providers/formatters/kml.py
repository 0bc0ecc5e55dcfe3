"""Features as KML 2.2: a folder of placemarks with typed attributes. Coordinates are WGS 84, longitude first, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from providers.errors import InvalidParameter
from providers.features.crs import CRS84H, reference_system
from providers.features.query import CRS84
from providers.features.schema import FieldDefinition
from providers.features.source import FeatureColumns
from providers.features.store.encoding import geometries_in
from providers.formatters.columns import column_of, placed
from providers.formatters.registry import Batch, WritingContext, columns_of
from providers.formatters.wkt_text import Shape, shapes_of_geometries
from providers.formatters.xml_text import escaped, value_text, xml_id

# Integers are texts: KML has 32 bits for them. Dates and instants have no type of their own.
_TYPES = {"number": "double", "boolean": "bool"}
_LABELS = ("name", "名称", "title", "标题")


def write_kml(context: WritingContext, batches: Iterator[Batch]) -> Iterator[bytes]:
    """A KML document. Raises InvalidParameter where another CRS than CRS84 is asked for."""
    if context.query.crs not in (CRS84, CRS84H):
        raise InvalidParameter("crs", context.query.crs, f"{CRS84}: KML knows no other")
    yield _head(context).encode()
    for batch in batches:
        columns = columns_of(batch)
        if len(columns):
            yield "".join(_placemarks(context, columns)).encode()
    yield b"</Folder>\n</Document>\n</kml>\n"


def _head(context: WritingContext) -> str:
    name = escaped(context.title or context.name)
    fields = "".join(
        f'<SimpleField type="{_TYPES.get(field.type, "string")}" name="{escaped(field.name)}">'
        f"<displayName>{escaped(field.title or field.name)}</displayName></SimpleField>"
        for field in context.fields
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<kml xmlns="http://www.opengis.net/kml/2.2">\n<Document id="{escaped(context.name)}-document">\n'
        f"<name>{name}</name>\n"
        f'<Schema name="{escaped(context.name)}" id="schema">{fields}</Schema>\n'
        f"<Folder><name>{escaped(context.name)}</name>\n"
    )


def _placemarks(context: WritingContext, columns: FeatureColumns) -> Iterator[str]:
    attributes = _attributes(context.fields, columns)
    labels = _labels(context.fields, columns)
    times = _times(context, columns)
    if context.query.skip_geometry:
        shapes: Sequence[Shape | None] = [None] * len(columns)
    else:
        wgs84 = reference_system(CRS84)
        moved = geometries_in(columns.geometries, context.storage, wgs84)
        shapes = list(shapes_of_geometries(placed(moved)))
    rows = zip(columns.ids, labels, times, attributes, shapes, strict=True)
    for identifier, label, time, values, shape in rows:
        yield (
            f'<Placemark id="f.{xml_id(identifier)}"><name>{label}</name>{time}'
            f'<ExtendedData><SchemaData schemaUrl="#schema">{values}</SchemaData></ExtendedData>'
            f"{'' if shape is None else _geometry(shape)}</Placemark>\n"
        )


def _attributes(fields: Sequence[FieldDefinition], columns: FeatureColumns) -> list[str]:
    texts: list[list[str]] = []
    for field in fields:
        start = f'<SimpleData name="{escaped(field.name)}">'
        values = value_text(field, column_of(columns, field.name))
        if field.type == "boolean":
            values = [{"true": "1", "false": "0"}.get(value, value) if value else value for value in values]
        texts.append(["" if value is None else f"{start}{value}</SimpleData>" for value in values])
    return ["".join(row) for row in zip(*texts, strict=True)] if texts else [""] * len(columns)


def _labels(fields: Sequence[FieldDefinition], columns: FeatureColumns) -> list[str]:
    """What a placemark is called: its name where the collection has such a field, else its id."""
    field = next((field for label in _LABELS for field in fields if field.name.casefold() == label), None)
    ids = [escaped(one) for one in columns.ids]
    if field is None:
        return ids
    values = value_text(field, column_of(columns, field.name))
    return [value or one for value, one in zip(values, ids, strict=True)]


def _times(context: WritingContext, columns: FeatureColumns) -> list[str]:
    field = next((field for field in context.fields if field.name == context.schema.time_field), None)
    if field is None:
        return [""] * len(columns)
    values = value_text(field, column_of(columns, field.name))
    return ["" if not value else f"<TimeStamp><when>{value}</when></TimeStamp>" for value in values]


def _geometry(shape: Shape) -> str:
    # Heights are absolute where there are any; without, a geometry lies on the ground.
    mode = "<altitudeMode>absolute</altitudeMode>" if shape.has_z else ""
    match shape.kind:
        case "Point" | "MultiPoint":
            members = [
                f"<Point>{mode}<coordinates>{_coordinates(part[0])}</coordinates></Point>"
                for part in shape.parts
            ]
        case "LineString" | "MultiLineString":
            members = [
                f"<LineString>{mode}<coordinates>{_coordinates(part[0])}</coordinates></LineString>"
                for part in shape.parts
            ]
        case "Polygon" | "MultiPolygon":
            members = [_polygon(part, mode) for part in shape.parts]
        case _:
            members = [_geometry(member) for member in shape.members]
    is_single = shape.kind in ("Point", "LineString", "Polygon")
    return members[0] if is_single else f"<MultiGeometry>{''.join(members)}</MultiGeometry>"


def _polygon(rings: list[str], mode: str) -> str:
    exterior, *interiors = [
        f"<LinearRing><coordinates>{_coordinates(ring)}</coordinates></LinearRing>" for ring in rings
    ]
    inside = "".join(f"<innerBoundaryIs>{ring}</innerBoundaryIs>" for ring in interiors)
    return f"<Polygon>{mode}<outerBoundaryIs>{exterior}</outerBoundaryIs>{inside}</Polygon>"


def _coordinates(text: str) -> str:
    """`x y, x y` of WKT as `x,y x,y`."""
    return text.replace(", ", ";").replace(" ", ",").replace(";", " ")
