"""The ground of a map: `bgcolor`, `transparent`, `void-color`, `void-transparent` (OGC 20-058, clause 8)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from server.http.errors import InvalidParameter

_HEXADECIMAL = re.compile(r"(?:0[xX]|#)?([0-9a-fA-F]{6})", re.ASCII)
_NAME = re.compile(r"[A-Za-z]{3,20}", re.ASCII)
_COLOURS = "0xRRGGBB, or a colour's name of CSS such as white"

type Colour = tuple[int, int, int, int]
"""Red, green, blue, alpha, 0 to 255."""


class Background(NamedTuple):
    """What lies below the data, and what lies where the CRS has no place on Earth."""

    ground: Colour
    void: Colour

    @property
    def plain(self) -> bool:
        """One colour everywhere."""
        return self.ground == self.void


def parse_background(
    given: Mapping[str, str], *, can_be_transparent: bool, style_background: str | None
) -> Background:
    """The background asked for.

    `style_background` (#rrggbb) is what the style says, white without; it counts where no colour was asked for and the
    ground is not transparent. Raises InvalidParameter.
    """
    colour = _colour(given, "bgcolor")
    transparent = boolean(given, "transparent", colour is None)
    ground = colour or _hexadecimal(style_background or "#ffffff") or (255, 255, 255)
    void = _colour(given, "void-color") or ground
    void_transparent = boolean(given, "void-transparent", transparent)
    return Background(
        (*ground, 0 if transparent and can_be_transparent else 255),
        (*void, 0 if void_transparent and can_be_transparent else 255),
    )


def boolean(given: Mapping[str, str], name: str, default: bool) -> bool:
    """A parameter that is true or false. Raises InvalidParameter."""
    text = given.get(name)
    if text is None:
        return default
    if text.lower() not in ("true", "false"):
        raise InvalidParameter(f"{name}={text[:20]!r}; allowed: true, false", name, text, "true, false")
    return text.lower() == "true"


def _colour(given: Mapping[str, str], name: str) -> tuple[int, int, int] | None:
    text = given.get(name)
    if text is None:
        return None
    found = _hexadecimal(text) or _named(text)
    if found is None:
        raise InvalidParameter(f"{name}={text[:40]!r}; allowed: {_COLOURS}", name, text, _COLOURS)
    return found


def _hexadecimal(text: str) -> tuple[int, int, int] | None:
    match = _HEXADECIMAL.fullmatch(text)
    if match is None:
        return None
    red, green, blue = bytes.fromhex(match.group(1))
    return red, green, blue


def _named(text: str) -> tuple[int, int, int] | None:
    if _NAME.fullmatch(text) is None:
        return None
    # Pillow is loaded where a map is drawn anyway.
    from PIL import ImageColor

    try:
        return ImageColor.getrgb(text.lower())[:3]
    except ValueError:
        return None
