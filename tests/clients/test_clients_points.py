"""Point clouds in real clients: QGIS 3.40 and 3.22, PDAL 2.2, laspy, npm copc and CesiumJS, each by its own way to the same points."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import laspy
import numpy as np
import pytest
from PIL import Image

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]

WITHIN = 300
MADE = ("scan", "flights")
TOLERANCE = 26  # of a channel: what smoothing and rounding may change of a colour


@pytest.fixture(scope="module")
def names(every_cloud):
    """Every collection that is here."""
    return list(every_cloud.classes)


def copc_files(city, http, name):
    """Addresses of the COPC files of a collection."""
    if http.head(city.url(name, "pointcloud.copc.laz"), timeout=60).status_code == 200:
        return [city.url(name, "pointcloud.copc.laz")]
    tiles = http.get(city.url(name, "pointcloud"), timeout=60).json()
    hrefs = [tile["href"] for tile in tiles["tiles"]]
    assert hrefs
    return hrefs


def histogram(codes):
    found, counts = np.unique(np.asarray(codes), return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


# --- readers of COPC -----------------------------------------------------------------------------------------------------


def test_laspy_finds_every_class(every_cloud, clouds, names, http):
    for name in names:
        codes = []
        for url in copc_files(every_cloud, http, name):
            with laspy.CopcReader(clouds.HttpFile(url)) as reader:
                codes.append(np.asarray(reader.query().classification))
        assert histogram(np.concatenate(codes)) == every_cloud.classes[name], name


def test_npm_copc_finds_every_class(every_cloud, names, http, root, run):
    for name in names:
        found = {}
        for url in copc_files(every_cloud, http, name):
            told = json.loads(run("node", str(root / "tests" / "clients" / "copc_read.mjs"), url, "--decode"))
            assert told["decoded"] == told["pointCount"]
            for code, count in told["classes"].items():
                found[int(code)] = found.get(int(code), 0) + count
        assert found == every_cloud.classes[name], name


# --- PDAL ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pdal(root):
    """PDAL 2.2 of Debian 11, or the one of CHENGTU_TEST_PDAL. In CI it must be there."""
    where = (
        os.environ.get("CHENGTU_TEST_PDAL")
        or subprocess.run(
            [root / "scripts" / "pdal_bullseye", "where"], capture_output=True, text=True, check=True
        ).stdout.strip()
    )
    if not Path(where).exists():
        assert not os.environ.get("CI"), f"there is no PDAL at {where}"
        pytest.skip("PDAL is not there: run `scripts/pdal_bullseye install`")
    return where


def pdal_classes(pdal, reader, folder):
    """Points of each class as PDAL counts them."""
    pipeline = folder / "pipeline.json"
    metadata = folder / "metadata.json"
    stages = [reader, {"type": "filters.stats", "dimensions": "Classification", "count": "Classification"}]
    pipeline.write_text(json.dumps(stages))
    done = subprocess.run(
        [pdal, "pipeline", "--metadata", metadata, pipeline],
        capture_output=True, text=True, timeout=WITHIN, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (statistic,) = json.loads(metadata.read_text())["stages"]["filters.stats"]["statistic"]
    return {int(float(value)): int(count) for value, count in (one.split("/") for one in statistic["counts"])}


@pytest.mark.parametrize("name", ["scan", "autzen"])
def test_pdal_reads_the_ept(every_cloud, pdal, name, tmp_path):
    if name not in every_cloud.classes:
        pytest.skip("the sample data beside the repository is not here")
    reader = {"type": "readers.ept", "filename": every_cloud.url(name, "ept", "ept.json")}
    assert pdal_classes(pdal, reader, tmp_path) == every_cloud.classes[name]


@pytest.mark.parametrize("form", ["laz", "las"])
def test_pdal_reads_a_download(every_cloud, http, names, pdal, form, tmp_path):
    for name in names:
        reply = http.get(every_cloud.url(name, "points"), params={"f": form}, timeout=WITHIN)
        assert reply.status_code == 200, reply.text[:500]
        file = tmp_path / f"{name}.{form}"
        file.write_bytes(reply.content)
        reader = {"type": "readers.las", "filename": str(file)}
        assert pdal_classes(pdal, reader, tmp_path) == every_cloud.classes[name], name


# --- QGIS ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where QGIS draws. Kept in CHENGTU_PICTURES too where that is set, to be looked at."""
    made = tmp_path_factory.mktemp("qgis_points")
    yield made
    keep = os.environ.get("CHENGTU_PICTURES")
    if keep:
        for picture in made.glob("*.png"):
            shutil.copy(picture, f"{keep}/qgis-points-{picture.name}")


def order_of(folder, name, clouds, scenes):
    """The file that tells QGIS what to look at."""
    file = folder / f"{name}.json"
    file.write_text(json.dumps({"folder": str(folder), "clouds": clouds, "scenes": scenes}))
    return file


@pytest.fixture(scope="module")
def new_qgis(root, every_cloud, http, folder):
    """What QGIS 3.40 saw. It opens a virtual point cloud from a file alone, and what that names by HTTP."""
    script = root / "scripts" / "qgis_trixie"
    where = subprocess.run([script, "where"], capture_output=True, text=True, check=True).stdout.strip()
    if not (Path(where) / ".made").exists():
        assert not os.environ.get("CI"), f"there is no QGIS 3.40 in {where}"
        pytest.skip("QGIS 3.40 is not there: run `scripts/qgis_trixie install` as root (3 minutes, 2 GB)")
    url = every_cloud.url
    (folder / "flights.vpc").write_bytes(http.get(url("flights", "pointcloud.vpc"), timeout=60).content)
    clouds = {
        "copc": ["copc", url("scan", "pointcloud.copc.laz")],
        "ept": ["ept", url("scan", "ept", "ept.json")],
        "vpc": ["vpc", str(folder / "flights.vpc")],
        "tile": ["copc", url("flights", "pointcloud", "half1.copc.laz")],
    }
    if "autzen" in every_cloud.classes:
        clouds["autzen"] = ["copc", url("autzen", "pointcloud.copc.laz")]
    scenes = {
        "explicit": url("scan", "3dtiles", "explicit", "tileset.json"),
        "flights": url("flights", "3dtiles", "explicit", "tileset.json"),
    }
    order = order_of(folder, "new", clouds, scenes)
    shutil.copy(root / "tests" / "clients" / "qgis_points.py", folder)
    command = [script, "run", "--folder", folder, "xvfb-run", "-a", "-s", "-screen 0 1000x800x24"]
    done = subprocess.run(
        [*command, "python3", folder / "qgis_points.py", order],
        env=os.environ | {"QT_QPA_PLATFORM": "xcb"},
        capture_output=True, text=True, timeout=WITHIN, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def old_qgis(root, every_cloud, folder):
    """What QGIS 3.22 saw, which reads EPT alone."""
    aside = folder / "old"
    aside.mkdir()
    order = order_of(aside, "old", {"ept": ["ept", every_cloud.url("scan", "ept", "ept.json")]}, {})
    command = ["/usr/bin/python3", root / "tests" / "clients" / "qgis_points.py", order]
    environment = os.environ | {
        "QT_QPA_PLATFORM": "offscreen",
        "HOME": str(aside),
        "XDG_RUNTIME_DIR": str(aside),
    }
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=WITHIN, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def check_fields(picture, clouds, share):
    """The four fields have their colours, each over `share` of its part of the picture at least (a margin is left out)."""
    side = len(picture)
    margin = side // 20
    for (column, row), (_, colour) in clouds.FIELDS.items():
        rows = np.s_[: side // 2] if row else np.s_[side // 2 :]
        columns = np.s_[side // 2 :] if column else np.s_[: side // 2]
        part = picture[rows, columns, :3][margin:-margin, margin:-margin].astype(int)
        drawn = (part < 250).any(axis=-1)
        assert drawn.mean() > share, (column, row)
        near = (abs(part[drawn] - colour) <= TOLERANCE).all(axis=-1)
        assert near.mean() > 0.9, (column, row)


@pytest.mark.parametrize(
    ("view", "name"), [("copc", "scan"), ("ept", "scan"), ("vpc", "flights"), ("autzen", "autzen")]
)
def test_qgis_340_counts_every_point(new_qgis, every_cloud, view, name):
    if name not in every_cloud.classes:
        pytest.skip("the sample data beside the repository is not here")
    seen = new_qgis["clouds"][view]
    assert seen["valid"], seen["error"]
    assert seen["errors"] == []
    assert seen["count"] == sum(every_cloud.classes[name].values())
    if name in MADE:
        assert "EPSG:3879" in seen["crs"] or "GK25FIN" in seen["wkt"]
    # QGIS counts classes of what it has sampled; of a virtual cloud it samples nothing.
    if seen["statistics"]["classes"]:
        classes = {str(code): count for code, count in every_cloud.classes[name].items()}
        assert seen["statistics"] == {"sampled": seen["count"], "classes": classes}


@pytest.mark.parametrize("view", ["copc", "ept", "vpc", "explicit", "flights"])
def test_qgis_340_draws_the_fields(new_qgis, folder, look, clouds, view):
    seen = (new_qgis["clouds"] | new_qgis["scenes"])[view]
    assert seen["valid"], seen["error"]
    assert seen["errors"] == []
    check_fields(look(folder / f"{view}.png"), clouds, 0.2 if view in new_qgis["scenes"] else 0.5)


def test_qgis_340_draws_one_flight(new_qgis, folder, clouds):
    """The eastern half: two fields."""
    seen = new_qgis["clouds"]["tile"]
    assert seen["valid"], seen["error"]
    with Image.open(folder / "tile.png") as opened:
        picture = np.asarray(opened.convert("RGB")).astype(int)
    for row in (0, 1):
        assert (abs(picture - clouds.FIELDS[1, row][1]) <= TOLERANCE).all(axis=-1).mean() > 0.1


def test_qgis_322_describes_the_ept(old_qgis, every_cloud):
    """It knows all of the cloud (its laz-perf is older than the point formats 6 to 8 that COPC allows: it draws none of it)."""
    seen = old_qgis["clouds"]["ept"]
    assert seen["valid"], seen["error"]
    assert seen["count"] == sum(every_cloud.classes["scan"].values())
    assert {"Classification", "Intensity", "GpsTime"} <= set(seen["attributes"])
    west, south, east, north = seen["box"]
    assert (east - west, north - south) == pytest.approx((200, 200), abs=3)


# --- CesiumJS ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("view", ["", "1.0"])
def test_cesium_loads_every_point(browser, every_cloud, cesium_pages, clouds, name, view):
    """From near, all points are loaded and none of the tiles failed."""
    with cesium_pages.cesium_page(browser, every_cloud.address, clouds.TENANT) as page:
        url = every_cloud.url(name, "3dtiles", *([view] if view else []), "tileset.json")
        seen = page.tileset(f"{url}?colour=rgb", pitch=-1.3, times=1.1, error=0.05)
        assert seen["loaded"]
        assert seen["failed"] == []
        counted = page.page.evaluate("widget.scene.primitives.get(0).statistics.numberOfPointsSelected")
        whole = sum(every_cloud.classes[name].values())
        assert counted == whole
        # Points of one pixel are mixed with what is behind them.
        page.page.evaluate(
            """async () => { const shading = widget.scene.primitives.get(0).pointCloudShading;
              Object.assign(shading, { attenuation: true, maximumAttenuation: 6, geometricErrorScale: 100 });
              await settled(() => true, 3); }"""
        )
        picture = page.picture()
        drawn = picture[(picture < 250).any(axis=-1)].astype(int)
        for _, colour in clouds.FIELDS.values():
            assert (abs(drawn - colour) <= TOLERANCE).all(axis=-1).mean() > 0.05
        assert page.problems == []
