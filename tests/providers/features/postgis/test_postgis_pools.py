"""A database that is slow, gone or back: one collection suffers, nothing secret is said."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from providers.errors import SourceUnavailable, StoreError
from providers.features.postgis import PostgisSource, pools
from providers.features.query import ItemQuery

SECRET = "hunter2"


def _elsewhere(gis: str, **changes: Any) -> str:
    return make_conninfo(**{**conninfo_to_dict(gis), "password": SECRET, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"dbname": "no_such_database"},
        {"host": "/nonexistent"},
        {"host": "127.0.0.1", "port": "1"},
        {"user": "nobody_here"},
    ],
    ids=str,
)
def test_a_database_that_does_not_answer(
    gis: str,
    open_table: Callable[..., PostgisSource],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, str],
) -> None:
    monkeypatch.setattr(pools, "CHECKOUT_SECONDS", 0.5)
    given = _elsewhere(gis, **changes)
    with caplog.at_level(logging.DEBUG), pytest.raises(SourceUnavailable) as caught:
        open_table("city", given)
    said = str(caught.value) + caplog.text
    assert "'city'" in str(caught.value)
    for secret in (SECRET, *changes.values()):
        assert secret not in said or secret == "1"
    with pytest.raises(SourceUnavailable):
        open_table("city", given)


def test_a_connection_string_that_cannot_be_read(open_table: Callable[..., PostgisSource]) -> None:
    with pytest.raises(StoreError) as caught:
        open_table("city", f"postgresql://user:{SECRET}@[broken")
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_settings_do_not_show_connections(gis: str) -> None:
    from providers.features.sources import SourceSettings

    assert SECRET not in repr(SourceSettings(connections={"city": _elsewhere(gis)}))


def test_connections_that_died_are_replaced(city: PostgisSource, run_sql: Callable[..., Any]) -> None:
    assert city.page(ItemQuery()).bodies
    run_sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'chengtu'"
    )
    assert city.page(ItemQuery()).bodies
    assert city.item("1") is not None


def test_a_database_that_comes_back(
    gis: str,
    run_sql: Callable[..., Any],
    open_table: Callable[..., PostgisSource],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pools, "CHECKOUT_SECONDS", 0.5)
    monkeypatch.setattr(pools, "_REST_SECONDS", 0.2)
    run_sql("DROP ROLE IF EXISTS comes_back")
    run_sql("CREATE ROLE comes_back LOGIN; GRANT SELECT ON city TO comes_back")
    source = open_table("city", _elsewhere(gis, user="comes_back"))
    assert source.page(ItemQuery()).bodies
    run_sql("ALTER ROLE comes_back NOLOGIN")
    run_sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'comes_back'")
    with pytest.raises(SourceUnavailable):
        source.page(ItemQuery())
    run_sql("ALTER ROLE comes_back LOGIN")
    for _ in range(50):
        try:
            assert source.page(ItemQuery()).bodies
            break
        except SourceUnavailable:
            time.sleep(0.2)
    else:
        pytest.fail("the source did not recover")
    pools.close_pools()
    run_sql("REVOKE ALL ON city FROM comes_back; DROP ROLE comes_back")


def test_a_slow_statement_is_stopped(
    gis: str,
    city: PostgisSource,
    run_sql: Callable[..., Any],
    open_table: Callable[..., PostgisSource],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_sql(
        "CREATE OR REPLACE FUNCTION nap(n int) RETURNS int STABLE LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_sleep(0.2); RETURN n; END $$"
    )
    run_sql("CREATE OR REPLACE VIEW slow AS SELECT gid, geom, nap(gid) AS n FROM city")
    monkeypatch.setattr(pools, "STATEMENT_SECONDS", 1)
    slow = open_table("slow", _elsewhere(gis), id="gid")
    assert slow.page(ItemQuery(limit=2, properties=())).bodies
    with pytest.raises(SourceUnavailable, match="1 s"):
        slow.page(ItemQuery(limit=100))
    assert city.page(ItemQuery()).bodies


def test_a_view_too_slow_for_its_extent_is_somewhere_on_earth(
    city: PostgisSource,
    run_sql: Callable[..., Any],
    open_table: Callable[..., PostgisSource],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("providers.features.postgis.tables._EXTENT_TIME", "200ms")
    run_sql(
        "CREATE OR REPLACE VIEW sleepy AS SELECT gid, geom, pg_sleep(0.1) IS NULL AS n FROM city LIMIT 10"
    )
    assert city.bbox != open_table("sleepy", id="gid").bbox == (-180, -90, 180, 90)


def test_many_threads_share_few_connections(city: PostgisSource, run_sql: Callable[..., Any]) -> None:
    with ThreadPoolExecutor(24) as threads:
        pages = list(threads.map(lambda _: city.page(ItemQuery(limit=50)).bodies, range(200)))
    assert all(page == pages[0] for page in pages)
    ((count,),) = run_sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'chengtu'")
    assert count <= 2 * pools.MAXIMUM_CONNECTIONS


def test_reading_connections_cannot_write(city: PostgisSource) -> None:
    with city.database.connection() as connection, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        connection.execute("DELETE FROM public.city")


_FORKS = """
import json, os, sys
from providers.features.postgis import close_pools, open_postgis
from providers.features.query import ItemQuery
from providers.features.sources import SourceSettings

source = open_postgis({"store": "postgis", "connection": "c", "table": "city"}, SourceSettings(connections={"c": sys.argv[1]}))
def ids():
    return [json.loads(body)["id"] for body in source.page(ItemQuery(limit=3)).bodies]
before = ids()
child = os.fork()
good = all(ids() == before == ["1", "2", "3"] for _ in range(20))
if child == 0:
    os._exit(0 if good else 3)
close_pools()
sys.exit(0 if os.waitpid(child, 0)[1] == 0 and good else 4)
"""


def test_a_fork_makes_connections_of_its_own(city: PostgisSource, gis: str, root: Path) -> None:
    assert city.count() == 400
    done = subprocess.run(
        [sys.executable, "-c", _FORKS, gis], cwd=root, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
