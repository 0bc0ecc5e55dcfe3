"""CQL2 Text to the common tree (OGC 21-065r2 annex B), by a Lark LALR grammar of our own.

pygeofilter 0.4's CQL2 Text grammar is not used: AND and OR bind alike in it, temporal functions are infix, names need two
letters, and LIKE takes a dot for `_`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from lark import Lark, Token, Transformer, v_args
from lark.exceptions import LarkError, UnexpectedCharacters, UnexpectedInput, UnexpectedToken, VisitError
from pygeofilter import ast

from providers.features.cql2.limits import MAXIMUM_NODES, MAXIMUM_TEXT, Refusal, balanced, check_length
from providers.features.cql2.raw import (
    ARITHMETIC,
    COMPARISONS,
    BoxLiteral,
    GeometryLiteral,
    date_literal,
    interval_literal,
    timestamp_literal,
)

KEYWORDS = frozenset(
    ["AND", "OR", "NOT", "LIKE", "BETWEEN", "IN", "IS", "NULL", "TRUE", "FALSE", "DIV", "GEOMETRYCOLLECTION"]
)
_QUOTE = re.compile(r"\\'|''")
_SHOWN = {
    "NAME": "a name",
    "QUOTED_NAME": "a name",
    "NUMBER": "a number",
    "STRING": "a text in '...'",
    "$END": "the end",
}


def parse_text(text: str) -> Any:
    """The tree of a CQL2 text. Raises Refusal, with the place and what could stand there."""
    check_length(text, MAXIMUM_TEXT, "characters of filter")
    try:
        return _grammar().parse(text)
    except VisitError as error:
        if isinstance(error.orig_exc, Refusal):
            raise error.orig_exc from None
        raise
    except UnexpectedInput as error:
        raise _misread(text, error) from None
    except LarkError as error:
        raise Refusal(text[:60], f"a CQL2 text ({error})") from None


def _misread(text: str, error: UnexpectedInput) -> Refusal:
    if isinstance(error, UnexpectedCharacters):
        at = error.pos_in_stream or 0
        return Refusal(f"{text[at : at + 20]!r} at character {at + 1}", "CQL2 text: no token of it begins so")
    wanted = sorted(error.accepts or error.expected) if isinstance(error, UnexpectedToken) else []
    shown = ", ".join(dict.fromkeys(_SHOWN.get(name, _symbol(name)) for name in wanted))
    at_end = isinstance(error, UnexpectedToken) and error.token.type == "$END"
    at = len(text) if at_end else error.pos_in_stream or 0
    found = "the end of the filter" if at_end else repr(text[at : at + 20])
    return Refusal(f"{found} at character {at + 1}", f"there: {shown}")


def _symbol(name: str) -> str:
    try:
        pattern = _grammar().get_terminal(name).pattern
    except KeyError:
        return name
    return repr(pattern.value) if pattern.type == "str" else name


def _keyword(token: Token) -> Token:
    word = token.upper()
    return Token.new_borrow_pos(word, token.value, token) if word in KEYWORDS else token


@cache
def _grammar() -> Lark:
    return Lark(
        Path(__file__).with_name("grammar.lark").read_text(encoding="utf-8"),
        parser="lalr",
        lexer="basic",
        transformer=_Builder(),
        lexer_callbacks={"NAME": _keyword},
        postlex=_TokenLimit(),
        maybe_placeholders=False,
    )


class _TokenLimit:
    """Passes tokens on, up to as many as a filter may have: each costs 14 microseconds, which a long text would add up."""

    always_accept = ()

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        """The same tokens. Raises Refusal."""
        for count, token in enumerate(stream):
            if count == MAXIMUM_NODES:
                raise Refusal(
                    f"a filter of more than {MAXIMUM_NODES} words and signs", f"at most {MAXIMUM_NODES}"
                )
            yield token


def _kept(items: list[Any]) -> list[Any]:
    """Operands without the keywords between them."""
    return [item for item in items if not isinstance(item, Token)]


def number_literal(text: str) -> int | float:
    """A number; whole ones of more than 64 bits become real. Raises Refusal where it is not finite."""
    if text.isdigit() and len(text) < 19:
        return int(text)
    value = float(text)
    if not math.isfinite(value):
        raise Refusal(f"the number {text[:60]}", "a finite number of 64 bits")
    return value


def geometry_literal(wkt: str) -> GeometryLiteral:
    """A geometry from WKT. Raises Refusal."""
    try:
        with np.errstate(
            over="ignore", invalid="ignore"
        ):  # such coordinates are found afterwards, as infinite ones
            return GeometryLiteral(shapely.from_wkt(wkt))
    except (shapely.errors.ShapelyError, NotImplementedError) as error:
        raise Refusal(wkt[:60], f"a geometry in well-known text ({error})") from None


class _Builder(Transformer[Token, Any]):
    """The nodes of the common tree, made while the text is read: nothing recurses however deep it is."""

    def start(self, items: list[Any]) -> Any:
        return items[0]

    def any_of(self, items: list[Any]) -> Any:
        return balanced(ast.Or, _kept(items))

    def all_of(self, items: list[Any]) -> Any:
        return balanced(ast.And, _kept(items))

    def negation(self, items: list[Any]) -> Any:
        return ast.Not(items[-1])

    def comparison(self, items: list[Any]) -> Any:
        return COMPARISONS[str(items[1])](items[0], items[2])

    def like(self, items: list[Any]) -> Any:
        return ast.Like(items[0], items[-1], False, "%", "_", "\\", False)

    def not_like(self, items: list[Any]) -> Any:
        return ast.Not(self.like(items))

    def between(self, items: list[Any]) -> Any:
        value, low, high = _kept(items)
        return ast.Between(value, low, high, False)

    def not_between(self, items: list[Any]) -> Any:
        return ast.Not(self.between(items))

    def within_list(self, items: list[Any]) -> Any:
        return ast.In(items[0], items[-1], False)

    def not_within_list(self, items: list[Any]) -> Any:
        return ast.Not(self.within_list(items))

    def is_null(self, items: list[Any]) -> Any:
        return ast.IsNull(items[0], False)

    def is_not_null(self, items: list[Any]) -> Any:
        return ast.IsNull(items[0], True)

    def add(self, items: list[Any]) -> Any:
        return ARITHMETIC["+"](*items)

    def subtract(self, items: list[Any]) -> Any:
        return ARITHMETIC["-"](*items)

    def multiply(self, items: list[Any]) -> Any:
        return ARITHMETIC["*"](*items)

    def divide(self, items: list[Any]) -> Any:
        return ARITHMETIC["/"](*items)

    def modulo(self, items: list[Any]) -> Any:
        return ast.Function("mod", items)

    def integer_divide(self, items: list[Any]) -> Any:
        return ast.Function("idiv", _kept(items))

    def to_power(self, items: list[Any]) -> Any:
        return ast.Function("pow", items)

    def minus(self, items: list[Any]) -> Any:
        (value,) = items
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return -value if is_number else ast.Sub(0, value)

    def plus(self, items: list[Any]) -> Any:
        return ast.Add(0, items[0]) if isinstance(items[0], str | bool) else items[0]

    @v_args(inline=True)
    def number(self, token: Token) -> Any:
        return number_literal(str(token))

    @v_args(inline=True)
    def string(self, token: Token) -> Any:
        return _QUOTE.sub("'", token[1:-1])

    def true(self, _: list[Any]) -> Any:
        return True

    def false(self, _: list[Any]) -> Any:
        return False

    @v_args(inline=True)
    def name(self, token: Token) -> Any:
        return ast.Attribute(str(token))

    @v_args(inline=True)
    def quoted_name(self, token: Token) -> Any:
        return ast.Attribute(str(token[1:-1]))

    def expressions(self, items: list[Any]) -> Any:
        return items

    def array(self, items: list[Any]) -> Any:
        return items

    @v_args(inline=True)
    def geometry(self, token: Token) -> Any:
        return geometry_literal(str(token))

    def collection(self, items: list[Any]) -> Any:
        return collection_literal(_collection_members(items))

    def function(self, items: list[Any]) -> Any:
        name, arguments = str(items[0]), items[1] if len(items) > 1 else []
        build = _LITERALS.get(name.lower())
        return build(arguments) if build is not None else ast.Function(name.lower(), arguments)


def _collection_members(items: list[Any]) -> list[Any]:
    dimension = [str(item) for item in items if isinstance(item, Token) and item.type == "NAME"]
    if dimension and dimension[0].upper() != "Z":
        raise Refusal(f"GEOMETRYCOLLECTION {dimension[0]}", "GEOMETRYCOLLECTION( or GEOMETRYCOLLECTION Z(")
    return _kept(items)


def collection_literal(members: list[Any]) -> GeometryLiteral:
    """A collection of geometries. Raises Refusal where a member is something else."""
    if not all(isinstance(member, GeometryLiteral) for member in members):
        raise Refusal("a GEOMETRYCOLLECTION of other things", "geometries separated by commas")
    return GeometryLiteral(shapely.GeometryCollection([member.shape for member in members]))


def _one_text(name: str, arguments: list[Any]) -> str:
    if len(arguments) != 1 or not isinstance(arguments[0], str):
        raise Refusal(f"{name} of something else", f"{name}('...') with one text")
    return arguments[0]


def box_literal(numbers: list[Any]) -> BoxLiteral:
    """A BBOX of 4 or 6 numbers. Raises Refusal."""
    are_numbers = all(isinstance(number, int | float) and not isinstance(number, bool) for number in numbers)
    if len(numbers) not in (4, 6) or not are_numbers:
        raise Refusal("a BBOX of something else", "4 or 6 numbers: west, south, east, north")
    return BoxLiteral(tuple(float(number) for number in numbers))


_LITERALS = {
    "date": lambda arguments: date_literal(_one_text("DATE", arguments)),
    "timestamp": lambda arguments: timestamp_literal(_one_text("TIMESTAMP", arguments)),
    "interval": interval_literal,
    "bbox": box_literal,
}
