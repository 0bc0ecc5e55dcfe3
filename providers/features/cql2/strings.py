"""Text functions of CQL2 and of `q`, in plain Python: one meaning for every store that can call Python.

All take None and answer None. `like` never backtracks over a wildcard it has left behind, so its cost is bounded by the
length of the text times that of the pattern, whatever the pattern (OGC 21-065r2 clauses 7.1, 7.2 and 7.3).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

import orjson

WILDCARD: Final = "%"
SINGLE: Final = "_"
ESCAPE: Final = "\\"


def casei(text: str | None) -> str | None:
    """The text without differences of case: Unicode default case folding."""
    return None if text is None else text.casefold()


def accenti(text: str | None) -> str | None:
    """The text without accents: NFKD, combining marks left out."""
    if text is None or text.isascii():
        return text
    return "".join(
        [letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter)]
    )


def lower(text: str | None) -> str | None:
    """Lower case by Unicode."""
    return None if text is None else text.lower()


def upper(text: str | None) -> str | None:
    """Upper case by Unicode."""
    return None if text is None else text.upper()


def length(text: str | None) -> int | None:
    """Number of code points."""
    return None if text is None else len(text)


def holds_phrase(text: str | None, folded_phrase: str) -> bool:
    """Whether a phrase, already put through `casei`, stands in the text, whatever its case (`q`)."""
    return text is not None and folded_phrase in text.casefold()


# --- LIKE ----------------------------------------------------------------------------------------------------------------


class Wild(NamedTuple):
    """A wildcard in a pattern: `%` where `any_length`, else `_`."""

    any_length: bool


ANY: Final = Wild(True)
ONE: Final = Wild(False)

type Tokens = tuple[str | Wild, ...]


def like_tokens(pattern: str) -> Tokens:
    """A pattern as literal texts and wildcards. A `\\` takes the next character as it is; the last one stands for itself."""
    tokens: list[str | Wild] = []
    literal: list[str] = []
    letters = iter(pattern)
    for letter in letters:
        if letter == ESCAPE:
            literal.append(next(letters, ESCAPE))
            continue
        if letter not in (WILDCARD, SINGLE):
            literal.append(letter)
            continue
        if literal:
            tokens.append("".join(literal))
            literal = []
        wild = ANY if letter == WILDCARD else ONE
        if not (wild is ANY and tokens and tokens[-1] is ANY):
            tokens.append(wild)
    if literal:
        tokens.append("".join(literal))
    return tuple(tokens)


def like_pattern(tokens: Tokens) -> str:
    """The pattern of tokens, escaped where a literal holds a wildcard or the escape character."""
    return "".join([_written(token) for token in tokens])


def _written(token: str | Wild) -> str:
    if isinstance(token, Wild):
        return WILDCARD if token.any_length else SINGLE
    for special in (ESCAPE, WILDCARD, SINGLE):
        token = token.replace(special, ESCAPE + special)
    return token


def map_pattern(pattern: str, change: Callable[[str | None], str | None]) -> str:
    """The pattern with its literal texts changed: what it becomes inside CASEI or ACCENTI."""
    tokens = [token if isinstance(token, Wild) else change(token) or "" for token in like_tokens(pattern)]
    return like_pattern(tuple(tokens))


def like_prefix(pattern: str) -> str:
    """The literal text that every match begins with, "" where it begins with a wildcard."""
    tokens = like_tokens(pattern)
    return tokens[0] if tokens and isinstance(tokens[0], str) else ""


class _Segment(NamedTuple):
    """What stands between two `%`: literals with their places in it; `_` is what lies between the literals."""

    length: int
    literals: tuple[tuple[int, str], ...]

    def fits(self, text: str, at: int) -> bool:
        """Whether the segment stands at a place of the text."""
        if at < 0 or at + self.length > len(text):
            return False
        return all(text.startswith(literal, at + offset) for offset, literal in self.literals)

    def find(self, text: str, start: int, end: int) -> int:
        """The first place from `start` where the segment fits and ends by `end`, or -1."""
        last = end - self.length
        if not self.literals:
            return start if start <= last else -1
        offset, literal = self.literals[0]
        at = start
        while at <= last:
            found = text.find(literal, at + offset, end)
            if found < 0 or found - offset > last:
                return -1
            at = found - offset
            if self.fits(text, at):
                return at
            at += 1
        return -1


@lru_cache(maxsize=256)
def _segments(pattern: str) -> tuple[_Segment, ...]:
    segments: list[_Segment] = []
    size = 0
    literals: list[tuple[int, str]] = []
    for token in like_tokens(pattern):
        if token is ANY:
            segments.append(_Segment(size, tuple(literals)))
            size, literals = 0, []
        elif isinstance(token, str):
            literals.append((size, token))
            size += len(token)
        else:
            size += 1
    segments.append(_Segment(size, tuple(literals)))
    return tuple(segments)


def like(text: str | None, pattern: str) -> bool | None:
    """Whether the whole text matches the pattern: `%` any text, `_` one character, `\\` takes the next one as it is."""
    if text is None:
        return None
    segments = _segments(pattern)
    first, last = segments[0], segments[-1]
    if len(segments) == 1:
        return len(text) == first.length and first.fits(text, 0)
    end = len(text) - last.length
    if end < first.length or not first.fits(text, 0) or not last.fits(text, end):
        return False
    at = first.length
    for segment in segments[1:-1]:
        found = segment.find(text, at, end)
        if found < 0:
            return False
        at = found + segment.length
    return True


# --- arrays kept as JSON text --------------------------------------------------------------------------------------------


def _elements(text: str | None) -> frozenset[tuple[str, object]] | None:
    """The elements of a JSON array of texts, numbers and booleans; None where the text holds none."""
    if text is None:
        return None
    try:
        values = orjson.loads(text)
    except ValueError:
        return None
    if not isinstance(values, list) or not all(isinstance(value, str | int | float) for value in values):
        return None
    # True equals 1 in Python, and not in JSON.
    return frozenset([("boolean" if isinstance(value, bool) else "", value) for value in values])


def array_equals(text: str | None, other: str) -> bool | None:
    """Whether two JSON arrays hold the same elements, in any order; None where one is no array."""
    left, right = _elements(text), _elements(other)
    return None if left is None or right is None else left == right


def array_contains(text: str | None, other: str) -> bool | None:
    """Whether a JSON array holds every element of the other."""
    left, right = _elements(text), _elements(other)
    return None if left is None or right is None else left >= right


def array_contained_by(text: str | None, other: str) -> bool | None:
    """Whether every element of a JSON array is in the other."""
    left, right = _elements(text), _elements(other)
    return None if left is None or right is None else left <= right


def array_overlaps(text: str | None, other: str) -> bool | None:
    """Whether two JSON arrays have an element in common."""
    left, right = _elements(text), _elements(other)
    return None if left is None or right is None else bool(left & right)
