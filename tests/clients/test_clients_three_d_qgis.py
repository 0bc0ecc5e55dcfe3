"""QGIS 3.40 draws our tilesets: from above, pixel by pixel where the footprints are, and in its three-dimensional view."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import shapely
from PIL import Image
from pyproj import Transformer
from rasterio.features import rasterize
from rasterio.transform import from_bounds

pytestmark = pytest.mark.clients

WITHIN = 300
VIEWS = {
    "old": "buildings/3dtiles/1.0/tileset.json",
    "explicit": "buildings/3dtiles/explicit/tileset.json",
    "implicit": "buildings/3dtiles/tileset.json",
    "pipes": "pipes/3dtiles/1.0/tileset.json",
}


@pytest.fixture(scope="module")
def script(root):
    """scripts/qgis_trixie, whose folder has been made. In CI it must have been."""
    path = root / "scripts" / "qgis_trixie"
    folder = subprocess.run([path, "where"], capture_output=True, text=True, check=True).stdout.strip()
    if not (Path(folder) / ".made").exists():
        assert not os.environ.get("CI"), f"there is no QGIS 3.40 in {folder}"
        pytest.skip("QGIS 3.40 is not there: run `scripts/qgis_trixie install` as root (3 minutes, 2 GB)")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where QGIS draws. Kept in CHENGTU_PICTURES too where that is set, to be looked at."""
    made = tmp_path_factory.mktemp("qgis")
    yield made
    keep = os.environ.get("CHENGTU_PICTURES")
    if keep:
        for picture in made.glob("*.png"):
            shutil.copy(picture, f"{keep}/qgis-three-d-{picture.name}")


@pytest.fixture(scope="module")
def seen(root, script, helsinki, folder):
    """What QGIS saw."""
    layers = {name: f"{helsinki}/ogc/collections/{path}" for name, path in VIEWS.items()}
    order = {"folder": str(folder), "layers": layers, "scene": ["old", "pipes"], "crs": "EPSG:3879"}
    (folder / "order.json").write_text(json.dumps(order))
    shutil.copy(root / "tests" / "clients" / "qgis_three_d.py", folder)
    command = [script, "run", "--folder", folder, "xvfb-run", "-a", "-s", "-screen 0 1000x800x24"]
    command += ["python3", folder / "qgis_three_d.py", folder / "order.json"]
    environment = os.environ | {"QT_QPA_PLATFORM": "xcb"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=WITHIN, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def footprints(helsinki, fetch_json):
    """The buildings' polygons in EPSG:3857, straight from the features."""
    to_mercator = Transformer.from_crs("OGC:CRS84", "EPSG:3857", always_xy=True)
    answer = fetch_json(f"{helsinki}/ogc/collections/buildings/items", limit="10000")
    shapes = [shapely.from_geojson(json.dumps(feature["geometry"])) for feature in answer["features"]]
    flat = shapely.force_2d(np.array(shapes))
    return shapely.transform(flat, lambda x, y: to_mercator.transform(x, y), interleaved=False)


def drawn(look, folder, name):
    """Where a picture is not white."""
    return (look(folder / f"{name}.png")[..., :3] < 250).any(axis=-1)


def where(shapes, extent, size):
    """Pixels of shapes, for a picture of an extent."""
    return rasterize(shapes, (size, size), transform=from_bounds(*extent, size, size)).astype(bool)


def test_it_is_that_version(seen):
    assert seen["version"].startswith("3.40")


@pytest.mark.parametrize("name", VIEWS)
def test_every_view_is_a_layer_without_errors(seen, name):
    assert seen["layers"][name]["valid"], seen["layers"][name]["error"]
    assert seen["layers"][name]["errors"] == []


@pytest.mark.parametrize("name", ["old", "explicit"])
def test_buildings_are_where_their_footprints_are(seen, folder, look, footprints, name):
    """Every pixel of a footprint is drawn, and no pixel farther from one than its outline."""
    pixels = drawn(look, folder, name)
    extent = seen["layers"][name]["extent"]
    expected = where(footprints, extent, len(pixels))
    step = (extent[2] - extent[0]) / len(pixels)
    around = where(shapely.buffer(footprints, 2 * step), extent, len(pixels))
    assert 0.1 < expected.mean() < 0.9
    assert (expected & ~pixels).sum() < 0.001 * expected.sum()
    assert (pixels & ~around).sum() < 0.001 * pixels.sum()


def test_pipes_are_along_their_lines(seen, folder, look, helsinki, fetch_json):
    to_mercator = Transformer.from_crs("OGC:CRS84", "EPSG:3857", always_xy=True)
    features = []
    address = f"{helsinki}/ogc/collections/pipes/items?limit=10000"
    features += fetch_json(address)["features"]
    lines = shapely.force_2d(
        np.array([shapely.from_geojson(json.dumps(feature["geometry"])) for feature in features])
    )
    flat = shapely.transform(lines, lambda x, y: to_mercator.transform(x, y), interleaved=False)
    extent = seen["layers"]["pipes"]["extent"]
    pixels = drawn(look, folder, "pipes")
    step = (extent[2] - extent[0]) / len(pixels)
    near = where(shapely.buffer(flat, 3 * step), extent, len(pixels))
    assert pixels.mean() > 0.01
    assert (pixels & ~near).sum() / pixels.sum() < 0.01


def test_the_three_dimensional_view_shows_the_city(seen, folder, look):
    """The scene fills much of the picture, in the shades of roofs and of walls towards and away from the light."""
    assert seen["scene"] == 0
    picture = look(folder / "scene.png")[..., :3].astype(int)
    shown = (picture < 250).any(axis=-1)
    assert shown.mean() > 0.2
    shades, counts = np.unique(picture[shown].sum(axis=-1) // 12, return_counts=True)
    assert len(shades[counts > 0.005 * shown.sum()]) >= 3


def test_implicit_tiling_is_what_it_cannot_read(seen, folder):
    """QGIS 3.40 accepts the tileset and draws nothing: users need the other address. Where this fails, tell them the good news."""
    assert seen["layers"]["implicit"]["valid"]
    with Image.open(folder / "implicit.png") as picture:
        assert np.asarray(picture.convert("RGB")).min() == 255
