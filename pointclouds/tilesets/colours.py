"""Vertex colours of point tiles. glTF colours are linear light: every palette here is given in sRGB and converted."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from pointclouds.las.layout import Records

ColourMode = Literal["class", "height", "rgb", "intensity"]
MODES: Final[tuple[ColourMode, ...]] = ("class", "height", "rgb", "intensity")

Colours = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

_CLASS_COLOURS: Final = {
    0: (170, 170, 170),  # created, never classified
    1: (190, 190, 190),  # unclassified
    2: (166, 124, 82),  # ground
    3: (152, 204, 102),  # low vegetation
    4: (92, 168, 68),  # medium vegetation
    5: (34, 120, 50),  # high vegetation
    6: (220, 96, 72),  # building
    7: (255, 0, 255),  # low point (noise)
    8: (214, 196, 120),  # model key point
    9: (58, 124, 214),  # water
    10: (120, 90, 140),  # rail
    11: (96, 96, 104),  # road surface
    12: (230, 210, 90),  # overlap
    13: (240, 200, 60),  # wire guard
    14: (250, 220, 80),  # wire conductor
    15: (110, 70, 40),  # transmission tower
    16: (240, 170, 60),  # wire-structure connector
    17: (150, 110, 170),  # bridge deck
    18: (255, 60, 200),  # high noise
    26: (200, 140, 190),  # reserved by ASPRS; civil structures in the Dutch AHN
}
_OTHER_CLASS: Final = (205, 170, 235)
_HEIGHT_RAMP: Final = ((28, 48, 120), (20, 140, 170), (120, 190, 90), (245, 215, 90), (200, 70, 40))


def _linear_table(levels: int) -> npt.NDArray[np.float64]:
    """sRGB transfer function (IEC 61966-2-1) of `levels` steps, 0 to 1."""
    value = np.linspace(0, 1, levels)
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


_LINEAR8: Final = np.rint(_linear_table(256) * 255).astype(np.uint8)
_LINEAR16: Final = np.rint(_linear_table(256) * 65535).astype(np.uint16)


def _class_table() -> npt.NDArray[np.uint8]:
    table = np.tile(np.array(_OTHER_CLASS, np.uint8), (256, 1))
    for code, colour in _CLASS_COLOURS.items():
        table[code] = colour
    return _LINEAR8[table]


def _ramp_table(stops: tuple[tuple[int, int, int], ...]) -> npt.NDArray[np.uint8]:
    places = np.linspace(0, 255, len(stops))
    channels = [np.interp(np.arange(256), places, [stop[channel] for stop in stops]) for channel in range(3)]
    return _LINEAR8[np.rint(np.stack(channels, axis=1)).astype(np.uint8)]


@dataclass(frozen=True)
class Colouring:
    """How points become colours: `mode` as used, the disk fields it reads, and the function.

    The function gives (n, 3) linear colours: uint8, or uint16 for "rgb" (8 linear bits would band dark photographs).
    """

    mode: ColourMode
    fields: tuple[str, ...]
    colours: Callable[[Records], Colours]


def colouring(mode: ColourMode, sample: Records) -> Colouring:
    """The colouring of a mode, fitted to a sample of the cloud (its root node).

    "rgb" of a cloud without red, green and blue becomes "class"; `mode` of the result says so.
    """
    if mode == "rgb" and "Red" in (sample.dtype.names or ()):
        return Colouring("rgb", ("Red", "Green", "Blue"), _rgb(sample))
    if mode == "height":
        return Colouring("height", (), _stretched("Z", sample, _ramp_table(_HEIGHT_RAMP)))
    if mode == "intensity":
        grey = _ramp_table(((16, 16, 16), (255, 255, 255)))
        return Colouring("intensity", ("Intensity",), _stretched("Intensity", sample, grey))
    table = _class_table()
    return Colouring("class", ("Classification",), lambda records: table[records["Classification"]])


def _rgb(sample: Records) -> Callable[[Records], Colours]:
    # LAS says 16 bits; many writers store 8. The sample tells which.
    deep = sample.size and max(int(sample[name].max()) for name in ("Red", "Green", "Blue")) > 255
    shift = 8 if deep else 0

    def run(records: Records) -> Colours:
        channels = np.stack([records[name] >> shift for name in ("Red", "Green", "Blue")], axis=1)
        return _LINEAR16[np.minimum(channels, 255)]

    return run


def _stretched(name: str, sample: Records, table: npt.NDArray[np.uint8]) -> Callable[[Records], Colours]:
    """Colour by a dimension, stretched from the sample's 1st to its 99th percentile."""
    values = sample[name].astype(np.float64)
    low, high = np.percentile(values, (1, 99)) if values.size else (0.0, 1.0)
    factor = 255 / max(high - low, 1.0)

    def run(records: Records) -> Colours:
        steps = np.clip((records[name] - low) * factor, 0, 255)
        return table[steps.astype(np.uint8)]

    return run
