"""Images of other servers: read with suspicion, and brought to the place that was asked for."""

from __future__ import annotations

import io
import math
import struct

import numpy as np
import orjson
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from providers.features.remote.documents import shown, xml_root
from providers.maps.errors import RemoteMapRefused, RemoteMapUnavailable
from providers.outgoing import RemoteUnavailable
from tiles.crs import transformer
from tiles.maps.source import Box, MapRequest, Pixels, empty_image

IMAGES = (
    "image/png",
    "image/jpeg",
    "image/webp",
    "image/gif",
    "image/jpg",
    "image/png8",
    "image/x-png",
    "image/vnd.jpeg-png",
    "image/vnd.jpeg-png8",
    "application/octet-stream",
    "binary/octet-stream",
)
EXCEPTIONS = (
    "text/xml",
    "application/xml",
    "+xml",
    "application/vnd.ogc.se_xml",
    "application/json",
    "+json",
    "text/plain",
)
MAXIMUM_IMAGE_PIXELS = 4096 * 4096
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
_FAULTS = (
    UnidentifiedImageError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    struct.error,
)
_STEP = 16  # pixels between places that are transformed one by one; what lies between is interpolated

type Floats = NDArray[np.float64]


def read_image(body: bytes, name: str) -> Pixels:
    """An image of a service, size checked before it is unpacked.

    Raises RemoteMapRefused for an exception report, RemoteMapUnavailable for anything else that is no whole image.
    """
    if body.lstrip()[:1] in (b"<", b"{"):
        raise RemoteMapRefused(f"{name} answers no image: {refusal(body, name)}")
    try:
        with Image.open(io.BytesIO(body), formats=_FORMATS) as image:
            width, height = image.size
            if width * height > MAXIMUM_IMAGE_PIXELS:
                raise RemoteMapUnavailable(
                    f"{name} answers an image of {width} x {height} pixels; at most {MAXIMUM_IMAGE_PIXELS} are read"
                )
            return np.array(image.convert("RGBA"))
    except _FAULTS as error:
        if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
            raise RemoteMapUnavailable(f"{name} answers an image with more pixels than are read") from None
        raise RemoteMapUnavailable(f"{name} answers what is no image, or only a part of one") from None


def refusal(body: bytes, name: str) -> str:
    """The words of an exception report (WMS, OWS, ArcGIS, problem+json), short; "" for a page of anything else."""
    if body.lstrip()[:1] == b"{":
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError:
            return "broken JSON"
        inner = document.get("error", document) if isinstance(document, dict) else {}
        words = (
            inner.get("message") or inner.get("detail") or inner.get("title")
            if isinstance(inner, dict)
            else inner
        )
        return shown(words) or "JSON without a message"
    try:
        root = xml_root(body[:100_000], name)
    except RemoteUnavailable:
        return "a page, or broken XML"
    return shown(" ".join(text for text in root.itertext() if text.strip())) or "XML without a message"


def resized(pixels: Pixels, width: int, height: int) -> Pixels:
    """The image on so many pixels."""
    if pixels.shape[:2] == (height, width):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))


def warp(source: Pixels, box: Box, crs: str, request: MapRequest) -> Pixels:
    """An image of `box` in `crs`, brought to the box, CRS and size of a request; transparent where it shows nothing.

    Bilinear, with colours weighted by their opacity. Raises UnsupportedCrs.
    """
    height, width = source.shape[:2]
    across, down = (box[2] - box[0]) / width, (box[3] - box[1]) / height
    if crs == request.crs:
        cropped = _cropped(source, box, request, across, down)
        if cropped is not None:
            return cropped
    x, y = _places(request, crs)
    return _sampled(source, (x - box[0]) / across - 0.5, (box[3] - y) / down - 0.5)


def _cropped(source: Pixels, box: Box, request: MapRequest, across: float, down: float) -> Pixels | None:
    """The part of the image, where its pixels are those of the request; None where they are others."""
    minx, miny, maxx, maxy = request.bbox
    left, top = (minx - box[0]) / across, (box[3] - maxy) / down
    sizes = (maxx - minx) / across - request.width, (maxy - miny) / down - request.height
    if max(map(abs, sizes)) > 0.05 or max(abs(left - round(left)), abs(top - round(top))) > 0.05:
        return None
    result = empty_image(request.width, request.height)
    x, y = round(left), round(top)
    from_x, from_y = max(x, 0), max(y, 0)
    to_x, to_y = min(x + request.width, source.shape[1]), min(y + request.height, source.shape[0])
    if from_x < to_x and from_y < to_y:
        result[from_y - y : to_y - y, from_x - x : to_x - x] = source[from_y:to_y, from_x:to_x]
    return result


def _places(request: MapRequest, crs: str) -> tuple[Floats, Floats]:
    """Where the pixels of the request (height, width) lie in `crs`, easting first; not finite where it cannot say."""
    columns, rows = _nodes(request.width), _nodes(request.height)
    x, y = _transformed(request, crs, columns, rows)
    if np.isfinite(x).all() and np.isfinite(y).all() and not (_jumps(x) or _jumps(y)):
        before, after = _weights(rows, request.height), _weights(columns, request.width)
        return before @ x @ after.T, before @ y @ after.T
    return _transformed(
        request,
        crs,
        np.arange(request.width, dtype=np.float64) + 0.5,
        np.arange(request.height, dtype=np.float64) + 0.5,
    )


def _nodes(length: int) -> Floats:
    """Places in pixels along an edge, from its beginning to its end."""
    return np.linspace(0.0, length, max(2, math.ceil(length / _STEP) + 1))


def _transformed(request: MapRequest, crs: str, columns: Floats, rows: Floats) -> tuple[Floats, Floats]:
    minx, miny, maxx, maxy = request.bbox
    x, y = np.meshgrid(
        minx + columns * ((maxx - minx) / request.width), maxy - rows * ((maxy - miny) / request.height)
    )
    if crs != request.crs:
        x, y = transformer(request.crs, crs).transform(x, y)
    return np.asarray(x), np.asarray(y)


def _jumps(values: Floats) -> bool:
    """Whether neighbours lie on two sides of the antimeridian, or the CRS is torn otherwise."""
    for axis in (0, 1):
        steps = np.abs(np.diff(values, axis=axis))
        if steps.size and steps.max() > 8 * np.median(steps) + 1e-9 and steps.max() > np.ptp(values) / 2:
            return True
    return False


def _weights(nodes: Floats, length: int) -> Floats:
    """(length, nodes): how much of each node a pixel's centre takes."""
    places = (np.arange(length) + 0.5) / (nodes[1] - nodes[0])
    first = np.minimum(places.astype(int), len(nodes) - 2)
    part = places - first
    result = np.zeros((length, len(nodes)))
    result[np.arange(length), first] = 1 - part
    result[np.arange(length), first + 1] = part
    return result


def _sampled(source: Pixels, columns: Floats, rows: Floats) -> Pixels:
    """The image at fractional places; transparent beyond half a pixel outside of it."""
    height, width = source.shape[:2]
    with np.errstate(invalid="ignore"):
        inside = (columns > -0.5) & (columns < width - 0.5) & (rows > -0.5) & (rows < height - 0.5)
    result = np.zeros((*columns.shape, 4), dtype=np.uint8)
    if not inside.any():
        return result
    column, row = np.clip(columns[inside], 0, width - 1), np.clip(rows[inside], 0, height - 1)
    left, top = np.floor(column).astype(np.intp), np.floor(row).astype(np.intp)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    x, y = (column - left).astype(np.float32)[:, None], (row - top).astype(np.float32)[:, None]
    weighted = source.astype(np.float32)
    weighted[..., :3] *= weighted[..., 3:] / 255.0
    upper = weighted[top, left] * (1 - x) + weighted[top, right] * x
    lower = weighted[bottom, left] * (1 - x) + weighted[bottom, right] * x
    mixed = upper * (1 - y) + lower * y
    alpha = mixed[:, 3:]
    mixed[:, :3] *= 255.0 / np.maximum(alpha, 1e-3)
    result[inside] = np.where(alpha > 0.5, np.clip(mixed + 0.5, 0, 255), 0).astype(np.uint8)
    return result
