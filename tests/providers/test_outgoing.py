"""The guarded way out: whom it asks, how long, how much, how often; and that nothing secret is ever told."""

from __future__ import annotations

import gzip
import ipaddress
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from providers.errors import AnswerTooLarge, SourceUnavailable
from providers.outgoing import (
    Authorization,
    CircuitBreaker,
    Client,
    OutgoingPolicy,
    RemoteStumbled,
    RemoteUnavailable,
)
from providers.outgoing import addresses as outgoing_addresses
from providers.outgoing.addresses import Origin, split_url, unwrapped
from providers.outgoing.breaker import BreakerState, Bulkheads
from providers.outgoing.connections import bounded_tls

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


class RawServer:
    """A TCP server that plays what a test gives it: bytes to send, or a function of the connection and the request."""

    def __init__(self, play: Any, tls: ssl.SSLContext | None = None) -> None:
        self.play = play
        self.tls = tls
        self.requests: list[bytes] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"{'https' if tls else 'http'}://{self.host}"
        threading.Thread(target=self.run, daemon=True).start()

    def run(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                threading.Thread(target=self.answer, args=(connection,), daemon=True).start()

    def answer(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            if self.tls is None:
                self.talk(connection)
            else:
                with self.tls.wrap_socket(connection, server_side=True) as secured:
                    self.talk(secured)

    def talk(self, connection: socket.socket) -> None:
        request = connection.recv(65536)
        self.requests.append(request)
        if callable(self.play):
            self.play(connection, request)
        else:
            connection.sendall(self.play)


@pytest.fixture
def raw() -> Iterator[Callable[..., RawServer]]:
    """Starts raw servers."""
    servers: list[RawServer] = []

    def start(play: Any, tls: ssl.SSLContext | None = None) -> RawServer:
        servers.append(RawServer(play, tls))
        return servers[-1]

    yield start
    for server in servers:
        server.listener.close()


def client_of(server: RawServer, *hosts: str, **options: Any) -> Client:
    return Client(OutgoingPolicy(frozenset({server.host, *hosts})), server.url, **{"timeout": 5.0} | options)


def whole(body: bytes, *headers: bytes) -> bytes:
    return OK + b"".join(h + b"\r\n" for h in headers) + b"Content-Length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.9.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",
        "100.64.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::1", "::", "fe80::1",
        "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe", "64:ff9b::7f00:1", "2002:7f00:1::", "2002:a9fe:a9fe::1",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    policy = OutgoingPolicy(frozenset({"other.example"}))
    assert not policy.permits(ipaddress.ip_address(address), Origin("http", "host.example", 80))


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "172.15.255.255",
        "172.32.0.1",
        "11.0.0.1",
        "2606:4700::1111",
        "::ffff:1.1.1.1",
        "64:ff9b::101:101",
    ],
)
def test_public_addresses_are_permitted_unless_nobody_is(address: str) -> None:
    origin = Origin("http", "host.example", 80)
    assert OutgoingPolicy().permits(ipaddress.ip_address(address), origin)
    assert not OutgoingPolicy(outgoing=False).permits(ipaddress.ip_address(address), origin)


def test_named_hosts_may_be_private_but_not_the_metadata_service() -> None:
    policy = OutgoingPolicy(frozenset({"Maps.City", "gis.city:8080", "[::1]:9", "169.254.1.1"}))
    private, metadata = ipaddress.ip_address("10.0.0.9"), ipaddress.ip_address("169.254.169.254")
    assert policy.permits(private, Origin("http", "maps.city", 81))
    assert policy.permits(private, Origin("http", "gis.city", 8080))
    assert not policy.permits(private, Origin("http", "gis.city", 8081))
    assert policy.permits(ipaddress.ip_address("::1"), Origin("http", "::1", 9))
    assert not policy.permits(metadata, Origin("http", "maps.city", 80))
    assert policy.permits(ipaddress.ip_address("169.254.1.1"), Origin("http", "169.254.1.1", 80))


def test_unwrapped_addresses() -> None:
    assert str(unwrapped(ipaddress.ip_address("2002:0a00:0001::"))) == "10.0.0.1"
    assert str(unwrapped(ipaddress.ip_address("2606:4700::1111"))) == "2606:4700::1111"


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/x", "file:///etc/passwd", "gopher://host", "http://", "http:///x", "//host/x", "http://user:pw@host/",
        "http://user@host/", "http://host:99999/", "http://host:x/", "http://ho st/", "http://host/\r\nX: y", "http://höst/",
        "http://host/" + "x" * 20_000, "javascript:alert(1)", "",
    ],
)  # fmt: skip
def test_urls_that_are_not_asked(url: str) -> None:
    with pytest.raises(RemoteUnavailable) as caught:
        split_url(url)
    assert "pw" not in str(caught.value)


def test_answer_comes_decoded(raw: Callable[..., RawServer]) -> None:
    server = raw(whole(gzip.compress(b'{"a": 1}'), b"Content-Encoding: gzip"))
    answer = client_of(server).get(f"{server.url}/x?a=b", {"c": "d e"})
    assert answer.body == b'{"a": 1}'
    assert answer.status == 200
    assert server.requests[0].startswith(b"GET /x?a=b&c=d+e HTTP/1.1\r\n")
    assert b"\r\nHost: " + server.host.encode() in server.requests[0]


def test_proxies_and_passwords_of_the_environment_are_not_used(
    raw: Callable[..., RawServer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    proxy = raw(whole(b"{}"))
    server = raw(whole(b"{}"))
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password hush\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy.url)
    client_of(server).get(server.url)
    assert len(server.requests) == 1
    assert not proxy.requests
    assert b"Authorization" not in server.requests[0]


def test_name_that_resolves_to_a_private_address(raw: Callable[..., RawServer]) -> None:
    server = raw(whole(b"{}"))
    url = f"http://localhost:{server.port}"
    with pytest.raises(RemoteUnavailable, match="no public address"):
        Client(OutgoingPolicy(), url).get(url)
    assert not server.requests


def test_name_is_looked_up_once_and_that_address_is_used(
    raw: Callable[..., RawServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name whose second answer would be another address (DNS rebinding) is never asked for a second time."""
    server = raw(whole(b"{}"))
    answers = iter([[(socket.AF_INET, 1, 6, "", ("127.0.0.1", server.port))]])
    monkeypatch.setattr(outgoing_addresses.socket, "getaddrinfo", lambda *_, **__: next(answers))
    url = f"http://maps.city:{server.port}"
    assert Client(OutgoingPolicy(frozenset({"maps.city"})), url).get(url).body == b"{}"


def test_mixed_addresses_use_only_the_permitted(
    raw: Callable[..., RawServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [(socket.AF_INET, 1, 6, "", (host, 80)) for host in ("10.0.0.1", "169.254.169.254")]
    monkeypatch.setattr(outgoing_addresses.socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(RemoteUnavailable, match="no public address"):
        Client(OutgoingPolicy(), "http://maps.example").get("http://maps.example")


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1:1/",
        "http://169.254.169.254/latest/meta-data/",
        "file:///etc/passwd",
        "http://[::1]/",
        "http://0x7f.1/",
    ],
)
def test_redirects_are_checked_like_the_first_url(raw: Callable[..., RawServer], target: str) -> None:
    server = raw(f"HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode())
    with pytest.raises(RemoteUnavailable):
        client_of(server).get(server.url)
    assert len(server.requests) == 1


def test_three_redirects_and_not_four(raw: Callable[..., RawServer]) -> None:
    def play(connection: socket.socket, request: bytes) -> None:
        step = int(request.split(b" ")[1].removeprefix(b"/"))
        if step == 0:
            connection.sendall(whole(b"{}"))
        connection.sendall(
            b"HTTP/1.1 307 Go\r\nLocation: /%d\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % (step - 1)
        )

    server = raw(play)
    assert client_of(server).get(f"{server.url}/3").body == b"{}"
    with pytest.raises(RemoteUnavailable, match="more than 3 times"):
        client_of(server).get(f"{server.url}/4")


def test_credentials_go_to_their_own_origin_only_and_are_never_told(raw: Callable[..., RawServer]) -> None:
    other = raw(whole(b"{}"))
    server = raw(f"HTTP/1.1 302 Found\r\nLocation: {other.url}/\r\nContent-Length: 0\r\n\r\n".encode())
    secret = Authorization({"Authorization": "Bearer hush"}, {"token": "hush"})
    answer = client_of(server, other.host, authorization=secret).get(f"{server.url}/a")
    assert b"Bearer hush" in server.requests[0]
    assert b"token=hush" in server.requests[0]
    assert b"hush" not in other.requests[0]
    assert "hush" not in answer.url + repr(secret)
    refusing = raw(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")
    with pytest.raises(RemoteUnavailable, match="credentials") as caught:
        client_of(refusing, authorization=secret).get(refusing.url)
    assert "hush" not in str(caught.value)


def test_credentials_never_travel_in_the_clear_to_strangers() -> None:
    with pytest.raises(RemoteUnavailable, match="in the clear"):
        Client(OutgoingPolicy(), "http://maps.example", authorization=Authorization({"X-Key": "hush"}))


@pytest.mark.parametrize("length", [1000, 1001])
def test_size_limit_and_one_more(raw: Callable[..., RawServer], length: int) -> None:
    server = raw(whole(b"x" * length))
    if length == 1000:
        assert len(client_of(server).get(server.url, limit=1000).body) == 1000
    else:
        with pytest.raises(AnswerTooLarge, match="1,000 bytes"):
            client_of(server).get(server.url, limit=1000)


def test_gzip_bomb_is_never_unpacked_whole(raw: Callable[..., RawServer]) -> None:
    server = raw(whole(gzip.compress(bytes(50_000_000)), b"Content-Encoding: gzip"))
    with pytest.raises(AnswerTooLarge):
        client_of(server).get(server.url, limit=100_000)


def endless(connection: socket.socket, request: bytes) -> None:
    connection.sendall(OK + b"\r\n")
    while True:
        connection.sendall(b"x" * 65536)


def test_endless_body(raw: Callable[..., RawServer]) -> None:
    server = raw(endless)
    with pytest.raises(AnswerTooLarge):
        client_of(server).get(server.url, limit=1_000_000)


def dripping_body(connection: socket.socket, request: bytes) -> None:
    connection.sendall(OK + b"Content-Length: 1000000\r\n\r\n")
    while True:
        connection.sendall(b"x")
        time.sleep(0.02)


def dripping_head(connection: socket.socket, request: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        connection.sendall(b"x")
        time.sleep(0.02)


def silence(connection: socket.socket, request: bytes) -> None:
    time.sleep(3)


@pytest.mark.parametrize("play", [dripping_body, dripping_head, silence])
def test_slow_servers_end_at_the_deadline(raw: Callable[..., RawServer], play: Any) -> None:
    """Each would go on for longer than the test may take."""
    server = raw(play)
    with pytest.raises(RemoteUnavailable, match="took too long"):
        client_of(server, timeout=0.3).get(server.url)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"", "connection broke|does not speak"),
        (b"garbage\r\n\r\n", "does not speak HTTP"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>",
            "'text/html' where application/json",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "without a media type"),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "503"),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", "500"),
        (b"HTTP/1.1 304 Same\r\n\r\n", "304"),
        (OK + b"Content-Length: 100\r\n\r\nshort", "does not"),
        (whole(b"no gzip", b"Content-Encoding: gzip"), "does not"),
        (whole(gzip.compress(b"x" * 5000)[:-20], b"Content-Encoding: gzip"), "does not"),
        (whole(b"x", b"Content-Encoding: br"), "does not"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n", "does not"),
    ],
)
def test_broken_answers(raw: Callable[..., RawServer], answer: bytes, told: str) -> None:
    server = raw(answer)
    with pytest.raises(SourceUnavailable, match=told):
        client_of(server).get(server.url)


def test_errors_of_the_request_come_back(raw: Callable[..., RawServer]) -> None:
    server = raw(b"HTTP/1.1 404 No\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nno")
    assert client_of(server).get(server.url).status == 404


def test_kept_connection_that_was_closed_is_replaced(raw: Callable[..., RawServer]) -> None:
    server = raw(whole(b"{}"))  # says nothing of closing, and closes
    client = client_of(server)
    for _ in range(3):
        assert client.get(server.url).body == b"{}"
    assert len(server.requests) == 3


def test_nobody_is_asked_where_outgoing_is_off() -> None:
    with pytest.raises(RemoteUnavailable, match="only the hosts that its settings allow"):
        Client(OutgoingPolicy(outgoing=False), "https://maps.example")


class Clock:
    """A clock that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def failing(breaker: CircuitBreaker, retry_after: float | None = None) -> None:
    with pytest.raises(RemoteUnavailable, match="down"), breaker.passage("maps"):
        raise RemoteUnavailable("down", retry_after)


def test_breaker_opens_tries_and_closes() -> None:
    clock = Clock()
    breaker = CircuitBreaker(failures=3, seconds=5.0, clock=clock)
    failing(breaker)
    failing(breaker)
    assert breaker.state is BreakerState.CLOSED
    failing(breaker)
    assert breaker.state is BreakerState.OPEN
    with pytest.raises(RemoteUnavailable, match="asked again in 5 s") as caught, breaker.passage("maps"):
        pytest.fail("asked while open")
    assert caught.value.retry_after == 5.0
    clock.now = 5.0
    assert breaker.state is BreakerState.HALF_OPEN
    failing(breaker)  # the one try; the pause doubles
    clock.now = 14.9
    assert breaker.state is BreakerState.OPEN
    clock.now = 15.0
    with breaker.passage("maps"), pytest.raises(RemoteUnavailable), breaker.passage("maps"):
        pytest.fail("two tries at a time")
    assert breaker.state is BreakerState.CLOSED


def test_breaker_keeps_to_retry_after_within_bounds() -> None:
    clock = Clock()
    breaker = CircuitBreaker(clock=clock, longest=60)
    failing(breaker, retry_after=10_000_000)
    clock.now = 59.9
    assert breaker.state is BreakerState.OPEN
    clock.now = 60
    assert breaker.state is BreakerState.HALF_OPEN


def test_a_request_that_a_service_stumbles_over_does_not_shut_out_others() -> None:
    breaker = CircuitBreaker(failures=1)
    with pytest.raises(RemoteStumbled), breaker.passage("maps"):
        raise RemoteStumbled("500")
    assert breaker.state is BreakerState.CLOSED


def test_open_breaker_sends_nothing(raw: Callable[..., RawServer]) -> None:
    server = raw(b"HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n")
    client = client_of(server)
    for _ in range(5):
        with pytest.raises(RemoteUnavailable):
            client.get(server.url)
    assert len(server.requests) == 3


def test_bulkhead_leaves_threads_for_others() -> None:
    bulkheads = Bulkheads(per_host=2, overall=3, patience=0.02)
    with bulkheads.place("slow"), bulkheads.place("slow"):
        with pytest.raises(RemoteUnavailable, match="slow is slow"), bulkheads.place("slow"):
            pytest.fail("a third place")
        with bulkheads.place("quick"), pytest.raises(RemoteUnavailable), bulkheads.place("third"):
            pytest.fail("a fourth place")
    with bulkheads.place("slow"):
        pass


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 that signs itself, and its key, in one file."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(path), "-out", str(path) + ".crt"],
        check=True, capture_output=True,
    )  # fmt: skip
    path.write_text(path.read_text() + Path(str(path) + ".crt").read_text())
    return path


def test_certificates_are_verified(raw: Callable[..., RawServer], certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = raw(whole(b"{}"), context)
    with pytest.raises(RemoteUnavailable, match="certificate is not valid"):
        client_of(server).get(server.url)
    trusted = bounded_tls(ssl.create_default_context(cafile=str(certificate)))
    assert client_of(server, tls=trusted).get(server.url).body == b"{}"


def test_slow_server_over_tls_ends_at_the_deadline(raw: Callable[..., RawServer], certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = raw(dripping_body, context)
    trusted = bounded_tls(ssl.create_default_context(cafile=str(certificate)))
    with pytest.raises(RemoteUnavailable, match="took too long"):
        client_of(server, tls=trusted, timeout=1.0).get(server.url)


def test_context_that_does_not_verify_is_refused() -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    with pytest.raises(ValueError, match="does not verify"):
        bounded_tls(context)
