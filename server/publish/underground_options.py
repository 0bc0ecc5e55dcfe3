"""What to make of what lies under the ground: the options of pipes, tunnels, boreholes, bodies and geology."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from server.publish.errors import OptionError

KINDS = ("pipes", "tunnels", "boreholes", "bodies", "geology")
DEPTHS_TO = ("axis", "top", "bottom", "kind")
SIZE_UNITS: Mapping[str, float] = {"m": 1.0, "cm": 0.01, "mm": 0.001}
SECTIONS = ("circle", "box", "horseshoe")
INTERPOLATIONS = ("idw", "linear")


@dataclass(frozen=True, slots=True, kw_only=True)
class UndergroundOptions:
    """How objects under the ground are made of features, or layers of rasters. Lengths are metres.

    `kind` is one of `KINDS`. `fields` says by meaning (the keys of `tiles.three_d.underground.names.NAMES`) which field it is;
    meanings that are not given are recognised by usual names. `depth_to` says what depths and heights of lines are measured to,
    "kind" meaning by the kind of each line as CJJ 61 has it; None: what the field's name says, else the axis, and of recognised
    depths that do not say it, by kind. `size_unit` is that of diameters and sections; None: millimetres where their median is
    above 20, else metres. `section` is the shape where no field says it, `section_size` its width and height where none is
    known. `wall` is the thickness of tunnels. `default_depth` goes where no depth is known, `network_kind` is that of lines
    that do not say theirs. `colours` has #RRGGBB by kind of line, or by name of soil, rock or layer; "body" for bodies.
    `layers` are names of geological layers from above. `interpolation` is that between boreholes.
    """

    kind: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    depth_to: str | None = None
    size_unit: str | None = None
    section: str | None = None
    section_size: tuple[float, float] | None = None
    wall: float | None = None
    default_depth: float | None = None
    network_kind: str | None = None
    colours: Mapping[str, str] = field(default_factory=dict)
    layers: tuple[str, ...] = ()
    interpolation: str | None = None


def check_underground(options: UndergroundOptions) -> None:
    """Refuse values that are wrong whatever the data are. Raises OptionError."""
    words = (
        ("--underground", options.kind, KINDS),
        ("--depth-to", options.depth_to, DEPTHS_TO),
        ("--size-unit", options.size_unit, tuple(SIZE_UNITS)),
        ("--section", options.section, SECTIONS),
        ("--interpolation", options.interpolation, INTERPOLATIONS),
    )
    for flag, word, allowed in words:
        if word is not None and word not in allowed:
            raise OptionError(f"{flag} is {word!r}. Allowed: {', '.join(allowed)}.")
    lengths = {"--wall": options.wall}
    if options.section_size is not None:
        width, height = options.section_size
        lengths["--section-size"] = width if not width > 0.0 else height
    for flag, metres in lengths.items():
        if metres is not None and not (math.isfinite(metres) and metres > 0.0):
            raise OptionError(f"{flag} is {metres:g}. Allowed: metres above 0.")
    if options.default_depth is not None and not math.isfinite(options.default_depth):
        raise OptionError(
            f"--default-depth is {options.default_depth:g}. Allowed: a finite number of metres."
        )
    _check_names(options)


def _check_names(options: UndergroundOptions) -> None:
    from tiles.three_d.errors import ThreeDError
    from tiles.three_d.underground.kinds import KINDS as NETWORK_KINDS
    from tiles.three_d.underground.kinds import OTHER, colour_of, kind_of
    from tiles.three_d.underground.names import NAMES

    for meaning in options.fields:
        if meaning not in NAMES:
            raise OptionError(f"--field-means: there is no meaning {meaning!r}. Allowed: {', '.join(NAMES)}.")
    for name, colour in options.colours.items():
        try:
            colour_of(colour)
        except ThreeDError as error:
            raise OptionError(f"--colour-of {name}: {error}.") from error
    if options.network_kind is not None and kind_of(options.network_kind) == OTHER:
        allowed = ", ".join(kind.key for kind in NETWORK_KINDS)
        raise OptionError(f"--network-kind is {options.network_kind!r}. Allowed: {allowed}.")
