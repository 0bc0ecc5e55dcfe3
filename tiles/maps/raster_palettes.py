"""Colour ramps by name: a few colours each, evenly spaced, between which colours are interpolated."""

from __future__ import annotations

from types import MappingProxyType

from tiles.errors import StyleError

_PALETTES = MappingProxyType(
    {
        "grey": "000000 ffffff",
        "viridis": "440154 472d7b 3b528b 2c728e 21918c 28ae80 5ec962 addc30 fde725",
        "magma": "000004 1d1147 51127c 832681 b73779 e75263 fc8961 fec488 fcfdbf",
        "terrain": "2c6a55 4f8f5b 93b96e e4dfa2 cfa66a 9c7350 c9bdb2 f4f1ec",
        "bathymetry": "08234d 0b4a86 2478b5 5ea8d3 a6d5ea e6f5fb",
        "ndvi": "7a4a21 b98b4e e3d6a4 f5f3cf b9d77a 6fb04a 2f8a35 0c5a24",
        "heat": "2c0a4a 7b1d6d c43c4e f1742f fbb91f fcffa4",
        "diverging": "2166ac 67a9cf d1e5f0 f7f7f7 fddbc7 ef8a62 b2182b",
        "rain": "ffffff c6e9f7 74c0e3 2f86c8 1d4fa3 4b2a8c 8a1f7a",
        "traffic": "2f9e44 94c83d f2d024 f08c2e d6322d 7a1420",
    }
)


def palette_names() -> tuple[str, ...]:
    """The names there are."""
    return tuple(_PALETTES)


def palette_ramp(name: str, *, reverse: bool = False) -> tuple[tuple[float, str], ...]:
    """(position from 0 to 1, colour) of a named ramp. Raises StyleError."""
    found = _PALETTES.get(name)
    if found is None:
        raise StyleError(f"colour ramp {name!r:.80} is not known; there are {', '.join(_PALETTES)}")
    colours = [f"#{colour}" for colour in found.split()]
    if reverse:
        colours.reverse()
    return tuple((index / (len(colours) - 1), colour) for index, colour in enumerate(colours))
