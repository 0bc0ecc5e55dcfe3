"""Tenants, initialisation, the operator's token, and that models and migrations agree."""

from __future__ import annotations

import hashlib
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import String

from server.errors import (
    DuplicateTenant,
    InvalidIdentifier,
    RegistryOutOfDate,
    RegistryUnavailable,
    TenantNotEmpty,
    UnknownTenant,
)
from server.registry.catalogue import Collection
from server.registry.database import open_engine
from server.registry.identifiers import check_collection_id, check_tenant_id
from server.registry.models import Base
from server.registry.registry import Registry, open_registry, open_registry_that_is_there
from server.registry.schema import HEAD, MIGRATIONS, is_at_head
from server.settings import load_settings

Publish = Callable[..., Collection]


def test_tenants_are_added_listed_and_removed(registry: Registry) -> None:
    added = registry.add_tenant("auckland", "Auckland", organisation="council")
    assert added.organisation == "council"
    assert [tenant.id for tenant in registry.list_tenants()] == ["auckland", "helsinki"]
    assert registry.tenant("helsinki").titles == {"en": "Helsinki", "zh": "赫尔辛基"}
    assert registry.remove_tenant("auckland") == []
    with pytest.raises(UnknownTenant, match="helsinki"):
        registry.tenant("auckland")
    assert registry.add_tenant("auckland", "Auckland again").titles == {"en": "Auckland again"}


def test_a_tenant_cannot_be_added_twice(registry: Registry) -> None:
    with pytest.raises(DuplicateTenant, match="'Helsinki'"):
        registry.add_tenant("helsinki", "Other")


def test_a_tenant_with_collections_is_removed_by_force_only(registry: Registry, publish: Publish) -> None:
    publish("buildings")
    publish("streets")
    with pytest.raises(TenantNotEmpty, match="buildings, streets"):
        registry.remove_tenant("helsinki")
    assert registry.remove_tenant("helsinki", force=True) == ["buildings", "streets"]
    assert registry.catalogue().collections == {}
    registry.add_tenant("helsinki", "Helsinki")
    assert registry.catalogue().collections == {}
    assert publish("buildings").generation == 2


@pytest.mark.parametrize("name", ["a", "z9", "a" * 63, "survey-cgcs2000", "a_b"])
def test_ids_that_are_allowed(name: str) -> None:
    assert check_tenant_id(name) == check_collection_id(name) == name


@pytest.mark.parametrize(
    "name", ["", "A", "9a", "a" * 64, "a.b", "a/b", "a b", "å", "_a", "-a", "a\n", "catalogue"]
)
def test_ids_that_are_not(name: str) -> None:
    with pytest.raises(InvalidIdentifier):
        check_collection_id(name)


def test_tenant_ids_leave_the_servers_own_addresses_free(registry: Registry) -> None:
    with pytest.raises(InvalidIdentifier, match="reserved"):
        registry.add_tenant("static", "Static")


def _other_type(context: Any, inspected: Any, modelled: Any, found: Any, wanted: Any) -> bool | None:
    """SQLite keeps texts of any length, whatever a column says of it; all else is compared as Alembic does."""
    texts = isinstance(found, String) and isinstance(wanted, String)
    return False if texts and context.dialect.name == "sqlite" else None


def test_models_and_migrations_agree(registry: Registry, registry_url: str) -> None:
    engine = open_engine(registry_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": _other_type, "compare_server_default": True}
        )
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()


def test_the_newest_migration_is_the_one_this_release_expects() -> None:
    assert ScriptDirectory(str(MIGRATIONS)).get_current_head() == HEAD


def test_initialising_again_changes_nothing(registry: Registry) -> None:
    token = (registry.home / "operator.token").read_text()
    before = registry.catalogue()
    registry.initialise()
    assert registry.catalogue() == before
    assert (registry.home / "operator.token").read_text() == token


INITIALISE = """
import sys
from pathlib import Path
from typing import Any
from server.registry.registry import Registry
with Registry(sys.argv[1], Path(sys.argv[2])) as registry:
    registry.initialise()
"""


def test_two_processes_may_initialise_at_once(empty_url: str, home: Path) -> None:
    processes = [subprocess.Popen([sys.executable, "-c", INITIALISE, empty_url, str(home)]) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    with Registry(empty_url, home) as registry:
        assert len(registry.catalogue().operator_token_hashes) == 1


def test_the_operator_token_is_secret_and_only_its_hash_is_kept(registry: Registry) -> None:
    file = registry.home / "operator.token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    token = file.read_text().strip()
    assert len(token) == 43
    assert registry.catalogue().operator_token_hashes == (hashlib.sha256(token.encode()).digest(),)


@pytest.mark.parametrize("left", [None, "", "half-a-token"])
def test_a_lost_token_is_replaced_and_the_old_one_revoked(registry: Registry, left: str | None) -> None:
    file = registry.home / "operator.token"
    before = registry.catalogue().operator_token_hashes
    file.unlink()
    if left is not None:
        file.write_text(left)
    registry.initialise()
    token = file.read_text().strip()
    assert registry.catalogue().operator_token_hashes == (hashlib.sha256(token.encode()).digest(),)
    assert registry.catalogue().operator_token_hashes != before
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_registry_of_a_newer_release_is_refused(registry: Registry, registry_url: str) -> None:
    engine = open_engine(registry_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    engine.dispose()
    assert not is_at_head(registry_url)
    with pytest.raises(RegistryOutOfDate, match="newer release"):
        registry.initialise()


def test_sqlite_runs_in_wal_mode_with_foreign_keys(home: Path) -> None:
    settings = load_settings(overrides={"data.home": str(home)})
    with open_registry(settings) as registry:
        registry.add_tenant("helsinki", "Helsinki")
    assert is_at_head(settings.registry_url)
    connection = sqlite3.connect(home / "registry.sqlite")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()
    engine = open_engine(settings.registry_url)
    with engine.begin() as opened:
        assert opened.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    engine.dispose()


@pytest.mark.parametrize(
    "url",
    ["postgresql+psycopg://nobody:sesame@127.0.0.1:1/none", "nonsense", "sqlite:////proc/nothing/x.sqlite"],
)
def test_a_database_that_cannot_be_opened_is_one_error_without_its_password(url: str, home: Path) -> None:
    with pytest.raises(RegistryUnavailable) as caught, Registry(url, home) as registry:
        registry.initialise()
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"this is no database, this is a text file of some length" * 20])
def test_is_at_head_is_false_for_files_that_are_no_registry(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "registry.sqlite"
    assert not is_at_head(f"sqlite:///{file}")
    file.write_bytes(content)
    assert not is_at_head(f"sqlite:///{file}")


def test_only_what_is_meant_to_makes_a_new_home(home: Path) -> None:
    settings = load_settings(overrides={"data.home": str(home)})
    with pytest.raises(
        RegistryUnavailable, match=f"no data home at {home}. .*--home.* tenants add TENANT --title"
    ):
        open_registry_that_is_there(settings)
    assert not home.exists()
    home.mkdir()
    with pytest.raises(
        RegistryUnavailable, match=f"{home} is no data home: {home}/registry.sqlite is not there"
    ):
        open_registry_that_is_there(settings)
    assert list(home.iterdir()) == []
    with open_registry(settings) as registry:
        registry.add_tenant("helsinki", "Helsinki")
    with open_registry_that_is_there(settings) as registry:
        assert list(registry.catalogue().tenants) == ["helsinki"]
