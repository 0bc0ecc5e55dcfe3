"""The 3D scene and the view for light devices: their settings, their texts, and the arithmetic of their scripts."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

import server.pages
from pointclouds.tilesets.colours import _OTHER_CLASS as OTHER_CLASS_COLOUR
from pointclouds.tilesets.colours import CLASS_COLOURS
from server.pages import Links, Pages, SceneServices
from server.pages.extrusion import extrusion_settings, height_expression
from server.pages.language import load_messages
from server.pages.scene import GROUPS, group_of, scene_settings
from server.registry.catalogue import Catalogue, Collection, Field, Interval

PAGES = Path(server.pages.__file__).parent
SCRIPTS = PAGES / "static" / "js"
TEXTS = load_messages(PAGES / "locale" / "scene")
MODULES = sorted([*(SCRIPTS / "scene").glob("*.js"), *(SCRIPTS / "extrusion").glob("*.js")])


@pytest.fixture
def helsinki(catalogue: Catalogue) -> list[Collection]:
    return [c for c in catalogue.collections.values() if c.tenant == "helsinki"]


def settings_of(page: str) -> Any:
    found = re.search(r'<script type="application/json" id="map-settings">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


# --- settings ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("properties", "group"),
    [
        ({"content": "buildings"}, "above"),
        ({}, "above"),
        ({"content": "instances"}, "above"),
        ({"content": "something of tomorrow"}, "above"),
        ({"content": "pipes"}, "underground"),
        ({"content": "boreholes"}, "underground"),
        ({"content": "geology"}, "underground"),
        ({"content": "tunnels"}, "underground"),
        ({"content": "points"}, "points"),
        ({"content": "instances", "scene_group": "surface"}, "surface"),
        ({"content": "pipes", "scene_group": "no group"}, "underground"),
    ],
)
def test_what_tiles_hold_says_where_their_layer_stands(
    new_collection: Any, properties: Any, group: str
) -> None:
    assert group_of(new_collection("t", "one", ("One", "一"), {"3dtiles": properties})) == group


def test_layers_stand_from_the_sky_to_the_bedrock(pages: Pages, helsinki: list[Collection]) -> None:
    settings = scene_settings(helsinki, Links("", "helsinki"), pages._messages["zh"])
    groups = [layer["group"] for layer in settings["layers"]]
    order = [*GROUPS, "imagery", "terrain"]
    assert groups == sorted(groups, key=order.index)
    layers = {layer["id"]: layer for layer in settings["layers"]}
    buildings = layers["tileset-buildings"]
    assert buildings["title"] == "建筑"
    assert buildings["items"] == "/t/helsinki/ogc/collections/buildings/items"
    assert buildings["schema"] == "/t/helsinki/ogc/collections/buildings/schema?f=json&lang=zh"
    assert buildings["history"] is True
    assert "items" not in layers["tileset-lidar"]  # nothing to ask for: a request would be a 404
    assert layers["terrain-terrain"]["excavation"].endswith("/terrain/terrain/excavation")
    assert settings["profile"] is None


def test_geology_waits_for_a_cut_and_nothing_is_drawn_twice(new_collection: Any, pages: Pages) -> None:
    kinds = {"3dtiles": {"content": "geology"}, "map": {}}
    one = new_collection("t", "one", ("One", "一"), kinds)
    (layer,) = scene_settings([one], Links("", "t"), pages._messages["en"])["layers"]
    assert (layer["id"], layer["visible"], layer["solid"]) == ("tileset-one", False, True)


def test_time_and_history_are_those_of_the_store(new_collection: Any, pages: Pages) -> None:
    kinds = {"3dtiles": {}, "features": {"store": "postgis"}}
    interval = Interval("1900-01-01T00:00:00Z", None)
    one = new_collection("t", "one", ("One", "一"), kinds, interval=interval)
    (layer,) = scene_settings([one], Links("", "t"), pages._messages["en"])["layers"]
    assert layer["history"] is False
    assert layer["temporal"] == ("1900-01-01T00:00:00Z", None)


def cloud(new_collection: Any, tiles: Any, points: Any, **changes: Any) -> Collection:
    kinds = {"3dtiles": {"content": "points"} | tiles, "pointcloud": {"count": 5} | points}
    return new_collection("t", "scan", ("Scan", "扫描"), kinds, **({"fields": ()} | changes))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("tiles", "fields", "rgb", "query"),
    [
        ({"store": "points", "colours": ["class", "rgb"]}, ("Z", "Red"), True, "?colour=rgb"),
        (
            {"store": "points", "colours": ["class", "rgb"]},
            ("Z", "Intensity"),
            False,
            "",
        ),  # Red is hidden from this reader
        ({"store": "points", "colours": ["class"]}, ("Z",), False, ""),
        ({"colour": "rgb"}, (), True, ""),  # tiles of an older generation are files
    ],
)
def test_points_come_with_a_photograph_where_there_is_one(
    new_collection: Any, pages: Pages, tiles: Any, fields: Any, rgb: bool, query: str
) -> None:
    shown = tuple(Field(name, "number") for name in fields)
    one = cloud(new_collection, tiles, {"gps_time": "standard"}, fields=shown)
    (layer,) = scene_settings([one], Links("", "t"), pages._messages["zh"])["layers"]
    assert layer["points"]["rgb"] is rgb
    assert layer["url"] == f"/t/t/ogc/collections/scan/3dtiles/tileset.json{query}"
    assert layer["points"]["statistics"] == "/t/t/ogc/collections/scan/points/statistics?f=json&lang=zh"
    assert layer["points"]["time"] == "standard"


def test_points_without_a_cloud_are_asked_for_nothing(new_collection: Any, pages: Pages) -> None:
    bare = new_collection("t", "bare", ("Bare", "仅瓦片"), {"3dtiles": {"content": "points"}})
    (layer,) = scene_settings([bare], Links("", "t"), pages._messages["en"])["layers"]
    assert (layer["points"]["items"], layer["points"]["statistics"], layer["points"]["profile"]) == (
        None,
        None,
        None,
    )
    house = new_collection("t", "house", ("House", "房屋"), {"3dtiles": {"content": "buildings"}})
    assert "points" not in scene_settings([house], Links("", "t"), pages._messages["en"])["layers"][0]


def test_services_come_from_outside(
    pages: Pages, ask: Any, catalogue: Catalogue, helsinki: list[Collection]
) -> None:
    page = pages.scene(ask(), catalogue.tenants["helsinki"], helsinki, SceneServices(profile="/p"))
    settings = settings_of(page)
    assert settings["profile"] == "/p"
    assert settings["extrusion"] == "/t/helsinki/extrusion"
    assert settings["messages"]["tool_layers"] == "Layers"


@pytest.mark.parametrize(
    ("properties", "fields", "found"),
    [
        ({}, [("height", "number")], {"height": "height"}),
        ({}, [("height", "string")], None),
        ({}, [("name", "string")], None),
        ({}, [("min_height", "number")], None),
        ({}, [("levels", "integer"), ("min_height", "number")], {"levels": "levels", "base": "min_height"}),
        (
            {"height_field": "h"},
            [("h", "number"), ("height", "number"), ("levels", "number")],
            {"height": "h", "levels": "levels"},
        ),
        ({"height_field": "gone"}, [("height", "number")], {"height": "height"}),
        ({"height_field": 7}, [("建筑高度", "number")], {"height": "建筑高度"}),
    ],
)
def test_the_light_view_finds_heights(new_collection: Any, properties: Any, fields: Any, found: Any) -> None:
    kinds = {"3dtiles": properties}
    one = new_collection(
        "t", "one", ("One", "一"), kinds, fields=tuple(Field(name, kind) for name, kind in fields)
    )
    assert height_expression(one) == found


def test_the_light_view_shares_names_with_the_scene(pages: Pages, helsinki: list[Collection]) -> None:
    links, messages = Links("", "helsinki"), pages._messages["en"]
    light = extrusion_settings(helsinki, links, messages, "helsinki")
    scene = scene_settings(helsinki, links, messages)
    assert {layer["id"] for layer in light["layers"]} <= {layer["id"] for layer in scene["layers"]}
    assert light["layers"][0]["geometry"] == "raster"  # from the ground up
    buildings = next(layer for layer in light["layers"] if layer["id"] == "tileset-buildings")
    assert buildings["height"] == {"levels": "levels"}
    assert light["terrain"] == "/t/helsinki/ogc/collections/terrain/terrain-rgb"
    assert light["bounds"] == scene["bounds"]


# --- texts ---------------------------------------------------------------------------------------------------------------


def test_both_languages_have_the_same_words_and_places() -> None:
    english, chinese = TEXTS["en"].texts, TEXTS["zh"].texts
    assert english.keys() == chinese.keys()
    for key, words in english.items():
        assert words.strip()
        assert chinese[key].strip()
        assert set(re.findall(r"\{\w+\}", words)) == set(re.findall(r"\{\w+\}", chinese[key])), key


def test_every_word_asked_for_is_there_and_every_word_there_is_asked_for() -> None:
    scripts = "".join(p.read_text(encoding="utf-8") for p in [*MODULES, SCRIPTS / "scene.js"])
    templates = "".join(
        (PAGES / "templates" / f"{name}.html").read_text(encoding="utf-8")
        for name in ("scene", "scene_macros", "extrusion")
    )
    asked = set(re.findall(r'\btext\("(\w+)"', scripts)) | set(
        re.findall(r"\bs\(['\"](\w+)['\"]\)", templates)
    )
    asked |= {f"tool_{name}" for name in re.findall(r"panel\(\"(\w+)\"", templates)}
    known = set(TEXTS["en"].texts)
    assert asked - known == set()
    prefixes = set(re.findall(r"text\(`(\w+_)\$\{", scripts))
    either = set(re.findall(r'text\([^()]*\? "(\w+)" : "(\w+)"', scripts))
    asked |= {word for pair in either for word in pair}
    left = {key for key in known - asked if not key.startswith(tuple(prefixes))}
    assert left == set()


def test_modules_are_small_and_import_what_is_there(pages: Pages) -> None:
    for script in MODULES:
        words = script.read_text(encoding="utf-8")
        assert len(words.splitlines()) <= 200, script.name
        assert "window.chengtu" not in words.replace("window.chengtuScene", ""), script.name
        for name in re.findall(r"""from ["']([^"']+)["']""", words):
            if name.startswith("."):
                assert (script.parent / name).resolve().is_file(), (script.name, name)
            else:
                assert f'"{name}"' in pages._frame.import_map, (script.name, name)


# --- the arithmetic of the scripts, in node ------------------------------------------------------------------------------


def run_script(module: str, code: str) -> Any:
    """What `code` (an expression) gives with the exports of a module as `m`."""
    address = (SCRIPTS / module).as_uri()
    program = f'import * as m from "{address}"; console.log(JSON.stringify({code}))'
    done = subprocess.run(
        ["node", "--input-type=module", "-e", program],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


WHOLE = (
    "view=24.94412,60.17031,350.2;348,-38&layers=-imagery-streets,tileset-pipes:60"
    "&style=a:ff0000,b:each:%E6%9D%90%E8%B4%A8,c:heat:h:0:30.5"
    "&points=tileset-lidar:off.7.18;size.6;density.0.5;times.10.25~20;edges.1,b:times.~-3&under=70&cut=24.9441,60.1703,90"
    "&box=24.94,60.17,45,200,300,-20,90&pit=5.5;1,2;2,2;2,3&time=1990-01-01&sun=2026-06-21T10:00Z"
    "&compare=50;asof=2024-01-01T00:00:00Z,-tileset-buildings;datetime=2030-01-01"
)


def test_a_state_comes_back_as_it_was_written() -> None:
    again = run_script(
        "scene/codec.js", f"[m.readState('#{WHOLE}'), m.writeState(m.readState('#{WHOLE}').state)]"
    )
    read, written = again
    assert read["ignored"] == []
    assert written == WHOLE
    assert read["state"]["style"]["b"] == {"mode": "category", "field": "材质"}
    look = {"hidden": [7, 18], "size": 6, "density": 0.5, "from": 10.25, "until": 20, "edges": True}
    assert read["state"]["points"]["tileset-lidar"] == look
    assert read["state"]["points"]["b"]["until"] == -3
    assert read["state"]["compare"]["left"]["hidden"] == ["tileset-buildings"]


BAD_PARTS = [
    "view=1,2", "view=200,0,10;0,0", "view=0,0,1e999;0,0", "view=0,0,10;0,-91", "layers=", "layers=a:101",
    "layers=<b>", "style=a:ff00", "style=a:heat:h:5:1", "style=a:each:%", "cut=1,2", "cut=1,91,0", "box=1,2,0,0,5,0,1",
    "box=1,2,0,5,5,9,1", "pit=5;1,2;2,2", "pit=0;1,2;2,2;3,3", "pit=501;1,2;2,2;3,3", "time=yesterday", "time=2024-13-45",
    "points=a", "points=a:", "points=a:off.256", "points=a:off.1.x", "points=a:size.0.9", "points=a:size.13", "points=a:density.5",
    "points=a:times.5~4", "points=a:times.5", "points=a:times.1~2~3", "points=a:edges.2", "points=a:__proto__.1", "points=A:size.5",
    "sun=25:00", "compare=50", "compare=50;asof=x;", "compare=50;;;", "nonsense", "__proto__=1", "constructor=1", "=",
]  # fmt: skip


def test_a_bad_part_is_left_out_and_the_rest_stays() -> None:
    hashes = [f"under=20&{part}" for part in BAD_PARTS] + ["under=101", "under=-1", "under=100"]
    read = run_script("scene/codec.js", f"{json.dumps(hashes)}.map((hash) => m.readState(hash))")
    for part, one in zip(BAD_PARTS, read[:-3], strict=True):
        assert one["state"] == {"under": 0.2}, part
        assert len(one["ignored"]) == 1, part
    assert [one["state"] for one in read[-3:]] == [{}, {}, {"under": 1}]


@pytest.mark.parametrize(
    ("longitude", "latitude", "epsg"),
    [(114.3, 30.6, 4547), (75.2, 39.5, 4534), (121.47, 31.23, 4549), (134.7, 48.3, 4554)],
)
def test_plane_coordinates_are_those_of_proj(longitude: float, latitude: float, epsg: int) -> None:
    from pyproj import Transformer

    zone, plane = run_script(
        "scene/geodesy.js",
        f"[m.chinaZone({longitude},{latitude}), m.gaussKruger({longitude},{latitude},m.chinaZone({longitude},{latitude}).meridian)]",
    )
    east, north = Transformer.from_crs(4490, epsg, always_xy=True).transform(longitude, latitude)
    assert zone["epsg"] == epsg
    assert (plane["east"], plane["north"]) == pytest.approx((east, north), abs=0.001)


def test_outside_china_there_is_no_zone() -> None:
    assert run_script("scene/geodesy.js", "[m.chinaZone(24.9,60.2), m.chinaZone(116,56)]") == [None, None]


def test_areas_of_rings() -> None:
    flat, wall = run_script(
        "scene/geodesy.js",
        "[m.ringAreas([[0,0,5],[10,0,5],[10,20,5],[0,20,5]]), m.ringAreas([[0,0,0],[10,0,0],[10,0,3],[0,0,3]])]",
    )
    assert flat == {"horizontal": 200, "inPlane": 200}
    assert wall == {"horizontal": 0, "inPlane": 30}


@pytest.mark.parametrize(
    ("place", "instant", "height", "azimuth"),
    [
        ((0.0, 0.0), "2026-03-20T12:07:00Z", 90, None),  # equinox, noon on the equator
        ((24.94, 60.17), "2026-06-21T10:22:00Z", 53.27, 180),  # 90 - 60.17 + 23.44
        ((24.94, 60.17), "2026-12-21T10:18:00Z", 6.39, 180),
        ((116.4, 39.9), "2026-06-21T04:16:00Z", 73.54, 180),
    ],
)
def test_the_sun_stands_where_it_must(place: Any, instant: str, height: float, azimuth: float | None) -> None:
    sun = run_script("scene/geodesy.js", f"m.sunAt({place[0]},{place[1]},new Date('{instant}'))")
    assert sun["height"] == pytest.approx(height, abs=0.5)
    if azimuth is not None:
        assert sun["azimuth"] == pytest.approx(azimuth, abs=1.5)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("1970", 0), (1971, 31_536_000), ("1970-01-02", 86_400), ("1969-12-31T23:59:59Z", -1), (-6_532_272_000.5, -6_532_272_000.5),
        ("", None), ("about 1900", None), (None, None), (True, None), ("1900s", None),
    ],
)  # fmt: skip
def test_values_of_time(value: Any, seconds: float | None) -> None:
    assert run_script("scene/instants.js", f"m.secondsOf({json.dumps(value)})") == seconds


@pytest.mark.parametrize(
    ("names", "begin", "end"),
    [
        (["name", "start_date", "start_date_epoch", "end_date"], "start_date_epoch", "end_date"),
        (["year", "height"], "year", None),
        (["建成年代", "拆除日期"], "建成年代", "拆除日期"),
        (["height", "street"], None, None),
        (["demolished_epoch", "built"], "built", "demolished_epoch"),
    ],
)
def test_fields_of_time_are_found_by_their_names(names: list[str], begin: Any, end: Any) -> None:
    fields = json.dumps([{"id": name, "title": name} for name in names])
    assert run_script("scene/instants.js", f"m.timeFields({fields})") == {"begin": begin, "end": end}


def css(colour: tuple[int, ...]) -> str:
    return "#" + "".join(f"{channel:02x}" for channel in colour)


def test_classes_have_the_colours_of_the_tiles() -> None:
    colours = run_script("scene/points-classes.js", "[m.CLASS_COLOURS, m.OTHER_CLASS]")
    made = {str(code): css(rgb) for code, rgb in CLASS_COLOURS.items()}
    assert colours == [made, css(OTHER_CLASS_COLOUR)]


def test_ramps_spread_and_categories_stay_the_same() -> None:
    ends, spread, flat, none, colours = run_script(
        "scene/colours.js",
        "[[m.rampAt('heat',-1), m.rampAt('heat',2)], m.spread(Array.from({length:101},(_, i)=>i)), m.spread([5,5]), m.spread([]),"
        " [...m.categories(['b','a','b','c'])].map(([value]) => value)]",
    )
    assert ends == [[255, 243, 196], [122, 15, 38]]
    assert spread == {"low": 2, "high": 98}
    assert flat == {"low": 5, "high": 6}
    assert none is None
    assert colours == ["a", "b", "c"]
