"""Trees and bushes."""

from __future__ import annotations

import math

from tiles.three_d.models.shapes import ball, frustum, joined, leaf
from tiles.three_d.objects import Material, MeshPart

_BARK = Material((0.105, 0.068, 0.042, 1.0))
_PALM_BARK = Material((0.22, 0.16, 0.10, 1.0))


def _leaves(red: float, green: float, blue: float) -> Material:
    return Material((red, green, blue, 1.0), roughness=1.0)


def broadleaf_tree() -> tuple[MeshPart, ...]:
    """A trunk that divides, and a crown of four rough balls: 10 m high, 7 m wide."""
    crown = joined(
        [
            ball((0.0, 0.0, 6.6), (3.0, 3.0, 2.9), rings=6, sides=9, rough=0.10, seed=1),
            ball((1.4, 0.6, 5.2), (2.1, 2.1, 1.9), rings=5, sides=8, rough=0.10, seed=2),
            ball((-1.2, 1.1, 5.6), (2.2, 2.1, 2.0), rings=5, sides=8, rough=0.10, seed=3),
            ball((-0.2, -1.4, 5.4), (2.1, 2.1, 1.9), rings=5, sides=8, rough=0.10, seed=4),
        ]
    )
    trunk = joined(
        [
            frustum((0.0, 0.0, 0.0), (0.0, 0.0, 4.2), (0.30, 0.17), 7),
            frustum((0.0, 0.0, 2.6), (1.1, 0.5, 4.4), (0.13, 0.07), 5),
            frustum((0.0, 0.0, 2.9), (-0.9, 0.8, 4.6), (0.12, 0.07), 5),
        ]
    )
    return MeshPart(trunk, _BARK), MeshPart(crown, _leaves(0.075, 0.175, 0.035))


def columnar_tree() -> tuple[MeshPart, ...]:
    """A poplar: 14 m high, 3.4 m wide."""
    crown = ball((0.0, 0.0, 7.8), (1.6, 1.6, 6.2), rings=8, sides=9, rough=0.08, seed=5)
    trunk = frustum((0.0, 0.0, 0.0), (0.0, 0.0, 3.0), (0.28, 0.2), 7)
    return MeshPart(trunk, _BARK), MeshPart(crown, _leaves(0.085, 0.19, 0.045))


def conifer() -> tuple[MeshPart, ...]:
    """A spruce of five cones: 14 m high, 5.6 m wide."""
    tiers = ((1.4, 5.4, 2.8), (3.6, 7.8, 2.35), (5.8, 10.0, 1.9), (8.0, 12.2, 1.4), (10.2, 14.0, 0.9))
    needles = joined(
        [frustum((0.0, 0.0, low), (0.0, 0.0, high), (width, 0.0), 9) for low, high, width in tiers]
        + [frustum((0.0, 0.0, low + 0.45), (0.0, 0.0, low), (0.25, width), 9) for low, _, width in tiers[:1]]
    )
    trunk = frustum((0.0, 0.0, 0.0), (0.0, 0.0, 2.2), (0.24, 0.2), 7)
    return MeshPart(trunk, _BARK), MeshPart(needles, _leaves(0.03, 0.095, 0.045))


def palm() -> tuple[MeshPart, ...]:
    """A palm with eleven fronds: 9 m high, 6 m wide."""
    fronds = []
    for number in range(11):
        turn = number * 2.0 * math.pi / 11.0
        lift = 0.5 if number % 2 else 0.0
        east, north = math.cos(turn), math.sin(turn)

        def at(
            along: float, beside: float, height: float, east: float = east, north: float = north
        ) -> tuple[float, float, float]:
            return (along * east - beside * north, along * north + beside * east, height)

        inner, middle, tip = 8.2, 8.7 + lift * 0.6, 7.1 + lift
        fronds.append(
            leaf(
                [at(0.05, -0.06, inner), at(1.7, -0.34, middle), at(1.7, 0.34, middle), at(0.05, 0.06, inner)]
            )
        )
        fronds.append(leaf([at(1.7, -0.34, middle), at(3.0, 0.0, tip), at(1.7, 0.34, middle)]))
    trunk = joined(
        [
            frustum((0.0, 0.0, 0.0), (0.12, 0.0, 4.2), (0.24, 0.17), 8),
            frustum((0.12, 0.0, 4.2), (0.0, 0.0, 8.4), (0.17, 0.15), 8),
        ]
    )
    return MeshPart(trunk, _PALM_BARK), MeshPart(joined(fronds), _leaves(0.09, 0.2, 0.04))


def bush() -> tuple[MeshPart, ...]:
    """A low round bush: 1.5 m high, 2 m wide."""
    leaves = joined(
        [
            ball((0.0, 0.0, 0.7), (0.8, 0.8, 0.8), rings=5, sides=8, rough=0.12, seed=6),
            ball((0.45, 0.2, 0.45), (0.55, 0.55, 0.5), rings=4, sides=7, rough=0.12, seed=7),
            ball((-0.4, -0.25, 0.45), (0.58, 0.55, 0.5), rings=4, sides=7, rough=0.12, seed=8),
        ]
    )
    return (MeshPart(leaves, _leaves(0.07, 0.16, 0.04)),)
