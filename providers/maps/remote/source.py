"""A map drawn by another server, as a map source of ours."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np

from providers.errors import StoreError
from providers.maps.errors import RemoteMapRefused, RemoteMapUnavailable
from providers.maps.remote.image_services import (
    ImageRequest,
    ImageService,
    WebMapService,
    choose_crs,
    equals_of,
    plain_crs,
    service_of,
)
from providers.maps.remote.pixels import EXCEPTIONS, IMAGES, refusal, resized, warp
from providers.maps.remote.pyramid import TilePyramid, count_of, tiles_of
from providers.maps.remote.upstream import Budget, Upstream
from tiles.crs import transformer
from tiles.errors import MapAreaError, UnknownInstant
from tiles.maps.source import Box, MapRequest, Pixels, check_request, empty_image

_MARGIN = 2  # pixels around a box that is warped, so that its edges have neighbours
_MOST_PIXELS = 4096
_INFO_TYPES = (
    "application/json",
    "application/geo+json",
    "application/geojson",
    "application/vnd.ogc.gml",
    "text/xml",
    "text/plain",
    "application/xml",
)


class RemoteAnswer(NamedTuple):
    """An answer of a service as it came: of a media type that was asked for."""

    media_type: str
    body: bytes


class RemoteMapSource:
    """A cascaded map (MapSource). `remote` is what was read at registration; nobody is asked before an image is.

    Tiles are taken from the service's pyramid where it has one, else images of the box; both are asked for in a CRS that the
    service offers and brought to the one asked for here.
    """

    def __init__(self, remote: Mapping[str, Any], upstream: Upstream) -> None:
        """Raises StoreError for what cannot be used."""
        self._remote = dict(remote)
        self._upstream = upstream
        self._pyramid = TilePyramid.from_json(remote["tiles"]) if remote.get("tiles") else None
        self._service: ImageService | None = service_of(remote)
        if self._pyramid is None and self._service is None:
            raise StoreError("A remote map has neither tiles nor images")
        self.times: tuple[str, ...] = tuple(remote.get("times", ()))
        self._extent = tuple(float(value) for value in remote.get("bbox", ()))
        self._limits: dict[str, Box | None] = {}

    @property
    def max_age(self) -> int:
        """Seconds for which an image counts as current."""
        return self._upstream.max_age

    @property
    def queryable(self) -> bool:
        """Whether the service answers what lies at a point."""
        return isinstance(self._service, WebMapService) and bool(self._remote.get("info_formats"))

    @property
    def has_legend(self) -> bool:
        """Whether the service has a legend."""
        return bool(self._remote.get("legend"))

    def render(self, bbox: Box, crs: str, width: int, height: int, *, instant: str | None = None) -> Pixels:
        """Draw (see MapSource). Raises RemoteMapUnavailable, with the last good image where all of it is kept."""
        request = check_request(bbox, crs, width, height)
        moment = self._moment(instant)
        budget = self._upstream.budget()
        if self._pyramid is not None:
            pixels = self._from_tiles(self._pyramid, request, moment, budget)
        else:
            assert self._service is not None
            pixels = self._from_images(self._service, request, moment, budget)
        if budget.failure is None:
            return pixels
        failure = budget.failure
        error = RemoteMapUnavailable if not isinstance(failure, RemoteMapRefused) else RemoteMapRefused
        last_good = None if budget.without else pixels
        raise error(str(failure), failure.retry_after, last_good) from failure

    def feature_info(
        self,
        bbox: Box,
        crs: str,
        width: int,
        height: int,
        column: int,
        row: int,
        *,
        media_type: str = "application/json",
        count: int = 1,
        instant: str | None = None,
    ) -> RemoteAnswer | None:
        """What the service says of a pixel of a map; None where it is not queryable. Never HTML: it could hold scripts.

        `media_type` is asked for where the service offers it, else the best of what it offers. Where the CRS is none of the
        service's, the same place is asked for on a small map in one of its own. Raises RemoteMapUnavailable.
        """
        service = self._service
        formats = [str(each) for each in self._remote.get("info_formats", ()) if "html" not in str(each)]
        if not isinstance(service, WebMapService) or not formats:
            return None
        request = check_request(bbox, crs, width, height)
        chosen = next((each for each in (media_type, *_INFO_TYPES) if each in formats), formats[0])
        asked, (x, y) = self._around(service, request, column, row, self._moment(instant))
        url, parameters = service.asked_info(asked, x, y, chosen, max(1, min(count, 50)))
        accept = (chosen.partition(";")[0].strip(), *_INFO_TYPES, *EXCEPTIONS)
        answer = self._plain_answer(url, parameters, tuple(dict.fromkeys(accept)))
        if any(word in answer.body[:2000] for word in (b"ServiceException", b"ExceptionReport")):
            name = self._upstream.client.name
            raise RemoteMapRefused(f"{name} answers no features: {refusal(answer.body, name)}")
        return answer

    def legend(self) -> RemoteAnswer | None:
        """The service's legend image; None where it has none. Raises RemoteMapUnavailable."""
        url = self._remote.get("legend")
        if not url:
            return None
        answer = self._plain_answer(str(url), {}, (*IMAGES, *EXCEPTIONS))
        if answer.body.lstrip()[:1] in (b"<", b"{"):
            name = self._upstream.client.name
            raise RemoteMapRefused(f"{name} answers no legend: {refusal(answer.body, name)}")
        return answer

    # --- tiles -------------------------------------------------------------------------------------------------------

    def _from_tiles(
        self, pyramid: TilePyramid, request: MapRequest, instant: str | None, budget: Budget
    ) -> Pixels:
        crs = request.crs if request.crs in equals_of(pyramid.crs) else plain_crs(pyramid.crs)
        found = self._box_in(request, crs)
        if found is None:
            return empty_image(request.width, request.height)
        box, step = found
        matrix = pyramid.level(step, box)
        span = matrix.range(box)
        if count_of(span) == 0:
            return empty_image(request.width, request.height)
        across, down = matrix.tile_width, matrix.tile_height
        canvas = empty_image((span[2] - span[0] + 1) * across, (span[3] - span[1] + 1) * down)
        for column, row in tiles_of(span):
            tile = self._upstream.image(pyramid.url(matrix, column, row, instant), {}, budget, tile=True)
            if tile is not None:
                left, top = (column - span[0]) * across, (row - span[1]) * down
                canvas[top : top + down, left : left + across] = resized(tile, across, down)
        return warp(canvas, matrix.box(*span), crs, request)

    # --- images ------------------------------------------------------------------------------------------------------

    def _from_images(
        self, service: ImageService, request: MapRequest, instant: str | None, budget: Budget
    ) -> Pixels:
        named = choose_crs(request.crs, service.offered)
        crs = request.crs if request.crs in equals_of(named) else plain_crs(named)
        found = self._box_in(request, crs)
        if found is None:
            return empty_image(request.width, request.height)
        if crs == request.crs:
            return self._image(service, request, named, instant, budget)
        (minx, miny, maxx, maxy), step = found
        room = _MARGIN * step
        box = (minx - room, miny - room, maxx + room, maxy + room)
        width, height = (
            min(max(math.ceil(length / step), 1), _MOST_PIXELS)
            for length in (box[2] - box[0], box[3] - box[1])
        )
        asked = MapRequest(box, crs, width, height)
        return warp(self._image(service, asked, named, instant, budget), box, crs, request)

    def _image(
        self, service: ImageService, request: MapRequest, named: str, instant: str | None, budget: Budget
    ) -> Pixels:
        """The image of a box in a CRS of the service, in parts where it is larger than the service draws."""
        canvas = empty_image(request.width, request.height)
        minx, _, _, maxy = request.bbox
        across = (request.bbox[2] - minx) / request.width
        down = (maxy - request.bbox[1]) / request.height
        most_x, most_y = max(service.maximum[0], 1), max(service.maximum[1], 1)
        for top in range(0, request.height, most_y):
            for left in range(0, request.width, most_x):
                right, bottom = min(left + most_x, request.width), min(top + most_y, request.height)
                box = (minx + left * across, maxy - bottom * down, minx + right * across, maxy - top * down)
                part = ImageRequest(box, named, right - left, bottom - top, instant)
                found = self._upstream.image(*service.asked(part), budget)
                if found is not None:
                    canvas[top:bottom, left:right] = resized(found, right - left, bottom - top)
        return canvas

    # --- places and times --------------------------------------------------------------------------------------------

    def _box_in(self, request: MapRequest, crs: str) -> tuple[Box, float] | None:
        """The box around the request in a CRS of the service, cut to the layer's extent, and units of it a pixel of the request.

        None where the request shows nothing of the layer.
        """
        box: Box | None = request.bbox
        if crs != request.crs:
            box = _box_around(request, crs)
            if box is None:
                return None
        assert box is not None
        step = math.sqrt((box[2] - box[0]) * (box[3] - box[1]) / (request.width * request.height))
        limits = self._limits_in(crs)
        if limits is not None:
            slack = 2 * step
            if crs == request.crs:
                is_beside = (
                    box[2] < limits[0] or box[0] > limits[2] or box[3] < limits[1] or box[1] > limits[3]
                )
                return None if is_beside else (box, step)
            box = (
                max(box[0], limits[0] - slack),
                max(box[1], limits[1] - slack),
                min(box[2], limits[2] + slack),
                min(box[3], limits[3] + slack),
            )
        return (box, step) if step > 0 and box[0] < box[2] and box[1] < box[3] else None

    def _limits_in(self, crs: str) -> Box | None:
        """The layer's extent in a CRS; None where it is not known, or torn by the CRS."""
        if len(self._extent) != 4:
            return None
        if crs not in self._limits:
            found = transformer("OGC:CRS84", crs).transform_bounds(*self._extent, densify_pts=21)
            is_whole = all(map(math.isfinite, found)) and found[0] < found[2] and found[1] < found[3]
            self._limits[crs] = found if is_whole else None
        return self._limits[crs]

    def _around(
        self, service: WebMapService, request: MapRequest, column: int, row: int, instant: str | None
    ) -> tuple[ImageRequest, tuple[int, int]]:
        """A map of the service that shows the pixel, and where on it."""
        if not (0 <= column < request.width and 0 <= row < request.height):
            raise MapAreaError(
                f"the pixel {column}, {row} lies outside of a map of {request.width} x {request.height} pixels"
            )
        named = choose_crs(request.crs, service.offered)
        if request.crs in equals_of(named) and (
            request.width <= service.maximum[0] and request.height <= service.maximum[1]
        ):
            return ImageRequest(request.bbox, named, request.width, request.height, instant), (column, row)
        crs = plain_crs(named)
        minx, miny, maxx, maxy = request.bbox
        across, down = (maxx - minx) / request.width, (maxy - miny) / request.height
        x, y = minx + (column + 0.5) * across, maxy - (row + 0.5) * down
        corners = transformer(request.crs, crs).transform(
            [x, x - across / 2, x + across / 2], [y, y - down / 2, y + down / 2]
        )
        if not np.isfinite(corners).all():
            raise MapAreaError(f"the pixel {column}, {row} has no place in {crs}")
        step = max(abs(corners[0][2] - corners[0][1]), abs(corners[1][2] - corners[1][1]), 1e-12)
        reach, size = 50.5 * step, 101
        centre_x, centre_y = float(corners[0][0]), float(corners[1][0])
        box = (centre_x - reach, centre_y - reach, centre_x + reach, centre_y + reach)
        return ImageRequest(box, named, size, size, instant), (size // 2, size // 2)

    def _moment(self, instant: str | None) -> str | None:
        """The instant as the service writes it; None for its latest. Raises UnknownInstant for one it does not have."""
        if instant is None or not self.times:
            return None
        if any("/" in each for each in self.times):
            return instant  # periods: the service knows what it has
        wanted = _parsed(instant)
        for each in self.times:
            if each == instant or (wanted is not None and _parsed(each) == wanted):
                return each
        shown = ", ".join(self.times[-5:])
        raise UnknownInstant(f"the service has no map of {instant!r}; its latest are {shown}")

    def _plain_answer(self, url: str, parameters: dict[str, str], accept: tuple[str, ...]) -> RemoteAnswer:
        answer = self._upstream.get(url, parameters, accept, self._upstream.client.timeout)
        if answer.status != 200:
            name = self._upstream.client.name
            raise RemoteMapRefused(f"{name} answers {answer.status}: {refusal(answer.body, name)}")
        return RemoteAnswer(answer.media_type, answer.body)


def _box_around(request: MapRequest, crs: str) -> Box | None:
    """The box around the request in another CRS; None where no point of it has a place there."""
    columns = np.linspace(request.bbox[0], request.bbox[2], 22)
    rows = np.linspace(request.bbox[1], request.bbox[3], 22)
    x, y = (np.asarray(each) for each in transformer(request.crs, crs).transform(*np.meshgrid(columns, rows)))
    finite = np.isfinite(x) & np.isfinite(y)
    if not finite.any():
        return None
    x, y = x[finite], y[finite]
    return float(x.min()), float(y.min()), float(x.max()), float(y.max())


def _parsed(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
