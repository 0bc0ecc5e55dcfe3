"""CQL2 filters of requests, parsed and checked once and then remembered."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from providers.errors import InvalidParameter
from providers.features.cql2.checking import Checker
from providers.features.cql2.geometry import known_crs
from providers.features.cql2.json_parser import parse_json, parse_json_text
from providers.features.cql2.limits import MAXIMUM_TEXT, Refusal
from providers.features.cql2.text_parser import parse_text
from providers.features.cql2.writer import to_text
from providers.features.query import CRS84, Filter
from providers.features.schema import CollectionSchema

CQL2_TEXT: Final = "cql2-text"
CQL2_JSON: Final = "cql2-json"
LANGUAGES: Final = (CQL2_TEXT, CQL2_JSON)


class _Identity:
    """A schema compared by identity, and kept alive so that the identity stays its own: hashing all fields costs more."""

    __slots__ = ("schema",)

    def __init__(self, schema: CollectionSchema) -> None:
        self.schema = schema

    def __hash__(self) -> int:
        return id(self.schema)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and other.schema is self.schema


def parse_filter(
    text: str,
    language: str,
    schema: CollectionSchema,
    hidden: frozenset[str] = frozenset(),
    crs: str = CRS84,
    parameter: str = "filter",
) -> Filter:
    """The filter that a text means; the same text for the same collection is parsed once.

    `language` is one of LANGUAGES, `crs` the URI that geometry literals are in, `parameter` what errors name. Raises
    InvalidParameter, whose value is the part that is wrong.
    """
    if len(text) > MAXIMUM_TEXT:
        return _parsed(text, language, _Identity(schema), hidden, crs, parameter)
    return _remembered(text, language, _Identity(schema), hidden, crs, parameter)


def _parsed(
    text: str, language: str, identity: _Identity, hidden: frozenset[str], crs: str, parameter: str
) -> Filter:
    if language not in LANGUAGES:
        raise InvalidParameter("filter-lang", language, ", ".join(LANGUAGES))
    try:
        tree = parse_text(text) if language == CQL2_TEXT else parse_json_text(text)
        return checked(tree, identity.schema, hidden, crs)
    except Refusal as refusal:
        raise refusal.as_parameter(parameter) from None


_remembered = lru_cache(maxsize=256)(_parsed)


def parse_filter_document(
    document: Any,
    schema: CollectionSchema,
    hidden: frozenset[str] = frozenset(),
    crs: str = CRS84,
    parameter: str = "filter",
) -> Filter:
    """The filter of a decoded CQL2 JSON document. Raises InvalidParameter."""
    try:
        return checked(parse_json(document), schema, hidden, crs)
    except Refusal as refusal:
        raise refusal.as_parameter(parameter) from None


def checked(
    tree: Any, schema: CollectionSchema, hidden: frozenset[str], crs: str, *, untyped: bool = False
) -> Filter:
    """The filter of a tree of any of the parsers. `untyped`: texts take the type they meet. Raises Refusal."""
    checker = Checker(schema, hidden, known_crs(crs), untyped=untyped)
    node = checker.check(tree)
    return Filter(node, to_text(node), frozenset(checker.fields))
