"""The sample behind an OGC API - Features service on the loopback, cascaded."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from providers.features.remote import open_features
from providers.features.source import FeatureSource
from providers.features.sources import SourceSettings

NAME = "features"


def build(sample: Any, folder: Path, request: pytest.FixtureRequest) -> FeatureSource:
    """A service that declares all of CQL2 that our own does, and the source that asks it."""
    path = Path(__file__).parents[2] / "remote" / "services.py"
    spec = importlib.util.spec_from_file_location("compliance_remote_services", path)
    assert spec is not None
    assert spec.loader is not None
    services = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(services)
    server = services.OgcApiServer(sample.as_columns, sample.schema, conforms=services.FULL)
    url, end = services.started(server)
    request.addfinalizer(end)
    settings = SourceSettings(allowed_hosts=frozenset({urlsplit(url).netloc}), timeout=10.0)
    return open_features({"store": "features", "url": url, "layer": "towers"}, settings)
