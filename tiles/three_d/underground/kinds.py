"""Kinds of underground lines, how tables name them, and the colours in which surveys draw them.

The colours follow the code of Chinese surveys of underground lines (CJJ 61, table of line codes and colours): water sky blue,
drainage brown, gas pink, heat orange, power red, telecommunication green, industry and combined galleries black. The three
kinds of drainage share brown there; here they are three shades of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tiles.three_d.errors import ThreeDError

type Colour = tuple[float, float, float]
"""Linear red, green, blue, 0 to 1."""

_HEX = re.compile(r"#[0-9A-Fa-f]{6}")
_WORD = re.compile(r"[a-z]+")


@dataclass(frozen=True, slots=True)
class NetworkKind:
    """One kind: `codes` are whole values of attributes, `words` occur in them; `gravity` ones flow by their slope.

    CJJ 61 measures the depth of gravity lines to the inner bottom, that of the others to the outer top.
    """

    key: str
    english: str
    chinese: str
    colour: str
    codes: tuple[str, ...]
    words: tuple[str, ...]
    gravity: bool = False


# The order is that in which words are looked for: a storm sewer is storm water, hot water is heat.
KINDS: tuple[NetworkKind, ...] = (
    NetworkKind(
        "combined",
        "combined sewer",
        "雨污合流",
        "#5C4326",
        ("hs", "ps"),
        ("合流", "combined"),
        True,
    ),
    NetworkKind(
        "storm",
        "storm water",
        "雨水",
        "#A9713A",
        ("ys", "sd", "stm"),
        ("雨水", "storm", "stormwater", "rain", "rainwater"),
        True,
    ),
    NetworkKind(
        "sewage",
        "sewage",
        "污水",
        "#7A4A1E",
        ("ws", "ss", "san"),
        ("污水", "sewage", "sewer", "sanitary", "wastewater", "foul", "waste"),
        True,
    ),
    NetworkKind(
        "heat",
        "district heating",
        "热力",
        "#FF8C00",
        ("rl", "zq", "rs", "dh"),
        ("热力", "蒸汽", "热水", "供热", "heat", "heating", "thermal", "steam", "hot", "cooling"),
    ),
    NetworkKind(
        "gas",
        "gas",
        "燃气",
        "#FF69B4",
        ("rq", "mq", "tr", "yh", "g"),
        ("燃气", "天然气", "煤气", "液化气", "gas"),
    ),
    NetworkKind(
        "water",
        "water supply",
        "给水",
        "#00A8F0",
        ("js", "sy", "zs", "xf", "w", "wat"),
        ("给水", "供水", "上水", "自来水", "中水", "消防", "原水", "输水", "water", "potable", "hydrant"),
    ),
    NetworkKind(
        "power",
        "electric power",
        "电力",
        "#E60012",
        ("dl", "gd", "ld", "dc", "xh", "e", "el"),
        ("电力", "供电", "路灯", "照明", "电车", "electricity", "electric", "power", "lighting"),
    ),
    NetworkKind(
        "telecom",
        "telecommunication",
        "通信",
        "#00A650",
        ("dx", "tx", "tv", "gb", "ds", "gx", "jk", "t"),
        (
            "电信",
            "通信",
            "通讯",
            "电话",
            "广播",
            "电视",
            "光缆",
            "监控",
            "telecom",
            "telecommunication",
            "telecommunications",
            "communication",
            "fibre",
            "fiber",
            "cable",
        ),
    ),
    NetworkKind(
        "industry",
        "industrial",
        "工业",
        "#303030",
        ("gy",),
        (
            "工业",
            "氢",
            "氧",
            "乙炔",
            "石油",
            "成品油",
            "航油",
            "industrial",
            "oil",
            "chemical",
            "oilgaschemical",
        ),
    ),
    NetworkKind(
        "gallery",
        "combined utility tunnel",
        "综合管廊",
        "#4A4A4A",
        ("zh", "zg", "gl"),
        ("管廊", "综合管", "共同沟", "duct", "gallery"),
    ),
)
OTHER = len(KINDS)
"""The number of a kind that is not known."""
OTHER_COLOUR = "#8E7CC3"
_BY_KEY = {kind.key: number for number, kind in enumerate(KINDS)}
# Drainage that does not say which.
_DRAINAGE = ("排水", "drainage", "drain")
_BY_CODE = {code: number for number, kind in enumerate(KINDS) for code in kind.codes}


def kind_of(text: str) -> int:
    """The number of the kind that an attribute's value names, `OTHER` where none."""
    plain = text.strip().lower()
    if plain in _BY_KEY:
        return _BY_KEY[plain]
    if plain in _BY_CODE:
        return _BY_CODE[plain]
    words = set(_WORD.findall(plain))
    for number, kind in enumerate(KINDS):
        for word in kind.words:
            if word in words if word.isascii() else word in plain:
                return number
    drains = any(word in words if word.isascii() else word in plain for word in _DRAINAGE)
    return _BY_KEY["combined"] if drains else OTHER


def kinds_of(values: Sequence[object]) -> NDArray[np.int64]:
    """Kinds (n,) of values; each different value is looked at once."""
    known: dict[object, int] = {}
    for value in set(values):
        known[value] = kind_of(str(value)) if value is not None else OTHER
    return np.fromiter((known[value] for value in values), dtype=np.int64, count=len(values))


def is_gravity() -> NDArray[np.bool_]:
    """By kind (and OTHER): whether it flows by its slope."""
    return np.array([*(kind.gravity for kind in KINDS), False])


def colour_of(text: str) -> Colour:
    """The linear colour of #RRGGBB (sRGB). Raises ThreeDError."""
    if not _HEX.fullmatch(text):
        raise ThreeDError(f"{text!r} is no colour; give one as #RRGGBB, such as #00A8F0")
    shades = np.array([int(text[at : at + 2], 16) for at in (1, 3, 5)]) / 255.0
    linear = np.where(shades <= 0.04045, shades / 12.92, ((shades + 0.055) / 1.055) ** 2.4)
    red, green, blue = (round(float(value), 5) for value in linear)
    return red, green, blue


def palette(own: Mapping[str, str]) -> tuple[Colour, ...]:
    """The colours of all kinds and of OTHER last; `own` replaces some: kind ("water", "other") -> #RRGGBB.

    Raises ThreeDError for a kind or a colour that is not known.
    """
    allowed = [kind.key for kind in KINDS] + ["other"]
    for key in own:
        if key not in allowed:
            raise ThreeDError(f"there is no kind of line {key!r}; allowed are {', '.join(allowed)}")
    texts = [own.get(kind.key, kind.colour) for kind in KINDS] + [own.get("other", OTHER_COLOUR)]
    return tuple(colour_of(text) for text in texts)
