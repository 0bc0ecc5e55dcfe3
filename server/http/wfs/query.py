"""From the parameters of a query to the `ItemQuery` that stores answer (09-025r2 clause 7.9)."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Final

from providers.errors import InvalidParameter
from providers.features.crs import reference_system
from providers.features.cursors import check_cursor, cursor_mark, decode_cursor
from providers.features.parameter_values import parse_bbox
from providers.features.query import CRS84, BBox, Filter, ItemQuery, SortKey
from providers.features.schema import FieldDefinition
from providers.features.source import Ability, FeatureSource, asked_abilities
from server.http.wfs.errors import INVALID_VALUE, NO_OPTION, WfsError, invalid
from server.http.wfs.feature_types import (
    FeatureType,
    NamedSystem,
    Service,
    default_system,
    is_crs84,
    named_system,
)
from server.http.wfs.names import FeatureNames, split_resource_id
from server.http.wfs.stored_queries import is_get_feature_by_id

_MOST_IDS: Final = 1_000
_MOST_SORT_KEYS: Final = 8
_DIRECTIONS: Final = {"": False, "ASC": False, "A": False, "DESC": True, "D": True}
_FILTER_LANGUAGES: Final = ("urn:ogc:def:queryLanguage:OGC-FES:Filter", "http://www.opengis.net/fes/2.0")
_WFS_NAMES: Final = {
    Ability.BBOX: "bbox",
    Ability.FILTER: "filter",
    Ability.SORTBY: "sortBy",
    Ability.OFFSET: "startIndex",
    Ability.CURSOR: "cursor",
    Ability.HITS: "resultType",
}


@dataclass(frozen=True)
class FeatureQuery:
    """One query: what is selected of one feature type, and how it is shown.

    `ids` are those of ResourceId, None where features are selected by conditions. `fields` and `with_geometry` are what is
    to be shown. `by_id` is the stored query GetFeatureById, whose answer is the feature itself.
    """

    kind: FeatureType
    names: FeatureNames
    items: ItemQuery
    ids: tuple[str, ...] | None
    system: NamedSystem
    srs_asked: bool
    fields: tuple[FieldDefinition, ...]
    with_geometry: bool
    by_id: bool = False


def read_query(service: Service, *, hits_only: bool = False) -> FeatureQuery:
    """The query of a GetFeature or GetPropertyValue request. Raises WfsError and what a store raises."""
    parameters = service.parameters
    parameters.refuse("aliases", "featureVersion")
    _check_resolve(service)
    stored = parameters.get("storedquery_id")
    by_id = stored is not None and is_get_feature_by_id(stored)
    ids = [parameters.needed("id", "the gml:id of a feature")] if by_id else _resource_ids(service)
    kind = _feature_type(service, ids, by_id=by_id)
    names = kind.names
    system, srs_asked = _system(service, kind)
    shown, with_geometry = _shown(parameters.get("propertyName"), names)
    condition, filter_ids = (None, ()) if by_id else _condition(service, kind, names)
    rids = ids or filter_ids
    source = kind.asked.source
    able = source.abilities
    everything = shown == names.fields or Ability.PROPERTIES not in able
    items = ItemQuery(
        bbox=None if by_id else _bbox(service, kind),
        limit=_count(service),
        offset=parameters.whole_number("startIndex") or 0,
        properties=None if everything else tuple(field.name for field in shown),
        skip_geometry=not with_geometry and Ability.SKIP_GEOMETRY in able,
        hits_only=hits_only or parameters.whole_number("count") == 0,
        filter=condition,
        sortby=_sort_keys(parameters.get("sortBy"), names),
    )
    items = _continued(service, kind, items)
    _refuse_what_it_cannot(items, source)
    wanted = _ids_of(service, kind, rids) if rids else None
    return FeatureQuery(kind, names, items, wanted, system, srs_asked, shown, with_geometry, by_id)


def _check_resolve(service: Service) -> None:
    resolve = service.parameters.get("resolve")
    if resolve not in (None, "none"):
        raise WfsError(
            NO_OPTION,
            f"resolve is {resolve[:200]!r}; features here refer to nothing: allowed is none",
            "resolve",
        )
    service.parameters.refuse("resolveDepth", "resolveTimeout", "resolvePath")


def _resource_ids(service: Service) -> list[str]:
    value = service.parameters.get("resourceId")
    return [] if value is None else [part.strip() for part in value.split(",") if part.strip()]


def _feature_type(service: Service, ids: list[str], *, by_id: bool) -> FeatureType:
    """The one feature type that is asked for: by its name, or by the ids alone."""
    names = service.parameters.names("typeNames")
    if by_id or (not names and ids):
        return _type_of_ids(service, ids, by_id=by_id)
    if not names:
        service.parameters.needed("typeNames", "the name of a feature type, or resourceId")
    if len(names) > 1:
        raise WfsError(
            NO_OPTION,
            f"typeNames has {len(names)} names, which is a join; this server has none: ask for one feature type a request",
            "typeNames",
        )
    return service.find(names[0], "typeNames")


def _type_of_ids(service: Service, ids: list[str], *, by_id: bool) -> FeatureType:
    locator = "id" if by_id else "resourceId"
    found = {parts[0] if (parts := split_resource_id(service.here.scope, rid)) else "" for rid in ids}
    if len(found) > 1:
        raise WfsError(
            NO_OPTION,
            "resourceId names features of several types: ask for one feature type a request",
            locator,
        )
    name = found.pop()
    try:
        return service.named(name, locator)
    except WfsError as error:
        raise WfsError(
            "NotFound" if by_id else INVALID_VALUE, f"there is no feature {ids[0][:200]!r} here", locator
        ) from error


def _ids_of(service: Service, kind: FeatureType, rids: list[str] | tuple[str, ...]) -> tuple[str, ...]:
    """The ids of features in `rids`; those of other types select nothing of this one."""
    if len(rids) > _MOST_IDS:
        raise WfsError(
            INVALID_VALUE, f"{len(rids)} resource ids; allowed: at most {_MOST_IDS} a request", "resourceId"
        )
    parts = (split_resource_id(service.here.scope, rid) for rid in rids)
    return tuple(dict.fromkeys(found[1] for found in parts if found is not None and found[0] == kind.name))


def _system(service: Service, kind: FeatureType) -> tuple[NamedSystem, bool]:
    name = service.parameters.get("srsName")
    return (default_system(kind.collection), False) if name is None else (named_system(name, "srsName"), True)


def _count(service: Service) -> int:
    maximum = service.here.services.limits.maximum
    count = service.parameters.whole_number("count")
    return min(maximum, count) if count else maximum


def _continued(service: Service, kind: FeatureType, items: ItemQuery) -> ItemQuery:
    """The query from the cursor of a `next` link on; `offset` is then only what the page is counted from."""
    token = service.parameters.get("cursor")
    if token is None:
        return items
    cursor = decode_cursor(token, kind.asked.generation, cursor_mark(items), len(items.sortby) + 1)
    schema = kind.asked.source.schema
    check_cursor(token, cursor, [schema.by_name[key.field] for key in items.sortby])
    return replace(items, cursor=cursor)


def _refuse_what_it_cannot(items: ItemQuery, source: FeatureSource) -> None:
    """Raise WfsError, naming parameter and store, where the store cannot answer all of the query."""
    if items.cursor is not None:
        items = replace(items, offset=0)
    for ability in asked_abilities(items):
        if ability not in source.abilities:
            name = _WFS_NAMES.get(ability, str(ability))
            raise WfsError(
                NO_OPTION,
                f"{name} cannot be answered by the store of this feature type ({source.kind}); leave it out",
                name,
            )


# --- properties ----------------------------------------------------------------------------------------------------------


def property_name(reference: str) -> str:
    """The local name of a property in a value reference: prefixes, and steps before the last one, are left out."""
    return reference.strip().rpartition("/")[2].rpartition(":")[2]


def _field(reference: str, names: FeatureNames, locator: str) -> FieldDefinition | None:
    """The field of a value reference, None for the geometry. Raises WfsError."""
    name = property_name(reference)
    field = names.by_element.get(name)
    if field is None and name != names.geometry:
        raise invalid(locator, reference, f"the properties {', '.join(names.all_names)}")
    return field


def _shown(value: str | None, names: FeatureNames) -> tuple[tuple[FieldDefinition, ...], bool]:
    """The fields to show, in the schema's order, and whether the geometry is."""
    if value is None:
        return names.fields, True
    if ")(" in value:
        raise WfsError(
            NO_OPTION,
            "propertyName has several lists, which are several queries: send them one by one",
            "propertyName",
        )
    wanted = [_field(part, names, "propertyName") for part in value.strip("()").split(",") if part.strip()]
    chosen = {field.name for field in wanted if field is not None}
    return tuple(field for field in names.fields if field.name in chosen), None in wanted


def _sort_keys(value: str | None, names: FeatureNames) -> tuple[SortKey, ...]:
    if value is None:
        return ()
    keys = []
    for part in value.split(","):
        name, _, direction = part.strip().partition(" ")
        field = _field(name, names, "sortBy")
        if field is None or direction.strip().upper() not in _DIRECTIONS:
            raise invalid("sortBy", part, f"{', '.join(names.by_element)}, each with ASC or DESC after it")
        keys.append(SortKey(field.name, _DIRECTIONS[direction.strip().upper()]))
    if len({key.field for key in keys}) < len(keys) or len(keys) > _MOST_SORT_KEYS:
        raise invalid("sortBy", value, f"up to {_MOST_SORT_KEYS} properties, each once")
    return tuple(keys)


# --- conditions ----------------------------------------------------------------------------------------------------------


def _condition(
    service: Service, kind: FeatureType, names: FeatureNames
) -> tuple[Filter | None, tuple[str, ...]]:
    """The filter, or the resource ids in it. Filter, bbox and resourceId exclude one another (09-025r2 table 8)."""
    parameters = service.parameters
    given = [name for name in ("filter", "bbox", "resourceId") if parameters.get(name) is not None]
    if len(given) > 1:
        raise WfsError(INVALID_VALUE, f"{' and '.join(given)} are given; allowed is one of them", given[1])
    language = parameters.get("filter_language")
    if language not in (None, *_FILTER_LANGUAGES):
        raise invalid("filter_language", language, _FILTER_LANGUAGES[0])
    text = parameters.get("filter")
    if text is None:
        return None, ()
    return read_filter(text, kind, names)


def read_filter(text: str, kind: FeatureType, names: FeatureNames) -> tuple[Filter | None, tuple[str, ...]]:
    """A filter of FES, or the resource ids in it. Raises WfsError and InvalidParameter."""
    from providers.features.cql2.fes import parse_fes  # the parsers take a third of a second to load

    document = text.strip()
    if document.startswith("(") and document.endswith(")"):
        document = document[1:-1]
    crs = default_system(kind.collection).uri
    elements = names.gml.elements
    renamed = {element: name for name, element in elements.items() if element != name}
    if not renamed:
        found = parse_fes(document, names.schema, names.hidden, crs)
        return found.filter, found.ids
    # The parser takes what stands before a colon for a prefix, so it is given the names that stand in the XML.
    shown = replace(
        names.schema, fields=tuple(replace(field, name=elements[field.name]) for field in names.fields)
    )
    found = parse_fes(document, shown, frozenset(), crs)
    return (None if found.filter is None else _with_field_names(found.filter, renamed)), found.ids


def _with_field_names(found: Filter, renamed: dict[str, str]) -> Filter:
    from providers.features.cql2 import to_text

    node = _renamed(found.node, renamed)
    return Filter(node, to_text(node), frozenset(renamed.get(name, name) for name in found.fields))


def _renamed(node: Any, renamed: dict[str, str]) -> Any:
    from pygeofilter import ast

    if isinstance(node, ast.Attribute):
        return ast.Attribute(renamed.get(node.name, node.name))
    if isinstance(node, list):
        return [_renamed(part, renamed) for part in node]
    if isinstance(node, ast.Node):
        return replace(
            node, **{field.name: _renamed(getattr(node, field.name), renamed) for field in fields(node)}
        )
    return node


def _bbox(service: Service, kind: FeatureType) -> BBox | None:
    """BBOX with its CRS after the numbers; without one it is in the type's default CRS. In the order the CRS name stands for."""
    value = service.parameters.get("bbox")
    if value is None:
        return None
    parts = [part.strip() for part in value.split(",")]
    numbers, rest = (
        (parts[:6], parts[6:]) if len(parts) >= 6 and _is_number(parts[4]) else (parts[:4], parts[4:])
    )
    system = named_system(",".join(rest), "bbox") if rest else default_system(kind.collection)
    try:
        if system.in_gis_order and not is_crs84(system.system) and reference_system(system.uri).swap:
            half = len(numbers) // 2
            numbers = [
                numbers[i] for start in (0, half) for i in (start + 1, start, *range(start + 2, start + half))
            ]
        uri = CRS84 if system.in_gis_order and is_crs84(system.system) else system.uri
        return parse_bbox(",".join(numbers), uri)
    except InvalidParameter as error:
        raise invalid("bbox", value, f"{error.allowed}, then the CRS they are in ({system.name})") from None


def _is_number(text: str) -> bool:
    return text[:1].isdigit() or text[:1] in ("-", "+", ".")
