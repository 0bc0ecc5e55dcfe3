"""The conditions of an items query as one tree, so that a remote language needs one writer and no more.

`datetime`, property filters, `q` and `filter` become comparisons of the kinds that a checked filter is made of; `bbox` stays
apart, for services have a way of their own to ask for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Any

from pygeofilter import ast

from providers.errors import UnsupportedQuery
from providers.features.query import BBox, ItemQuery, TimeInterval
from providers.features.schema import CollectionSchema, FieldDefinition
from providers.features.source import Ability, asked_abilities

_OURS = frozenset({Ability.CRS, Ability.PROPERTIES, Ability.SKIP_GEOMETRY, Ability.CURSOR, Ability.OFFSET})
COMPARISONS: Mapping[type, str] = {
    ast.Equal: "=",
    ast.NotEqual: "<>",
    ast.LessThan: "<",
    ast.LessEqual: "<=",
    ast.GreaterThan: ">",
    ast.GreaterEqual: ">=",
}


def condition_of(
    query: ItemQuery, schema: CollectionSchema, hidden: frozenset[str], *, with_filter: bool = True
) -> Any:
    """One pygeofilter tree of everything but `bbox`; None without any condition, a bool where the filter is one."""
    parts: list[Any] = [
        ast.Equal(ast.Attribute(name), typed(schema.by_name[name], text))
        for name, text in query.equals.items()
    ]
    if query.datetime is not None and schema.time_field is not None:
        parts += time_conditions(schema.by_name[schema.time_field], query.datetime)
    if query.q:
        parts.append(phrases_condition(query.q, schema, hidden))
    if with_filter and query.filter is not None:
        parts.append(query.filter.node)
    if any(part is False for part in parts):
        return False
    parts = [part for part in parts if part is not True]
    if not parts:
        return None if query.filter is None or not with_filter else True
    return chained(ast.And, parts)


def chained(kind: Any, parts: list[Any]) -> Any:
    """Parts joined by And or Or, as a tree of little depth."""
    while len(parts) > 1:
        parts = [kind(*parts[i : i + 2]) if i + 1 < len(parts) else parts[i] for i in range(0, len(parts), 2)]
    return parts[0]


def flattened(node: Any) -> Iterator[Any]:
    """The members of a chain of equal And or Or nodes."""
    for side in (node.lhs, node.rhs):
        if type(side) is type(node):
            yield from flattened(side)
        else:
            yield side


def time_conditions(field: FieldDefinition, interval: TimeInterval) -> list[Any]:
    """A closed interval on the time field; without any end, that it has a value."""
    conditions: list[Any] = []
    if interval.start is not None:
        conditions.append(ast.GreaterEqual(ast.Attribute(field.name), _moment(field, interval.start)))
    if interval.end is not None:
        conditions.append(ast.LessEqual(ast.Attribute(field.name), _moment(field, interval.end)))
    return conditions or [ast.IsNull(ast.Attribute(field.name), True)]


def phrases_condition(phrases: tuple[str, ...], schema: CollectionSchema, hidden: frozenset[str]) -> Any:
    """At least one phrase in at least one visible text field, whatever the case; False without text fields."""
    names = [
        item.name
        for item in schema.fields
        if item.type == "string" and item.format is None and item.name not in hidden
    ]
    tests = [
        ast.Like(
            ast.Function("casei", [ast.Attribute(name)]),
            f"%{_escaped(phrase)}%",
            False,
            "%",
            "_",
            "\\",
            False,
        )
        for phrase in phrases
        for name in names
    ]
    return chained(ast.Or, tests) if tests else False


def typed(field: FieldDefinition, text: str) -> Any:
    """The literal that a property filter's text means; the parser has made sure that it is one."""
    if field.type == "integer":
        return int(text)
    if field.type == "number":
        return float(text)
    if field.type == "boolean":
        return text in ("true", "1")
    return text if field.format is None else _moment(field, text)


def _moment(field: FieldDefinition, text: str) -> date | datetime:
    if field.format == "date":
        return date.fromisoformat(text[:10])
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _escaped(phrase: str) -> str:
    folded = phrase.casefold()
    for letter in ("\\", "%", "_"):
        folded = folded.replace(letter, "\\" + letter)
    return folded


def boxes_of(bbox: BBox | None) -> tuple[BBox, ...]:
    """The box, or its two halves where it crosses the antimeridian."""
    if bbox is None:
        return ()
    if bbox.west <= bbox.east:
        return (bbox,)
    return BBox(bbox.west, bbox.south, 180.0, bbox.north), BBox(-180.0, bbox.south, bbox.east, bbox.north)


def is_casei(node: Any) -> bool:
    """Whether an operand is `CASEI(field)`."""
    return (
        isinstance(node, ast.Function)
        and node.name.lower() == "casei"
        and len(node.arguments) == 1
        and isinstance(node.arguments[0], ast.Attribute)
    )


def instant_text(moment: datetime) -> str:
    """RFC 3339 in UTC, with milliseconds where there are any."""
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds")[:23]
    return f"{text[:19]}Z" if text.endswith(".000") else f"{text}Z"


def refused(kind: str, query: ItemQuery, reason: str) -> UnsupportedQuery:
    """The service's own refusal of a request, naming the parameters that were passed on to it."""
    names = [ability.value for ability in asked_abilities(query) if ability not in _OURS]
    names = names or (["items"] if query.cursor is None else ["cursor"])
    return UnsupportedQuery(
        f"Parameter {', '.join(map(repr, names))}: refused by this collection's store ({kind}), which says: {reason}",
        names[0],
        f"what {kind} can answer",
    )


def cannot(kind: str, what: str, parameter: str = "filter") -> UnsupportedQuery:
    """The refusal of something that a remote service has no words for."""
    return UnsupportedQuery(
        f"Parameter {parameter!r}: {what} cannot be answered by this collection's store ({kind}); leave it out or write it differently",
        parameter,
        f"what {kind} can answer",
    )
