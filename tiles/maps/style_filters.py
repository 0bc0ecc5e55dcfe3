"""Which features a rule draws: a small tree of conditions on their fields. All parts are immutable and hash by value.

A comparison with a field that a feature does not have (or that is null) is false; `Not` of it is true.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Literal

from tiles.errors import StyleError

type Scalar = str | int | float | bool
type Operator = Literal["=", "!=", "<", "<=", ">", ">="]

MAXIMUM_DEPTH = 16
MAXIMUM_PARTS = 1000
"""How deep and how large a filter may be: checked by whoever reads one."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A field against a value; texts are compared with texts, numbers with numbers."""

    field: str
    operator: Operator
    value: Scalar


@dataclass(frozen=True, slots=True)
class OneOf:
    """A field that has one of the values."""

    field: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Present:
    """A field that is there, and not null."""

    field: str


@dataclass(frozen=True, slots=True)
class Like:
    """A text field that fits a pattern: `%` stands for any letters, `_` for one, a backslash before either for itself."""

    field: str
    pattern: str


@dataclass(frozen=True, slots=True)
class GeometryIs:
    """Features of one kind of geometry, single or multiple."""

    kind: Literal["point", "line", "polygon"]


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every part is true; without parts: true."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one part is true; without parts: false."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part is not true."""

    part: Filter


type Filter = Comparison | OneOf | Present | Like | GeometryIs | AllOf | AnyOf | Not
NEVER = AnyOf(())


def all_of(*parts: Filter | None) -> Filter | None:
    """All of the parts, flattened, each once; None (everything) stands for no part."""
    flat: dict[Filter, None] = {}
    for part in parts:
        if isinstance(part, AllOf):
            flat.update(dict.fromkeys(part.parts))
        elif part is not None:
            flat[part] = None
    if NEVER in flat:
        return NEVER
    if len(flat) < 2:
        return next(iter(flat), None)
    return AllOf(tuple(flat))


def any_of(*parts: Filter | None) -> Filter | None:
    """Any of the parts, flattened; None where one of them is everything."""
    flat: dict[Filter, None] = {}
    for part in parts:
        if part is None:
            return None
        flat.update(dict.fromkeys(part.parts if isinstance(part, AnyOf) else (part,)))
    return next(iter(flat)) if len(flat) == 1 else AnyOf(tuple(flat))


def negation(part: Filter | None) -> Filter:
    """What the part leaves over."""
    if part is None:
        return NEVER
    return part.part if isinstance(part, Not) else Not(part)


def parts_of(filter_: Filter | None) -> Iterator[Filter]:
    """The filter and everything in it."""
    if filter_ is None:
        return
    yield filter_
    if isinstance(filter_, AllOf | AnyOf):
        for part in filter_.parts:
            yield from parts_of(part)
    elif isinstance(filter_, Not):
        yield from parts_of(filter_.part)


def within_bounds(filter_: Filter | None) -> Filter | None:
    """The filter itself, if it has at most MAXIMUM_PARTS parts, each value of a list counted. Raises StyleError."""
    count = 0
    for part in parts_of(filter_):
        count += len(part.values) if isinstance(part, OneOf) else 1
        if count > MAXIMUM_PARTS:
            raise StyleError(f"a filter has more than {MAXIMUM_PARTS} parts")
    return filter_


def filter_fields(filter_: Filter | None) -> Iterator[str]:
    """The fields a filter looks at, in the order of appearance, perhaps more than once."""
    for part in parts_of(filter_):
        if isinstance(part, Comparison | OneOf | Present | Like):
            yield part.field


def like_parts(pattern: str) -> list[str]:
    """A pattern as letters to be found and the signs "%" and "_" alone; escaped signs are letters, as "\\%"."""
    parts: list[str] = []
    escaped = False
    for letter in pattern:
        if escaped:
            parts.append("\\" + letter)
            escaped = False
        elif letter == "\\":
            escaped = True
        else:
            parts.append(letter)
    return parts


def of_known_fields(filter_: Filter, known: Container[str]) -> Filter | None:
    """The filter for data that has only these fields: what looks at another is never true. None where it takes everything."""
    if isinstance(filter_, AllOf | AnyOf):
        parts = [of_known_fields(part, known) for part in filter_.parts]
        if isinstance(filter_, AllOf):
            return all_of(*parts)
        return any_of(*(part for part in parts if part != NEVER))
    if isinstance(filter_, Not):
        part = of_known_fields(filter_.part, known)
        return None if part == NEVER else negation(part)
    if isinstance(filter_, GeometryIs) or filter_.field in known:
        return filter_
    return NEVER
