"""Upstreams that are dead, slow, lying or broken: the last good image or one clear error, in time; and what is kept for how long."""

from __future__ import annotations

import struct
import threading
import time
import zlib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from providers.errors import SourceUnavailable
from providers.features.sources import SourceSettings
from providers.maps.changes import SourceChanges, change_log_of, is_cascaded, max_age_of
from providers.maps.errors import RemoteMapRefused, RemoteMapUnavailable
from providers.maps.remote import describe_remote_map, open_remote_map
from providers.maps.remote.kept import KeptAnswers
from providers.maps.remote.source import RemoteMapSource
from providers.outgoing import configure_bulkheads
from tiles.cache import Unchanging
from tiles.errors import MapSourceError

BOX = (0.0, 0.0, 5_000_000.0, 5_000_000.0)
Serve = Callable[[Callable[[BaseHTTPRequestHandler], None]], str]


class Upstream:
    """A tile server whose behaviour a test changes; counts what it is asked."""

    def __init__(self, serve: Serve, send: Callable[..., None], image: bytes) -> None:
        self.send = send
        self.image = image
        self.behaviour: Callable[[BaseHTTPRequestHandler], None] = self.good
        self.asked = 0
        self.confirmed = 0
        self.url = serve(self._answer)

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.asked += 1
        self.behaviour(handler)

    def good(self, handler: BaseHTTPRequestHandler) -> None:
        if handler.headers.get("If-None-Match") == '"one"':
            self.confirmed += 1
            handler.send_response(304)
            handler.end_headers()
            return
        self.send(handler, self.image, ETag='"one"')


@pytest.fixture
def upstream(serve_maps: Serve, send: Callable[..., None], png: Callable[..., bytes]) -> Upstream:
    """A tile server that is well."""
    return Upstream(serve_maps, send, png())


@pytest.fixture
def open_tiles(cascade: Callable[..., RemoteMapSource], upstream: Upstream) -> Callable[..., RemoteMapSource]:
    """Its tiles as a cascade; one request of BOX on 128 pixels needs one tile of level 2."""

    def make(**members: Any) -> RemoteMapSource:
        return cascade("xyz", upstream.url + "/{z}/{x}/{y}.png", min_zoom="2", max_zoom="2", **members)

    return make


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _bomb(edge: int) -> bytes:
    """A PNG of edge x edge black pixels in few bytes."""
    head = struct.pack(">IIBBBBB", edge, edge, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 10_000)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


_REPORT = b"<?xml version='1.0'?><ServiceExceptionReport><ServiceException>Layer is locked</ServiceException></ServiceExceptionReport>"
_ENTITIES = b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><x>&a;</x>"

FAULTS: dict[str, tuple[str, Callable[[Upstream, BaseHTTPRequestHandler], None]]] = {
    "html": ("text/html", lambda up, h: up.send(h, b"<html>Welcome</html>", "text/html")),
    "html as png": ("a page, or broken XML|Welcome", lambda up, h: up.send(h, b"<html>Welcome</html>")),
    "exception": ("Layer is locked", lambda up, h: up.send(h, _REPORT, "application/vnd.ogc.se_xml")),
    "entities": ("broken XML", lambda up, h: up.send(h, _ENTITIES, "text/xml")),
    "arcgis error": (
        "Token Required",
        lambda up, h: up.send(h, b'{"error":{"code":499,"message":"Token Required"}}', "application/json"),
    ),
    "bad request": ("answers 400", lambda up, h: up.send(h, b"no", "text/plain", 400)),
    "error 500": ("answers 500", lambda up, h: up.send(h, b"no", "text/plain", 500)),
    "error 503": ("answers 503", lambda up, h: up.send(h, b"no", "text/plain", 503, Retry_After="7")),
    "no image": ("no image", lambda up, h: up.send(h, b"\x89PNG but no")),
    "empty": ("no image", lambda up, h: up.send(h, b"")),
    "truncated": ("no image|only a part", lambda up, h: up.send(h, up.image[: len(up.image) // 2])),
    "bomb": ("pixels", lambda up, h: up.send(h, _bomb(30_000))),
    "small bomb": ("pixels", lambda up, h: up.send(h, _bomb(5_000))),
    "huge": ("more than", lambda up, h: up.send(h, b"\x89PNG" + b"\0" * (17 << 20))),
    "private redirect": (
        "may not be asked|no public address",
        lambda up, h: up.send(h, b"", "", 302, Location="http://127.0.0.2:1/x.png"),
    ),
    "metadata redirect": (
        "may not be asked|no public address",
        lambda up, h: up.send(h, b"", "", 302, Location="http://169.254.169.254/latest"),
    ),
    "redirect loop": ("redirects more", lambda up, h: up.send(h, b"", "", 302, Location=h.path)),
    "file redirect": (
        "http and https",
        lambda up, h: up.send(h, b"", "", 302, Location="file:///etc/passwd"),
    ),
}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_fault_is_one_clear_error(
    upstream: Upstream, open_tiles: Callable[..., RemoteMapSource], fault: str
) -> None:
    message, behaviour = FAULTS[fault]
    upstream.behaviour = lambda handler: behaviour(upstream, handler)
    with pytest.raises(RemoteMapUnavailable, match=message) as caught:
        open_tiles().render(BOX, "EPSG:3857", 128, 128)
    assert isinstance(caught.value, MapSourceError)
    assert isinstance(caught.value, SourceUnavailable)
    assert caught.value.last_good is None
    assert isinstance(caught.value, RemoteMapRefused) is (
        fault in ("html as png", "exception", "entities", "arcgis error", "bad request")
    )
    if fault == "error 503":
        assert caught.value.retry_after == 7.0


@pytest.mark.parametrize("fault", list(FAULTS))
def test_after_a_fault_the_last_good_image_is_there(
    upstream: Upstream, open_tiles: Callable[..., RemoteMapSource], fault: str
) -> None:
    source = open_tiles(max_age=0)
    good = source.render(BOX, "EPSG:3857", 128, 128)
    assert (good == (10, 120, 200, 255)).all()
    upstream.behaviour = lambda handler: FAULTS[fault][1](upstream, handler)
    with pytest.raises(RemoteMapUnavailable) as caught:
        source.render(BOX, "EPSG:3857", 128, 128)
    assert caught.value.last_good is not None
    assert (caught.value.last_good == good).all()


def test_a_dead_upstream(upstream: Upstream, settings_of: Callable[..., SourceSettings]) -> None:
    url = "http://127.0.0.1:9"
    facts = describe_remote_map({"store": "xyz", "url": url + "/{z}/{x}/{y}.png"}, settings_of(url))
    source = open_remote_map(facts.remote, settings_of(url))
    for _ in range(3):
        with pytest.raises(RemoteMapUnavailable, match="refuses connections"):
            source.render(BOX, "EPSG:3857", 128, 128)
    with pytest.raises(
        RemoteMapUnavailable, match="left alone"
    ) as caught:  # the breaker: nobody waits for it
        source.render(BOX, "EPSG:3857", 128, 128)
    assert caught.value.retry_after is not None


@pytest.mark.parametrize("drips", [False, True])
def test_a_slow_upstream_ends_with_its_time(
    upstream: Upstream, open_tiles: Callable[..., RemoteMapSource], drips: bool
) -> None:
    ended = threading.Event()

    def slow(handler: BaseHTTPRequestHandler) -> None:
        if drips:
            handler.send_response(200)
            handler.send_header("Content-Type", "image/png")
            handler.send_header("Content-Length", str(len(upstream.image)))
            handler.end_headers()
        for number in range(len(upstream.image)):
            if ended.wait(0.05):
                break
            if drips:
                handler.wfile.write(upstream.image[number : number + 1])
                handler.wfile.flush()

    upstream.behaviour = slow
    try:
        with pytest.raises(RemoteMapUnavailable, match="took too long"):
            open_tiles(timeout=0.5).render(BOX, "EPSG:3857", 128, 128)
    finally:
        ended.set()


def test_all_requests_of_an_image_have_one_budget(
    upstream: Upstream, open_tiles: Callable[..., RemoteMapSource]
) -> None:
    def slow(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(0.3)
        upstream.good(handler)

    upstream.behaviour = slow
    whole = (-20_000_000.0, -20_000_000.0, 20_000_000.0, 20_000_000.0)
    with pytest.raises(RemoteMapUnavailable, match="took too long"):
        open_tiles(timeout=1.0).render(whole, "EPSG:3857", 1024, 1024)
    assert upstream.asked <= 5  # of sixteen tiles


def test_a_slow_upstream_takes_few_threads(
    upstream: Upstream, open_tiles: Callable[..., RemoteMapSource], until: Callable[..., None]
) -> None:
    go_on = threading.Event()
    running = []

    def slow(handler: BaseHTTPRequestHandler) -> None:
        running.append(1)
        go_on.wait(10)
        upstream.good(handler)

    upstream.behaviour = slow
    configure_bulkheads()  # whatever server this process has built before
    source = open_tiles(timeout=20.0)
    told: list[str] = []

    def draw() -> None:
        try:
            source.render(BOX, "EPSG:3857", 128, 128)
        except RemoteMapUnavailable as error:
            told.append(str(error))

    threads = [threading.Thread(target=draw) for _ in range(12)]
    for thread in threads:
        thread.start()
    until(lambda: len(told) >= 4)
    assert all("slow" in text for text in told)
    assert len(running) <= 2
    go_on.set()
    for thread in threads:
        thread.join()
    assert len(told) == 4


def test_young_tiles_are_not_asked_for_again_and_old_ones_on_condition(
    upstream: Upstream, open_tiles: Callable[..., RemoteMapSource]
) -> None:
    source = open_tiles(max_age=3600)
    for _ in range(3):
        source.render(BOX, "EPSG:3857", 128, 128)
    assert (upstream.asked, upstream.confirmed) == (1, 0)
    old = open_tiles(max_age=0)
    old.render(BOX, "EPSG:3857", 128, 128)
    old.render(BOX, "EPSG:3857", 128, 128)
    assert (upstream.asked, upstream.confirmed) == (3, 2)


def test_a_tile_that_is_not_there_is_transparent(
    upstream: Upstream, open_tiles: Callable[..., RemoteMapSource]
) -> None:
    upstream.behaviour = lambda handler: upstream.send(handler, b"none", "text/plain", 404)
    source = open_tiles()
    assert not source.render(BOX, "EPSG:3857", 128, 128).any()
    source.render(BOX, "EPSG:3857", 128, 128)
    assert upstream.asked == 1


def test_what_is_kept_and_damaged_is_asked_for_again(
    upstream: Upstream, open_tiles: Callable[..., RemoteMapSource], tmp_path: Any
) -> None:
    source = open_tiles(max_age=3600)
    good = source.render(BOX, "EPSG:3857", 128, 128)
    (file,) = [path for path in (tmp_path / "kept").rglob("*") if path.is_file()]
    content = file.read_bytes()
    for damaged in (b"", content[:-20], content.replace(b"IDAT", b"IDAX"), b"{}\n"):
        file.write_bytes(damaged)
        assert (source.render(BOX, "EPSG:3857", 128, 128) == good).all()
    assert upstream.asked == 5


def test_a_folder_that_cannot_be_written_costs_only_the_keeping(
    upstream: Upstream, settings_of: Callable[..., SourceSettings], tmp_path: Any
) -> None:
    (tmp_path / "kept").write_text("a file in the way")
    settings = settings_of(upstream.url)
    facts = describe_remote_map({"store": "xyz", "url": upstream.url + "/{z}/{x}/{y}.png"}, settings)
    source = open_remote_map(facts.remote, settings)
    for _ in range(2):
        assert source.render(BOX, "EPSG:3857", 128, 128).any()
    assert upstream.asked > 1


def test_the_oldest_kept_answers_go_first(tmp_path: Any) -> None:
    kept = KeptAnswers(tmp_path, most_bytes=3_000)
    for number in range(5):
        kept.put(f"key {number}", bytes(1_000))
        time.sleep(0.01)
    kept.prune()
    assert [kept.get(f"key {number}") is not None for number in range(5)] == [False, False, False, True, True]


def test_credentials_go_to_the_service_and_stand_nowhere(
    upstream: Upstream, settings_of: Callable[..., SourceSettings], tmp_path: Any
) -> None:
    seen: list[str] = []

    def watching(handler: BaseHTTPRequestHandler) -> None:
        seen.append(handler.path)
        upstream.good(handler)

    upstream.behaviour = watching
    settings = settings_of(upstream.url, connections={"key": "query tk=s3cret"})
    description = {"store": "xyz", "url": upstream.url + "/{z}/{x}/{y}.png", "credentials": "key"}
    facts = describe_remote_map(description, settings)
    source = open_remote_map(facts.remote, settings)
    source.render(BOX, "EPSG:3857", 128, 128)
    assert seen[0].endswith("?tk=s3cret")
    upstream.behaviour = lambda handler: upstream.send(handler, b"no", "text/plain", 400)
    with pytest.raises(RemoteMapUnavailable) as caught:
        source.render((0.0, 0.0, 1000.0, 1000.0), "EPSG:3857", 128, 128)
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert "s3cret" not in repr(facts) + str(caught.value) + repr(source)
    assert b"s3cret" not in kept


def test_the_settings_decide_whom_a_cascade_may_ask() -> None:
    remote = {"store": "xyz", "url": "http://127.0.0.1:1/{z}/{x}/{y}.png"}
    facts = describe_remote_map(remote, SourceSettings())
    with pytest.raises(RemoteMapUnavailable, match="no public address"):
        open_remote_map(facts.remote, SourceSettings()).render(BOX, "EPSG:3857", 64, 64)
    with pytest.raises(RemoteMapUnavailable, match="may not be asked"):
        open_remote_map(facts.remote, SourceSettings(outgoing=False))


def test_opening_asks_nobody(upstream: Upstream, open_tiles: Callable[..., RemoteMapSource]) -> None:
    source = open_tiles()
    assert source.max_age == 86_400
    assert not source.queryable
    assert source.legend() is None
    assert source.feature_info(BOX, "EPSG:3857", 10, 10, 1, 1) is None
    assert upstream.asked == 0


@pytest.mark.parametrize(
    "remote",
    [
        {},
        {"store": "xyz", "url": "http://example.org/", "tiles": {}},
        {
            "store": "xyz",
            "url": "http://example.org/",
            "tiles": {"template": "x", "crs": "EPSG:3857", "matrices": []},
        },
        {"store": "xyz", "url": "http://example.org/", "max_age": "day", "tiles": None},
        {"store": "wms", "url": "http://example.org/"},
    ],
)
def test_what_the_registry_cannot_have_written_is_refused(remote: dict[str, Any]) -> None:
    with pytest.raises(MapSourceError):
        open_remote_map(remote, SourceSettings())


class _Source:
    """A source that counts."""

    def __init__(self) -> None:
        self.state: int | Exception = 1

    def change(self) -> int:
        if isinstance(self.state, Exception):
            raise self.state
        return self.state


def test_changes_of_a_source_elsewhere() -> None:
    source = _Source()
    log = SourceChanges(lambda: source)  # type: ignore[arg-type, return-value]  # the one method that is asked
    noted = log.change()
    assert log.dirty_since(noted) == []
    assert not log.touched_since(noted, (0, 0, 1, 1))
    source.state = 2
    assert log.touched_since(noted, (0, 0, 1, 1))
    assert log.dirty_since(noted) is None
    source.state = SourceUnavailable("gone")
    assert log.touched_since(2, (0, 0, 1, 1))
    assert log.change() == 2
    with pytest.raises(SourceUnavailable):
        SourceChanges(lambda: source).change()  # type: ignore[arg-type, return-value]  # as above


def test_which_log_a_collection_has() -> None:
    assert isinstance(change_log_of(None, {"remote": {}}), Unchanging)
    assert isinstance(change_log_of({"source": {"store": "wfs"}}, {}), Unchanging)
    assert isinstance(change_log_of({"source": {"store": "postgis"}}, {}), SourceChanges)
    assert change_log_of({"geometry_type": "Point"}, {}) is None
    assert max_age_of({"remote": {}}) == 86_400
    assert max_age_of({"remote": {}, "max_age": 60}) == 60
    assert max_age_of({"style": "line"}) is None
    assert is_cascaded({"remote": {}})
    assert not is_cascaded({"style": "line"})
