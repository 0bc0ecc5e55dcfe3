"""DescribeFeatureType: feature types as a GML 3.2 application schema (09-025r2 clause 9)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

from providers.features.schema import CollectionSchema, FieldDefinition
from providers.formatters.gml import GML_SCHEMA, application_schema_elements
from server.http.answer import Answer
from server.http.wfs.errors import invalid
from server.http.wfs.feature_types import Service
from server.http.wfs.names import GML, PREFIX, XS, FeatureNames
from server.registry.catalogue import Collection, RepresentationKind

MEDIA_TYPE: Final = "application/gml+xml; version=3.2"
FORMATS: Final = (MEDIA_TYPE, "text/xml; subtype=gml/3.2", "application/xml", "text/xml", "XMLSCHEMA")


def describe_feature_type(service: Service) -> Answer:
    """The schema of the types asked for, or of all."""
    wanted = service.parameters.get("outputFormat")
    if wanted is not None and _compared(wanted) not in map(_compared, FORMATS):
        raise invalid("outputFormat", wanted, ", ".join(FORMATS))
    names = service.parameters.names("typeNames")
    if names:
        types = {kind.name: kind for kind in (service.find(name, "typeNames") for name in names)}
        described = [(name, kind.names) for name, kind in types.items()]
        private = any(kind.asked.private for kind in types.values())
    else:
        described = [
            (service.type_name(one), registered_names(service, one)) for one in service.collections()
        ]
        private = service.here.who.operator
    body = schema_document(service.namespace, described)
    etag = f'W/"{hashlib.blake2s(body, digest_size=12).hexdigest()}"'
    return Answer(body, MEDIA_TYPE, etag=etag, private=private)


def _compared(media_type: str) -> str:
    # A + of a media type that was not escaped in the URL has become a space.
    return media_type.replace(" ", "").replace("+", "").lower()


def registered_names(service: Service, collection: Collection) -> FeatureNames:
    """The same names from the registry, without opening the store: there may be thousands, and some may not answer."""
    fields = tuple(
        FieldDefinition(field.name, field.type, field.format, field.column, field.title)
        for field in collection.fields
    )
    geometry_type = collection.representations[RepresentationKind.FEATURES].properties.get("geometry_type")
    _, decision = service.here.collection(service.type_name(collection))
    schema = CollectionSchema(fields, geometry_type=geometry_type or "Geometry")
    return FeatureNames(schema, decision.hidden_fields)


def schema_document(namespace: str, types: Iterable[tuple[str, FeatureNames]]) -> bytes:
    """An XML Schema of feature types, each by its name without prefix."""
    parts = [
        f'<?xml version="1.0" encoding="UTF-8"?>\n<xs:schema xmlns:xs="{XS}" xmlns:gml="{GML}" xmlns:{PREFIX}="{namespace}" '
        f'targetNamespace="{namespace}" elementFormDefault="qualified" version="1.0">\n'
        f'  <xs:import namespace="{GML}" schemaLocation="{GML_SCHEMA}"/>\n'
    ]
    for name, names in types:
        parts.append(application_schema_elements(names.gml, names.namespace(namespace, name)))
    parts.append("</xs:schema>\n")
    return "".join(parts).encode()
