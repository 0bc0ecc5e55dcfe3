"""Images: laying layers over each other, marking what is simulated, and writing PNG, JPEG and WebP."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from types import MappingProxyType

import numpy as np
from PIL import Image, ImageColor, ImageDraw

from tiles.errors import StyleError, UnsupportedImageFormat
from tiles.maps.fonts import watermark_font
from tiles.maps.png import encode_png, encode_png_palette
from tiles.maps.source import MapRequest, Pixels

_WATERMARK_STEP = 512
_WATERMARK_SIZE = 13


def compose(layers: Sequence[Pixels]) -> Pixels:
    """The layers over each other, the first one lowest. All have one size; raises ValueError where there is none."""
    if not layers:
        raise ValueError("compose needs at least one layer")
    if len(layers) == 1:
        return layers[0]
    image = Image.fromarray(layers[0])
    for layer in layers[1:]:
        image.alpha_composite(Image.fromarray(layer))
    return np.asarray(image)


def fill_background(pixels: Pixels, colour: str) -> Pixels:
    """The image on a ground of that colour (#rgb, #rrggbb or #rrggbbaa). Raises StyleError."""
    ground = np.empty_like(pixels)
    ground[:] = parse_colour(colour)
    return compose([ground, pixels])


def parse_colour(text: str) -> tuple[int, int, int, int]:
    """Red, green, blue, alpha of #rgb, #rrggbb or #rrggbbaa. Raises StyleError."""
    if not (isinstance(text, str) and text.startswith("#")):
        raise StyleError(f"colour {text!r} is not understood; write #rgb, #rrggbb or #rrggbbaa")
    try:
        colour = ImageColor.getcolor(text, "RGBA")
    except ValueError as error:
        raise StyleError(f"colour {text!r} is not understood; write #rgb, #rrggbb or #rrggbbaa") from error
    red, green, blue, alpha = colour if isinstance(colour, tuple) else (colour,) * 4
    return red, green, blue, alpha


def draw_watermark(pixels: Pixels, text: str, request: MapRequest, *, shifted: bool = False) -> Pixels:
    """Small text every 512 pixels, where the image shows anything.

    The places hang on the ground, not on the image: neighbouring tiles continue each other. `shifted` takes places
    between the usual ones, twice as dense: on every tile.
    """
    if not pixels[..., 3].any():
        return pixels
    minx, miny, maxx, maxy = request.bbox
    stamp = _stamp(text)
    # A text that is longer than a step takes as many as it needs.
    shortest = _WATERMARK_STEP // 2 if shifted else _WATERMARK_STEP
    step = shortest * math.ceil((stamp.width + 2 * _WATERMARK_SIZE) / shortest)
    aside = _WATERMARK_STEP // 4 if shifted else 0
    left = round(minx / ((maxx - minx) / request.width)) - aside
    top = round(-maxy / ((maxy - miny) / request.height)) - aside
    layer = Image.new("RGBA", (request.width, request.height))
    # One step further to the left: a long text reaches from the place before into this image.
    for y in range(-(top % step) - step, request.height, step):
        for x in range(-(left % step) - step, request.width, step):
            layer.paste(stamp, (x + _WATERMARK_SIZE, y + _WATERMARK_SIZE))
    return compose([pixels, np.asarray(layer)])


@lru_cache(maxsize=16)
def _stamp(text: str) -> Image.Image:
    """The watermark's text with a halo on a transparent ground."""
    font, knows_chinese = watermark_font(_WATERMARK_SIZE)
    if not knows_chinese:
        text = text.encode("ascii", "ignore").decode().strip(" /")
    width = math.ceil(font.getlength(text)) + 6
    image = Image.new("RGBA", (width, _WATERMARK_SIZE * 2))
    ImageDraw.Draw(image).text(
        (3, 3), text, font=font, fill=(90, 90, 90, 190), stroke_width=1, stroke_fill=(255, 255, 255, 170)
    )
    return image


def _encode_png8(pixels: Pixels) -> bytes:
    quantized = Image.fromarray(pixels).quantize(
        256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE
    )
    table = np.array(quantized.getpalette("RGBA"), dtype=np.uint8).reshape(-1, 4)
    return encode_png_palette(np.asarray(quantized), table)


def _encode_jpeg(pixels: Pixels) -> bytes:
    image = Image.fromarray(pixels)
    ground = Image.new("RGBA", image.size, (255, 255, 255, 255))
    ground.alpha_composite(image)
    return _saved(ground.convert("RGB"), format="JPEG", quality=85)


def _encode_webp(pixels: Pixels) -> bytes:
    return _saved(Image.fromarray(pixels), format="WEBP", quality=85, method=1)


def _saved(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, **options)  # type: ignore[arg-type]  # Pillow types the options of all formats as one
    return buffer.getvalue()


_ENCODERS: MappingProxyType[str, Callable[[Pixels], bytes]] = MappingProxyType(
    {
        "image/png": encode_png,
        "image/png; mode=8bit": _encode_png8,
        "image/jpeg": _encode_jpeg,
        "image/webp": _encode_webp,
    }
)


def image_formats() -> tuple[str, ...]:
    """Media types encode_image can write."""
    return tuple(_ENCODERS)


def encode_image(pixels: Pixels, media_type: str) -> bytes:
    """The image as a file. JPEG stands on white; "image/png; mode=8bit" is a third of the size with at most 256 colours.

    Raises UnsupportedImageFormat.
    """
    encoder = _ENCODERS.get(media_type)
    if encoder is None:
        raise UnsupportedImageFormat(
            f"image format {media_type!r} is not offered; offered are {', '.join(_ENCODERS)}"
        )
    return encoder(pixels)
