"""Constraints of fields: the words of JSON Schema (2020-12, validation clauses 6.1 to 6.3) that values sent by clients keep.

`required` (true: the value may be neither absent nor null) and `unique` (true: no two features share the value; the store
holds it) are ours. Patterns are kept to what can be matched in a time that grows with the text alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from providers.errors import StoreBuildError
from providers.features.edits.faults import listed, shown
from providers.features.schema import FieldDefinition

_TEXT_WORDS = frozenset({"minLength", "maxLength", "pattern"})
_NUMBER_WORDS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
_COMMON_WORDS = frozenset({"required", "unique", "enum"})
_MAXIMUM_PATTERN = 200
_MAXIMUM_MATCHED = 1000  # characters of a text that a pattern is tried on
_MAXIMUM_ENUM = 1000
_REPEATS = re.compile(r"\\.|\[(?:\\.|[^\]\\])+\]|([*+]|\{[0-9]*,?[0-9]*\}|\?)")
_REPEATED_GROUP = re.compile(r"(?<!\\)\)(?:[*+?]|\{)")
_UNSAFE = re.compile(r"\\[0-9]|\(\?")


def check_definition(field: FieldDefinition) -> None:
    """Raise StoreBuildError where the constraints of a field are unknown, do not fit its type, or could be matched too slowly."""
    allowed = _COMMON_WORDS | (
        _TEXT_WORDS if field.type == "string" and field.format is None else frozenset()
    )
    if field.type in ("integer", "number") or field.format is not None:
        allowed |= _NUMBER_WORDS if field.format is None else {"minimum", "maximum"}
    for word, value in field.constraints.items():
        if word not in allowed:
            raise _wrong(field, f"the constraint {word!r} does not fit; possible: {listed(sorted(allowed))}")
        fault = _fault_of_word(field, word, value)
        if fault is not None:
            raise _wrong(field, f"{word}: {fault}")


def _wrong(field: FieldDefinition, fault: str) -> StoreBuildError:
    return StoreBuildError(f"Field {field.name!r}: {fault}")


def _fault_of_word(field: FieldDefinition, word: str, value: Any) -> str | None:
    if word in ("required", "unique"):
        return None if isinstance(value, bool) else "true or false is wanted"
    if word == "enum":
        fits = isinstance(value, list | tuple) and 0 < len(value) <= _MAXIMUM_ENUM
        return None if fits else f"a list of 1 to {_MAXIMUM_ENUM} values is wanted"
    if word == "pattern":
        return _fault_of_pattern(value)
    if word in ("minLength", "maxLength"):
        return None if type(value) is int and value >= 0 else "a number of characters is wanted"
    wanted = str if field.format is not None else int | float
    return (
        None
        if isinstance(value, wanted) and not isinstance(value, bool)
        else "a value of the field is wanted"
    )


def _fault_of_pattern(pattern: Any) -> str | None:
    """No repeated groups, look-arounds or references back, and at most two repeats: never worse than cubic."""
    if not isinstance(pattern, str) or len(pattern) > _MAXIMUM_PATTERN:
        return f"a regular expression of at most {_MAXIMUM_PATTERN} characters is wanted"
    try:
        re.compile(pattern)
    except re.error as error:
        return f"not a regular expression: {error}"
    if _UNSAFE.search(pattern) or _REPEATED_GROUP.search(pattern):
        return "repeated groups, extensions (?...) and references back are not possible"
    repeats = [match.group(1) for match in _REPEATS.finditer(pattern) if match.group(1)]
    open_ended = [item for item in repeats if item in "*+" or ("," in item)]
    if len(open_ended) > 2 or repeats.count("?") > 8:
        return "at most two repeats of open length and eight optional characters are possible"
    return None


def fault_of(field: FieldDefinition, value: Any) -> str | None:
    """What is wrong with a value of the right type, None where it keeps all constraints. None as a value: only `required`."""
    constraints: Mapping[str, Any] = field.constraints
    if not constraints:
        return None
    if value is None:
        return "a value is required" if constraints.get("required") else None
    for word, limit in constraints.items():
        judge = _JUDGES.get(word)
        if judge is not None and not judge(value, limit):
            return f"{shown(value)} does not keep {word} {shown(limit)}"
    return None


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _matches(value: str, pattern: str) -> bool:
    return len(value) <= _MAXIMUM_MATCHED and _compiled(pattern).search(value) is not None


def _among(value: Any, values: Any) -> bool:
    return any(value == item and isinstance(value, bool) is isinstance(item, bool) for item in values)


_JUDGES: Mapping[str, Callable[[Any, Any], bool]] = {
    "enum": _among,
    "minimum": lambda value, limit: value >= limit,
    "maximum": lambda value, limit: value <= limit,
    "exclusiveMinimum": lambda value, limit: value > limit,
    "exclusiveMaximum": lambda value, limit: value < limit,
    "minLength": lambda value, limit: len(value) >= limit,
    "maxLength": lambda value, limit: len(value) <= limit,
    "pattern": _matches,
}


def receivable(field: FieldDefinition) -> dict[str, Any]:
    """JSON Schema of what may be sent for a field (OGC API - Features Part 5, receivables); `required` goes to the object."""
    schema: dict[str, Any] = {"type": field.type}
    if field.format is not None:
        schema["format"] = field.format
    if field.title is not None:
        schema["title"] = field.title
    words = {word: value for word, value in field.constraints.items() if word not in ("required", "unique")}
    if not field.constraints.get("required"):
        schema["type"] = [field.type, "null"]
        if "enum" in words:
            words["enum"] = [*words["enum"], None]
    return schema | words
