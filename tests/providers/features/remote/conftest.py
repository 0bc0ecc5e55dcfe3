"""Remote services on the loopback: MapServer, an ArcGIS layer of our own, our own OGC API, and faulty ones."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from providers.features.schema import CollectionSchema
from providers.features.sources import SourceSettings


def _services() -> Any:
    """The services beside this file: tests are no packages."""
    spec = importlib.util.spec_from_file_location("remote_services", Path(__file__).with_name("services.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


services = _services()


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[[Any], str]]:
    """Serves a WSGI application on a free port of the loopback; gives its address."""
    ends = []

    def start(application: Any) -> str:
        url, end = services.started(application)
        ends.append(end)
        return url

    yield start
    for end in ends:
        end()


@pytest.fixture(scope="session")
def settings_for(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., SourceSettings]:
    """Settings that allow one address, and keep metadata in a folder of their own."""

    def make(url: str, **others: Any) -> SourceSettings:
        host = urlsplit(url).netloc
        values: dict[str, Any] = {
            "timeout": 10.0,
            "cache_directory": tmp_path_factory.mktemp("cache"),
        } | others
        return SourceSettings(allowed_hosts=frozenset({host}), **values)

    return make


@pytest.fixture(scope="session")
def city() -> Any:
    """The features that the remote services serve."""
    return services.City()


_MAPFILE = """
MAP
  NAME "city"
  SIZE 100 100
  EXTENT 113 22 115 23
  PROJECTION "init=epsg:4326" END
  WEB
    METADATA
      "wfs_title" "City"
      "wfs_onlineresource" "http://nowhere.invalid/wfs?"
      "wfs_srs" "EPSG:4326 EPSG:4490 EPSG:3857"
      "ows_enable_request" "*"
      "ows_contactorganization" "Bureau of Works"
      "ows_accessconstraints" "CC-BY-4.0"
    END
  END
  OUTPUTFORMAT
    NAME "geojson"
    DRIVER "OGR/GEOJSON"
    MIMETYPE "application/json; subtype=geojson"
    FORMATOPTION "STORAGE=stream"
    FORMATOPTION "FORM=simple"
    FORMATOPTION "USE_FEATUREID=true"
  END
  LAYER
    NAME "towers"
    TYPE POLYGON
    STATUS ON
    CONNECTIONTYPE OGR
    CONNECTION "{data}"
    DATA "towers"
    PROJECTION "init=epsg:4326" END
    METADATA
      "wfs_title" "Towers"
      "wfs_abstract" "Towers of the city"
      "gml_include_items" "all"
      "gml_featureid" "ident"
      "gml_types" "auto"
      "wfs_getfeature_formatlist" "{formats}"
    END
    TEMPLATE "x.html"
  END
END
"""


def _mapserver(folder: Path, formats: str) -> Callable[[dict[str, Any], Any], list[bytes]]:
    """MapServer's CGI program as a WSGI application."""
    mapfile = folder / f"{formats or 'gml'}.map"
    mapfile.write_text(_MAPFILE.format(data=folder / "city.gpkg", formats=formats))
    config = folder / "mapserver.conf"
    config.write_text(f'CONFIG MAPS CITY "{folder / "geojson.map"}" END END')

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        variables = {
            "PATH": os.environ["PATH"],
            "MAPSERVER_CONFIG_FILE": str(config),
            "MS_MAPFILE": str(mapfile),
            "PATH_INFO": environ.get("PATH_INFO", ""),
            "REQUEST_METHOD": environ["REQUEST_METHOD"],
            "QUERY_STRING": environ.get("QUERY_STRING", ""),
            "CONTENT_TYPE": environ.get("CONTENT_TYPE", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_ACCEPT": environ.get("HTTP_ACCEPT", ""),
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": environ["SERVER_PORT"],
            "SCRIPT_NAME": "/",
        }
        done = subprocess.run(
            ["mapserv"], input=body, env=variables, capture_output=True, check=False, timeout=30
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = [tuple(line.split(": ", 1)) for line in head.decode().splitlines() if ": " in line]
        status = next((value for name, value in headers if name.lower() == "status"), "200 OK")
        start_response(status, [(name, value) for name, value in headers if name.lower() != "status"])
        return [content]

    return application


@pytest.fixture(scope="session")
def mapserver(
    serve: Callable[[Any], str], city: Any, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """Addresses of MapServer's WFS: "json" offers GeoJSON, "gml" does not."""
    if shutil.which("mapserv") is None:
        message = "MapServer is not here; install the packages of scripts/packages.txt"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    folder = tmp_path_factory.mktemp("mapserver")
    city.write(folder / "city.gpkg")
    return {"json": serve(_mapserver(folder, "geojson")), "gml": serve(_mapserver(folder, ""))}


@pytest.fixture(scope="session")
def arcgis(serve: Callable[[Any], str], city: Any) -> Callable[..., tuple[str, Any]]:
    """Starts a FeatureServer whose layer document has the given changes; gives its URL and the server."""

    def start(**changes: Any) -> tuple[str, Any]:
        server = services.ArcgisServer(city, **changes)
        return f"{serve(server)}/arcgis/rest/services/City/FeatureServer", server

    return start


@pytest.fixture(scope="session")
def ogc_api(serve: Callable[[Any], str], city: Any) -> Callable[..., tuple[str, Any]]:
    """Starts an OGC API - Features service; gives its landing page and the server."""

    def start(conforms: tuple[str, ...] = services.FULL, **options: Any) -> tuple[str, Any]:
        schema = CollectionSchema(city.fields[1:], time_field="updated", geometry_type="Polygon")
        server = services.OgcApiServer(city.columns(), schema, conforms=conforms, **options)
        return serve(server), server

    return start
