"""The settings of sources as `providers.features.sources` takes them; apart, because importing providers takes time."""

from __future__ import annotations

from providers.features.sources import SourceSettings
from server.settings.sections import Settings


def source_settings_of(settings: Settings) -> SourceSettings:
    """What the settings allow sources to reach."""
    sources = settings.sources
    return SourceSettings(
        connections=sources.connections,
        file_roots=sources.file_roots,
        outgoing=sources.outgoing,
        allowed_hosts=frozenset(sources.allowed_hosts),
        timeout=float(sources.timeout_seconds),
        cache_directory=settings.home / "cache" / "sources",
    )
