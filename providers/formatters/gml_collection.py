"""Features as a GML document of OGC API - Features Part 1 (clause 8.4, Simple Features level 0)."""

from __future__ import annotations

from collections.abc import Iterator

from providers.features.crs import reference_system
from providers.formatters.columns import target_of
from providers.formatters.gml import GML, GmlNamespace, GmlReference, GmlSchema, gml_members
from providers.formatters.registry import Batch, WritingContext, columns_of
from providers.formatters.xml_text import escaped, xml_name

_COLLECTION = "http://www.opengis.net/ogcapi-features-1/1.0/sf"
_SCHEMA = "http://schemas.opengis.net/ogcapi/features/part1/1.0/xml/core-sf.xsd"
_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_DECLARATION = b'<?xml version="1.0" encoding="UTF-8"?>\n'


def write_gml(context: WritingContext, batches: Iterator[Batch]) -> Iterator[bytes]:
    """A `sf:FeatureCollection`, or the feature alone where one item is asked for."""
    uri = context.url or f"urn:chengtu:{context.name}"
    namespace = GmlNamespace(uri, "c", xml_name(context.name))
    schema = GmlSchema(
        context.fields, context.schema.geometry_type, skip_geometry=context.query.skip_geometry
    )
    target = target_of(context)
    reference = GmlReference(target.uri or reference_system(context.query.crs).uri, context.storage, target)
    names = f'xmlns:gml="{GML}" xmlns:c="{escaped(uri)}"'
    if context.item:
        yield _DECLARATION
        for batch in batches:
            for member in gml_members(columns_of(batch), schema, namespace, reference):
                start, _, end = member.partition(b" ")
                yield start + b" " + names.encode() + b" " + end
        return
    yield (
        _DECLARATION
        + (
            f'<sf:FeatureCollection gml:id="{namespace.element}" xmlns:sf="{_COLLECTION}" {names} xmlns:xsi="{_XSI}" '
            f'xsi:schemaLocation="{_COLLECTION} {_SCHEMA}">\n'
        ).encode()
    )
    for batch in batches:
        members = gml_members(columns_of(batch), schema, namespace, reference)
        text = b"</sf:featureMember>\n<sf:featureMember>".join(members)
        if text:
            yield b"<sf:featureMember>" + text + b"</sf:featureMember>\n"
    yield b"</sf:FeatureCollection>\n"
