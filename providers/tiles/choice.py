"""Which attributes the tiles of a zoom carry.

`tile_fields` of the tiles representation maps zooms of WebMercatorQuad to lists of field names: `{"0-9": [], "10-13": ["name"]}`.
A key is one zoom, "low-high", "-high" or "low-"; of several that hold a zoom the first one counts. At a zoom that no key holds,
tiles carry every field. Zooms of other tile matrix sets are those of about the same resolution.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from providers.errors import InvalidParameter

type TileFields = Mapping[str, Sequence[str]]

_ZOOMS = re.compile(r"([0-9]{1,2})?(-)?([0-9]{1,2})?")


def fields_at(tile_fields: TileFields, zoom: int, names: Sequence[str]) -> list[str]:
    """Those of the visible fields `names` that tiles of a zoom carry, in their order."""
    for key, chosen in tile_fields.items():
        low, high = _range(key)
        if low <= zoom <= high:
            return [name for name in names if name in chosen]
    return list(names)


def check_tile_fields(value: Any, names: Sequence[str]) -> TileFields:
    """The choice as it was given when the collection was published, checked. Raises InvalidParameter."""
    if not isinstance(value, Mapping):
        raise InvalidParameter("tile_fields", str(value), "an object of field lists by zooms")
    for key, chosen in value.items():
        _range(str(key))
        unknown = (
            [name for name in chosen if name not in names] if isinstance(chosen, list) else [str(chosen)]
        )
        if unknown:
            raise InvalidParameter(
                "tile_fields", ", ".join(map(str, unknown)), f"lists of the fields {', '.join(names)}"
            )
    return value


def _range(key: str) -> tuple[int, int]:
    match = _ZOOMS.fullmatch(key)
    if match is None or not any(match.group(1, 3)):
        raise InvalidParameter("tile_fields", key, "a zoom or a range of zooms like 0-11")
    low, dash, high = match.groups()
    if dash is None:
        return int(key), int(key)
    return int(low or 0), int(high or 99)
