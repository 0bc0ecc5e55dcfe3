"""Headless QGIS on maps and rasters, by every protocol that it has; its pictures are compared with what is really there."""

import json
import os
import shutil
import socket
import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

DAY = "2024-05-01"
SIZE = (300, 240)
MERCATOR, CGCS2000, ZONE = "EPSG:3857", "EPSG:4490", "EPSG:4548"

NGINX = """
daemon off; pid {home}/nginx.pid; error_log {home}/error.log;
events {{ }}
http {{
  access_log off;
  client_body_temp_path {home}; proxy_temp_path {home}; fastcgi_temp_path {home}; uwsgi_temp_path {home}; scgi_temp_path {home};
  server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {server}; proxy_set_header Host $http_host; }} }}
}}
"""


@pytest.fixture(scope="module")
def city(every_map):
    return every_map


def wms(city, layer, crs=MERCATOR, style="", url=""):
    address = url or f"{city.maps}/service"
    return f"contextualWMSLegend=0&crs={crs}&dpiMode=7&format=image/png&layers={layer}&styles={style}&url={address}"


def wmts(city, layer, grid, crs, style, kvp=False, more=""):
    capabilities = "?SERVICE%3DWMTS%26REQUEST%3DGetCapabilities" if kvp else "/1.0.0/WMTSCapabilities.xml"
    return f"{wms(city, layer, crs, style, f'{city.maps}/wmts{capabilities}')}&tileMatrixSet={grid}{more}"


def xyz(city, layer):
    template = f"{city.collection(layer)}/map/tiles/WebMercatorQuad/{{z}}/{{y}}/{{x}}?f=png"
    return f"type=xyz&url={quote(template, safe=':/{}')}&zmin=0&zmax=20"


def pictures(city):
    """Name: source, provider, CRS, and the ramp it must show."""
    photo, day = city.photo, city.series[DAY]
    version = f"{city.maps}/service?VERSION%3D1.1.1"
    found = {
        "wms-1.3.0-degrees": (wms(city, "photo", "EPSG:4326"), "wms", "EPSG:4326", photo),
        "wms-1.3.0-cgcs2000": (wms(city, "photo", CGCS2000), "wms", CGCS2000, photo),
        "wms-1.3.0-zone": (wms(city, "photo", ZONE), "wms", ZONE, photo),
        "wms-1.1.1": (wms(city, "photo", "EPSG:4326", url=version), "wms", "EPSG:4326", photo),
        "wms-time": (
            f"IgnoreGetMapUrl=1&{wms(city, 'series', url=f'{city.maps}/service?TIME%3D{DAY}')}",
            "wms",
            MERCATOR,
            day,
        ),
        "wmts-rest": (wmts(city, "photo", "WebMercatorQuad", MERCATOR, "ortho"), "wms", MERCATOR, photo),
        "wmts-kvp": (wmts(city, "photo", "WebMercatorQuad", MERCATOR, "ortho", True), "wms", MERCATOR, photo),
        "wmts-cgcs2000": (wmts(city, "photo", "CGCS2000Quad", CGCS2000, "ortho"), "wms", CGCS2000, photo),
        "wmts-zone": (wmts(city, "photo", "CGCS2000GK3CM117E", ZONE, "ortho"), "wms", ZONE, photo),
        "wmts-time": (
            wmts(
                city,
                "series",
                "WebMercatorQuad",
                MERCATOR,
                "ortho",
                more=f"&tileDimensions=Time={DAY}T00:00:00Z",
            ),
            "wms",
            MERCATOR,
            day,
        ),
        "vsicurl": (f"/vsicurl/{city.collection('photo')}/download/photo.tif", "gdal", ZONE, photo),
    }
    for layer in ("photo", *city.cascades):
        style = "ortho" if layer == "photo" else "default"
        found[f"{layer}-by-xyz"] = (xyz(city, layer), "wms", MERCATOR, photo)
        found[f"{layer}-by-wms"] = (wms(city, layer), "wms", MERCATOR, photo)
        source = wmts(city, layer, "WebMercatorQuad", MERCATOR, style)
        found[f"{layer}-by-wmts"] = (source, "wms", MERCATOR, photo)
    return found


def tasks(city, nginx):
    drawn = {}
    for name, (source, provider, crs, ramp) in pictures(city).items():
        box = ramp.bounds(crs, -100)
        drawn[name] = {"source": source, "provider": provider, "crs": crs, "box": box, "size": SIZE}
    blocks = (12956200, 4851100, 12957000, 4851900)
    template = f"{city.collection('blocks')}/tiles/WebMercatorQuad/{{z}}/{{y}}/{{x}}?f=mvt"
    drawn["vector-tiles"] = {
        "source": f"type=xyz&url={quote(template, safe=':/{}')}&zmin=0&zmax=16",
        "provider": "vectortiles",
        "style": f"{city.collection('blocks')}/styles/polygon?f=mapbox",
        "crs": MERCATOR,
        "box": blocks,
        "size": (400, 400),
    }
    drawn["wms-of-blocks"] = {
        "source": wms(city, "blocks", style="polygon"),
        "provider": "wms",
        "crs": MERCATOR,
        "box": blocks,
        "size": (400, 400),
    }
    box = city.photo.bounds("EPSG:4326")
    point = (box[0] + 0.25 * (box[2] - box[0]), box[1] + 0.75 * (box[3] - box[1]))
    asked = {"provider": "wms", "point": point, "box": box, "size": (200, 200)}
    tower = city.towers.geometries[7].representative_point()
    around = (tower.x - 0.002, tower.y - 0.002, tower.x + 0.002, tower.y + 0.002)
    identified = {
        "text": asked | {"source": wms(city, "photo", "EPSG:4326"), "format": "text"},
        "feature": asked
        | {"source": wms(city, "photo", "EPSG:4326", url=f"{nginx}/service"), "format": "feature"},
        "tower": {
            "source": wms(city, "towers", "EPSG:4326", url=f"{nginx}/service"),
            "provider": "wms",
            "format": "feature",
            "point": (tower.x, tower.y),
            "box": around,
            "size": (200, 200),
        },
    }
    return {"pictures": drawn, "identify": identified}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where QGIS draws. Kept in CHENGTU_PICTURES too where that is set, to be looked at."""
    made = tmp_path_factory.mktemp("qgis_maps")
    yield made
    keep = os.environ.get("CHENGTU_PICTURES")
    if keep:
        for picture in made.glob("*.png"):
            shutil.copy(picture, Path(keep) / f"qgis-maps-{picture.name}")


@pytest.fixture(scope="module")
def nginx(city, tmp_path_factory):
    """The map services behind nginx: QGIS 3.22 knows features by `Content-Type` in these very letters, which nginx writes."""
    home = tmp_path_factory.mktemp("nginx")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (home / "nginx.conf").write_text(NGINX.format(home=home, port=port, server=city.address))
    process = subprocess.Popen(["nginx", "-p", str(home), "-c", str(home / "nginx.conf")])
    yield city.maps.replace(city.address, f"http://127.0.0.1:{port}")
    process.terminate()
    process.wait(timeout=20)


@pytest.fixture(scope="module")
def qgis(root, city, nginx, run, folder):
    """What QGIS saw of everything at once: it takes longer to start than to draw."""
    (folder / "tasks.json").write_text(json.dumps(tasks(city, nginx)))
    script = root / "tests" / "clients" / "qgis_maps.py"
    return json.loads(run("/usr/bin/python3", str(script), str(folder / "tasks.json"), str(folder)))


def test_every_picture_shows_what_is_there(city, qgis, folder, look):
    wrong = {}
    for name, (_, _, crs, ramp) in pictures(city).items():
        told = qgis["pictures"][name]
        assert (told["valid"], told["errors"]) == (True, []), name
        wrong[name] = ramp.wrong(look(folder / f"{name}.png")[..., :3], told["box"], crs, 14)
    assert {name: share for name, share in wrong.items() if share > 0.03} == {}


def test_vector_tiles_in_our_style_look_as_our_map(qgis, folder, look):
    told = qgis["pictures"]["vector-tiles"]
    assert (told["valid"], told["errors"], told["converted"]) == (True, [], True)
    assert [one.partition(": ")[2] for one in told["warnings"]] == [
        "Referenced font Chengtu Sans is not available on system"
    ]
    tiles, ours = (
        look(folder / f"{name}.png")[..., :3].astype(int) for name in ("vector-tiles", "wms-of-blocks")
    )
    assert (ours < 245).any(axis=-1).mean() > 0.01
    # QGIS has no glyphs of ours and thins outlines otherwise.
    assert (abs(tiles - ours) > 60).any(axis=-1).mean() < 0.02


def test_values_of_a_pixel(city, qgis):
    box, size = city.photo.bounds("EPSG:4326"), (200, 200)
    red, green, blue = city.photo.colours(box, "EPSG:4326", size)[50, 50]
    (text,) = qgis["identify"]["text"]["results"].values()
    values = dict(line.strip().split(" = ") for line in text.splitlines() if " = " in line)
    assert (int(values["red"]), int(values["green"])) == pytest.approx((red, green), abs=2)
    assert int(values["blue"]) == blue
    ((found,),) = qgis["identify"]["feature"]["results"].values()
    assert {name: int(value) for name, value in found.items()} == {
        name: int(one) for name, one in values.items()
    }


def test_features_at_a_place(city, qgis):
    (found,) = qgis["identify"]["tower"]["results"].values()
    assert city.towers.secrets[7] in {one["secret"] for one in found}
