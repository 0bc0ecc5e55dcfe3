"""Tiles behind docker/nginx.conf with a real nginx: served from files, never to those who may not have them, always current."""

from __future__ import annotations

import getpass
import gzip
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from server.registry.catalogue import Access
from server.registry.registry import open_registry
from server.settings import load_settings

NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
PLACE = "WebMercatorQuad/12/1783/3344"
OTHER = "WebMercatorQuad/13/3567/6688"
PUBLIC = "/t/demo/ogc/collections/boxes"
GZIP = {"Accept-Encoding": "gzip"}


@dataclass
class Behind:
    """nginx, the server behind it, and the folders they share."""

    address: str
    server: str
    town: Any
    tiles: Path
    public: Path

    def get(self, path: str, token: str | None = None, **headers: str) -> requests.Response:
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        session = requests.Session()
        prepared = requests.Request("GET", self.address, headers=headers).prepare()
        prepared.url = f"{self.address}{path}"  # as it is: dots and all
        with session:
            return session.send(prepared, timeout=30)

    def kept(self) -> list[Path]:
        return [
            path
            for path in self.tiles.rglob("*.*")
            if path.suffix in (".png", ".mvt") and path.stem.isdigit()
        ]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(true: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until something holds; the time it may take is a limit for a machine under load, not a promise."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not come true"
        time.sleep(0.05)


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).status_code == 200
    except requests.RequestException:
        return False


@pytest.fixture(scope="module")
def behind(root: Path, city: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    home, folder = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("nginx")
    settings = load_settings((), {"CHENGTU_DATA_HOME": str(home)})
    inner, outer = free_port(), free_port()
    with open_registry(settings) as registry:
        registry.add_tenant("demo", "Demo", "示例")
        town = type(city)(home, settings, registry)
        town.publish("boxes", count=40)
        town.publish("secret", count=40, access=Access.PRIVATE)
        town.publish("turning", count=40)
        command = [str(Path(sys.executable).with_name("chengtu")), "serve", "--home", str(home)]
        server = subprocess.Popen([*command, "--port", str(inner), "--workers", "2"])
        text = (root / "docker" / "nginx.conf").read_text()
        text = text.replace("server:8000", f"127.0.0.1:{inner}").replace(
            "listen 8080", f"listen 127.0.0.1:{outer}"
        )
        text = text.replace("/tmp/", f"{folder}/").replace("/var/cache/chengtu/", f"{home}/cache/")
        (folder / "nginx.conf").write_text(f"user root;\n{text}" if getpass.getuser() == "root" else text)
        check = subprocess.run(
            [NGINX, "-t", "-c", folder / "nginx.conf"], capture_output=True, text=True, check=False
        )
        assert check.returncode == 0, check.stderr
        proxy = subprocess.Popen([NGINX, "-c", str(folder / "nginx.conf"), "-g", "daemon off;"])
        try:
            address = f"http://127.0.0.1:{outer}"
            eventually(lambda: answers(f"{address}/health/ready"), 60)
            made = Behind(
                address,
                f"http://127.0.0.1:{inner}",
                town,
                home / "cache" / "tiles",
                home / "cache" / "public",
            )
            eventually(lambda: (made.public / "demo" / "boxes" / "map").is_symlink())
            yield made
        finally:
            for process in (proxy, server):
                process.terminate()
                process.wait(20)


def marked(behind: Behind, path: Path, url: str, token: str | None = None, **headers: str) -> bool:
    """Whether nginx answers from the file: it is changed for a moment, which the server's memory does not see."""
    content, times = path.read_bytes(), path.stat()
    try:
        path.write_bytes(content + b"marked")
        return behind.get(url, token, **headers).headers["Content-Length"] == str(len(content) + 6)
    finally:
        path.write_bytes(content)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize(
    ("url", "extension", "headers"),
    [
        (f"{PUBLIC}/map/tiles/{PLACE}", "png", {}),
        (f"{PUBLIC}/map/tiles/{PLACE}?f=png", "png", {}),
        (f"{PUBLIC}/map/tiles/{PLACE}?f=webp", "webp", {}),
        (f"{PUBLIC}/map/tiles/{PLACE}?f=jpeg", "jpeg", {}),
        (f"/ogc/collections/demo.boxes/map/tiles/{PLACE}", "png", {}),
        (f"/t/demo/maps/wmts/1.0.0/boxes/default/{PLACE}.png", "png", {}),
        (f"/maps/wmts/1.0.0/demo.boxes/default/{PLACE}.png", "png", {}),
        (f"{PUBLIC}/tiles/{PLACE}", "mvt", GZIP),
        (f"{PUBLIC}/tiles/{PLACE}?f=mvt", "mvt", {"Accept-Encoding": "br, gzip;q=0.8"}),
        (f"/ogc/collections/demo.boxes/tiles/{PLACE}?f=pbf", "mvt", GZIP),
    ],
)
def test_public_tiles_are_served_from_their_files(
    behind: Behind, url: str, extension: str, headers: dict[str, str]
) -> None:
    made = behind.get(url, **headers)
    assert made.status_code == 200, made.text
    zoom, row, column = PLACE.split("/")[1:]
    (file,) = behind.tiles.glob(f"demo/boxes/g*/*/WebMercatorQuad/{zoom}/{column}/{row}.{extension}")
    kept = behind.get(url, **headers)
    assert kept.content == made.content
    assert marked(behind, file, url, **headers)
    for name in ("Content-Type", "Cache-Control", "Access-Control-Allow-Origin", "X-Content-Type-Options"):
        assert kept.headers[name] == made.headers[name], name
    assert kept.headers.get("Content-Encoding") == ("gzip" if extension == "mvt" else None)
    assert "Last-Modified" not in kept.headers
    etag = kept.headers["ETag"]
    assert etag.startswith('"')
    again = behind.get(url, **headers, **{"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("accepted", ["identity", "br", "gzip;q=0", "gzip; q=0.0, br"])
def test_who_does_not_take_gzip_gets_vector_tiles_unpacked(behind: Behind, accepted: str) -> None:
    url = f"{PUBLIC}/tiles/{PLACE}"
    behind.get(url, **GZIP)
    reply = behind.get(url, **{"Accept-Encoding": accepted})
    assert "Content-Encoding" not in reply.headers
    assert reply.content[:1] == b"\x1a"
    (file,) = behind.tiles.glob(f"demo/boxes/g*/mvt/{PLACE.split('/')[0]}/12/3344/1783.mvt")
    assert gzip.decompress(file.read_bytes()) == reply.content


@pytest.mark.parametrize("kind", ["tiles", "map/tiles"])
def test_private_tiles_are_for_those_who_may_have_them(behind: Behind, kind: str) -> None:
    url, token = f"/t/demo/ogc/collections/secret/{kind}/{PLACE}", behind.town.token
    made = behind.get(url, token, **GZIP)
    assert made.status_code == 200
    extension = "mvt" if kind == "tiles" else "png"
    (file,) = behind.tiles.glob(f"demo/secret/g*/*/WebMercatorQuad/12/3344/1783.{extension}")
    assert marked(behind, file, url, token, **GZIP)
    kept = behind.get(url, token, **GZIP)
    assert kept.content == made.content
    assert kept.headers["Cache-Control"] == "private, no-cache"
    assert behind.get(url, **GZIP).status_code == 404
    wrong = behind.get(url, "wrong", **GZIP)
    assert wrong.status_code == 401
    assert wrong.headers["Content-Type"] == "application/problem+json"
    assert behind.get(f"/ogc/collections/demo.secret/{kind}/{PLACE}", **GZIP).status_code == 404


def test_nothing_private_is_below_the_public_folder(behind: Behind) -> None:
    behind.get(f"/t/demo/ogc/collections/secret/map/tiles/{PLACE}", behind.town.token)
    assert not (behind.public / "demo" / "secret").exists()


@pytest.mark.parametrize(
    "path",
    [
        "/internal/tiles/demo/boxes/map",
        "/internal/tiles/demo/secret/map",
        "/_tile_folder",
        "/internal/",
    ],
)
def test_nobody_outside_asks_where_tiles_are(behind: Behind, path: str) -> None:
    for token in (None, behind.town.token):
        assert behind.get(path, token).status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        f"{PUBLIC}/map/tiles/../../../secret/map/tiles/{PLACE}",
        f"{PUBLIC}/map/tiles/%2e%2e/%2e%2e/%2e%2e/secret/map/tiles/{PLACE}",
        f"{PUBLIC}/tiles/WebMercatorQuad/12/..%2f..%2f1783/3344",
        f"{PUBLIC}/styles/../../secret/map/tiles/{PLACE}",
        f"{PUBLIC}/styles/..%2f..%2fsecret%2fmap/map/tiles/{PLACE}",
        f"/ogc/collections/demo.boxes/../demo.secret/map/tiles/{PLACE}",
        f"/ogc/collections/demo.secret/tiles/{PLACE}",
        f"/t/demo/maps/wmts/1.0.0/secret/default/{PLACE}.png",
        f"/t/demo/maps/wmts/1.0.0/boxes/../secret/default/{PLACE}.png",
        "/t/demo/ogc/collections/boxes/map/tiles/.epochs/1/2/3",
        "/../tiles/demo/secret/g000001",
        "/cache/tiles/demo/secret",
        "/demo/boxes/map/WebMercatorQuad/12/3344/1783.png",
        "/demo/secret/map/WebMercatorQuad/12/3344/1783.png",
        f"//t/demo/ogc/collections/secret/map/tiles/{PLACE}",
    ],
)
def test_no_address_leads_to_a_private_tile_or_another_file(behind: Behind, path: str) -> None:
    secrets = {
        behind.get(f"/t/demo/ogc/collections/secret/{kind}/{PLACE}", behind.town.token).content
        for kind in ("tiles", "map/tiles")
    }
    reply = behind.get(path)
    assert reply.status_code in (400, 404), reply.text[:200]
    assert reply.content not in secrets


@pytest.mark.parametrize("query", ["f=gif", "f=png&f=png", "f=", "x=1", "f=..%2f", "F=png", "f=mvt"])
def test_what_nginx_does_not_know_the_server_refuses(behind: Behind, query: str) -> None:
    behind.get(f"{PUBLIC}/map/tiles/{PLACE}")
    reply = behind.get(f"{PUBLIC}/map/tiles/{PLACE}?{query}")
    assert reply.status_code == 400
    assert reply.headers["Content-Type"] == "application/problem+json"


def test_an_edit_is_seen_by_the_next_request(behind: Behind) -> None:
    urls = [f"{PUBLIC}/{kind}/{place}" for kind in ("tiles", "map/tiles") for place in (PLACE, OTHER)]
    before = {url: behind.get(url, **GZIP) for url in urls}
    feature = (
        '{"type": "Feature", "properties": {"name": "new"}, "geometry": {"type": "Polygon", "coordinates":'
        " [[[113.91, 22.6], [113.94, 22.6], [113.94, 22.63], [113.91, 22.6]]]}}"
    )
    reply = requests.post(
        f"{behind.address}{PUBLIC}/items",
        feature.encode(),
        headers={"Content-Type": "application/geo+json", "Authorization": f"Bearer {behind.town.token}"},
        timeout=30,
    )
    assert reply.status_code == 201, reply.text
    for url in urls:
        after = behind.get(url, **GZIP)
        assert after.headers["ETag"] != before[url].headers["ETag"], url
        assert after.content != before[url].content, url


def test_a_new_generation_and_the_end_of_being_public(behind: Behind) -> None:
    """One after the other on one collection: published anew, private, public again, gone."""
    town, public = behind.town, behind.public / "demo" / "turning"
    url = f"/t/demo/ogc/collections/turning/map/tiles/{PLACE}"
    first = behind.get(url)
    assert first.status_code == 200
    target = (public / "map").resolve()
    town.publish("turning", count=40, seed=99, replace=True)
    eventually(lambda: (public / "map").resolve() != target)
    second = behind.get(url)
    assert second.content != first.content
    assert behind.get(url).content == second.content
    town.publish("turning", count=40, seed=99, replace=True, access=Access.PRIVATE)
    eventually(lambda: not public.exists())
    assert behind.get(url).status_code == 404
    assert behind.get(url, town.token).status_code == 200
    town.publish("turning", count=40, seed=7, replace=True)
    eventually(lambda: (public / "map").is_symlink())
    assert behind.get(url).content == first.content
    town.registry.unpublish("demo", "turning")
    eventually(lambda: not public.exists())
    assert behind.get(url).status_code == 404


def test_a_revoked_right_ends_within_seconds(behind: Behind) -> None:
    """A token that nobody may use any more: nginx asks again after two seconds."""
    url = f"/t/demo/ogc/collections/secret/map/tiles/{PLACE}"
    token = behind.town.token
    assert behind.get(url, token).status_code == 200
    (behind.town.home / "operator.token").unlink()
    open_registry(behind.town.settings).close()  # makes another one, and lets the old one go
    assert behind.town.token != token
    eventually(lambda: behind.get(url, token).status_code == 401)
    assert behind.get(url, behind.town.token).status_code == 200
