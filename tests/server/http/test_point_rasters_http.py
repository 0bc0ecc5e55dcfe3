"""A published point cloud as coverage, map, tiles and data queries; its profiles, changes, volumes and heights over HTTP."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyproj
import pytest
import rasterio
from PIL import Image

from providers.points.opening import limit_point_rasters, point_limit
from server.http.app import create_app
from server.identity.decision import Decision
from server.publish import PublishRequest, ReadingOptions, publish
from server.registry.registry import open_registry
from server.registry.styles import StyleDraft, put_style, style_engine
from server.settings import load_settings

BASE = "/ogc/collections/demo.later"
WEST, SOUTH, EDGE = 85_000.0, 447_600.0, 60.0
COUNT = 40_000
TO_DEGREES = pyproj.Transformer.from_crs("EPSG:28992", "OGC:CRS84", always_xy=True)
LINE = ((WEST + 5, SOUTH + 15), (WEST + 55, SOUTH + 15))


def degrees(x: float, y: float) -> list[float]:
    return [round(value, 9) for value in TO_DEGREES.transform(x, y)]


def box84(west: float, south: float, east: float, north: float) -> list[list[float]]:
    return [
        degrees(*one) for one in ((west, south), (east, south), (east, north), (west, north), (west, south))
    ]


def polygon(*box: float) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": [box84(*box)]}


@dataclass
class Surveyed:
    """A server with two surveys of a field, the later one with a pit and a hall, and the hall's footprint."""

    client: Any
    home: Path
    x: Any
    y: Any
    z: Any
    codes: Any

    def get(self, path: str) -> Any:
        reply = self.client.get(path)
        assert reply.status == 200, (path, reply.body[:400])
        return reply

    def run(self, process: str, **inputs: Any) -> Any:
        body = json.dumps({"inputs": inputs}).encode()
        return self.client.request(
            "POST", f"/ogc/processes/{process}/execution", body, content_type="application/json"
        )


@pytest.fixture(scope="module")
def surveyed(
    tmp_path_factory: pytest.TempPathFactory, wsgi_client: Any, write_points: Callable[..., Path]
) -> Iterator[Surveyed]:
    folder = tmp_path_factory.mktemp("surveyed")
    settings = load_settings(
        (), {"CHENGTU_DATA_HOME": str(folder / "home"), "CHENGTU_POINTS_GEOJSON_POINTS": "500"}
    )
    with open_registry(settings) as registry:
        registry.add_tenant("demo", "Demo", "示例")
        for number, name in enumerate(("earlier", "later")):
            random = np.random.default_rng(number)
            x, y = WEST + random.uniform(0, EDGE, COUNT), SOUTH + random.uniform(0, EDGE, COUNT)
            z = 2.0 + random.normal(0, 0.01, COUNT)
            if number:
                z -= np.where((np.abs(x - WEST - 15) < 5) & (np.abs(y - SOUTH - 15) < 5), 2.0, 0.0)
            hall = (np.abs(x - WEST - 45) < 6) & (np.abs(y - SOUTH - 45) < 6) & (number == 1)
            z, codes = np.where(hall, 9.0, z), np.where(hall, 6, 2)
            file = write_points(folder / f"{name}.copc.laz", x, y, z, classification=codes, intensity=500)
            publish(_request(name, file), registry, settings)
        footprint = {
            "type": "FeatureCollection",
            "features": [
                {"type": "Feature", "id": "hall", "properties": {"name": "hall"},
                 "geometry": polygon(WEST + 39, SOUTH + 39, WEST + 51, SOUTH + 51)},
            ],
        }  # fmt: skip
        (folder / "halls.geojson").write_text(json.dumps(footprint))
        publish(_request("halls", folder / "halls.geojson"), registry, settings)
        with style_engine(settings) as engine:
            for style, (raster, _) in STYLES.items():
                if raster:
                    text = json.dumps({"title": {"en": style}, "raster": raster})
                    put_style(engine, StyleDraft("demo", style, "chengtu", text, titles={"en": style}))
        yield Surveyed(wsgi_client(create_app(settings)), folder / "home", x, y, z, codes)


def _request(name: str, file: Path) -> PublishRequest:
    reading = ReadingOptions() if file.suffix == ".geojson" else ReadingOptions(crs="EPSG:28992")
    return PublishRequest(files=(file,), tenant="demo", id=name, titles={"en": name}, reading=reading)


# --- coverage, maps, queries ---------------------------------------------------------------------------------------------


def test_a_published_cloud_has_a_coverage_and_a_map(surveyed: Surveyed) -> None:
    document = surveyed.get(f"{BASE}?f=json").json
    links = " ".join(link["href"] for link in document["links"])
    assert "/coverage" in links
    assert "/map" in links


def test_coverages_hold_the_surfaces(surveyed: Surveyed) -> None:
    reply = surveyed.get(f"{BASE}/coverage?f=gtiff&properties=dsm,dtm,height")
    with rasterio.MemoryFile(reply.body) as memory, memory.open() as found:
        assert found.crs.to_epsg() == 28992
        x = [WEST + 15, WEST + 45, WEST + 30]
        values = np.array(list(found.sample(zip(x, [SOUTH + 15, SOUTH + 45, SOUTH + 30], strict=True))))
    np.testing.assert_allclose(values[:, 0], [0, 9, 2], atol=0.05)
    np.testing.assert_allclose(values[:, 1], [0, 2, 2], atol=0.05)
    np.testing.assert_allclose(values[:, 2], [0, 7, 0], atol=0.05)
    small = surveyed.get(f"{BASE}/coverage?f=covjson&scale-size=E(6),N(6)&properties=classification").json
    assert set(small["ranges"]["classification"]["values"]) <= {2, 6, None}
    png = surveyed.get(f"{BASE}/coverage?f=png&properties=classification")
    assert Image.open(io.BytesIO(png.body)).format == "PNG"


def test_maps_and_tiles_show_it(surveyed: Surveyed) -> None:
    west, south = degrees(WEST, SOUTH)
    east, north = degrees(WEST + EDGE, SOUTH + EDGE)
    box = f"{west},{south},{east},{north}"
    image = Image.open(
        io.BytesIO(surveyed.get(f"{BASE}/map?f=png&width=200&height=200&bbox={box}").body)
    ).convert("RGB")
    colours = {
        name: image.getpixel(place)
        for name, place in (("pit", (50, 150)), ("hall", (150, 50)), ("field", (100, 100)))
    }
    assert len(set(colours.values())) == 3
    tiles = 2**19
    longitude, latitude = degrees(WEST + 30, SOUTH + 30)
    column = int((longitude + 180) / 360 * tiles)
    row = int((1 - math.asinh(math.tan(math.radians(latitude))) / math.pi) / 2 * tiles)
    tile = surveyed.get(f"{BASE}/map/tiles/WebMercatorQuad/19/{row}/{column}?f=png")
    assert np.asarray(Image.open(io.BytesIO(tile.body)).convert("RGBA"))[..., 3].any()
    part = surveyed.get(f"{BASE}/coverage/tiles/WebMercatorQuad/19/{row}/{column}?f=gtiff&properties=dsm")
    with rasterio.MemoryFile(part.body) as memory, memory.open() as found:
        assert np.nanmax(found.read(1)) <= 9.01
    wms = "/maps/wms?service=WMS&version=1.3.0&layers=demo.later&styles=&crs=CRS:84&width=100&height=100"
    drawn = surveyed.get(f"{wms}&request=GetMap&format=image/png&bbox={box}")
    assert len(Image.open(io.BytesIO(drawn.body)).convert("RGB").getcolors(10_000) or []) > 5
    asked = f"{wms}&request=GetFeatureInfo&query_layers=demo.later&i=75&j=25&info_format=application/json&bbox={box}"
    assert "9" in json.dumps(surveyed.get(asked).json["features"][0]["properties"])


def test_data_queries_sample_it(surveyed: Surveyed) -> None:
    longitude, latitude = degrees(WEST + 45, SOUTH + 45)
    found = surveyed.get(f"{BASE}/position?coords=POINT({longitude} {latitude})&f=covjson").json["ranges"]
    assert found["dsm"]["values"] == [pytest.approx(9.0, abs=0.01)]
    assert found["classification"]["values"] == [6]
    line = ",".join(" ".join(map(str, degrees(*place))) for place in LINE)
    along = surveyed.get(
        f"{BASE}/trajectory?coords=LINESTRING({line})&parameter-name=dsm&f=covjson".replace(" ", "%20")
    )
    values = [value for value in along.json["ranges"]["dsm"]["values"] if value is not None]
    assert min(values) < 0.1
    assert max(values) < 2.2
    ring = ",".join(
        " ".join(map(str, place)) for place in box84(WEST + 40, SOUTH + 40, WEST + 43, SOUTH + 43)
    )
    area = surveyed.get(
        f"{BASE}/area?coords=POLYGON(({ring}))&parameter-name=height&f=covjson".replace(" ", "%20")
    ).json
    assert np.nanmax(
        [value for value in area["ranges"]["height"]["values"] if value is not None]
    ) == pytest.approx(7, abs=0.1)


# --- profiles ------------------------------------------------------------------------------------------------------------


def profile(**parameters: Any) -> str:
    line = ",".join(" ".join(map(str, degrees(*place))) for place in LINE)
    given = {"coords": f"LINESTRING({line})", **parameters}
    return f"{BASE}/points/profile?" + "&".join(
        f"{name}={quote(str(value), safe=',()')}" for name, value in given.items()
    )


def test_a_profile_against_the_points(surveyed: Surveyed) -> None:
    found = surveyed.get(profile(width=0.7)).json
    inside = (np.abs(surveyed.y - SOUTH - 15) <= 0.7) & (np.abs(surveyed.x - WEST - 30) <= 25)
    assert found["numberReturned"] == pytest.approx(inside.sum(), abs=3)
    assert found["complete"] is True
    assert found["length"] == pytest.approx(50, abs=0.01)
    distance, z = np.array(found["points"]["distance"]), np.array(found["points"]["Z"])
    assert (np.diff(distance) >= 0).all()
    assert np.abs(z[(distance > 6) & (distance < 14)]).max() < 0.1
    assert np.abs(z[distance > 16] - 2).max() < 0.1
    terrain = np.array(found["ground"]["terrain"], float)
    assert terrain[len(terrain) // 5] == pytest.approx(0, abs=0.1)
    assert terrain[-3] == pytest.approx(2, abs=0.1)
    assert found["statistics"]["points"]["lowest"] == z.min()
    native = f"LINESTRING({LINE[0][0]} {LINE[0][1]},{LINE[1][0]} {LINE[1][1]})"
    crs = "http://www.opengis.net/def/crs/EPSG/0/28992"
    same = surveyed.get(profile(coords=native, crs=crs, width=0.7)).json
    assert same["numberReturned"] == pytest.approx(found["numberReturned"], abs=3)
    assert same["points"]["distance"][0] == pytest.approx(distance[0], abs=2e-3)


def test_forms_filters_and_budgets_of_a_profile(surveyed: Surveyed) -> None:
    rows = list(csv.DictReader(io.StringIO(surveyed.get(profile(f="csv")).body.decode())))
    assert set(rows[0]) == {"distance", "offset", "Z", "Classification", "Intensity"}
    features = surveyed.get(profile(f="geojson", **{"max-points": 50})).json
    assert len(features["features"]) == 50
    longitude, _, height = features["features"][0]["geometry"]["coordinates"]
    assert longitude == pytest.approx(degrees(WEST + 5, SOUTH + 15)[0], abs=1e-4)
    assert height == features["features"][0]["properties"]["Z"]
    assert features["complete"] is False
    picture = surveyed.get(profile(f="png"))
    assert picture.headers["Content-Type"] == "image/png"
    assert Image.open(io.BytesIO(picture.body)).size == (1200, 420)
    roof = surveyed.get(profile(filter="Z > 1.5", properties="Z,Intensity", ground="false")).json
    assert set(roof["points"]) == {"distance", "offset", "Z", "Intensity"}
    assert min(roof["points"]["Z"]) > 1.5
    assert "ground" not in roof
    reply = surveyed.get(profile())
    again = surveyed.client.request("GET", profile(), IF_NONE_MATCH=reply.headers["ETag"])
    assert again.status == 304


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"coords": ""}, "a line as WKT"),
        ({"coords": "POINT(4 52)"}, "a line as WKT"),
        ({"coords": "LINESTRING EMPTY"}, "a line as WKT"),
        ({"coords": "LINESTRING(4 52)"}, "a line as WKT"),
        ({"coords": "LINESTRING(4 52,4 52)"}, "has no length"),
        ({"coords": "LINESTRING(nan 52,4 52)"}, "longitudes reach 180"),
        ({"coords": "LINESTRING(4 52,181 52)"}, "longitudes reach 180"),
        (
            {"coords": "LINESTRING(" + ",".join(f"{n % 2} 0" for n in range(1001)) + ")"},
            "of 2 to 1000 positions",
        ),
        ({"width": "0"}, "above 0 to 100"),
        ({"width": "100.001"}, "above 0 to 100"),
        ({"width": "nan"}, "above 0 to 100"),
        ({"ground": "yes"}, "true or false"),
        ({"max-points": "1000001"}, "at most 1000000"),
        ({"max-points": "0"}, "a whole number from 1"),
        ({"resolution": "-1"}, "above zero"),
        ({"filter": "Nothing = 1"}, "Nothing"),
        ({"bbox": "1,2,3,4"}, "the parameters"),
        ({"colour": "red"}, "the parameters"),
        ({"crs": "EPSG:1"}, "crs"),
        ({"f": "geojson"}, "GeoJSON gives 500"),
    ],
)
def test_bad_profiles_are_refused(surveyed: Surveyed, parameters: dict[str, str], said: str) -> None:
    more = {"width": 20} if parameters == {"f": "geojson"} else {}
    reply = surveyed.client.get(profile(**parameters, **more))
    assert reply.status == 400
    assert said in reply.json["detail"]


def test_profiles_of_what_is_no_cloud(surveyed: Surveyed) -> None:
    assert surveyed.client.get(profile().replace("demo.later", "demo.halls")).status == 404
    far = surveyed.get(profile(coords="LINESTRING(0 0,1 1)")).json
    assert far["numberReturned"] == 0
    assert far["statistics"]["points"] is None


def test_a_profile_shows_what_may_be_seen(surveyed: Surveyed, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = ",".join(" ".join(map(str, place)) for place in box84(WEST, SOUTH, WEST + 20, SOUTH + EDGE))
    limited = Decision(True, frozenset({"Intensity"}), f"POLYGON(({ring}))", "limited")
    monkeypatch.setattr("server.http.services.decide", lambda *_: limited)
    found = surveyed.get(profile()).json
    assert max(found["points"]["distance"]) == pytest.approx(15, abs=0.1)
    assert "Intensity" not in found["points"]
    assert "ground" not in found
    assert surveyed.client.get(profile(filter="Intensity > 1")).status == 400
    # Cells are made of all points.
    longitude, latitude = degrees(WEST + 5, SOUTH + 5)
    for address in ("/coverage?f=gtiff", f"/position?coords=POINT({longitude}%20{latitude})&f=covjson"):
        reply = surveyed.client.get(BASE + address)
        assert reply.status == 404
        assert "of which this client may see a part" in reply.json["detail"]
    assert (
        surveyed.run(
            "point-cloud-volume", collection="demo.later", area=polygon(WEST, SOUTH, WEST + 5, SOUTH + 5)
        ).status
        == 400
    )


STYLES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "codes": (
        {"kind": "classes", "bands": [6], "classes": {"2": "#aa7744", "6": "#cc3333"}},
        {"Classification"},
    ),
    "echo": (
        {"kind": "ramp", "palette": "viridis", "expression": "intensity", "span": [0, 1000]},
        {"Intensity"},
    ),
    "both": (
        {"kind": "ramp", "palette": "viridis", "expression": "intensity * (dsm - dtm)", "span": [0, 9000]},
        {"Intensity", "Classification"},
    ),
    "default": ({}, set()),
    "dem": ({}, {"Classification"}),
}
"""Styles, and the dimensions that hide them: the terrain of `dem` is made of the points of a class."""


def _styled_map(style: str) -> str:
    west, south, east, north = TO_DEGREES.transform_bounds(WEST, SOUTH, WEST + EDGE, SOUTH + EDGE)
    path = f"/styles/{style}/map" if style else "/map"
    return f"{BASE.replace('/ogc', '/t/demo/ogc').replace('demo.', '')}{path}?f=png&width=64&height=64&bbox={west},{south},{east},{north}"


@pytest.mark.parametrize("hidden", ["", "Classification", "Intensity", "Z"])
def test_a_map_shows_no_hidden_dimension(
    surveyed: Surveyed, monkeypatch: pytest.MonkeyPatch, hidden: str
) -> None:
    if hidden:
        decision = Decision(True, frozenset({hidden}), None, f"without {hidden}")
        for module in ("services", "map_view"):
            monkeypatch.setattr(f"server.http.{module}.decide", lambda *_: decision)
        # Descriptions are kept by who asks; here rights change without another client.
        monkeypatch.setattr("server.http.map_view.ServerMapView.key", hidden)
    listed = surveyed.get("/t/demo/ogc/collections/later/styles").json
    offered = {one["id"] for one in listed["styles"]}
    capabilities = surveyed.get(
        "/t/demo/maps/service?service=WMS&request=GetCapabilities&version=1.3.0"
    ).body.decode()
    layer = capabilities.split("<Name>later</Name>")[1].split("</Layer>")[0]
    page = surveyed.get("/t/demo/ogc/collections/later?f=html").body.decode()
    for style, (_, made_of) in STYLES.items():
        of_heights = {"Z"} if style in ("default", "dem", "both") else set()
        seen = hidden not in made_of | of_heights
        assert (style in offered) == seen, style
        assert (f"<Name>{style}</Name>" in layer) == seen, style
        if style in ("codes", "echo", "both"):
            assert (f'value="{style}"' in page) == seen, style
        reply = surveyed.client.get(_styled_map(style))
        assert reply.status == (200 if seen else 404), (style, reply.body[:300])
        drawn = surveyed.client.get(_wms("GetMap", f"&styles={style}&format=image/png"))
        # In WMS "default" is whatever is drawn without a name.
        expected = seen or style == "default"
        assert (drawn.headers["Content-Type"] == "image/png") == expected, (style, drawn.body[:300])
        assert drawn.status < 500
    # Without a name there is a map still: in the first style that shows nothing hidden.
    assert surveyed.get(_styled_map("")).headers["Content-Type"] == "image/png"
    info = surveyed.get(
        _wms("GetFeatureInfo", "&query_layers=later&styles=&i=50&j=50&info_format=application/json")
    ).json["features"][0]["properties"]
    gone = {
        "": set(),
        "Classification": {"dtm", "height", "classification"},
        "Intensity": {"intensity"},
        "Z": {"dtm", "dsm", "height"},
    }[hidden]
    assert {"dtm", "dsm", "height", "intensity", "density", "classification"} - set(info) == gone


def _wms(request: str, more: str) -> str:
    west, south, east, north = TO_DEGREES.transform_bounds(WEST, SOUTH, WEST + EDGE, SOUTH + EDGE)
    return (
        f"/t/demo/maps/service?service=WMS&version=1.3.0&request={request}&layers=later&crs=CRS:84&width=100&height=100"
        f"&bbox={west},{south},{east},{north}{more}"
    )


def test_one_part_of_a_raster_reads_as_many_points_as_the_setting_says(
    surveyed: Surveyed, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = surveyed.home
    assert point_limit(home / "x") == load_settings((), {}).points.request_points
    limited = load_settings((), {}, {"data.home": home, "points.request_points": 1_000})
    try:
        create_app(limited)
        assert point_limit(home / "generations" / "x" / "pointcloud.copc.laz") == 1_000
        assert point_limit(home.parent / "elsewhere") == 50_000_000
    finally:
        limit_point_rasters(home, 50_000_000)


def test_what_is_at_a_place_names_the_cloud(surveyed: Surveyed) -> None:
    longitude, latitude = degrees(WEST + 45, SOUTH + 45)
    columns = surveyed.get(f"/ogc/profile?coords=POINT({longitude}%20{latitude})").json["pointClouds"]
    later = next(one for one in columns if one["collection"] == "demo.later")
    assert later["highest"] == pytest.approx(9.0)
    assert later["terrain"] == pytest.approx(2.0, abs=0.05)
    assert set(later["classes"]) == {"6"}
    nowhere = surveyed.get(f"/ogc/profile?coords=POINT({longitude + 0.1}%20{latitude})").json
    assert nowhere["pointClouds"] == []


# --- processes -----------------------------------------------------------------------------------------------------------


def test_change_between_two_surveys(surveyed: Surveyed) -> None:
    area = polygon(WEST + 2, SOUTH + 2, WEST + 58, SOUTH + 58)
    reply = surveyed.run(
        "point-cloud-change", before="demo.earlier", after="demo.later", area=area, cellSize=0.5
    )
    assert reply.status == 200, reply.body
    summary = reply.json["summary"]
    assert summary["lost"] == pytest.approx(200, rel=0.04)
    assert summary["gained"] == pytest.approx(144 * 7, rel=0.04)
    assert summary["net"] == pytest.approx(summary["gained"] - summary["lost"], abs=0.01)
    assert [one["properties"]["change"] for one in reply.json["features"]] == ["gained", "lost"]
    raster = surveyed.run(
        "point-cloud-change", before="demo.earlier", after="demo.later", area=area, cellSize=1, format="gtiff"
    )
    assert raster.headers["Content-Type"].startswith("image/tiff")
    with rasterio.MemoryFile(raster.body) as memory, memory.open() as found:
        assert np.nanmin(found.read(1)) == pytest.approx(-2, abs=0.1)


def test_volumes_of_the_pit(surveyed: Surveyed) -> None:
    area = polygon(WEST + 7, SOUTH + 7, WEST + 23, SOUTH + 23)
    for base in (
        {"base": "border"},
        {"base": "collection", "other": "demo.earlier"},
        {"base": "elevation", "elevation": 2.0},
    ):
        reply = surveyed.run("point-cloud-volume", collection="demo.later", area=area, cellSize=0.5, **base)
        assert reply.status == 200, reply.body
        assert reply.json["below"] == pytest.approx(200, rel=0.06), base
        assert reply.json["area"] == pytest.approx(256, rel=0.02)
    terrain = surveyed.run("point-cloud-volume", collection="demo.later", area=area, base="terrain")
    assert abs(terrain.json["net"]) < 15


def test_heights_of_footprints_and_a_profile_as_processes(surveyed: Surveyed) -> None:
    area = polygon(WEST, SOUTH, WEST + EDGE, SOUTH + EDGE)
    reply = surveyed.run(
        "point-cloud-zonal", collection="demo.later", features="demo.halls", area=area, classes=[6]
    )
    assert reply.status == 200, reply.body
    (hall,) = reply.json["features"]
    assert hall["properties"]["height"] == pytest.approx(7.0, abs=0.1)
    assert hall["properties"]["points"] == (surveyed.codes == 6).sum()
    line = {"type": "LineString", "coordinates": [degrees(*place) for place in LINE]}
    section = surveyed.run(
        "point-cloud-profile", collection="demo.later", line=line, width=0.7, filter="Z < 1"
    )
    assert section.status == 200, section.body
    assert max(section.json["points"]["Z"]) < 1
    assert section.json["ground"]["terrain"]


@pytest.mark.parametrize(
    ("process", "inputs", "said"),
    [
        ("point-cloud-change", {"before": "demo.halls"}, "with a point cloud"),
        ("point-cloud-change", {"before": "demo.nowhere"}, "published here"),
        ("point-cloud-change", {"format": "png"}, "geojson, gtiff"),
        ("point-cloud-change", {"cellSize": 0.01}, "0.05 to 1000"),
        ("point-cloud-change", {"area": polygon(WEST + 9000, SOUTH, WEST + 9100, SOUTH + 9)}, "meets the point cloud"),
        ("point-cloud-change", {"area": polygon(WEST - 900, SOUTH - 900, WEST + 900, SOUTH + 900), "cellSize": 0.1}, "cells"),
        ("point-cloud-volume", {"base": "elevation"}, "given with base elevation"),
        ("point-cloud-volume", {"elevation": 4}, "only then"),
        ("point-cloud-volume", {"base": "collection", "other": "demo.halls"}, "with a point cloud"),
        ("point-cloud-volume", {"surface": "roof"}, "dsm, dtm"),
        ("point-cloud-zonal", {"features": "demo.later"}, "with features"),
        ("point-cloud-zonal", {"classes": [256]}, "from 0 to 255"),
        ("point-cloud-zonal", {"classes": []}, "a list of 1 to 32"),
        ("point-cloud-zonal", {"filter": "Height >"}, "filter"),
        ("point-cloud-profile", {"width": 0}, "0.001 to 100"),
        ("point-cloud-profile", {"maxPoints": 1_000_001}, "1 to 1e+06"),
    ],
)  # fmt: skip
def test_bad_inputs_of_processes(surveyed: Surveyed, process: str, inputs: dict[str, Any], said: str) -> None:
    area = {"area": polygon(WEST, SOUTH, WEST + 9, SOUTH + 9)}
    line = {"line": {"type": "LineString", "coordinates": [degrees(*place) for place in LINE]}}
    whole: dict[str, dict[str, Any]] = {
        "point-cloud-change": {"before": "demo.earlier", "after": "demo.later"} | area,
        "point-cloud-volume": {"collection": "demo.later"} | area,
        "point-cloud-zonal": {"collection": "demo.later", "features": "demo.halls"} | area,
        "point-cloud-profile": {"collection": "demo.later"} | line,
    }
    reply = surveyed.run(process, **whole[process] | inputs)
    assert reply.status == 400, reply.body
    assert said in reply.json["detail"]
