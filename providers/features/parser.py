"""An items request, parsed and checked: its query string, or the JSON object of a search.

OGC API - Features Part 1 clause 7.15, Part 2 clause 6, Part 3 (filter), Records clause 8 (sortby, q). Whatever is not
understood is refused with InvalidParameter: name, value, allowed. Both lanes of the server call this parser.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from providers.errors import InvalidParameter
from providers.features.cursors import check_cursor, cursor_mark, decode_cursor, encode_cursor
from providers.features.parameter_values import (
    boolean,
    check_text,
    crs_uri,
    equality_text,
    parse_asof,
    parse_bbox,
    parse_datetime,
    phrases,
    whole_number,
)
from providers.features.query import CRS84, BBox, Filter, ItemQuery, SortKey, TimeInterval
from providers.features.schema import CollectionSchema, FieldDefinition

__all__ = [
    "QueryLimits",
    "cursor_mark",
    "decode_cursor",
    "encode_cursor",
    "parse_asof",
    "parse_bbox",
    "parse_datetime",
    "parse_item_crs",
    "parse_item_query",
    "parse_search_body",
    "sortable_fields",
]

_CQL2_TEXT, _CQL2_JSON = "cql2-text", "cql2-json"
_MAXIMUM_SORT_KEYS = 8
_TEXT_MEMBERS = frozenset(
    ["bbox-crs", "crs", "cursor", "datetime", "filter-lang", "filter-crs", "asof", "resulttype"]
)


@dataclass(frozen=True, slots=True)
class QueryLimits:
    """How much one request may ask for. A `limit` above `maximum` is lowered to it (Part 1, requirement 22 B)."""

    default: int = 10
    maximum: int = 10_000
    maximum_offset: int = 1_000_000


@dataclass(slots=True)
class _Draft:
    """What has been understood so far."""

    schema: CollectionSchema
    limits: QueryLimits
    generation: int
    hidden: frozenset[str]
    limit: int
    bbox: str | None = None
    bbox_crs: str | None = None
    datetime: TimeInterval | None = None
    offset: int = 0
    cursor: str | None = None
    properties: tuple[str, ...] | None = None
    skip_geometry: bool = False
    crs: str = CRS84
    hits_only: bool = False
    equals: dict[str, str] = field(default_factory=dict)
    filter: str | None = None
    filter_document: Any = None
    filter_language: str | None = None
    filter_crs: str | None = None
    sortby: tuple[SortKey, ...] = ()
    q: tuple[str, ...] = ()
    asof: str | None = None

    def known_fields(self) -> list[str]:
        return [item.name for item in self.schema.fields if item.name not in self.hidden]


def parse_item_query(
    params: Iterable[tuple[str, str]] | Mapping[str, str],
    schema: CollectionSchema,
    limits: QueryLimits = QueryLimits(),
    generation: int = 0,
    hidden: frozenset[str] = frozenset(),
) -> ItemQuery:
    """The query that decoded query-string pairs mean.

    `generation` is the collection's present one, which a cursor has to belong to. `hidden` fields are treated as unknown.
    `f` and `lang` are the caller's. Raises InvalidParameter (StaleCursor for a cursor of another generation).
    """
    pairs = params.items() if isinstance(params, Mapping) else params
    draft = _Draft(schema, limits, generation, hidden, limits.default)
    seen: set[str] = set()
    for name, value in pairs:
        if name in seen:
            raise InvalidParameter(name, value, "each parameter once")
        seen.add(name)
        handler = _HANDLERS.get(name)
        if handler is not None:
            handler(draft, value)
        else:
            _equality(draft, name, value)
    return _query(draft)


def _query(draft: _Draft) -> ItemQuery:
    query = ItemQuery(
        _bbox(draft),
        draft.datetime,
        draft.equals,
        draft.limit,
        draft.offset,
        None,
        draft.properties,
        draft.skip_geometry,
        draft.crs,
        draft.hits_only,
        _filter(draft),
        draft.sortby,
        draft.q,
        draft.asof,
    )
    return query if draft.cursor is None else _continued(draft, query, draft.cursor)


def _continued(draft: _Draft, query: ItemQuery, token: str) -> ItemQuery:
    """The query from a cursor on."""
    if draft.offset:
        raise InvalidParameter("offset", str(draft.offset), "either cursor or offset")
    cursor = decode_cursor(token, draft.generation, cursor_mark(query), len(query.sortby) + 1)
    check_cursor(token, cursor, [draft.schema.by_name[key.field] for key in query.sortby])
    return replace(query, cursor=cursor)


def parse_item_crs(
    params: Iterable[tuple[str, str]] | Mapping[str, str], schema: CollectionSchema | None = None
) -> str:
    """The CRS URI that a request for one item asks for; only `crs`, `f` and `lang` are allowed there.

    `schema` is the collection's; every CRS that can be answered is answered, so it is not looked at yet.
    """
    uri = CRS84
    seen: set[str] = set()
    for name, value in params.items() if isinstance(params, Mapping) else params:
        if name in seen:
            raise InvalidParameter(name, value, "each parameter once")
        seen.add(name)
        if name == "crs":
            uri = crs_uri("crs", value)
        elif name not in ("f", "lang"):
            raise InvalidParameter(name, value, "the parameters crs, f, lang")
    return uri


def sortable_fields(schema: CollectionSchema, hidden: frozenset[str] = frozenset()) -> list[FieldDefinition]:
    """The fields that `sortby` may name: all visible ones; the geometry has no order."""
    return [item for item in schema.fields if item.name not in hidden]


# --- one handler per parameter -------------------------------------------------------------------------------------------


def _ignore(draft: _Draft, value: str) -> None:
    """`f` and `lang` belong to the caller."""


def _set_bbox(draft: _Draft, value: str) -> None:
    draft.bbox = value


def _set_bbox_crs(draft: _Draft, value: str) -> None:
    draft.bbox_crs = crs_uri("bbox-crs", value)


def _set_crs(draft: _Draft, value: str) -> None:
    draft.crs = crs_uri("crs", value)


def _set_limit(draft: _Draft, value: str) -> None:
    allowed = f"a whole number from 1 to {draft.limits.maximum}"
    number = whole_number("limit", value, allowed)
    if number < 1:
        raise InvalidParameter("limit", value, allowed)
    draft.limit = min(number, draft.limits.maximum)


def _set_offset(draft: _Draft, value: str) -> None:
    allowed = (
        f"a whole number from 0 to {draft.limits.maximum_offset}; further pages are reached by the next links"
    )
    number = whole_number("offset", value, allowed)
    if number > draft.limits.maximum_offset:
        raise InvalidParameter("offset", value, allowed)
    draft.offset = number


def _set_cursor(draft: _Draft, value: str) -> None:
    draft.cursor = value


def _set_properties(draft: _Draft, value: str) -> None:
    names = tuple(dict.fromkeys(value.split(","))) if value else ()
    known = draft.known_fields()
    for name in names:
        if name not in known:
            raise InvalidParameter(
                "properties", value, f"names of {known} separated by commas; {name!r} is none"
            )
    draft.properties = names


def _set_skip_geometry(draft: _Draft, value: str) -> None:
    draft.skip_geometry = boolean("skipGeometry", value)


def _set_result_type(draft: _Draft, value: str) -> None:
    if value not in ("results", "hits"):
        raise InvalidParameter("resulttype", value, "results, hits")
    draft.hits_only = value == "hits"


def _set_datetime(draft: _Draft, value: str) -> None:
    draft.datetime = parse_datetime(value)


def _set_filter(draft: _Draft, value: str) -> None:
    draft.filter = value


def _set_filter_language(draft: _Draft, value: str) -> None:
    if value not in (_CQL2_TEXT, _CQL2_JSON):
        raise InvalidParameter("filter-lang", value, f"{_CQL2_TEXT}, {_CQL2_JSON}")
    draft.filter_language = value


def _set_filter_crs(draft: _Draft, value: str) -> None:
    draft.filter_crs = crs_uri("filter-crs", value)


def _set_sortby(draft: _Draft, value: str) -> None:
    draft.sortby = _sort_keys(draft, value, value.split(","))


def _set_q(draft: _Draft, value: str) -> None:
    draft.q = phrases(value)


def _set_asof(draft: _Draft, value: str) -> None:
    draft.asof = parse_asof(value)


_HANDLERS: dict[str, Callable[[_Draft, str], None]] = {
    "f": _ignore,
    "lang": _ignore,
    "bbox": _set_bbox,
    "bbox-crs": _set_bbox_crs,
    "crs": _set_crs,
    "limit": _set_limit,
    "offset": _set_offset,
    "cursor": _set_cursor,
    "properties": _set_properties,
    "skipGeometry": _set_skip_geometry,
    "resulttype": _set_result_type,
    "datetime": _set_datetime,
    "filter": _set_filter,
    "filter-lang": _set_filter_language,
    "filter-crs": _set_filter_crs,
    "sortby": _set_sortby,
    "q": _set_q,
    "asof": _set_asof,
}


def _equality(draft: _Draft, name: str, value: str) -> None:
    found = None if name in draft.hidden else draft.schema.by_name.get(name)
    if found is None:
        allowed = f"the parameters {sorted(_HANDLERS)} and the queryables {draft.known_fields()}"
        raise InvalidParameter(name, value, allowed)
    draft.equals[name] = equality_text(found, value)


def _sort_keys(draft: _Draft, value: str, parts: list[str]) -> tuple[SortKey, ...]:
    """Names with + (or nothing) for ascending and - for descending. A + that was not escaped has become a space."""
    keys: list[SortKey] = []
    names = {item.name for item in sortable_fields(draft.schema, draft.hidden)}
    for part in parts:
        # a name may begin with a sign itself
        key = SortKey(part) if part in names else SortKey(part[1:], part[:1] == "-")
        if key.field not in names or (part not in names and part[0] not in "+- "):
            allowed = f"names of {sorted(names)} separated by commas, with - for descending; {part!r} is none"
            raise InvalidParameter("sortby", value, allowed)
        keys.append(key)
    if len({key.field for key in keys}) < len(keys) or len(keys) > _MAXIMUM_SORT_KEYS:
        raise InvalidParameter("sortby", value, f"up to {_MAXIMUM_SORT_KEYS} fields, each once")
    return tuple(keys)


def _bbox(draft: _Draft) -> BBox | None:
    if draft.bbox is None:
        if draft.bbox_crs is not None:
            raise InvalidParameter("bbox-crs", draft.bbox_crs, "only together with bbox")
        return None
    return parse_bbox(draft.bbox, draft.bbox_crs or CRS84)


def _filter(draft: _Draft) -> Filter | None:
    if draft.filter is None and draft.filter_document is None:
        for name, value in (("filter-lang", draft.filter_language), ("filter-crs", draft.filter_crs)):
            if value is not None:
                raise InvalidParameter(name, value, "only together with filter")
        return None
    from providers.features import cql2  # the parsers take a third of a second to load

    crs = draft.filter_crs or CRS84
    if draft.filter is None:
        return cql2.parse_filter_document(draft.filter_document, draft.schema, draft.hidden, crs)
    check_text("filter", draft.filter, draft.filter)
    return cql2.parse_filter(
        draft.filter, draft.filter_language or _CQL2_TEXT, draft.schema, draft.hidden, crs
    )


# --- the body of a search ------------------------------------------------------------------------------------------------


def parse_search_body(
    document: Mapping[str, Any],
    schema: CollectionSchema,
    limits: QueryLimits = QueryLimits(),
    generation: int = 0,
    hidden: frozenset[str] = frozenset(),
) -> ItemQuery:
    """The query that a decoded JSON object means: its members are the parameters of the query string.

    `filter` is a CQL2 JSON object or a text in `filter-lang`; `bbox`, `properties`, `q` and `sortby` may be arrays (of
    `{"field", "direction"}` too in sortby), numbers and booleans stand as such. Raises InvalidParameter.
    """
    draft = _Draft(schema, limits, generation, hidden, limits.default)
    for name, value in document.items():
        reader = _MEMBERS.get(name)
        if reader is not None and not isinstance(value, str):
            reader(draft, value)
        elif name in _HANDLERS:
            _HANDLERS[name](draft, _member_text(name, value))
        else:
            _equality(draft, name, _member_text(name, value))
    return _query(draft)


def _member_text(name: str, value: Any) -> str:
    """A scalar member as the text it would be in a query string."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float) and name not in _TEXT_MEMBERS:
        return repr(value)
    raise _misfit(name, value, "a text" if name in _TEXT_MEMBERS else "a text, a number, true or false")


def _misfit(name: str, value: Any, allowed: str) -> InvalidParameter:
    return InvalidParameter(name, repr(value)[:200], allowed)


def _texts(name: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _misfit(name, value, "a text, or an array of texts")
    return value


def _bbox_member(draft: _Draft, value: Any) -> None:
    if not isinstance(value, list) or not all(type(number) in (int, float) for number in value):
        raise _misfit("bbox", value, "an array of 4 or 6 numbers")
    draft.bbox = ",".join(map(repr, value))


def _properties_member(draft: _Draft, value: Any) -> None:
    names = tuple(dict.fromkeys(_texts("properties", value)))
    for name in names:
        if name not in draft.known_fields():
            raise InvalidParameter("properties", name, f"names of {draft.known_fields()}")
    draft.properties = names


def _sortby_member(draft: _Draft, value: Any) -> None:
    parts = [_sort_part(item) for item in value] if isinstance(value, list) else [_sort_part(value)]
    draft.sortby = _sort_keys(draft, ",".join(parts), parts)


def _sort_part(item: Any) -> str:
    if isinstance(item, str):
        return item
    if isinstance(item, Mapping) and set(item) <= {"field", "direction"}:
        field_name, direction = item.get("field"), item.get("direction", "asc")
        if isinstance(field_name, str) and direction in ("asc", "desc"):
            return ("-" if direction == "desc" else "+") + field_name
    raise _misfit("sortby", item, '"+name", "-name" or {"field": "name", "direction": "asc" or "desc"}')


def _q_member(draft: _Draft, value: Any) -> None:
    draft.q = phrases(",".join(_texts("q", value)))


def _filter_member(draft: _Draft, value: Any) -> None:
    if not isinstance(value, dict | bool):
        raise _misfit("filter", value, "a CQL2 JSON object, or a CQL2 text")
    draft.filter_document = value


_MEMBERS: dict[str, Callable[[_Draft, Any], None]] = {
    "bbox": _bbox_member,
    "properties": _properties_member,
    "sortby": _sortby_member,
    "q": _q_member,
    "filter": _filter_member,
}
