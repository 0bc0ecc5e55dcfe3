"""Fixtures of all tests: where things are, and the sample data that is only here on some machines."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SAMPLE_DATA = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def sample_data() -> Path:
    """Real sample data that is never part of the repository."""
    if not SAMPLE_DATA.is_dir():
        pytest.skip("the sample data beside the repository is not here")
    return SAMPLE_DATA
