"""What can go wrong in seeding and in the care of kept tiles.

SeedingError                a request for seeding that cannot be met
└── UnknownSeeding          no seeding of that name
"""

from __future__ import annotations

from server.errors import ChengtuError


class SeedingError(ChengtuError):
    """What was asked to be seeded or cleaned is not there, or makes no sense; the store of kept tiles does not answer."""


class UnknownSeeding(SeedingError):
    """No seeding of that name is known."""
