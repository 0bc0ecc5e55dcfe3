"""Maps over HTTP: what is drawn, how it is said, in which style, format and order."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

BOXES = "/t/demo/ogc/collections/boxes"
CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
EPSG = "http://www.opengis.net/def/crs/EPSG/0"
MAP = "http://www.opengis.net/def/rel/ogc/1.0/map"


def picture(reply: Any) -> np.ndarray:
    assert reply.status == 200, reply.body[:300]
    return np.asarray(Image.open(io.BytesIO(reply.body)).convert("RGBA"))


def box_of(reply: Any) -> list[float]:
    return [float(number) for number in reply.headers["Content-Bbox"].split(",")]


# --- core, collection map ------------------------------------------------------------------------------------------------------


def test_a_map_without_parameters_is_the_whole_extent_in_the_storage_crs(client: Any) -> None:
    reply = client.get(f"{BOXES}/map")
    assert reply.headers["Content-Type"] == "image/png"
    assert reply.headers["Content-Crs"] == f"<{EPSG}/4326>"
    west, south, east, north = client.json(BOXES)["extent"]["spatial"]["bbox"][0]
    assert box_of(reply) == pytest.approx([south, west, north, east])  # EPSG:4326 has the latitude first
    shown = picture(reply)
    assert max(shown.shape[:2]) == 1024
    assert 0.005 < (shown[..., 3] > 0).mean() < 0.9


def test_crs84_is_told_too_and_has_the_longitude_first(client: Any) -> None:
    reply = client.get(f"{BOXES}/map?crs={CRS84}&width=64")
    assert reply.headers["Content-Crs"] == f"<{CRS84}>"
    assert box_of(reply)[0] == pytest.approx(113.8, abs=0.01)


def test_the_browser_may_read_the_headers_of_a_map(client: Any) -> None:
    exposed = client.get(f"{BOXES}/map?width=16").headers["Access-Control-Expose-Headers"]
    assert {"Content-Crs", "Content-Bbox", "Content-Datetime"} <= set(exposed.split(", "))


def test_links_of_collections_and_landing_pages_lead_to_maps(client: Any) -> None:
    for document in (client.json(BOXES), client.json("/ogc/"), client.json("/t/demo/ogc/")):
        rels = {link["rel"].rpartition("/")[2] for link in document["links"]}
        assert {"map", "tilesets-map", "styles"} <= rels
        for link in document["links"]:
            if link["rel"] == MAP:
                reply = client.get(
                    f"{link['href'].removeprefix('http://city.example:8000')}", ACCEPT=link["type"]
                )
                assert reply.status == 200
                assert reply.headers["Content-Type"].partition(";")[0] == link["type"].partition(";")[0]
    assert client.json("/ogc/")["extent"]["spatial"]["bbox"]


# --- scaling, spatial subsetting -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "size"),
    [
        ("width=300&height=100", (300, 100)),
        ("bbox=113.9,22.65,114,22.75&crs=EPSG:3857&width=200", (200, 216)),
        ("bbox=113.9,22.65,114,22.75&width=4096&height=1", (4096, 1)),
        ("center=114,22.7&scale-denominator=5000&width=200", (200, 200)),
        ("center=114,22.7&width=300&height=200", (300, 200)),
        ("scale-denominator=100000", (1024, 1024)),
    ],
)
def test_sizes(client: Any, query: str, size: tuple[int, int]) -> None:
    assert picture(client.get(f"{BOXES}/map?{query}")).shape[1::-1] == size


def test_what_is_missing_of_the_size_keeps_lengths_on_the_ground(client: Any) -> None:
    reply = client.get("/ogc/collections/demo.boxes/map?bbox=113.9,60,114,60.1&crs=OGC:CRS84&width=200")
    assert picture(reply).shape[0] == pytest.approx(
        400, abs=4
    )  # at 60 degrees a degree of longitude is half as long


@pytest.mark.parametrize("crs", ["EPSG:3857", "EPSG:4326", "EPSG:4547", "OGC:CRS84"])
def test_a_scale_is_one_of_the_ground_in_every_crs(client: Any, crs: str) -> None:
    reply = client.get(f"{BOXES}/map?center=114,22.7&scale-denominator=10000&width=500&height=500&crs={crs}")
    corners = box_of(reply)
    tall, wide = corners[2] - corners[0], corners[3] - corners[1]
    if crs in ("EPSG:4326", "OGC:CRS84"):
        across, up = (wide, tall) if crs == "EPSG:4326" else (tall, wide)
        metres = across * 111_320 * np.cos(np.radians(22.7)), up * 110_740
    else:
        factor = np.cos(np.radians(22.7)) if crs == "EPSG:3857" else 1.0
        metres = tall * factor, wide * factor
    assert metres == pytest.approx((1400, 1400), rel=0.01)  # 500 pixels of 0.28 mm, 10,000 times


def test_smaller_pixels_show_less_of_the_ground(client: Any) -> None:
    url = f"{BOXES}/map?center=114,22.7&scale-denominator=10000&width=100&height=100"
    coarse, fine = box_of(client.get(url)), box_of(client.get(f"{url}&mm-per-pixel=0.14"))
    assert coarse[2] - coarse[0] == pytest.approx(2 * (fine[2] - fine[0]))


def test_scale_and_box_give_the_size(client: Any) -> None:
    url = f"{BOXES}/map?bbox=113.9,22.65,114,22.75"
    small, large = (picture(client.get(f"{url}&scale-denominator={n}")).shape for n in (200_000, 100_000))
    assert large[0] == pytest.approx(2 * small[0], abs=2)
    assert large[1] == pytest.approx(2 * small[1], abs=2)


def test_bbox_subset_and_center_ask_for_the_same_map(client: Any) -> None:
    bbox = client.get(f"{BOXES}/map?bbox=113.9,22.65,114,22.75&width=256&height=256&crs=OGC:CRS84")
    for query in (
        "subset=Lon(113.9:114),Lat(22.65:22.75)",
        "subset=Lat(22.65:22.75)&subset=Lon(113.9:114)",
        "subset=x(113.9:114),y(22.65:22.75)",
        "bbox=22.65,113.9,22.75,114&bbox-crs=EPSG:4326",
        "bbox=113.9,22.65,0,114,22.75,100",
        f"bbox=22.65,113.9,22.75,114&bbox-crs=[{'EPSG:4326'}]",
    ):
        same = client.get(f"{BOXES}/map?{query}&width=256&height=256&crs=OGC:CRS84")
        assert same.body == bbox.body, query
        assert same.headers["Content-Bbox"] == bbox.headers["Content-Bbox"]


def test_a_subset_takes_the_rest_from_the_extent(client: Any) -> None:
    west, south, east, _ = client.json(BOXES)["extent"]["spatial"]["bbox"][0]
    reply = client.get(f"{BOXES}/map?subset=Lat(*:22.7)&crs=OGC:CRS84&width=64")
    assert box_of(reply) == pytest.approx([west, south, east, 22.7])


def test_a_map_over_the_antimeridian_shows_both_sides(client: Any) -> None:
    # 100 degrees east of the box, round the back: the boxes near 114 degrees lie at the left end.
    reply = client.get(
        f"{BOXES}/map?bbox=113.7,22,-170,23.4&width=3050&height=60&crs=OGC:CRS84&bgcolor=white"
    )
    assert box_of(reply) == pytest.approx([113.7, 22, -170, 23.4])
    other = client.get(f"{BOXES}/map?bbox=113.7,22,114.7,23.4&width=40&height=60&crs=OGC:CRS84&bgcolor=white")
    wide, near = picture(reply), picture(other)
    assert (wide[:, 40:, :3] == 255).all()
    assert (wide[:, :40, :3] != 255).any()
    assert abs((wide[:, :40, 0] < 255).mean() - (near[..., 0] < 255).mean()) < 0.25


# --- time ----------------------------------------------------------------------------------------------------------------------


def test_features_are_shown_at_a_time(client: Any) -> None:
    def share(query: str) -> tuple[float, str | None]:
        reply = client.get(f"{BOXES}/map?{query}&width=512")
        return float((picture(reply)[..., 3] > 0).mean()), reply.headers.get("Content-Datetime")

    everything, _ = share("bgcolor=white&transparent=true")
    some, shown = share("datetime=2010-01-01/2014-12-31")
    assert 0 < some < everything / 2
    assert shown == "2010-01-01T00:00:00Z/2014-12-31T23:59:59.999Z"
    assert share('subset=time("2010-01-01":"2014-12-31")')[0] == some
    assert share("datetime=1900-01-01/1901-01-01")[0] == 0.0
    assert share("datetime=../..")[0] == everything


# --- background ----------------------------------------------------------------------------------------------------------------

EMPTY = "bbox=-20,-20,-19,-19&crs=OGC:CRS84&width=8&height=8"


@pytest.mark.parametrize(
    ("query", "form", "pixel"),
    [
        ("", "png", (255, 255, 255, 0)),
        ("transparent=false", "png", (255, 255, 255, 255)),
        ("bgcolor=0x102030", "png", (16, 32, 48, 255)),
        ("bgcolor=102030", "png", (16, 32, 48, 255)),
        ("bgcolor=AliceBlue", "png", (240, 248, 255, 255)),
        ("bgcolor=0x102030&transparent=true", "png", (16, 32, 48, 0)),
        ("bgcolor=0x102030&transparent=true", "gtiff", (16, 32, 48, 0)),
        ("transparent=true", "jpeg", (255, 255, 255, 255)),
    ],
)
def test_where_nothing_is_the_background_shows(client: Any, query: str, form: str, pixel: Any) -> None:
    shown = picture(client.get(f"{BOXES}/map?{EMPTY}&f={form}&{query}"))
    assert tuple(shown[4, 4]) == pixel


def test_voids_are_where_the_crs_has_no_place_on_earth(client: Any) -> None:
    url = f"{BOXES}/map?bbox=-200,-60,-160,60&crs=OGC:CRS84&width=40&height=12&bgcolor=white"
    shown = picture(
        client.get(
            f"{BOXES}/map?bbox=-90,80,90,100&crs=OGC:CRS84&width=18&height=20&bgcolor=white&void-color=red"
        )
    )
    assert (shown[:10] == (255, 0, 0, 255)).all()
    assert (shown[10:] == (255, 255, 255, 255)).all()
    see_through = picture(
        client.get(f"{url}&crs=OGC:CRS84".replace("&crs=OGC:CRS84", "", 1) + "&void-transparent=true")
    )
    assert (see_through[..., 3] == 255).all()  # round the back there is a place for every longitude
    polar = picture(
        client.get(
            f"{BOXES}/map?bbox=-2e7,-2e7,2e7,2e7&bbox-crs=EPSG:3995&crs=EPSG:3995&width=64&height=64"
            "&bgcolor=white&void-color=black"
        )
    )
    assert tuple(polar[32, 32]) == (255, 255, 255, 255)


# --- formats -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "accept", "media_type", "begins"),
    [
        ("png", "", "image/png", b"\x89PNG"),
        ("jpeg", "", "image/jpeg", b"\xff\xd8"),
        ("webp", "", "image/webp", b"RIFF"),
        ("tiff", "", "image/tiff; application=geotiff", b"II*\x00"),
        ("", "image/tiff", "image/tiff; application=geotiff", b"II*\x00"),
        ("", "image/jpeg", "image/jpeg", b"\xff\xd8"),
        ("", "text/html", "text/html; charset=utf-8", b"<!"),
        ("html", "", "text/html; charset=utf-8", b"<!"),
        ("", "image/avif,*/*", "image/png", b"\x89PNG"),
    ],
)
def test_formats(client: Any, f: str, accept: str, media_type: str, begins: bytes) -> None:
    query = f"width=64&f={f}" if f else "width=64"
    reply = client.get(f"{BOXES}/map?{query}", **({"ACCEPT": accept} if accept else {}))
    assert reply.headers["Content-Type"] == media_type
    assert reply.body.lstrip()[: len(begins)].upper() == begins.upper()


@pytest.mark.parametrize("crs", ["EPSG:3857", "EPSG:4326", "OGC:CRS84", "EPSG:4547"])
def test_a_geotiff_lies_where_the_headers_say(client: Any, crs: str) -> None:
    from rasterio.io import MemoryFile

    reply = client.get(f"{BOXES}/map?bbox=113.9,22.65,114,22.75&width=100&height=80&f=tiff&crs={crs}")
    first, second, third, fourth = box_of(reply)
    swapped = crs in ("EPSG:4326", "EPSG:4547")
    with MemoryFile(reply.body) as memory, memory.open() as file:
        assert (file.width, file.height, file.count) == (100, 80, 4)
        assert tuple(file.bounds) == pytest.approx(
            (second, first, fourth, third) if swapped else (first, second, third, fourth)
        )
        assert file.crs.to_epsg() == (4326 if crs == "OGC:CRS84" else int(crs[5:])) or crs == "OGC:CRS84"
        png = picture(client.get(f"{BOXES}/map?bbox=113.9,22.65,114,22.75&width=100&height=80&crs={crs}"))
        assert np.array_equal(np.moveaxis(file.read(), 0, 2), png)


def test_the_page_shows_the_same_map(client: Any) -> None:
    import re
    from html import unescape

    page = client.get(f"{BOXES}/map?f=html&center=114,22.7&scale-denominator=50000&width=200").body.decode()
    address = unescape(re.search(r'<img src="([^"]+/map[^"]*)"', page)[1])  # type: ignore[index]  # a page without one fails as it should
    shown = client.get(address)
    asked = client.get(f"{BOXES}/map?center=114,22.7&scale-denominator=50000&width=200")
    assert picture(shown).shape == picture(asked).shape
    assert box_of(shown) == pytest.approx(box_of(asked))
    assert "EPSG/0/4326" in page
    assert "1 : 50,000" in page


def test_head_and_private_maps(client: Any, city: Any) -> None:
    head = client.request("HEAD", f"{BOXES}/map?width=16")
    assert (head.status, head.body) == (200, b"")
    assert int(head.headers["Content-Length"]) > 0
    url = "/t/demo/ogc/collections/secret/map?width=16"
    assert client.get(url).status == 404
    private = client.get(url, AUTHORIZATION=f"Bearer {city.token}")
    assert private.status == 200
    assert private.headers["Cache-Control"] == "no-store"


# --- dataset and styles --------------------------------------------------------------------------------------------------------


def test_collections_are_drawn_in_the_order_of_their_names(client: Any) -> None:
    box = "bbox=113.9,22.65,114,22.75&width=128&height=128&crs=OGC:CRS84"
    one = picture(client.get(f"/ogc/collections/demo.boxes/map?{box}"))
    both = picture(client.get(f"/ogc/map?collections=demo.boxes,other.boxes&{box}"))
    by_address = client.get(f"/ogc/map?collections=http://city.example:8000/ogc/collections/demo.boxes&{box}")
    assert np.array_equal(picture(by_address), one)
    assert (both[..., 3] > 0).sum() >= (one[..., 3] > 0).sum()
    everything = picture(client.get(f"/ogc/map?{box}"))
    assert (everything[..., 3] > 0).sum() == (both[..., 3] > 0).sum()


def test_the_map_of_all_hides_what_is_private(client: Any, city: Any) -> None:
    box = "bbox=113.8,22.6,114.1,22.8&width=512&height=512&crs=OGC:CRS84"
    public = client.get(f"/t/demo/ogc/map?{box}")
    operator = client.get(f"/t/demo/ogc/map?{box}", AUTHORIZATION=f"Bearer {city.token}")
    assert (picture(operator)[..., 3] > 0).sum() > (picture(public)[..., 3] > 0).sum()
    assert operator.headers["Cache-Control"] == "no-store"


def test_styles_draw_differently(client: Any) -> None:
    box = "bbox=113.9,22.65,114,22.75&width=256&height=256"
    default = client.get(f"{BOXES}/map?{box}")
    same = client.get(f"{BOXES}/styles/polygon/map?{box}")
    line = client.get(f"{BOXES}/styles/line/map?{box}")
    assert default.body == same.body
    assert not np.array_equal(picture(default), picture(line))
    assert client.get(f"/t/demo/ogc/styles/line/map?collections=boxes&{box}&crs=EPSG:4326").body == line.body


# --- the API definition --------------------------------------------------------------------------------------------------------


def test_the_api_describes_every_route_of_maps(client: Any) -> None:
    document = client.json("/ogc/api")
    for origin, name in (
        ("", "dataset"),
        ("/styles/{styleId}", "dataset.style"),
        ("/collections/{collectionId}", "collection"),
        ("/collections/{collectionId}/styles/{styleId}", "collection.style"),
    ):
        operation = document["paths"][f"{origin}/map"]["get"]
        assert operation["operationId"] == f".{name}.getMap"
        assert set(operation["responses"]["200"]["content"]) >= {"image/png", "image/jpeg", "image/webp"}
        tile = f"{origin}/map/tiles/{{tileMatrixSetId}}/{{tileMatrix}}/{{tileRow}}/{{tileCol}}"
        assert document["paths"][tile]["get"]["operationId"] == f".{name}.map.getTile"
    assert len(client.get("/ogc/api").body) < 300_000
