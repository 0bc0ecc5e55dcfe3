"""Half a million polygons through the whole way: publish, page, serve under load while they are replaced."""

from __future__ import annotations

import json
import re
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from benchmarks.dataset import batches, plain_geopackage
from providers.features.schema import FieldDefinition
from providers.features.store import FeatureStoreWriter

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(1800)]

COUNT = 500_000
CHENGTU = str(Path(sys.executable).with_name("chengtu"))


def chengtu(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([CHENGTU, *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def geopackage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The polygons as a file of OGR's making."""
    folder = tmp_path_factory.mktemp("data")
    fields = [FieldDefinition(name, "string") for name in ("name", "address", "kind", "updated")]
    fields += [FieldDefinition("height", "number"), FieldDefinition("energy", "number")]
    fields += [FieldDefinition("floors", "integer"), FieldDefinition("year_built", "integer")]
    with FeatureStoreWriter(folder / "store.gpkg", fields=fields, storage_crs="EPSG:4326") as writer:
        for geometries, columns in batches(COUNT):
            writer.add(geometries, columns)
        writer.finish()
    plain_geopackage(folder / "store.gpkg", folder / "buildings.gpkg")
    return folder / "buildings.gpkg"


@pytest.fixture(scope="module")
def home(geopackage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data home with the polygons published by the command."""
    folder = tmp_path_factory.mktemp("large") / "home"
    assert chengtu("tenants", "add", "large", "--title", "Large", "--home", folder).returncode == 0
    done = chengtu(
        *("publish", geopackage, "--tenant", "large", "--id", "buildings", "--title", "Buildings"),
        *("--home", folder),
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([CHENGTU, "serve", "--home", str(home), "--port", str(port)])
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                if requests.get(f"{address}/health/ready", timeout=5).status_code == 200:
                    break
            except requests.ConnectionError:
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(30)


def test_publishing_stays_within_two_gigabytes(home: Path) -> None:
    # The largest child this process has waited for, in kilobytes: the publish above.
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 2 << 20
    assert not list((home / "staging").iterdir())


def test_the_count_and_the_pages(server: str) -> None:
    url = f"{server}/t/large/ogc/collections/buildings"
    assert requests.get(f"{url}?f=json", timeout=30).json()["itemCount"] == COUNT
    seen: set[str] = set()
    onward: str | None = f"{url}/items?limit=10000"
    while onward is not None:
        page = requests.get(onward, timeout=60).json()
        assert page["numberMatched"] == COUNT
        seen.update(str(feature["id"]) for feature in page["features"])
        onward = next((link["href"] for link in page["links"] if link["rel"] == "next"), None)
    assert len(seen) == COUNT


def test_a_download_holds_everything(server: str, tmp_path: Path) -> None:
    url = f"{server}/t/large/ogc/collections/buildings/download/buildings.geojson"
    file = tmp_path / "buildings.geojson"
    with requests.get(url, stream=True, timeout=120) as answer, file.open("wb") as target:
        for chunk in answer.iter_content(1 << 20):
            target.write(chunk)
    assert len(json.loads(file.read_bytes())["features"]) == COUNT


def test_load_goes_on_while_a_collection_is_replaced(
    server: str, home: Path, geopackage: Path, tmp_path: Path
) -> None:
    """64 connections for half a minute; meanwhile a small part replaces the whole. Nobody sees an error."""
    small = tmp_path / "small.gpkg"
    command = ["ogr2ogr", "-f", "GPKG", str(small), str(geopackage), "buildings", "-limit", "5000"]
    subprocess.run(command, check=True)
    options = ("--tenant", "large", "--id", "replaced", "--title", "Replaced", "--home", home)
    assert chengtu("publish", small, *options).returncode == 0
    target = f"{server}/t/large/ogc/collections/replaced/items?limit=50&bbox=113.8,22.6,114.1,22.9"
    load = subprocess.Popen(
        ["wrk", "-t2", "-c64", "-d30s", "--timeout", "30s", target], stdout=subprocess.PIPE, text=True
    )
    for _ in range(3):
        done = chengtu("publish", small, *options, "--replace")
        assert done.returncode == 0, done.stderr
    output, _ = load.communicate(timeout=120)
    assert "Non-2xx" not in output, output
    assert "Socket errors" not in output, output
    match = re.search(r"(\d+) requests in", output)
    assert match is not None
    assert int(match.group(1)) > 1000
    assert chengtu("check", "--home", home).returncode == 0
