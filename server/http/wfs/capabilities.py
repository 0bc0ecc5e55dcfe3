"""GetCapabilities (09-025r2 clause 8), made from the catalogue for the one who asks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from lxml import etree

from server.http.answer import Answer
from server.http.maps import bounds84
from server.http.wfs.describe import FORMATS as SCHEMA_FORMATS
from server.http.wfs.errors import MEDIA_TYPE, NO_VERSION, WfsError, invalid
from server.http.wfs.feature_types import Service, default_urn, other_urns
from server.http.wfs.filter_capabilities import add_filter_capabilities
from server.http.wfs.formats import GML_TYPE, format_names
from server.http.wfs.names import FES, GML, OWS, PREFIX, WFS, XLINK, XS, XSI, legal_text
from server.http.wfs.parameters import VERSION, VERSIONS
from server.http.wfs.xml_request import OPERATIONS
from server.registry.catalogue import Collection

type Element = Any  # lxml's elements are not declared as a type

_XML_LANG: Final = "{http://www.w3.org/XML/1998/namespace}lang"
_SCHEMA: Final = "http://www.opengis.net/wfs/2.0 http://schemas.opengis.net/wfs/2.0/wfs.xsd"
_FORMATS: Final = ("text/xml", "application/xml")
_CONFORMANCE: Final = {
    "ImplementsBasicWFS": True,
    "ImplementsTransactionalWFS": False,
    "ImplementsLockingWFS": False,
    "KVPEncoding": True,
    "XMLEncoding": True,
    "SOAPEncoding": False,
    "ImplementsInheritance": False,
    "ImplementsRemoteResolve": False,
    "ImplementsResultPaging": True,
    "ImplementsStandardJoins": False,
    "ImplementsSpatialJoins": False,
    "ImplementsTemporalJoins": False,
    "ImplementsFeatureVersioning": False,
    "ManageStoredQueries": False,
}
"""Clause 8.3.5.4, table 13."""


def get_capabilities(service: Service) -> Answer:
    """The capabilities document, or the sections of it that are asked for."""
    _negotiate(service)
    sections = _sections(service)
    catalogue, who = service.here.catalogue, service.here.who
    state = f"{catalogue.instance}\n{catalogue.revision}\n{who.id}\n{service.url}\n{sections}\n{service.here.language}"
    etag = f'W/"wfs-{hashlib.blake2s(state.encode(), digest_size=10).hexdigest()}"'
    if service.here.environ["REQUEST_METHOD"] == "POST":
        return Answer(_document(service, sections), MEDIA_TYPE, private=True)
    return Answer(_document(service, sections), MEDIA_TYPE, etag=etag, private=who.operator)


def _negotiate(service: Service) -> None:
    """The highest version that both know (OWS Common 06-121r3 clause 7.3.2). Raises WfsError."""
    wanted = service.parameters.get("acceptVersions")
    if wanted is not None and not any(version.strip() in VERSIONS for version in wanted.split(",")):
        raise WfsError(
            NO_VERSION, f"acceptVersions is {wanted[:200]!r}; this server speaks {', '.join(VERSIONS)}"
        )
    formats = service.parameters.get("acceptFormats")
    if formats is not None and not any(
        one.strip().partition(";")[0] in _FORMATS for one in formats.split(",")
    ):
        raise invalid("acceptFormats", formats, ", ".join(_FORMATS))


def _sections(service: Service) -> tuple[str, ...]:
    wanted = service.parameters.get("sections")
    if wanted is None:
        return tuple(_SECTIONS)
    names = {name.lower(): name for name in _SECTIONS}
    found = []
    for part in wanted.split(","):
        name = part.strip().lower()
        if name == "all":
            return tuple(_SECTIONS)
        if name not in names:
            raise invalid("sections", wanted, ", ".join([*_SECTIONS, "All"]))
        found.append(names[name])
    return tuple(name for name in _SECTIONS if name in found)


def _document(service: Service, sections: Sequence[str]) -> bytes:
    names = {
        "wfs": WFS,
        "ows": OWS,
        "fes": FES,
        "gml": GML,
        "xlink": XLINK,
        "xs": XS,
        "xsi": XSI,
        PREFIX: service.namespace,
    }
    attributes = {"version": VERSION, f"{{{XSI}}}schemaLocation": _SCHEMA}
    root = etree.Element(f"{{{WFS}}}WFS_Capabilities", attributes, names)
    for name in sections:
        _SECTIONS[name](root, service)
    return bytes(etree.tostring(root, xml_declaration=True, encoding="UTF-8"))


def _ows(parent: Element, tag: str, text: str | None = None, /, **attributes: str) -> Element:
    element = etree.SubElement(parent, f"{{{OWS}}}{tag}", attributes)
    if text is not None:
        element.text = legal_text(text)
    return element


def _wfs(parent: Element, name: str, text: str | None = None) -> Element:
    element = etree.SubElement(parent, f"{{{WFS}}}{name}")
    if text is not None:
        element.text = legal_text(text)
    return element


# --- the service ---------------------------------------------------------------------------------------------------------


def _titles(service: Service) -> dict[str, str]:
    tenant = service.here.tenant
    pages = service.here.services.settings.pages
    return {"en": pages.title_en, "zh": pages.title_zh} if tenant is None else dict(tenant.titles)


def _identification(root: Element, service: Service) -> None:
    section = _ows(root, "ServiceIdentification")
    titles = _titles(service)
    title = titles.get(service.here.language) or titles["en"]
    _ows(section, "Title", title)
    _ows(section, "Abstract", " / ".join(dict.fromkeys(titles.values())))
    _ows(section, "ServiceType", "WFS", codeSpace="OGC")
    for version in sorted(VERSIONS):
        _ows(section, "ServiceTypeVersion", version)
    _ows(section, "Fees", "NONE")
    _ows(section, "AccessConstraints", "NONE")


def _provider(root: Element, service: Service) -> None:
    section = _ows(root, "ServiceProvider")
    titles = _titles(service)
    _ows(section, "ProviderName", titles.get(service.here.language) or titles["en"])
    site = _ows(section, "ProviderSite")
    site.set(f"{{{XLINK}}}href", f"{service.here.origin}{service.here.scope.prefix}/")
    _ows(section, "ServiceContact")


def _values(parent: Element, name: str, values: Iterable[str]) -> None:
    allowed = _ows(_ows(parent, "Parameter", name=name), "AllowedValues")
    for value in values:
        _ows(allowed, "Value", value)


def _operations(root: Element, service: Service) -> None:
    section = _ows(root, "OperationsMetadata")
    parameters: dict[str, dict[str, Iterable[str]]] = {
        "GetCapabilities": {"AcceptVersions": VERSIONS, "AcceptFormats": _FORMATS, "Sections": _SECTIONS},
        "DescribeFeatureType": {"outputFormat": SCHEMA_FORMATS},
        "GetFeature": {
            "resultType": ("results", "hits"),
            "outputFormat": format_names(),
            "resolve": ("none",),
        },
        "GetPropertyValue": {
            "resultType": ("results", "hits"),
            "outputFormat": (GML_TYPE,),
            "resolve": ("none",),
        },
    }
    for name in OPERATIONS:
        operation = _ows(section, "Operation", name=name)
        http = _ows(_ows(operation, "DCP"), "HTTP")
        for method in ("Get", "Post"):
            _ows(http, method).set(f"{{{XLINK}}}href", service.url)
        for parameter, values in parameters.get(name, {}).items():
            _values(operation, parameter, values)
        if name == "GetFeature":
            _constraint(operation, "PagingIsTransactionSafe", "FALSE")
            _constraint(operation, "CountDefault", str(service.here.services.limits.maximum))
    _values(section, "version", VERSIONS)
    for constraint, holds in _CONFORMANCE.items():
        _constraint(section, constraint, "TRUE" if holds else "FALSE")
    expressions = _ows(_ows(section, "Constraint", name="QueryExpressions"), "AllowedValues")
    for expression in ("wfs:Query", "wfs:StoredQuery"):
        _ows(expressions, "Value", expression)


def _constraint(parent: Element, name: str, value: str) -> None:
    constraint = _ows(parent, "Constraint", name=name)
    _ows(constraint, "NoValues")
    _ows(constraint, "DefaultValue", value)


# --- the feature types ---------------------------------------------------------------------------------------------------


def _feature_types(root: Element, service: Service) -> None:
    section = _wfs(root, "FeatureTypeList")
    formats = format_names()
    for collection in service.collections():
        _feature_type(section, service, collection, formats)


def _feature_type(section: Element, service: Service, collection: Collection, formats: Sequence[str]) -> None:
    language = service.here.language
    kind = _wfs(section, "FeatureType")
    _wfs(kind, "Name", f"{PREFIX}:{service.type_name(collection)}")
    for key in (language, *(other for other in sorted(collection.titles) if other != language)):
        if collection.titles.get(key):
            _wfs(kind, "Title", collection.titles[key]).set(_XML_LANG, key)
    abstract = collection.descriptions.get(language) or next(
        filter(None, collection.descriptions.values()), ""
    )
    told = ". ".join(filter(None, (abstract, collection.attribution, collection.licence)))
    if told:
        _wfs(kind, "Abstract", told)
    if collection.keywords:
        keywords = _ows(kind, "Keywords")
        for keyword in collection.keywords:
            _ows(keywords, "Keyword", keyword)
    _wfs(kind, "DefaultCRS", default_urn(collection.storage_crs))
    for urn in other_urns(collection):
        _wfs(kind, "OtherCRS", urn)
    outputs = _wfs(kind, "OutputFormats")
    for name in formats:
        _wfs(outputs, "Format", name)
    if collection.bbox:
        west, south, east, north = bounds84(collection)
        box = _ows(kind, "WGS84BoundingBox")
        _ows(box, "LowerCorner", f"{west!r} {south!r}")
        _ows(box, "UpperCorner", f"{east!r} {north!r}")
    link = _wfs(kind, "MetadataURL")
    link.set(f"{{{XLINK}}}href", service.here.url_of(service.type_name(collection)))


def _filters(root: Element, _: Service) -> None:
    add_filter_capabilities(root)


_SECTIONS: Final[dict[str, Callable[[Element, Service], None]]] = {
    "ServiceIdentification": _identification,
    "ServiceProvider": _provider,
    "OperationsMetadata": _operations,
    "FeatureTypeList": _feature_types,
    "Filter_Capabilities": _filters,
}
