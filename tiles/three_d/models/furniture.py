"""Street furniture. What faces someone (a lamp's arm, a bench's front, a sign) faces north, so that heading 0 is north."""

from __future__ import annotations

import math
from itertools import pairwise

from tiles.three_d.models.shapes import Point, ball, box, frustum, joined
from tiles.three_d.objects import Material, MeshPart

_STEEL = Material((0.32, 0.34, 0.35, 1.0), metallic=0.3, roughness=0.6)
_DARK = Material((0.05, 0.055, 0.06, 1.0), metallic=0.2, roughness=0.7)
_IRON = Material((0.075, 0.072, 0.07, 1.0), metallic=0.4, roughness=0.8)
_LIGHT = Material((0.95, 0.88, 0.66, 1.0), roughness=0.3)
_WOOD = Material((0.30, 0.16, 0.075, 1.0))
_CONCRETE = Material((0.48, 0.47, 0.44, 1.0))
_RED = Material((0.55, 0.02, 0.015, 1.0), roughness=0.5)
_BLUE = Material((0.01, 0.09, 0.42, 1.0), roughness=0.5)
_GREEN = Material((0.03, 0.16, 0.08, 1.0), roughness=0.7)
_WHITE = Material((0.85, 0.85, 0.85, 1.0), roughness=0.5)
_GLASS = Material((0.55, 0.68, 0.72, 0.35), roughness=0.1, double_sided=True)

_GROUND: Point = (0.0, 0.0, 0.0)


def _pole(height: float, low: float, high: float, sides: int = 8) -> MeshPart:
    return MeshPart(frustum(_GROUND, (0.0, 0.0, height), (low, high), sides), _STEEL)


def street_lamp() -> tuple[MeshPart, ...]:
    """A lamp with an arm to the north: 8 m high."""
    pole = joined(
        [
            frustum(_GROUND, (0.0, 0.0, 7.4), (0.09, 0.05), 8),
            frustum((0.0, 0.0, 7.35), (0.0, 1.5, 7.9), (0.045, 0.04), 6),
            box((-0.14, 1.3, 7.86), (0.14, 2.0, 8.0)),
            frustum(_GROUND, (0.0, 0.0, 0.9), (0.14, 0.12), 8),
        ]
    )
    return MeshPart(pole, _STEEL), MeshPart(box((-0.11, 1.38, 7.82), (0.11, 1.95, 7.865)), _LIGHT)


def lantern() -> tuple[MeshPart, ...]:
    """A lantern of parks and old streets: 4 m high."""
    pole = joined(
        [
            frustum(_GROUND, (0.0, 0.0, 3.4), (0.07, 0.05), 8),
            frustum(_GROUND, (0.0, 0.0, 0.5), (0.13, 0.08), 8),
            frustum((0.0, 0.0, 3.85), (0.0, 0.0, 4.0), (0.28, 0.05), 8),
        ]
    )
    return MeshPart(pole, _DARK), MeshPart(
        frustum((0.0, 0.0, 3.4), (0.0, 0.0, 3.85), (0.13, 0.22), 8), _LIGHT
    )


def bench() -> tuple[MeshPart, ...]:
    """A bench whose sitter looks north: 1.8 m long, 0.85 m high."""
    slats = [box((-0.9, -0.2 + 0.12 * n, 0.43), (0.9, -0.1 + 0.12 * n, 0.47)) for n in range(4)]
    slats += [box((-0.9, -0.27, 0.55 + 0.11 * n), (0.9, -0.23, 0.64 + 0.11 * n)) for n in range(3)]
    legs = [box((x, -0.28, 0.0), (x + 0.07, -0.2, 0.84)) for x in (-0.8, 0.73)]
    legs += [box((x, -0.28, 0.37), (x + 0.07, 0.27, 0.43)) for x in (-0.8, 0.73)]
    legs += [box((x, 0.19, 0.0), (x + 0.07, 0.27, 0.4)) for x in (-0.8, 0.73)]
    return MeshPart(joined(legs), _IRON), MeshPart(joined(slats), _WOOD)


def traffic_light() -> tuple[MeshPart, ...]:
    """A traffic light that faces south, to those who drive north; seen from there red is on: 3.6 m high."""
    mast = joined(
        [frustum(_GROUND, (0.0, 0.0, 3.5), (0.06, 0.06), 8), box((-0.17, -0.3, 2.55), (0.17, -0.06, 3.6))]
    )
    lamps = [
        frustum((0.0, -0.29, 2.73 + 0.34 * n), (0.0, -0.33, 2.73 + 0.34 * n), (0.11, 0.11), 10)
        for n in range(3)
    ]
    return MeshPart(mast, _DARK), MeshPart(joined(lamps), _RED)


def traffic_sign() -> tuple[MeshPart, ...]:
    """A round sign that faces south: 2.8 m high."""
    plate = frustum((0.0, -0.03, 2.5), (0.0, -0.06, 2.5), (0.3, 0.3), 20)
    back = frustum((0.0, -0.06, 2.5), (0.0, -0.03, 2.5), (0.3, 0.3), 20)
    return _pole(2.8, 0.035, 0.035), MeshPart(joined([plate, back]), _BLUE)


def street_name_sign() -> tuple[MeshPart, ...]:
    """A plate along east and west on a pole: 2.6 m high."""
    return _pole(2.6, 0.035, 0.035, 6), MeshPart(box((-0.6, -0.02, 2.25), (0.6, 0.02, 2.55)), _BLUE)


def hydrant() -> tuple[MeshPart, ...]:
    """A fire hydrant: 0.9 m high."""
    body = joined(
        [
            frustum(_GROUND, (0.0, 0.0, 0.08), (0.19, 0.19), 10),
            frustum((0.0, 0.0, 0.08), (0.0, 0.0, 0.68), (0.12, 0.12), 10),
            frustum((0.0, 0.0, 0.66), (0.0, 0.0, 0.72), (0.16, 0.16), 10),
            ball((0.0, 0.0, 0.72), (0.13, 0.13, 0.14), rings=4, sides=10),
            frustum((-0.24, 0.0, 0.5), (0.24, 0.0, 0.5), (0.06, 0.06), 8),
            frustum((0.24, 0.0, 0.5), (-0.24, 0.0, 0.5), (0.06, 0.06), 8),
            frustum((0.0, 0.0, 0.5), (0.0, 0.22, 0.5), (0.08, 0.08), 8),
            box((-0.03, -0.03, 0.84), (0.03, 0.03, 0.9)),
        ]
    )
    return (MeshPart(body, _RED),)


def manhole_cover() -> tuple[MeshPart, ...]:
    """A round cover 0.7 m wide, 3 cm above the ground so that a street drawn flat does not hide it."""
    ring = frustum((0.0, 0.0, -0.05), (0.0, 0.0, 0.025), (0.42, 0.42), 20)
    lid = joined(
        [
            frustum((0.0, 0.0, 0.0), (0.0, 0.0, 0.03), (0.35, 0.35), 20),
            *(box((-0.28, -0.02 + 0.12 * n, 0.03), (0.28, 0.02 + 0.12 * n, 0.036)) for n in (-1, 0, 1)),
        ]
    )
    return MeshPart(ring, _CONCRETE), MeshPart(lid, _IRON)


def bollard() -> tuple[MeshPart, ...]:
    """A bollard: 1 m high."""
    post = joined(
        [
            frustum(_GROUND, (0.0, 0.0, 0.94), (0.09, 0.08), 10),
            ball((0.0, 0.0, 0.93), (0.08, 0.08, 0.07), rings=4, sides=10),
        ]
    )
    return MeshPart(post, _DARK), MeshPart(
        frustum((0.0, 0.0, 0.7), (0.0, 0.0, 0.82), (0.095, 0.095), 10), _WHITE
    )


def litter_bin() -> tuple[MeshPart, ...]:
    """A bin: 1 m high."""
    body = frustum(_GROUND, (0.0, 0.0, 0.85), (0.22, 0.26), 12)
    lid = joined([frustum((0.0, 0.0, 0.85), (0.0, 0.0, 1.0), (0.29, 0.12), 12)])
    return MeshPart(body, _GREEN), MeshPart(lid, _DARK)


def utility_pole() -> tuple[MeshPart, ...]:
    """A pole for wires that run north and south: 10 m high."""
    pole = joined(
        [frustum(_GROUND, (0.0, 0.0, 10.0), (0.17, 0.11), 8), box((-1.1, -0.06, 9.3), (1.1, 0.06, 9.45))]
    )
    insulators = [frustum((x, 0.0, 9.45), (x, 0.0, 9.7), (0.05, 0.03), 6) for x in (-1.0, -0.5, 0.5, 1.0)]
    return MeshPart(pole, _CONCRETE), MeshPart(joined(insulators), _DARK)


def camera() -> tuple[MeshPart, ...]:
    """A camera on a pole that looks north: 4.5 m high."""
    eye = joined(
        [
            box((-0.09, 0.1, 4.2), (0.09, 0.5, 4.36)),
            frustum((0.0, 0.5, 4.28), (0.0, 0.56, 4.28), (0.06, 0.06), 8),
        ]
    )
    mast = joined(
        [
            frustum(_GROUND, (0.0, 0.0, 4.5), (0.07, 0.05), 8),
            frustum((0.0, 0.0, 4.35), (0.0, 0.25, 4.35), (0.03, 0.03), 6),
        ]
    )
    return MeshPart(mast, _STEEL), MeshPart(eye, _WHITE)


def bus_shelter() -> tuple[MeshPart, ...]:
    """A shelter open to the north: 4 m long, 2.5 m high."""
    posts = [box((x, y, 0.0), (x + 0.08, y + 0.08, 2.35)) for x in (-2.0, 1.92) for y in (-0.75, 0.6)]
    frame = joined(
        [*posts, box((-2.1, -0.85, 2.35), (2.1, 0.95, 2.5)), box((-1.5, -0.6, 0.42), (1.5, -0.25, 0.48))]
    )
    panes = joined(
        [
            box((-1.92, -0.73, 0.3), (1.92, -0.71, 2.2)),
            box((-1.97, -0.67, 0.3), (-1.95, 0.6, 2.2)),
            box((1.95, -0.67, 0.3), (1.97, 0.6, 2.2)),
        ]
    )
    return MeshPart(frame, _STEEL), MeshPart(panes, _GLASS)


def bicycle_stand() -> tuple[MeshPart, ...]:
    """A bent tube along north and south: 0.8 m high."""
    bends = 6
    arc = [
        (0.0, 0.35 * -math.cos(math.pi * n / bends), 0.45 + 0.33 * math.sin(math.pi * n / bends))
        for n in range(bends + 1)
    ]
    path = [(0.0, -0.35, 0.0), *arc, (0.0, 0.35, 0.0)]
    pieces = [frustum(start, end, (0.03, 0.03), 6) for start, end in pairwise(path)]
    return (MeshPart(joined(pieces), _STEEL),)
