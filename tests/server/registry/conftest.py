"""A registry on SQLite and on a real PostgreSQL, and small collections to publish in it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from server.registry.catalogue import Collection, Representation, RepresentationKind
from server.registry.drafts import CollectionDraft
from server.registry.reader import RegistryReader
from server.registry.registry import Registry

POSTGRESQL_PROGRAMS = Path("/usr/lib/postgresql")


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


@pytest.fixture(params=["sqlite", "postgresql"])
def registry_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of an empty database, of each kind in turn."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'home' / 'registry.sqlite'}"
        return
    import psycopg

    server: str = request.getfixturevalue("postgresql_server")
    name = f"chengtu_{uuid.uuid4().hex[:12]}"
    plain = server.replace("postgresql+psycopg://", "postgresql://", 1)
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
        yield (
            server.replace("/postgres?", f"/{name}?", 1)
            if "/postgres?" in server
            else f"{server.rsplit('/', 1)[0]}/{name}"
        )
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The data home; not there yet."""
    return tmp_path / "home"


@pytest.fixture
def registry(registry_url: str, home: Path) -> Iterator[Registry]:
    """An initialised registry with one tenant, `helsinki`."""
    with Registry(registry_url, home) as made:
        made.initialise()
        made.add_tenant("helsinki", "Helsinki", "赫尔辛基")
        yield made


@pytest.fixture
def reader(registry: Registry, registry_url: str, home: Path) -> Iterator[RegistryReader]:
    """A worker's reader of that registry."""
    made = RegistryReader(registry_url, home)
    yield made
    made.close()


def make_draft(id_: str = "buildings", **changes: object) -> CollectionDraft:
    values: dict[str, object] = {
        "tenant": "helsinki",
        "id": id_,
        "titles": {"en": "Buildings", "zh": "建筑"},
        "bbox": (24.9, 60.1, 25.0, 60.2),
        "storage_crs": "http://www.opengis.net/def/crs/EPSG/0/3879",
    }
    return CollectionDraft(**{**values, **changes})  # type: ignore[arg-type]  # a test's shorthand


@pytest.fixture
def draft() -> Callable[..., CollectionDraft]:
    """Makes a draft: `draft(id, field=value ...)`."""
    return make_draft


@pytest.fixture
def stage(tmp_path: Path) -> Callable[..., Path]:
    """Makes a folder as a builder leaves it: one file of that content."""

    def make(content: str = "data") -> Path:
        folder = tmp_path / "home" / "staging" / uuid.uuid4().hex / "generation"
        folder.mkdir(parents=True)
        (folder / "features.gpkg").write_text(content)
        return folder

    return make


@pytest.fixture
def features() -> list[Representation]:
    """The representations that fit `stage`."""
    return [
        Representation(RepresentationKind.FEATURES, "features.gpkg", 0, 0, {"count": 3, "id_field": None})
    ]


@pytest.fixture
def publish(
    registry: Registry, stage: Callable[..., Path], features: list[Representation]
) -> Callable[..., Collection]:
    """Publishes a small collection: `publish(id, content=..., replace=..., field=value ...)`."""

    def make(
        id_: str = "buildings", content: str = "data", replace: bool = False, **changes: object
    ) -> Collection:
        return registry.publish(make_draft(id_, **changes), features, stage(content), replace)

    return make
