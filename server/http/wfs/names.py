"""Names in XML: namespaces, feature types, properties and ids of features, and the way back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Final

from providers.features.schema import CollectionSchema, FieldDefinition
from providers.formatters.gml import GmlNamespace, GmlSchema
from providers.formatters.xml_text import text_of_id
from server.http.scope import Scope

WFS: Final = "http://www.opengis.net/wfs/2.0"
OWS: Final = "http://www.opengis.net/ows/1.1"
FES: Final = "http://www.opengis.net/fes/2.0"
GML: Final = "http://www.opengis.net/gml/3.2"
XLINK: Final = "http://www.w3.org/1999/xlink"
XS: Final = "http://www.w3.org/2001/XMLSchema"
XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"
PREFIX: Final = "chengtu"
"""The prefix of our feature types where a request binds no other one."""

# What XML 1.0 cannot hold in any form.
_ILLEGAL: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
# What filters may call the geometry (providers.features.cql2.checking), where no field is called so.
_GEOMETRY_NAMES: Final = ("geometry", "geom", "the_geom")


def legal_text(text: str) -> str:
    """`text` with U+FFFD in place of what XML cannot hold; for what an XML library writes."""
    return _ILLEGAL.sub("\ufffd", text)


def namespace_of(scope: Scope) -> str:
    """The namespace of a view's feature types: stable, whatever the server is called."""
    return "urn:chengtu:features" if scope.tenant is None else f"urn:chengtu:features:{scope.tenant}"


def split_resource_id(scope: Scope, rid: str) -> tuple[str, str] | None:
    """Type name and feature id in a `gml:id` of this view, None where it is none."""
    dots = 1 if scope.tenant is not None else 2
    parts = rid.split(".", dots)
    if len(parts) <= dots or not all(parts):
        return None
    return ".".join(parts[:dots]), text_of_id(parts[dots])


@dataclass(frozen=True)
class FeatureNames:
    """What the properties of one feature type are called: visible fields in their order, and the geometry."""

    schema: CollectionSchema
    hidden: frozenset[str] = frozenset()

    @cached_property
    def fields(self) -> tuple[FieldDefinition, ...]:
        """The visible fields."""
        return tuple(one for one in self.schema.fields if one.name not in self.hidden)

    @cached_property
    def gml(self) -> GmlSchema:
        """The feature type with all of its visible properties."""
        name = _free_geometry_name(one.name for one in self.fields)
        return GmlSchema(self.fields, self.schema.geometry_type, name)

    @cached_property
    def by_element(self) -> Mapping[str, FieldDefinition]:
        """The visible fields by what they are called in XML."""
        return MappingProxyType({self.gml.elements[one.name]: one for one in self.fields})

    @property
    def geometry(self) -> str:
        """What the geometry is called in XML."""
        return self.gml.geometry

    @property
    def all_names(self) -> list[str]:
        """The fields in their order, then the geometry."""
        return [*self.by_element, self.geometry]

    def part(self, fields: tuple[FieldDefinition, ...], *, with_geometry: bool) -> GmlSchema:
        """The feature type with some of its properties, called as they are in the whole."""
        return _Part(fields, self.schema.geometry_type, self.geometry, not with_geometry, self.gml)

    def namespace(self, uri: str, type_name: str) -> GmlNamespace:
        """Where the names of the feature type live."""
        return GmlNamespace(uri, PREFIX, type_name)


@dataclass(frozen=True)
class _Part(GmlSchema):
    """A feature type that shows some of the properties of another one."""

    whole: GmlSchema = field(default_factory=lambda: GmlSchema(()))

    @cached_property
    def elements(self) -> dict[str, str]:
        """As in the whole, so that a name does not depend on what else is shown."""
        return self.whole.elements

    @cached_property
    def geometry(self) -> str:
        """As in the whole."""
        return self.whole.geometry


def _free_geometry_name(fields: Iterable[str]) -> str:
    """The first name for a geometry that none of the fields has."""
    taken = set(fields)
    return next((name for name in _GEOMETRY_NAMES if name not in taken), "geometry_of_feature")
