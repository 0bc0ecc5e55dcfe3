"""Vertex colours of point tiles. glTF colours are linear light: every palette here is given in sRGB and converted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from pointclouds.cloud.cloud import Cloud
from pointclouds.las.layout import Records

ColourMode = Literal["class", "height", "rgb", "intensity", "return", "time"]
MODES: Final[tuple[ColourMode, ...]] = ("class", "height", "rgb", "intensity", "return", "time")
DIMENSIONS: Final[Mapping[ColourMode, tuple[str, ...]]] = {
    "class": ("Classification",),
    "height": ("Z",),
    "intensity": ("Intensity",),
    "rgb": ("Red", "Green", "Blue"),
    "return": ("ReturnNumber", "NumberOfReturns"),
    "time": ("GpsTime",),
}
"""The dimensions that a mode tells of."""

Colours = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

CLASS_COLOURS: Final = {
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
_RETURN_COLOURS: Final = (
    (150, 150, 150),  # 0: none of a pulse that is known
    (235, 235, 235),  # the only one of its pulse
    (90, 170, 80),  # the first of several
    (240, 180, 60),  # one between
    (190, 90, 60),  # the last
)
_TIME_RAMP: Final = ((72, 40, 120), (40, 120, 142), (60, 180, 116), (250, 230, 60))
_HEIGHT_RAMP: Final = ((28, 48, 120), (20, 140, 170), (120, 190, 90), (245, 215, 90), (200, 70, 40))


def _linear_table(levels: int) -> npt.NDArray[np.float64]:
    """sRGB transfer function (IEC 61966-2-1) of `levels` steps, 0 to 1."""
    value = np.linspace(0, 1, levels)
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


_LINEAR8: Final = np.rint(_linear_table(256) * 255).astype(np.uint8)
_LINEAR16: Final = np.rint(_linear_table(256) * 65535).astype(np.uint16)


def srgb(colours: Colours) -> npt.NDArray[np.uint8]:
    """Linear colours (n, 3) back in sRGB, eight bits a channel."""
    if colours.dtype == np.uint8:
        return _SRGB8[colours]
    return np.searchsorted(_LINEAR16_EDGES, colours).astype(np.uint8)


def _inverse8() -> npt.NDArray[np.uint8]:
    value = np.arange(256) / 255
    return np.rint(
        np.where(value <= 0.0031308, value * 12.92, 1.055 * value ** (1 / 2.4) - 0.055) * 255
    ).astype(np.uint8)


_SRGB8: Final = _inverse8()
_LINEAR16_EDGES: Final = (_LINEAR16[1:].astype(np.float64) + _LINEAR16[:-1]) / 2


def _class_table() -> npt.NDArray[np.uint8]:
    table = np.tile(np.array(_OTHER_CLASS, np.uint8), (256, 1))
    for code, colour in CLASS_COLOURS.items():
        table[code] = colour
    return _LINEAR8[table]


def _ramp_table(stops: tuple[tuple[int, int, int], ...]) -> npt.NDArray[np.uint8]:
    places = np.linspace(0, 255, len(stops))
    channels = [np.interp(np.arange(256), places, [stop[channel] for stop in stops]) for channel in range(3)]
    return _LINEAR8[np.rint(np.stack(channels, axis=1)).astype(np.uint8)]


@dataclass(frozen=True)
class Stretches:
    """Values between which ramps run, one pair for a whole cloud; `colour_shift`: bits by which colours exceed eight."""

    height: tuple[float, float]
    intensity: tuple[float, float]
    time: tuple[float, float]
    colour_shift: int

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "height": list(self.height),
            "intensity": list(self.intensity),
            "time": list(self.time),
            "colourShift": self.colour_shift,
        }

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Stretches:
        """From JSON values. Raises KeyError, TypeError, ValueError."""
        return cls(
            _pair(values["height"]),
            _pair(values["intensity"]),
            _pair(values["time"]),
            int(values["colourShift"]),
        )

    def of(self, mode: ColourMode) -> tuple[float, float] | None:
        """The ends of a mode's ramp in natural units; None of one without a ramp."""
        pairs: dict[str, tuple[float, float]] = {
            "height": self.height,
            "intensity": self.intensity,
            "time": self.time,
        }
        return pairs.get(mode)


def _pair(values: Any) -> tuple[float, float]:
    low, high = map(float, values)
    if not np.isfinite((low, high)).all():
        raise ValueError(f"{values} are no two numbers")
    return low, high


def stretches_of(cloud: Cloud, sample: Records) -> Stretches:
    """From the 1st to the 99th percentile of a sample (the root node); times over all that the cloud has."""
    times = [time for tile in cloud.tiles for time in tile.gps if np.isfinite(time)] or [0.0]
    heights = sample["Z"] * cloud.scale[2] + cloud.offset[2]
    # LAS says 16 bits; many writers store 8. The sample tells which.
    deep = "Red" in (sample.dtype.names or ()) and any(
        sample[name].size and int(sample[name].max()) > 255 for name in ("Red", "Green", "Blue")
    )
    return Stretches(
        height=_percentiles(heights),
        intensity=_percentiles(sample["Intensity"]),
        time=(float(min(times)), float(max(times))),
        colour_shift=8 if deep else 0,
    )


def _percentiles(values: npt.NDArray[Any]) -> tuple[float, float]:
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values.astype(np.float64), (1, 99))
    return float(low), float(high)


def available_modes(cloud: Cloud) -> tuple[ColourMode, ...]:
    """What a cloud can be coloured by: rgb where it has colours, time where its times differ."""
    names = cloud.dtype.names or ()
    times = [time for tile in cloud.tiles for time in tile.gps if np.isfinite(time)]
    without: set[ColourMode] = set()
    if "Red" not in names:
        without.add("rgb")
    if not times or min(times) == max(times):
        without.add("time")
    return tuple(mode for mode in MODES if mode not in without)


@dataclass(frozen=True)
class Colouring:
    """How points become colours: `mode`, the disk fields it reads, and the function.

    The function gives (n, 3) linear colours: uint8, or uint16 for "rgb" (8 linear bits would band dark photographs).
    """

    mode: ColourMode
    fields: tuple[str, ...]
    colours: Callable[[Records], Colours]


def colouring(mode: ColourMode, stretches: Stretches, height_scale: tuple[float, float]) -> Colouring:
    """The colouring of a mode that the cloud has (`available_modes`); `height_scale`: scale and offset of Z."""
    match mode:
        case "rgb":
            return Colouring(mode, ("Red", "Green", "Blue"), _rgb(stretches.colour_shift))
        case "height":
            scale, offset = height_scale
            low, high = ((value - offset) / scale for value in stretches.height)
            return Colouring(mode, (), _stretched("Z", (low, high), _ramp_table(_HEIGHT_RAMP)))
        case "intensity":
            grey = _ramp_table(((16, 16, 16), (255, 255, 255)))
            return Colouring(mode, ("Intensity",), _stretched("Intensity", stretches.intensity, grey))
        case "time":
            ramp = _ramp_table(_TIME_RAMP)
            return Colouring(mode, ("GpsTime",), _stretched("GpsTime", stretches.time, ramp))
        case "return":
            return Colouring(mode, (), _by_return)
        case "class":
            table = _class_table()
            return Colouring(mode, ("Classification",), lambda records: table[records["Classification"]])


def _rgb(shift: int) -> Callable[[Records], Colours]:
    def run(records: Records) -> Colours:
        channels = np.stack([records[name] >> shift for name in ("Red", "Green", "Blue")], axis=1)
        return np.asarray(_LINEAR16[np.minimum(channels, 255)], np.uint16)

    return run


def _return_table() -> npt.NDArray[np.uint8]:
    """Colour by the packed byte of return number (low four bits) and number of returns (high four bits)."""
    table = np.zeros((256, 3), np.uint8)
    for packed in range(256):
        number, count = packed & 0x0F, packed >> 4
        if number == 0 or count == 0:
            kind = 0
        elif count == 1:
            kind = 1
        elif number == 1:
            kind = 2
        else:
            kind = 4 if number >= count else 3
        table[packed] = _LINEAR8[list(_RETURN_COLOURS[kind])]
    return table


_RETURN_TABLE: Final = _return_table()


def _by_return(records: Records) -> Colours:
    return np.asarray(_RETURN_TABLE[records["Returns"]])


def _stretched(
    name: str, ends: tuple[float, float], table: npt.NDArray[np.uint8]
) -> Callable[[Records], Colours]:
    """Colour by a stored dimension between two of its values."""
    low, high = ends
    factor = 255 / (high - low) if high > low else 0.0

    def run(records: Records) -> npt.NDArray[np.uint8]:
        steps = np.clip((records[name] - low) * factor, 0, 255)
        return np.asarray(table[np.nan_to_num(steps, nan=0.0).astype(np.uint8)])

    return run
