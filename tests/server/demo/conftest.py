"""The demo's materials, made once for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.demo.workshop import Workshop


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """A workshop on the real extract."""
    return Workshop(tmp_path_factory.mktemp("workshop"))


@pytest.fixture(scope="session")
def collections_file() -> Path:
    """The descriptions that ship with the server."""
    return Path(__file__).resolve().parents[3] / "config" / "demo" / "collections.yml"
