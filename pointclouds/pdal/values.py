"""What the value of an option may be. Each check gives back the value to hand to PDAL, made anew from what was understood.

No check lets a text through that could be a file's name or an address: what is not a number, a word of a list, a dimension's name or
a formula of these is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import shapely
from shapely.geometry.base import BaseGeometry

Check = Callable[[Any], Any]
"""Gives back the value for PDAL. Raises ValueError, whose message says what is allowed."""

MAXIMUM_TEXT: Final = 2_000
MAXIMUM_VERTICES: Final = 20_000
_NAME: Final = r"[A-Za-z][A-Za-z0-9_]{0,63}"
_NUMBER: Final = r"[-+]?(?:\d{1,18}(?:\.\d{0,18})?|\.\d{1,18})(?:[eE][-+]?\d{1,2})?"
_BOUND: Final = rf"[\[(]\s*(?:{_NUMBER})?\s*:\s*(?:{_NUMBER})?\s*[\])]"
_RANGE: Final = rf"{_NAME}\s*!?\s*{_BOUND}"
_RANGES: Final = re.compile(rf"\s*{_RANGE}(?:\s*[,&|]\s*{_RANGE}){{0,31}}\s*")
_ASSIGNMENT: Final = re.compile(rf"\s*{_NAME}\s*{_BOUND}\s*=\s*{_NUMBER}\s*")
_TOKEN: Final = re.compile(rf"\s*(?:{_NAME}|{_NUMBER}|&&|\|\||==|!=|<=|>=|[-+*/()<>!=])")
_DIMENSION: Final = re.compile(_NAME)
_CRS: Final = re.compile(r"EPSG:\d{4,6}(?:\+\d{4,6})?", re.IGNORECASE)


@dataclass(frozen=True)
class Number:
    """A finite number within closed limits; texts of numbers count, because PDAL's own examples write them so."""

    lowest: float
    highest: float
    whole: bool = False

    def __call__(self, value: Any) -> float | int:
        """The number."""
        kind = "a whole number" if self.whole else "a number"
        allowed = f"{kind} from {self.lowest:g} to {self.highest:g}"
        if isinstance(value, str) and re.fullmatch(_NUMBER, value.strip()):
            value = float(value)
        # A whole number of thousands of digits cannot become a float; comparing it first needs none.
        good = isinstance(value, int | float) and not isinstance(value, bool)
        if not (good and self.lowest <= value <= self.highest and (not self.whole or value == int(value))):
            raise ValueError(allowed)
        return int(value) if self.whole else float(value)


@dataclass(frozen=True)
class OneOf:
    """One of some words."""

    words: tuple[str, ...]

    def __call__(self, value: Any) -> str:
        """The word."""
        if not isinstance(value, str) or value not in self.words:
            raise ValueError("one of " + ", ".join(self.words))
        return value


@dataclass(frozen=True)
class SomeOf:
    """A list of some words, or a text of them with commas between."""

    words: tuple[str, ...]

    def __call__(self, value: Any) -> str:
        """The words, with commas between."""
        parts = [one.strip() for one in value.split(",")] if isinstance(value, str) else value
        if not isinstance(parts, list) or not 0 < len(parts) <= len(self.words):
            raise ValueError("a list of " + ", ".join(self.words))
        return ",".join(OneOf(self.words)(one) for one in parts)


def truth(value: Any) -> bool:
    """True or false, also as texts."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise ValueError("true or false")


def dimension(value: Any) -> str:
    """The name of a dimension."""
    if not isinstance(value, str) or not _DIMENSION.fullmatch(value):
        raise ValueError("the name of a dimension: letters, digits, _")
    return value


def ranges(value: Any) -> str:
    """PDAL's ranges: Classification[2:2], Z[10:], Classification![7:7]."""
    text = (
        ",".join(value) if isinstance(value, list) and all(isinstance(one, str) for one in value) else value
    )
    if not isinstance(text, str) or len(text) > MAXIMUM_TEXT or not _RANGES.fullmatch(text):
        raise ValueError("ranges such as Classification[2:2], Z[10:20)")
    return text


def assignments(value: Any) -> list[str]:
    """PDAL's assignments over ranges: Classification[:]=0."""
    parts = value if isinstance(value, list) else [value]
    good = all(isinstance(one, str) and len(one) < 200 and _ASSIGNMENT.fullmatch(one) for one in parts)
    if not parts or len(parts) > 32 or not good:
        raise ValueError("assignments such as Classification[:]=0")
    return list(parts)


def formula(value: Any) -> str:
    """An expression of dimensions, numbers and operators."""
    if not isinstance(value, str) or not 0 < len(value) <= MAXIMUM_TEXT:
        raise ValueError("an expression such as Classification == 2 && Z > 10")
    at = 0
    while at < len(value.rstrip()):
        token = _TOKEN.match(value, at)
        if token is None:
            raise ValueError(
                "an expression of dimensions, numbers, operators and brackets, such as Z > 10 && Z < 20"
            )
        at = token.end()
    return value


def formulas(value: Any) -> list[str]:
    """Assignments of expressions: Classification = 2 WHERE Z < 10."""
    parts = value if isinstance(value, list) else [value]
    if not parts or len(parts) > 32:
        raise ValueError("1 to 32 assignments such as Classification = 2 WHERE Z < 10")
    return [formula(one) for one in parts]


def copies(value: Any) -> str:
    """PDAL's copies of dimensions: Z=>Height."""
    parts = value.split(",") if isinstance(value, str) else value
    form = re.compile(rf"\s*{_NAME}\s*=>\s*{_NAME}\s*")
    good = isinstance(parts, list) and all(isinstance(one, str) and form.fullmatch(one) for one in parts)
    if not good or not 0 < len(parts) <= 16:
        raise ValueError("copies such as Z=>Height, with commas between")
    return ",".join(parts)


def crs(value: Any) -> str:
    """A CRS by its EPSG code: definitions and names could be files or addresses to PROJ and GDAL."""
    if not isinstance(value, str) or not _CRS.fullmatch(value):
        raise ValueError("an EPSG code such as EPSG:28992 or EPSG:28992+5709")
    return value.upper()


def bounds(value: Any) -> str:
    """PDAL's box: ([minx,maxx],[miny,maxy]) and a third pair for z."""
    pair = rf"\[\s*{_NUMBER}\s*,\s*{_NUMBER}\s*\]"
    form = rf"\(\s*{pair}\s*,\s*{pair}\s*(?:,\s*{pair}\s*)?\)"
    if not isinstance(value, str) or len(value) > 300 or not re.fullmatch(form, value):
        raise ValueError("a box such as ([84000,84100],[447000,447100])")
    return value


def polygon(value: Any) -> str:
    """A polygon, or several, as well-known text in the points' own CRS."""
    allowed = "POLYGON or MULTIPOLYGON as well-known text"
    if not isinstance(value, str) or not re.match(r"\s*(MULTI)?POLYGON", value, re.IGNORECASE):
        raise ValueError(allowed)
    if value.count(",") > MAXIMUM_VERTICES:
        raise ValueError(f"{allowed} of at most {MAXIMUM_VERTICES} corners")
    try:
        shape = shapely.from_wkt(value)
    except (shapely.errors.ShapelyError, ValueError) as error:
        raise ValueError(f"{allowed}; {error}") from error
    return polygon_text(shape)


def polygon_text(shape: BaseGeometry) -> str:
    """A polygon as PDAL takes it. Raises ValueError: empty, invalid, or no polygon."""
    if shape.geom_type not in ("Polygon", "MultiPolygon") or shape.is_empty or not shape.is_valid:
        raise ValueError("a valid POLYGON or MULTIPOLYGON")
    text: str = shapely.to_wkt(shapely.force_2d(shape), rounding_precision=-1)
    return text


def matrix(value: Any) -> str:
    """Sixteen numbers of a transformation, row by row: never a text that PDAL could take for a file."""
    parts = value.split() if isinstance(value, str) else value
    if not isinstance(parts, list) or len(parts) != 16:
        raise ValueError("16 numbers, row by row")
    return " ".join(repr(float(Number(-1e12, 1e12)(one))) for one in parts)
