"""Textures from image files beside a city model: held in their folder, within limits, scaled down where they are large."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

from tiles.three_d.city_models.model import TextureImage
from tiles.three_d.objects import Texture
from tiles.three_d.report import ProblemLog

_FORMATS = {"PNG": "image/png", "JPEG": "image/jpeg"}
_READABLE = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP")
_JPEG_QUALITY = 82


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """`file_bytes` and `pixels` of one image that is read; `side` (pixels) to which it is scaled down; `total_bytes` kept of all."""

    file_bytes: int = 64 << 20
    pixels: int = 120_000_000
    side: int = 1024
    total_bytes: int = 2 << 30


class ImageReader:
    """Reads images of textures below `folder`; what cannot be used is reported once and its surfaces are drawn in a colour."""

    def __init__(self, folder: Path, log: ProblemLog, limits: ImageLimits | None = None) -> None:
        self._folder = folder.resolve()
        self._log = log
        self._limits = limits or ImageLimits()
        self._total = 0

    def load(self, image: TextureImage) -> Texture | None:
        """The image as PNG or JPEG, None where there is none that may be used."""
        shown = image.path.name
        try:
            path = image.path.resolve()
        except (OSError, RuntimeError, ValueError):
            return self._refused(shown, "its name is no path")
        if not path.is_relative_to(self._folder):
            return self._refused(shown, "it lies outside the folder of the city model")
        if "://" in str(image.path) or not path.is_file():
            return self._refused(shown, "there is no such file beside the city model")
        if path.stat().st_size > self._limits.file_bytes:
            return self._refused(shown, f"it is larger than {self._limits.file_bytes:,} bytes")
        if self._total >= self._limits.total_bytes:
            return self._refused(
                shown, f"all textures together are larger than {self._limits.total_bytes:,} bytes"
            )
        texture = self._read(path, shown)
        self._total += len(texture.content) if texture is not None else 0
        return texture

    def _refused(self, name: str, why: str) -> Texture | None:
        self._log.add(f"texture {name}", f"not used: {why}", "repaired")
        return None

    def _read(self, path: Path, shown: str) -> Texture | None:
        from PIL import Image, UnidentifiedImageError

        try:
            with warnings.catch_warnings():
                # Our own limit of pixels follows at once.
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                with Image.open(path, formats=_READABLE) as opened:
                    if opened.width * opened.height > self._limits.pixels:
                        return self._refused(shown, f"it has more than {self._limits.pixels:,} pixels")
                    if opened.format in _FORMATS and max(opened.size) <= self._limits.side:
                        opened.load()
                        return Texture(_FORMATS[opened.format], path.read_bytes())
                    opened.draft("RGB", (self._limits.side, self._limits.side))
                    smaller = opened.convert("RGBA" if has_alpha(opened) else "RGB")
                    smaller.thumbnail((self._limits.side, self._limits.side))
        except (
            OSError,
            UnidentifiedImageError,
            ValueError,
            SyntaxError,
            Image.DecompressionBombError,
        ) as error:
            return self._refused(shown, f"it is no image that can be read ({error})")
        return encoded(smaller)


def has_alpha(image: object) -> bool:
    """Whether an image of Pillow has transparent pixels or could have."""
    mode = getattr(image, "mode", "")
    return mode in ("RGBA", "LA", "PA") or "transparency" in getattr(image, "info", {})


def encoded(image: object) -> Texture:
    """An RGB image as JPEG, one with transparency as PNG."""
    from PIL import Image

    assert isinstance(image, Image.Image)
    content = io.BytesIO()
    if image.mode == "RGBA":
        image.save(content, "PNG", optimize=True)
        return Texture("image/png", content.getvalue())
    image.convert("RGB").save(content, "JPEG", quality=_JPEG_QUALITY)
    return Texture("image/jpeg", content.getvalue())
