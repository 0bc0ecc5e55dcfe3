"""From what the registry keeps of a coverage to its data."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tiles.errors import RasterError
from tiles.raster_stores import store_kinds, store_opener
from tiles.rasters.cog import CogSource
from tiles.rasters.source import RasterSource

_KEPT_SOURCES = 1024
_SOURCES: OrderedDict[tuple[str, str], tuple[Mapping[str, Any], RasterSource]] = OrderedDict()
_LOCK = threading.Lock()


def open_raster(directory: Path, path: str, properties: Mapping[str, Any]) -> RasterSource:
    """The data of a COVERAGE representation: `path` in the generation's `directory`, and its properties in the registry.

    Kept by path, at most a thousand; opens no file. A representation without "store" is a single file. Raises RasterError
    for a store of another kind.
    """
    key = (str(directory), path)
    with _LOCK:
        known = _SOURCES.get(key)
        if known is None or (known[0] is not properties and known[0] != properties):
            known = _SOURCES[key] = (properties, _opened(directory / path, properties))
            while len(_SOURCES) > _KEPT_SOURCES:
                _SOURCES.popitem(last=False)
        _SOURCES.move_to_end(key)
        return known[1]


def _opened(path: Path, properties: Mapping[str, Any]) -> RasterSource:
    store = properties.get("store", "cog")
    if store == "cog":
        return CogSource(path, properties)
    if store == "mosaic":
        from tiles.rasters.mosaic import MosaicSource

        return MosaicSource(path)
    opener = store_opener(str(store))
    if opener is not None:
        return opener(path, properties)
    raise RasterError(f"{path.name} is kept as {store!r}; known are {_listed(store_kinds())}")


def _listed(names: Sequence[str]) -> str:
    return " and ".join((", ".join(names[:-1]), names[-1]))
