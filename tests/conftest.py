"""Fixtures of all tests: where things are, and the sample data that is only here on some machines."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
POSTGRESQL_PROGRAMS = Path("/usr/lib/postgresql")
SAMPLE_DATA = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def chromium_flags(root: Path) -> list[str]:
    """How a headless Chromium is started without a screen, a graphics card or the outside world."""
    return (root / "scripts" / "chromium_flags.txt").read_text().split()


@pytest.fixture(scope="session")
def sample_data() -> Path:
    """Real sample data that is never part of the repository."""
    if not SAMPLE_DATA.is_dir():
        pytest.skip("the sample data beside the repository is not here")
    return SAMPLE_DATA


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """URL of a PostgreSQL server's maintenance database: CHENGTU_TEST_POSTGRES, or a private cluster of its own."""
    given = os.environ.get("CHENGTU_TEST_POSTGRES")
    if given:
        yield given
        return
    programs = sorted(POSTGRESQL_PROGRAMS.glob("*/bin/initdb"))
    if not programs:
        message = (
            "no PostgreSQL here; set CHENGTU_TEST_POSTGRES or install the packages of scripts/packages.txt"
        )
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    yield from _private_cluster(programs[-1].parent)


def _private_cluster(programs: Path) -> Iterator[str]:
    as_postgres = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory(prefix="chengtu-pg-") as name:
        folder = Path(name)
        if as_postgres:
            shutil.chown(folder, "postgres", "postgres")
        cluster = folder / "cluster"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]

        def run(program: str, *arguments: str) -> None:
            subprocess.run(
                [*as_postgres, str(programs / program), *arguments],
                check=True,
                capture_output=True,
                cwd=folder,
            )

        run(
            "initdb",
            "-D",
            str(cluster),
            "-A",
            "trust",
            "-U",
            "chengtu",
            "-E",
            "UTF8",
            "--no-sync",
            "--locale=C",
        )
        options = f"-p {port} -k {folder} -c listen_addresses= -c fsync=off"
        run("pg_ctl", "-D", str(cluster), "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield f"postgresql+psycopg://chengtu@/postgres?host={folder}&port={port}"
        finally:
            run("pg_ctl", "-D", str(cluster), "-w", "-m", "immediate", "stop")
