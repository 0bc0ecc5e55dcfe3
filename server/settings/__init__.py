"""Settings: small frozen classes, one a subject, built once from YAML files and the environment and passed down."""

from server.settings.loading import load_settings, settings_environment
from server.settings.sections import (
    CacheSettings,
    DataSettings,
    LimitSettings,
    MapSettings,
    PageSettings,
    PublishSettings,
    ServerSettings,
    Settings,
    SourcesSettings,
)

__all__ = [
    "CacheSettings",
    "DataSettings",
    "LimitSettings",
    "MapSettings",
    "PageSettings",
    "PublishSettings",
    "ServerSettings",
    "Settings",
    "SourcesSettings",
    "load_settings",
    "settings_environment",
]
