"""Reading single values of a map request; what cannot be read is refused with the name of its parameter."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from tiles.mapproxy.exceptions import MapRequestRefused


def required(parameters: Mapping[str, str], name: str, code: str = "") -> str:
    """The value of a parameter that must be there. Raises MapRequestRefused with the exception code `code`."""
    value = parameters.get(name, "")
    if not value:
        raise MapRequestRefused(f"parameter {name} is missing", code, name.lower())
    return value


def number(text: str, name: str) -> float:
    """A finite number. Raises MapRequestRefused."""
    return _converted(text, name, float, "a number", "")


def integer(text: str, name: str, code: str = "") -> int:
    """A whole number. Raises MapRequestRefused."""
    return int(_converted(text, name, int, "a whole number", code))


def _converted(text: str, name: str, convert: Callable[[str], float], what: str, code: str) -> float:
    refused = MapRequestRefused(f"{name} {text[:40]!r} is not {what}", code, name.lower())
    if len(text) > 40 or "_" in text or not text.isascii():
        raise refused
    try:
        value = convert(text)
    except ValueError as error:
        raise refused from error
    if not math.isfinite(value):
        raise refused
    return value
