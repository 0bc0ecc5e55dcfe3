"""Glyphs for MapLibre: 256 letters a file as signed distance fields, made from the fonts of this machine.

The same fonts in the same order as on our maps: Latin, Greek and Cyrillic letters of one, Chinese, Japanese and Korean of the
other. Format: https://github.com/mapbox/node-fontnik (glyphs.proto).
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import threading
import unicodedata
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from tiles.errors import StyleError
from tiles.maps.distance_fields import BUFFER, SUPERSAMPLING, distance_fields
from tiles.maps.fonts import map_fonts

RANGE = 256
LAST = 65535
_SIZE = 24
_ASCENDER = 26
"""MapLibre counts the top of a glyph from here: so high above the baseline, in pixels."""

_CANVAS = 44
_AT_ONCE = 32
_FORM = 1
"""To be raised when the same fonts give other glyphs."""


class _Glyph(NamedTuple):
    """A letter drawn large on a canvas; sizes in pixels of the field."""

    code: int
    shape: NDArray[np.bool_]
    width: int
    height: int
    left: int
    top: int
    advance: int


@lru_cache(maxsize=128)
def glyph_range(start: int, name: str) -> bytes:
    """The letters from `start` to `start` + 255 as a file for the font stack `name`.

    Raises StyleError where start is no multiple of 256 up to 65280.
    """
    if start % RANGE or not 0 <= start <= LAST:
        raise StyleError(
            f"glyphs begin at {start}; allowed are multiples of {RANGE} up to {LAST + 1 - RANGE}"
        )
    glyphs = _glyphs(start)
    stack = _field(1, name.encode()) + _field(2, f"{start}-{start + RANGE - 1}".encode())
    return _field(1, stack + glyphs)


def kept_glyphs(start: int, folder: Path) -> bytes | None:
    """A range that was made for the fonts of now, None where it has to be made."""
    try:
        return (folder / _fonts_key() / f"{start}.pbf").read_bytes()
    except OSError:
        return None


def kept_glyph_range(start: int, name: str, folder: Path) -> bytes:
    """As `glyph_range`, kept in a folder: made once on this machine for the fonts it has now."""
    kept = kept_glyphs(start, folder)
    if kept is not None:
        return kept
    file = folder / _fonts_key() / f"{start}.pbf"
    made = glyph_range(start, name)
    # A full or read-only disk costs the next one some time, not this one the answer.
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        aside = file.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
        aside.write_bytes(made)
        aside.replace(file)
    return made


@lru_cache(maxsize=1)
def _fonts_key() -> str:
    """Letters that differ for other fonts."""
    found = map_fonts()
    files = [file for file in (found.latin_file, found.cjk_file) if file is not None]
    facts = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.blake2s(repr((_FORM, facts)).encode(), digest_size=8).hexdigest()


@lru_cache(maxsize=128)
def _glyphs(start: int) -> bytes:
    """The glyph fields of a range, the same for all stacks."""
    fonts = _fonts()
    drawn = [glyph for code in range(start, start + RANGE) if (glyph := _draw(code, fonts)) is not None]
    written = []
    for first in range(0, len(drawn), _AT_ONCE):
        some = drawn[first : first + _AT_ONCE]
        fields = distance_fields(np.stack([glyph.shape for glyph in some]))
        written += [_field(3, _message(glyph, field)) for glyph, field in zip(some, fields, strict=True)]
    return b"".join(written)


@lru_cache(maxsize=1)
def _fonts() -> tuple[tuple[ImageFont.FreeTypeFont, bytes], ...]:
    """Fonts, the first one asked first, each with its picture of a letter that it does not have."""
    found = map_fonts()
    size = _SIZE * SUPERSAMPLING
    fonts = [_opened(found.latin_file, size)] if found.latin_file is not None else []
    if found.cjk_file is not None:
        fonts.append(_simplified(str(found.cjk_file), size))
    return tuple((font, bytes(font.getmask("\uffff"))) for font in fonts)


def _simplified(file: str, size: int) -> ImageFont.FreeTypeFont:
    """The face for simplified Chinese of a collection, else its first one."""
    for index in range(12):
        try:
            font = _opened(Path(file), size, index)
        except OSError:
            break
        if "SC" in (font.getname()[0] or "").split():
            return font
    return _opened(Path(file), size)


def _opened(file: Path, size: int, index: int = 0) -> ImageFont.FreeTypeFont:
    # Single letters need no shaping of texts.
    return ImageFont.truetype(file, size, index=index, layout_engine=ImageFont.Layout.BASIC)


def _draw(code: int, fonts: tuple[tuple[ImageFont.FreeTypeFont, bytes], ...]) -> _Glyph | None:
    letter = chr(code)
    if unicodedata.category(letter).startswith("C"):  # control letters, surrogates, none at all
        return None
    for font, missing in fonts:
        if letter.isspace() or bytes(font.getmask(letter)) != missing:
            return _drawn(letter, font)
    return None


def _drawn(letter: str, font: ImageFont.FreeTypeFont) -> _Glyph:
    left, top, right, bottom = (value / SUPERSAMPLING for value in font.getbbox(letter, anchor="ls"))
    edge_left, edge_top = math.floor(left), math.floor(top)
    room = _CANVAS - 2 * BUFFER
    width = min(room, max(0, math.ceil(right) - edge_left))
    height = min(room, max(0, math.ceil(bottom) - edge_top))
    image = Image.new("L", (_CANVAS * SUPERSAMPLING, _CANVAS * SUPERSAMPLING))
    place = ((BUFFER - edge_left) * SUPERSAMPLING, (BUFFER - edge_top) * SUPERSAMPLING)
    ImageDraw.Draw(image).text(place, letter, font=font, fill=255, anchor="ls")
    advance = max(0, round(font.getlength(letter) / SUPERSAMPLING))
    return _Glyph(
        ord(letter), np.asarray(image) >= 128, width, height, edge_left, -edge_top - _ASCENDER, advance
    )


def _message(glyph: _Glyph, field: NDArray[np.uint8]) -> bytes:
    message = _number(1, glyph.code)
    if glyph.width and glyph.height:
        message += _field(2, field[: glyph.height + 2 * BUFFER, : glyph.width + 2 * BUFFER].tobytes())
    return (
        message
        + _number(3, glyph.width)
        + _number(4, glyph.height)
        + _number(5, _zigzag(glyph.left))
        + _number(6, _zigzag(glyph.top))
        + _number(7, glyph.advance)
    )


def _varint(value: int) -> bytes:
    written = bytearray()
    while value > 127:
        written.append(value & 127 | 128)
        value >>= 7
    written.append(value)
    return bytes(written)


def _zigzag(value: int) -> int:
    return value * 2 if value >= 0 else -value * 2 - 1


def _number(key: int, value: int) -> bytes:
    return _varint(key << 3) + _varint(value)


def _field(key: int, content: bytes) -> bytes:
    return _varint(key << 3 | 2) + _varint(len(content)) + content
