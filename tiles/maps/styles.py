"""Map styles: a small model of our own, read from YAML or JSON, checked once, drawn by Mapnik or by the raster renderer.

The keys are described in docs/reference/styles.md. Every mistake is a StyleError that names the place in the style.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from tiles.errors import StyleError, UnknownStyle
from tiles.maps import style_keys as keys
from tiles.maps.style_keys import KeyReader
from tiles.maps.style_model import Style
from tiles.maps.style_raster_keys import read_raster
from tiles.maps.style_reading import read_passes, read_rules

ICONS = "icons"
"""The folder of icons within the folder of styles."""

_DEFAULTS = {
    "point": "point",
    "multipoint": "point",
    "linestring": "line",
    "multilinestring": "line",
    "polygon": "polygon",
    "multipolygon": "polygon",
    "geometry": "any",
    "geometrycollection": "any",
    "dem": "dem",
    "image": "ortho",
    "deep image": "image",
    "values": "values",
    "raster": "grey",
}


def default_style_name(what: str) -> str:
    """Name of the style for a geometry type ("Point" ... "MultiPolygon", "Geometry"), or for rasters (see server.publish.raster_styles)."""
    found = _DEFAULTS.get(what.removesuffix("Z").removesuffix("M").strip().lower())
    if found is None:
        raise UnknownStyle(f"no default style for {what!r}; there is one for {', '.join(_DEFAULTS)}")
    return found


def style_names(directory: Path) -> tuple[str, ...]:
    """Names of the styles of a folder."""
    return tuple(sorted(path.stem for path in directory.glob("*.yml")))


def load_style(style: str | Mapping[str, Any], directory: Path) -> Style:
    """The style of that name in `directory` (without .yml), or the given keys themselves. Raises UnknownStyle, StyleError."""
    if not isinstance(style, str):
        return with_icons(parse_style(style), directory)
    names = style_names(directory)
    if style not in names:
        raise UnknownStyle(
            f"style {style!r} is not in {directory.name}; there are {', '.join(names) or 'none'}"
        )
    file = directory / f"{style}.yml"
    try:
        return _loaded(file, file.stat().st_mtime_ns)
    except OSError as error:
        raise UnknownStyle(f"style {style!r} cannot be read: {error.strerror}") from error
    except StyleError as error:
        raise StyleError(f"style {style!r}: {error}") from error


@lru_cache(maxsize=256)
def _loaded(file: Path, _modified_ns: int) -> Style:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StyleError(f"not YAML: {error}") from error
    return with_icons(parse_style(content), file.parent)


def with_icons(style: Style, directory: Path) -> Style:
    """The style with the icons of a folder of styles."""
    return replace(style, icon_folder=str(directory / ICONS))


def parse_style(content: object) -> Style:
    """Check the keys of a style and give it as an object. Raises StyleError."""
    reader = KeyReader(content, "style")
    title = reader.take("title", keys.titles, ())
    background = reader.take("background", keys.colour, None)
    raster = reader.take("raster", read_raster, None)
    passes = reader.take("passes", read_passes, ())
    rules = reader.take("rules", read_rules, ())
    reader.finish()
    if rules:
        passes = (rules, *passes)
    if bool(passes) == (raster is not None):
        raise StyleError("a style has either rules (or passes of rules) for features, or raster")
    return Style(title, passes, raster, background)
