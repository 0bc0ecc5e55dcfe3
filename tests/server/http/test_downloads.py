"""Whole collections as files: what is selected, headers, the raw GeoPackage, and clients that go away or dawdle."""

from __future__ import annotations

import csv
import gc
import gzip
import io
import json
import sqlite3
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import fiona
import orjson
import pytest

from providers.errors import AnswerTooLarge
from providers.features.query import ItemQuery
from providers.features.source import FeaturePage
from providers.formatters import scratch
from providers.formatters.registry import DOWNLOAD_FORMATS
from server.http.app import create_flask, make_services
from server.http.errors import Overloaded
from server.http.files import FileSender
from server.http.ogc.downloads import (
    DownloadEndedError,
    Patience,
    batches_of,
    feature_downloads,
    start_sending,
)
from server.registry.reader import open_catalogue_reader

BOXES = "/t/demo/ogc/collections/boxes"
EPSG_4490 = "http://www.opengis.net/def/crs/EPSG/0/4490"


@pytest.fixture(autouse=True)
def folder(client: Any, editing_client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where files are made during a test: the one of this process, whichever server was made last."""
    monkeypatch.setattr(scratch._Scratch, "folder", tmp_path / "downloads")
    return tmp_path / "downloads"


def leftovers(folder: Path) -> list[Path]:
    return list(folder.glob("made-*"))


def test_files_are_made_in_the_cache_of_the_home_folder(city: Any) -> None:
    create_flask(make_services(city.settings))
    assert scratch._Scratch.folder == city.home / "cache" / "downloads"


@pytest.mark.parametrize("ending", sorted(DOWNLOAD_FORMATS))
def test_every_format_downloads_with_its_name_and_type(client: Any, folder: Path, ending: str) -> None:
    form = DOWNLOAD_FORMATS[ending]
    reply = client.get(f"{BOXES}/download/boxes.{ending}?kind=office")
    assert reply.status == 200, reply.body[:300]
    assert reply.headers["Content-Type"] == form.media_type
    assert reply.headers["Content-Disposition"] == f'attachment; filename="boxes.{ending}"'
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert reply.body
    etag = reply.headers["ETag"]
    again = client.get(f"{BOXES}/download/boxes.{ending}?kind=office", if_none_match=etag)
    assert (again.status, again.body) == (304, b"")
    head = client.request("HEAD", f"{BOXES}/download/boxes.{ending}?kind=office")
    assert (head.status, head.body, head.headers["Content-Type"]) == (200, b"", form.media_type)
    assert leftovers(folder) == []


def ids_of_items(client: Any, query: str) -> set[str]:
    return {one["id"] for one in client.json(f"{BOXES}/items?limit=1000&{query}")["features"]}


@pytest.mark.parametrize(
    "query",
    [
        "",
        "kind=office",
        "bbox=113.9,22.6,114,22.7",
        "filter=" + quote("height > 50 AND kind = '住宅'"),
        "datetime=2005-01-01/..",
        "q=" + quote("楼 1"),
        "filter=height%20%3C%200",
    ],
)
def test_a_download_takes_the_parameters_of_items(client: Any, query: str) -> None:
    features = client.json(f"{BOXES}/download/boxes.geojson?{query}")["features"]
    assert {feature["id"] for feature in features} == ids_of_items(client, query)
    rows = csv.DictReader(io.StringIO(client.get(f"{BOXES}/download/boxes.csv?{query}").body.decode()))
    assert {row["id"] for row in rows} == ids_of_items(client, query)


def test_order_properties_and_crs(client: Any) -> None:
    url = f"{BOXES}/download/boxes.geojsonl?sortby=-height&properties=height&crs={EPSG_4490}"
    reply = client.get(url)
    assert reply.headers["Content-Crs"] == f"<{EPSG_4490}>"
    features = [orjson.loads(line) for line in reply.body.splitlines()]
    heights = [feature["properties"]["height"] for feature in features]
    assert heights == sorted(heights, reverse=True)
    assert len(heights) == 250
    assert all(feature["properties"].keys() == {"height"} for feature in features)
    assert features[0]["geometry"]["coordinates"][0][0][0] < 30  # latitude first


@pytest.mark.parametrize(
    "query",
    [
        "limit=5",
        "offset=1",
        "cursor=abc",
        "resulttype=hits",
        "nonsense=1",
        "bbox=1,2",
        "filter=nonsense(",
        "crs=nonsense",
        "properties=nonsense",
        "kind=office&kind=office",
    ],
)
@pytest.mark.parametrize("ending", ["geojson", "gpkg", "shp.zip"])
def test_bad_parameters_are_refused_before_anything_is_sent(client: Any, ending: str, query: str) -> None:
    reply = client.get(f"{BOXES}/download/boxes.{ending}?{query}")
    assert reply.status == 400
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert "Content-Disposition" not in reply.headers


@pytest.mark.parametrize("ending", ["kml"])
def test_a_crs_the_format_does_not_know_is_refused(client: Any, ending: str) -> None:
    for url in (f"{BOXES}/download/boxes.{ending}?", f"{BOXES}/items?f={ending}&"):
        reply = client.get(f"{url}crs={EPSG_4490}")
        assert reply.status == 400
        assert reply.json["parameter"] == "crs"


@pytest.mark.parametrize(
    "name", ["boxes", "boxes.", "boxes.exe", "other.geojson", "boxes.geojson.gz", ".geojson", "BOXES.csv"]
)
def test_there_are_no_other_files(client: Any, name: str) -> None:
    assert client.get(f"{BOXES}/download/{name}").status == 404


def test_compressed_on_the_way_where_that_helps(client: Any) -> None:
    url = f"{BOXES}/download/boxes.geojson"
    plain, packed = client.get(url), client.get(url, accept_encoding="gzip")
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    unpacked = json.loads(gzip.decompress(packed.body))
    assert unpacked["features"] == plain.json["features"]
    assert "Content-Encoding" not in client.get(f"{BOXES}/download/boxes.fgb", accept_encoding="gzip").headers


def test_a_private_collection_stays_private(client: Any, city: Any) -> None:
    url = "/t/demo/ogc/collections/secret/download/secret.parquet"
    assert client.get(url).status == 404
    reply = client.get(url, authorization=f"Bearer {city.token}")
    assert reply.status == 200
    assert "private" in reply.headers["Cache-Control"]


def test_the_formats_of_a_collection(city: Any) -> None:
    boxes = open_catalogue_reader(city.settings).current().find("demo", "boxes")
    assert boxes is not None
    forms = feature_downloads(boxes)
    assert forms[0].name == "gpkg"
    assert {form.ending for form in forms} == set(DOWNLOAD_FORMATS)


# --- GeoPackage ----------------------------------------------------------------------------------------------------------


def names_in(data: bytes, path: Path) -> set[str]:
    path.write_bytes(data)
    with fiona.open(path) as source:
        return {feature["properties"]["name"] for feature in source}


def test_a_geopackage_under_edit_holds_the_latest_edit_and_no_history(
    editing_client: Any, editing_city: Any, folder: Path, tmp_path: Path
) -> None:
    editing_city.publish("edited", count=5)
    base = "/t/demo/ogc/collections/edited"
    before = editing_client.get(f"{base}/download/edited.gpkg")
    assert before.headers["Accept-Ranges"] == "bytes"
    document = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [[[113, 22], [113.1, 22], [113.1, 22.1], [113, 22]]]},
        "properties": {"name": "刚刚新建", "kind": "office", "height": 1.5, "built": "2024-05-01"},
    }
    headers = {"authorization": f"Bearer {editing_city.token}", "content_type": "application/geo+json"}
    made = editing_client.request("POST", f"{base}/items", json.dumps(document).encode(), **headers)
    assert made.status == 201, made.body
    after = editing_client.get(f"{base}/download/edited.gpkg")
    assert after.status == 200
    assert after.headers["ETag"] != before.headers["ETag"]
    assert after.headers["Content-Disposition"] == 'attachment; filename="edited.gpkg"'
    path = tmp_path / "edited.gpkg"
    assert names_in(after.body, path) == {*(f"楼 {n}" for n in range(5)), "刚刚新建"}
    connection = sqlite3.connect(path)
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    connection.close()
    assert not tables & {"feature_past", "chengtu_transaction"}
    assert leftovers(folder) == []
    chosen = editing_client.get(f"{base}/download/edited.gpkg?name={quote('刚刚新建')}")
    assert names_in(chosen.body, tmp_path / "chosen.gpkg") == {"刚刚新建"}


def test_a_geopackage_without_crs_is_in_the_storage_crs(client: Any) -> None:
    reply = client.get(f"{BOXES}/download/boxes.gpkg?kind=office")
    assert reply.headers["Content-Crs"] == "<http://www.opengis.net/def/crs/EPSG/0/4326>"


# --- reading on ----------------------------------------------------------------------------------------------------------


class Gaps:
    """A source some of whose pages are empty, and not the last."""

    kind = "gaps"

    def page(self, query: ItemQuery, hidden: frozenset[str]) -> FeaturePage:
        number = 0 if query.cursor is None else int(query.cursor[0] or 0)
        bodies = [] if number % 2 == 0 else [b'{"id":"%d"}' % number]
        return FeaturePage(bodies, (number + 1,) if number < 9 else None, None)


class Asked:
    source = Gaps()
    hidden: frozenset[str] = frozenset()
    budget_key = "gaps"


def test_an_empty_page_is_not_the_end() -> None:
    form = DOWNLOAD_FORMATS["geojson"]
    batches = list(batches_of(Asked(), ItemQuery(limit=1), form, time.monotonic() + 60))  # type: ignore[arg-type] # a source and its names
    assert [orjson.loads(body)["id"] for batch in batches for body in batch] == list("13579")


def test_after_the_deadline_it_ends() -> None:
    times = iter([0.0, 5.0, 11.0])
    batches = batches_of(Asked(), ItemQuery(limit=1), DOWNLOAD_FORMATS["geojson"], 10.0, lambda: next(times))  # type: ignore[arg-type] # as above
    with pytest.raises(DownloadEndedError, match="ask for less"):
        list(batches)
    assert issubclass(DownloadEndedError, AnswerTooLarge)


# --- clients -------------------------------------------------------------------------------------------------------------


class Work:
    """Pieces that are made on the way, and whether that has ended."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.made = 0
        self.ended = threading.Event()

    def pieces(self) -> Generator[bytes]:
        try:
            for _ in range(self.count):
                self.made += 1
                yield b"piece"
        finally:
            self.ended.set()


def free(sender: FileSender) -> bool:
    """Whether the only place is free."""
    try:
        sender.stream(iter([])).close()  # type: ignore[attr-defined] # what it gives can be closed
    except Overloaded:
        return False
    return True


def test_a_client_that_goes_away_stops_the_work() -> None:
    sender, work = FileSender(downloads=1), Work(1000)
    body: Any = start_sending(sender, work.pieces())
    assert [next(body), next(body)] == [b"piece"] * 2
    assert not free(sender)
    body.close()  # what a WSGI server does then
    assert work.ended.is_set()
    assert work.made <= 3
    assert free(sender)
    body.close()
    assert free(sender)


def test_a_download_that_is_complete_gives_its_place_back() -> None:
    sender, work = FileSender(downloads=1), Work(3)
    body: Iterator[bytes] = iter(start_sending(sender, work.pieces()))
    assert b"".join(body) == b"piece" * 3
    assert work.ended.is_set()
    assert free(sender)


def test_nothing_to_send() -> None:
    sender = FileSender(downloads=1)
    assert list(start_sending(sender, Work(0).pieces())) == []
    assert free(sender)


def test_a_failure_before_the_first_piece_is_told_and_frees_the_place() -> None:
    def pieces() -> Generator[bytes]:
        raise AnswerTooLarge("too large")
        yield b""

    sender = FileSender(downloads=1)
    with pytest.raises(AnswerTooLarge):
        start_sending(sender, pieces())
    assert free(sender)


@pytest.mark.parametrize("patience", [Patience(piece=0.05), Patience(overall=0.05, piece=0.2)])
def test_a_client_that_does_not_read_loses_its_place(patience: Patience) -> None:
    sender, work = FileSender(downloads=1), Work(1000)
    body: Any = start_sending(sender, work.pieces(), patience)
    assert work.ended.wait(20)
    for _ in range(200):
        if free(sender):
            break
        time.sleep(0.01)
    assert free(sender)
    with pytest.raises(DownloadEndedError):
        next(body)


def test_hung_up_over_http(client: Any, folder: Path) -> None:
    """A GeoPackage that was made, of which nobody reads the rest, is gone when the response is closed."""
    started: list[Any] = []
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": f"{BOXES}/download/boxes.gpkg",
        "QUERY_STRING": "kind=office",
        "SCRIPT_NAME": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "city.example",
        "CONTENT_LENGTH": "0",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
    }
    chunks = client.application(environ, lambda status, headers: started.append(status))
    assert started == ["200 OK"]
    assert next(iter(chunks))[:15] == b"SQLite format 3"
    assert len(leftovers(folder)) == 1
    chunks.close()
    del chunks
    gc.collect()
    assert leftovers(folder) == []
