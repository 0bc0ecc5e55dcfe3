"""Conditional requests, compression and ranges."""

from __future__ import annotations

import gzip
import threading
from pathlib import Path
from typing import Any

import pytest

from server.http.answer import Answer, accepts_gzip, etag_matches, gzip_bytes, send
from server.http.errors import NotFound, Overloaded, RangeNotSatisfiable
from server.http.files import FileSender, contained, parse_range


class Started:
    """Remembers what start_response was called with."""

    def __call__(self, status: str, headers: list[tuple[str, str]]) -> None:
        self.status = status
        self.headers = dict(headers)


def environ(**headers: str) -> dict[str, Any]:
    return {"REQUEST_METHOD": "GET", **{f"HTTP_{name}": value for name, value in headers.items()}}


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", False),
        ("gzip", True),
        ("br, GZIP;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("gzip;q=0.001", True),
        ("*", True),
        ("br", False),
    ],
)
def test_accepts_gzip(header: str, expected: bool) -> None:
    assert accepts_gzip(environ(ACCEPT_ENCODING=header)) is expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [('W/"a"', True), ('"a"', True), ('"b", W/"a"', True), ("*", True), ('"b"', False), ("a", False)],
)
def test_etag_comparison_is_weak(header: str, expected: bool) -> None:
    assert etag_matches(header, 'W/"a"') is expected


def test_large_answers_are_compressed_and_small_ones_are_not() -> None:
    started = Started()
    body = b"x" * 2000
    sent = b"".join(send(Answer(body, "text/plain"), environ(ACCEPT_ENCODING="gzip"), started))
    assert started.headers["Content-Encoding"] == "gzip"
    assert int(started.headers["Content-Length"]) == len(sent)
    assert gzip.decompress(sent) == body
    small = Started()
    assert b"".join(send(Answer(b"x", "text/plain"), environ(ACCEPT_ENCODING="gzip"), small)) == b"x"
    assert "Content-Encoding" not in small.headers


def test_what_is_kept_as_gzip_is_unpacked_for_who_does_not_take_it() -> None:
    body = b"x" * 2000
    answer = Answer(gzip_bytes(body), "text/plain", gzipped=True)
    taken, refused = Started(), Started()
    assert b"".join(send(answer, environ(ACCEPT_ENCODING="gzip"), taken)) == answer.body
    assert taken.headers["Content-Encoding"] == "gzip"
    assert b"".join(send(answer, environ(), refused)) == body
    assert "Content-Encoding" not in refused.headers
    assert refused.headers["Content-Length"] == "2000"


def test_a_known_version_is_answered_with_304() -> None:
    started = Started()
    answer = Answer(b"body", "text/plain", etag='W/"1"')
    assert list(send(answer, environ(IF_NONE_MATCH='W/"1"'), started)) == []
    assert started.status.startswith("304")
    assert started.headers["ETag"] == 'W/"1"'


def test_errors_are_never_kept() -> None:
    started = Started()
    send(Answer(b"{}", "application/problem+json", status=400), environ(), started)
    assert started.headers["Cache-Control"] == "no-store"


def test_head_has_the_headers_and_no_body() -> None:
    started = Started()
    assert list(send(Answer(b"body", "text/plain"), environ() | {"REQUEST_METHOD": "HEAD"}, started)) == []
    assert started.headers["Content-Length"] == "4"


def test_gzip_is_readable_by_others() -> None:
    assert gzip.decompress(gzip_bytes(b"abc" * 1000)) == b"abc" * 1000


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("bytes=0-0", (0, 0)),
        ("bytes=0-99", (0, 99)),
        ("bytes=0-100", (0, 99)),
        ("bytes=99-", (99, 99)),
        ("bytes=-1", (99, 99)),
        ("bytes=-500", (0, 99)),
        ("bytes=5-4", None),
        ("bytes=0-1,5-6", None),
        ("items=0-1", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
    ],
)
def test_ranges(header: str | None, expected: tuple[int, int] | None) -> None:
    assert parse_range(header, 100) == expected


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_ranges_outside_the_file(header: str) -> None:
    with pytest.raises(RangeNotSatisfiable):
        parse_range(header, 100)


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "a/../../secret", ".", "nothing", "link"])
def test_paths_stay_in_their_folder(tmp_path: Path, path: str) -> None:
    (tmp_path / "secret").write_text("s")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file").write_text("f")
    (folder / "link").symlink_to(tmp_path / "secret")
    assert contained(folder, "file").read_text() == "f"
    with pytest.raises(NotFound):
        contained(folder, path)


def test_large_downloads_have_a_bounded_number_of_places(tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_bytes(b"\0" * (2 << 20))
    sender = FileSender(downloads=1)
    first = sender.send(file, environ(), Started(), etag='"1"')
    with pytest.raises(Overloaded):
        sender.send(file, environ(), Started(), etag='"1"')
    assert sum(map(len, first)) == 2 << 20
    again = sender.send(file, environ(), Started(), etag='"1"')
    again.close()  # type: ignore[attr-defined]  # what a WSGI server does when the client goes away
    sender.send(file, environ(), Started(), etag='"1"').close()  # type: ignore[attr-defined]


def test_a_download_made_on_the_way_gives_its_place_back_when_it_fails() -> None:
    def chunks() -> Any:
        yield b"a"
        raise ValueError("broken")

    sender = FileSender(downloads=1)
    with pytest.raises(ValueError, match="broken"):
        list(sender.stream(chunks()))
    assert b"".join(sender.stream(iter([b"b"]))) == b"b"


def test_small_ranges_need_no_place(tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_bytes(bytes(range(256)) * (8 << 10))
    sender = FileSender(downloads=1)
    held = sender.send(file, environ(), Started(), etag='"1"')
    answers: list[bytes] = []
    threads = [
        threading.Thread(
            target=lambda: answers.append(
                b"".join(sender.send(file, environ(RANGE="bytes=256-511"), Started(), etag='"1"'))
            )
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [bytes(range(256))] * 8
    held.close()  # type: ignore[attr-defined]


def test_a_precompressed_sibling_is_sent_to_who_takes_it(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(b"{}")
    file.with_name("a.json.gz").write_bytes(gzip.compress(b"{}"))
    sender, started = FileSender(1), Started()
    body = b"".join(sender.send(file, environ(ACCEPT_ENCODING="gzip"), started, etag='"1"'))
    assert started.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(body) == b"{}"
    assert b"".join(sender.send(file, environ(), started, etag='"1"')) == b"{}"
