"""A registry on SQLite and on a real PostgreSQL, and small collections to publish in it."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from server.registry.catalogue import Collection, Representation, RepresentationKind
from server.registry.drafts import CollectionDraft
from server.registry.reader import RegistryReader
from server.registry.registry import Registry


class PostgresqlDatabases:
    """Makes and drops databases on a server."""

    def __init__(self, server: str) -> None:
        self._parts = make_url(server)

    def create(self, template: str = "template1") -> str:
        """Name of a new database, a copy of `template`."""
        name = f"chengtu_{uuid.uuid4().hex[:12]}"
        self._execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop(self, name: str) -> None:
        """Drop it, whoever is connected."""
        self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    def url(self, name: str) -> str:
        """SQLAlchemy's URL of a database."""
        return self._parts.set(database=name).render_as_string(hide_password=False)

    def _execute(self, statement: str) -> None:
        plain = self._parts.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(plain, autocommit=True) as connection:
            connection.execute(statement.encode())


@pytest.fixture(scope="session")
def postgresql_databases(postgresql_server: str) -> PostgresqlDatabases:
    """Makes databases on the PostgreSQL server."""
    return PostgresqlDatabases(postgresql_server)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, home: Path) -> Iterator[str]:
    """URL of an empty database, of each kind in turn."""
    if request.param == "sqlite":
        yield f"sqlite:///{home / 'registry.sqlite'}"
        return
    databases: PostgresqlDatabases = request.getfixturevalue("postgresql_databases")
    name = databases.create()
    yield databases.url(name)
    databases.drop(name)


def _make_registry(url: str, home: Path) -> None:
    with Registry(url, home) as made:
        made.initialise()
        made.add_tenant("helsinki", "Helsinki", "赫尔辛基")


@pytest.fixture(scope="session")
def sqlite_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with an initialised registry on SQLite, to be copied."""
    home = tmp_path_factory.mktemp("sqlite") / "home"
    _make_registry(f"sqlite:///{home / 'registry.sqlite'}", home)
    return home


@pytest.fixture(scope="session")
def postgresql_home(
    tmp_path_factory: pytest.TempPathFactory, postgresql_databases: PostgresqlDatabases
) -> Iterator[tuple[Path, str]]:
    """A home, and the name of the PostgreSQL database of its registry, both to be copied."""
    home = tmp_path_factory.mktemp("postgresql") / "home"
    name = postgresql_databases.create()
    _make_registry(postgresql_databases.url(name), home)
    yield home, name
    postgresql_databases.drop(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def registry_url(request: pytest.FixtureRequest, home: Path) -> Iterator[str]:
    """URL of an initialised registry with one tenant, `helsinki`: on SQLite, then on PostgreSQL."""
    if request.param == "sqlite":
        shutil.copytree(request.getfixturevalue("sqlite_home"), home)
        yield f"sqlite:///{home / 'registry.sqlite'}"
        return
    template_home, template = request.getfixturevalue("postgresql_home")
    databases: PostgresqlDatabases = request.getfixturevalue("postgresql_databases")
    shutil.copytree(template_home, home)
    name = databases.create(template)
    yield databases.url(name)
    databases.drop(name)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The data home; made by `registry_url`."""
    return tmp_path / "home"


@pytest.fixture
def registry(registry_url: str, home: Path) -> Iterator[Registry]:
    """That registry, opened."""
    with Registry(registry_url, home) as opened:
        yield opened


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
