"""Fonts for labels and watermarks: Chinese, Japanese and Korean where the machine has one, else DejaVu of Mapnik's wheel.

Only known folders are looked at, never the whole disk. The images of docker/ and the test machines have
fonts-noto-cjk; a machine without it shows labels in Latin, Greek and Cyrillic letters only, and says so once in the log.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

_logger = logging.getLogger(__name__)

_FOLDERS = (
    "/usr/share/fonts/opentype/noto",
    "/usr/share/fonts/truetype/noto",
    "/usr/share/fonts/noto-cjk",
    "/usr/share/fonts/google-noto-cjk",
    "/usr/share/fonts/truetype/wqy",
    "/usr/share/fonts/truetype/arphic",
    "/usr/local/share/fonts",
    "/Library/Fonts",
    "/System/Library/Fonts",
    "C:/Windows/Fonts",
)
_FILES = (
    "NotoSansCJK-Regular.ttc",
    "NotoSansCJKsc-Regular.otf",
    "NotoSansSC-Regular.otf",
    "SourceHanSansSC-Regular.otf",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "uming.ttc",
    "PingFang.ttc",
    "msyh.ttc",
    "NotoSerifCJK-Regular.ttc",
)
_PREFERRED_FACES = ("CJK SC", "SC ", "Micro Hei", "Zen Hei", "UMing CN", "PingFang SC", "YaHei")


@dataclass(frozen=True, slots=True)
class MapFonts:
    """`faces` are Mapnik face names in the order in which a letter is looked for; empty: no labels are drawn.

    `cjk_file` is a font file with Chinese letters, `latin_file` one without; None where the machine has none.
    """

    faces: tuple[str, ...]
    cjk_file: Path | None
    latin_file: Path | None


_FINDING = threading.Lock()


def map_fonts() -> MapFonts:
    """The fonts of this machine; looked for once, on first use."""
    # Two threads at once would each miss what the other one has registered, and draw without Chinese letters for ever.
    with _FINDING:
        return _found_fonts()


@lru_cache(maxsize=1)
def _found_fonts() -> MapFonts:
    from tiles.maps.mapnik_library import mapnik

    cjk_file = next(
        (path for folder in _FOLDERS for name in _FILES if (path := Path(folder, name)).is_file()), None
    )
    known = set(mapnik.FontEngine.face_names())
    latin = tuple(face for face in ("DejaVu Sans Book",) if face in known)
    cjk: tuple[str, ...] = ()
    if cjk_file is not None and mapnik.FontEngine.register_font(str(cjk_file)):
        added = sorted(set(mapnik.FontEngine.face_names()) - known)
        preferred = [face for face in added if any(part in face for part in _PREFERRED_FACES)]
        regular = [face for face in preferred if face.endswith("Regular") and "Mono" not in face]
        cjk = tuple((regular or preferred or added)[:1])
    if not cjk:
        _logger.warning("no font with Chinese letters in %s: install fonts-noto-cjk", ", ".join(_FOLDERS[:4]))
    if not latin and not cjk:
        _logger.warning("no font at all: maps are drawn without labels")
    latin_file = Path(mapnik.paths.fontscollectionpath, "DejaVuSans.ttf")
    return MapFonts(latin + cjk, cjk_file, latin_file if latin_file.is_file() else None)


@lru_cache(maxsize=8)
def watermark_font(size: int) -> tuple[ImageFont.FreeTypeFont | ImageFont.ImageFont, bool]:
    """(font, knows Chinese letters) for text that is written on an image, `size` in pixels."""
    fonts = map_fonts()
    if fonts.cjk_file is not None:
        return ImageFont.truetype(fonts.cjk_file, size), True
    if fonts.latin_file is not None:
        return ImageFont.truetype(fonts.latin_file, size), False
    return ImageFont.load_default(), False
