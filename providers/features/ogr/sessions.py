"""Open layers: one fiona session for each thread and layer, kept open until the file changes or too many are open."""

from __future__ import annotations

import atexit
import json
import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import fiona
from fiona._err import CPLE_BaseError  # what fiona lets through of GDAL has no public name
from fiona.errors import FionaError

from providers.errors import StoreCorrupt, StoreError
from providers.features.ogr.paths import DRIVERS, PlacedFile

_ENVIRONMENT = {
    "GML_DOWNLOAD_SCHEMA": "NO",  # nothing is fetched at run time
    "GML_SKIP_RESOLVE_ELEMS": "ALL",
    "GML_GFS_TEMPLATE": "",
    "GDAL_HTTP_TIMEOUT": "1",
    "GDAL_HTTP_CONNECTTIMEOUT": "1",
    "CPL_VSIL_CURL_ALLOWED_FILENAME": "",
    "GDAL_DISABLE_READDIR_ON_OPEN": "FALSE",
    "OGR_SQLITE_LOAD_EXTENSIONS": "",
    "OGR_SQLITE_ALLOW_EXTERNAL_ACCESS": "NO",
}
_MOST_OPEN = 32  # layers of one thread


class _Sessions(threading.local):
    """The open layers of one thread, by (process, file state, layer)."""

    def __init__(self) -> None:
        self.opened: OrderedDict[tuple[int, str, str, str], Any] = OrderedDict()


_sessions = _Sessions()


@dataclass(frozen=True, slots=True)
class LayerName:
    """A layer of a file in one state of it. `left_out` are fields that are not read."""

    place: PlacedFile
    layer: str
    identity: str
    left_out: tuple[str, ...] = ()

    @contextmanager
    def session(self) -> Iterator[Any]:
        """This thread's fiona collection. Raises StoreCorrupt where GDAL fails; the session is then closed."""
        key = (os.getpid(), self.place.opened, self.layer, self.identity)
        opened = _sessions.opened
        with gdal_errors(self.place):
            collection = opened.get(key)
            if collection is None:
                _close_others(key)
                collection = open_layer(self.place, self.layer, self.left_out)
                opened[key] = collection
                while len(opened) > _MOST_OPEN:
                    opened.popitem(last=False)[1].close()
            else:
                opened.move_to_end(key)
        try:
            with gdal_errors(self.place):
                yield collection
        except StoreCorrupt:
            opened.pop(key, None)
            collection.close()
            raise


def close_sessions() -> None:
    """Close what this thread has open (a worker that ends: GDAL must not be asked once Python is being taken down)."""
    while _sessions.opened:
        _sessions.opened.popitem()[1].close()


atexit.register(close_sessions)


def _close_others(key: tuple[int, str, str, str]) -> None:
    """Close what this thread has open of an older state of the same layer."""
    opened = _sessions.opened
    for other in [other for other in opened if other[1:3] == key[1:3]]:
        opened.pop(other).close()


def open_layer(place: PlacedFile, layer: str | None, left_out: Sequence[str] = ()) -> Any:
    """A fiona collection, by the allowed drivers only."""
    with fiona.Env(**_ENVIRONMENT):
        return fiona.open(
            place.opened,
            layer=layer,
            enabled_drivers=list(DRIVERS),
            ignore_fields=list(left_out) or None,
        )


def list_layers(place: PlacedFile) -> list[str]:
    """Names of the layers of a file. Raises StoreCorrupt."""
    with gdal_errors(place):
        first = open_layer(place, None)  # refuses what the allowed drivers cannot read
        first.close()
        with fiona.Env(**_ENVIRONMENT):
            return [str(name) for name in fiona.listlayers(place.opened)]


class _Ear(logging.Handler):
    """Keeps what GDAL reports as an error in one thread: it goes on after errors that must not be passed over."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.thread = threading.get_ident()
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self.thread and len(self.heard) < 10:
            self.heard.append(record.getMessage())


@contextmanager
def no_error_reported(place: PlacedFile) -> Iterator[None]:
    """Raise StoreCorrupt where GDAL reports an error through fiona without raising it."""
    ear = _Ear()
    logger = logging.getLogger("fiona")
    logger.addHandler(ear)
    try:
        yield
    finally:
        logger.removeHandler(ear)
    if ear.heard:
        raise StoreCorrupt(f"{place.name!r} is truncated or damaged: {_without_folders(ear.heard[0], place)}")


def _without_folders(said: str, place: PlacedFile) -> str:
    plain = " ".join(said.split()).replace(place.opened, place.name)
    return plain.replace(f"{place.path.parent}/", "")[:300]


@contextmanager
def gdal_errors(place: PlacedFile) -> Iterator[None]:
    """Give GDAL's errors our names, without the folders of this machine."""
    try:
        yield
    except json.JSONDecodeError as error:
        # fiona decodes fields of JSON itself and fails on some
        raise StoreError(
            f"{place.name!r} has a field of JSON that cannot be read; publish the file instead"
        ) from error
    except UnicodeDecodeError as error:
        raise StoreCorrupt(
            f"Text in {place.name!r} is not in the encoding it states: {error.reason}"
        ) from error
    except (FionaError, CPLE_BaseError, OSError, RuntimeError, ValueError) as error:
        raise StoreCorrupt(
            f"{place.name!r} cannot be read by the formats served in place ({', '.join(DRIVERS)}): {_without_folders(str(error), place)}"
        ) from error
