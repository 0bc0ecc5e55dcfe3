"""Text functions and arithmetic that every store may call: exact, total, and bounded in cost."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.features.cql2 import arithmetic, strings


@pytest.mark.parametrize(
    ("text", "pattern", "expected"),
    [
        ("", "", True),
        ("", "%", True),
        ("", "_", False),
        ("abc", "abc", True),
        ("abc", "ABC", False),
        ("abc", "a%", True),
        ("abc", "%c", True),
        ("abc", "%b%", True),
        ("abc", "a_c", True),
        ("abc", "a__c", False),
        ("abc", "%_%_%_%", True),
        ("abc", "%_%_%_%_%", False),
        ("aab", "%ab", True),
        ("ab", "ab%ab", False),
        ("abab", "ab%ab", True),
        ("楼一层", "楼_层", True),
        ("a\nb", "a%b", True),
        ("a.b", "a.b", True),
        ("axb", "a.b", False),
        ("50%", "50\\%", True),
        ("500", "50\\%", False),
        ("a_b", "a\\_b", True),
        ("a\\b", "a\\\\b", True),
        ("a\\", "a\\", True),
        ("ab", "\\a\\b", True),
        ("🏙x", "_x", True),
    ],
)
def test_like(text: str, pattern: str, expected: bool) -> None:
    assert strings.like(text, pattern) is expected
    assert strings.like(None, pattern) is None


def _as_regex(pattern: str) -> str:
    parts = [
        token if isinstance(token, str) else ".*" if token.any_length else "."
        for token in strings.like_tokens(pattern)
    ]
    return "".join(
        re.escape(part) if isinstance(token, str) else part
        for part, token in zip(parts, strings.like_tokens(pattern), strict=True)
    )


@settings(max_examples=500, deadline=None, derandomize=True)
@given(text=st.text("ab%_\\", max_size=12), pattern=st.text("ab%_\\", max_size=8))
def test_like_is_what_a_regular_expression_says(text: str, pattern: str) -> None:
    assert strings.like(text, pattern) is (re.fullmatch(_as_regex(pattern), text, re.DOTALL) is not None)
    assert strings.like_tokens(strings.like_pattern(strings.like_tokens(pattern))) == strings.like_tokens(
        pattern
    )
    assert not strings.like(text, pattern) or text.startswith(strings.like_prefix(pattern))


def test_a_like_bomb_costs_little() -> None:
    """A backtracking matcher would take longer than the universe lasts: this one returns."""
    assert strings.like("a" * 100_000, "%a" * 16 + "%b") is False
    assert strings.like("a" * 100_000 + "b", "%a" * 16 + "%b") is True


def test_case_and_accents() -> None:
    assert strings.casei("Straße") == "strasse"
    assert strings.accenti("Île Ünï 楼") == "Ile Uni 楼"
    assert strings.casei(None) is strings.accenti(None) is None
    assert strings.map_pattern("É\\%_％", strings.accenti) == "E\\%_\\%"
    assert strings.holds_phrase("TOWER 楼", "tower")
    assert not strings.holds_phrase(None, "")


@pytest.mark.parametrize(
    ("text", "other", "equals", "contains", "contained", "overlaps"),
    [
        ('["a","b"]', '["b","a"]', True, True, True, True),
        ('["a"]', '["b","a"]', False, False, True, True),
        ("[]", "[]", True, True, True, False),
        ("[1]", "[true]", False, False, False, False),
        ("[1]", "[1.0]", True, True, True, True),
    ],
)
def test_arrays(text: str, other: str, equals: bool, contains: bool, contained: bool, overlaps: bool) -> None:
    assert strings.array_equals(text, other) is equals
    assert strings.array_contains(text, other) is contains
    assert strings.array_contained_by(text, other) is contained
    assert strings.array_overlaps(text, other) is overlaps


@pytest.mark.parametrize("text", [None, "", "a", "{}", '"a"', "[[1]]", "[null]", "[1"])
def test_what_is_no_array_is_unknown(text: str | None) -> None:
    assert strings.array_equals(text, "[]") is None
    assert strings.array_overlaps(text, "[1]") is None


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("mod", (7, 3), 1),
        ("mod", (-7, 3), -1),
        ("mod", (7, -3), 1),
        ("mod", (7.5, 2), 1.5),
        ("mod", (7, 0), None),
        ("mod", (9007199254740993, 2), 1),
        ("idiv", (7, 2), 3),
        ("idiv", (-7, 2), -3),
        ("idiv", (7.9, 2), 3.0),
        ("idiv", (7, 0), None),
        ("pow", (2, 10), 1024.0),
        ("pow", (-8, 1 / 3), None),
        ("pow", (0, -1), None),
        ("pow", (10, 1000), None),
        ("round", (0.5,), 1.0),
        ("round", (-0.5,), -1.0),
        ("round", (0.49999999999999994,), 0.0),
        ("round", (5,), 5),
        ("floor", (-1.5,), -2.0),
        ("ceiling", (-1.5,), -1.0),
        ("abs", (-3,), 3),
        ("minimum", (3, 1.5, 2), 1.5),
        ("minimum", (3, None), None),
        ("maximum", (3, 1.5), 3),
        ("length", ("楼🏙",), 2),
        ("upper", ("é",), "É"),
        ("lower", ("É",), "é"),
    ],
)
def test_functions(name: str, arguments: tuple[object, ...], expected: object) -> None:
    call = arithmetic.FUNCTIONS[name]
    assert call(*arguments) == expected
    assert call(*[None for _ in arguments]) is None


def test_division() -> None:
    assert arithmetic.divide(5, 2) == 2.5
    assert arithmetic.divide(5, 0) is None
    assert arithmetic.divide(None, 1) is None
    assert arithmetic.divide(1e308, 1e-308) is None
    assert arithmetic.divide(10**400, 1) is None
