"""What can go wrong in the coverages room beside the errors of all providers.

ProviderError (providers.errors)
└── OutsideCoverage   the part asked for lies wholly outside the coverage (HTTP 404)
"""

from __future__ import annotations

from providers.errors import ProviderError


class OutsideCoverage(ProviderError):
    """No cell of the coverage lies in the part asked for (OGC API - Coverages, /req/subsetting/subset, J)."""
