"""`chengtu register`: what a source may be named by, and that nothing secret or outside gets through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from server.publish.errors import OptionError
from server.publish.registering import RegisterRequest, describe_source
from server.settings import Settings, load_settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "shared" / "deep").mkdir(parents=True)
    return load_settings(
        (),
        None,
        {
            "data.home": tmp_path / "home",
            "sources.connections": {"city": "postgresql://reader:sesame@db.example/city", "wms": "Bearer x"},
            "sources.file_roots": [tmp_path / "shared"],
        },
    )


def asked(source: str, **more: Any) -> RegisterRequest:
    return RegisterRequest(source=source, tenant="demo", id="layer", titles={"en": "Layer"}, **more)


@pytest.mark.parametrize(
    ("source", "more", "expected"),
    [
        (
            "postgis:city/public.buildings",
            {"id_field": "gid"},
            {"store": "postgis", "connection": "city", "schema": "public", "table": "buildings", "id": "gid"},
        ),
        (
            "postgis:city/Straßen",
            {"time_field": "built", "options": {"geometry": "geom"}},
            {
                "store": "postgis",
                "connection": "city",
                "schema": "public",
                "table": "Straßen",
                "time": "built",
                "geometry": "geom",
            },
        ),
        (
            "wfs:https://maps.example/wfs?map=x",
            {"layer": "ns:roads", "credentials": "wms"},
            {
                "store": "wfs",
                "url": "https://maps.example/wfs?map=x",
                "layer": "ns:roads",
                "credentials": "wms",
            },
        ),
        (
            "features:https://data.example/ogc",
            {"layer": "roads", "id_field": "code", "time_field": "built"},
            {
                "store": "features",
                "url": "https://data.example/ogc",
                "layer": "roads",
                "id_field": "code",
                "time_field": "built",
            },
        ),
        (
            "arcgis:https://gis.example/arcgis/rest/services/A/FeatureServer/0",
            {},
            {"store": "arcgis", "url": "https://gis.example/arcgis/rest/services/A/FeatureServer/0"},
        ),
    ],
)
def test_a_source_becomes_a_description(
    settings: Settings, source: str, more: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert describe_source(asked(source, **more), settings) == expected


def test_files_below_the_roots_are_described_by_their_path(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "shared" / "deep" / "roads.gpkg"
    path.touch()
    described = describe_source(asked(f"ogr:{path}", layer="roads"), settings)
    assert described == {"store": "ogr", "path": str(path), "layer": "roads"}


@pytest.mark.parametrize(
    ("source", "more", "says"),
    [
        ("buildings", {}, ["names no source", "postgis:CONNECTION"]),
        ("oracle:city/table", {}, ["names no source"]),
        ("postgis:city", {}, ["postgis:CONNECTION/SCHEMA.TABLE"]),
        ("postgis:town/public.x", {}, ["no connection 'town'", "city, wms", "CHENGTU_SOURCES_CONNECTIONS"]),
        ("postgis:city/a\nb", {}, ["postgis:CONNECTION/SCHEMA.TABLE"]),
        ("ogr:roads.gpkg", {}, ["absolute path"]),
        ("ogr:/etc/passwd", {}, ["sources.file_roots", "chengtu publish"]),
        ("parquet:/shared/../etc/x.parquet", {}, ["sources.file_roots"]),
        ("wfs:ftp://maps.example/wfs", {}, ["http or https"]),
        ("wfs:https://reader:sesame@maps.example/wfs", {}, ["without user or password"]),
        ("wfs:https:///wfs", {}, ["http or https"]),
        ("wfs:https://maps.example", {"credentials": "nobody"}, ["no connection 'nobody'"]),
        ("wfs:https://maps.example", {"options": {"url": "https://x"}}, ["--set url", "already"]),
        ("wfs:https://maps.example", {"options": {"store": "ogr"}}, ["--set store", "already"]),
    ],
)
def test_what_names_nothing_usable_is_refused(
    settings: Settings, source: str, more: dict[str, Any], says: list[str]
) -> None:
    with pytest.raises(OptionError) as caught:
        describe_source(asked(source, **more), settings)
    for words in says:
        assert words in str(caught.value)
    assert "sesame" not in str(caught.value)


def test_a_link_out_of_a_root_is_seen_through(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "secret.gpkg").touch()
    (tmp_path / "shared" / "link.gpkg").symlink_to(tmp_path / "secret.gpkg")
    with pytest.raises(OptionError, match="file_roots"):
        describe_source(asked(f"ogr:{tmp_path}/shared/link.gpkg"), settings)


def test_no_service_is_asked_where_the_settings_forbid_it(tmp_path: Path) -> None:
    settings = load_settings((), None, {"data.home": tmp_path, "sources.outgoing": False})
    with pytest.raises(OptionError, match=r"sources\.outgoing"):
        describe_source(asked("features:https://maps.example"), settings)
