"""Connections with one deadline for the whole exchange.

A socket's timeout counts from the last byte, so a server that drips could hold a thread for hours. These sockets set the time
that is left before every read and write: name lookup, TLS handshake, header and body end together at the deadline.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
import weakref
from collections import deque
from collections.abc import Mapping
from functools import cache
from threading import Lock
from typing import Any

import certifi

from providers.outgoing.addresses import Origin, OutgoingPolicy, endpoints
from providers.outgoing.errors import RemoteUnavailable

_IDLE = 2  # kept connections to one host
_IDLE_SECONDS = 30.0


class _Bounded:
    """What both kinds of socket share: `deadline` in the time of `time.monotonic`."""

    deadline = float("inf")

    def _arm(self) -> None:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        self.settimeout(left if left < 1e6 else None)  # type: ignore[attr-defined]  # a mix-in of sockets


class BoundedSocket(_Bounded, socket.socket):
    """A TCP socket that ends at its deadline."""

    def recv_into(self, *arguments: Any) -> int:
        """As in socket, within the time that is left."""
        self._arm()
        return super().recv_into(*arguments)

    def sendall(self, *arguments: Any) -> None:
        """As in socket, within the time that is left."""
        self._arm()
        super().sendall(*arguments)


class BoundedTLSSocket(_Bounded, ssl.SSLSocket):
    """A TLS socket that ends at its deadline."""

    def recv_into(self, *arguments: Any) -> int:
        """As in SSLSocket, within the time that is left."""
        self._arm()
        return super().recv_into(*arguments)

    def sendall(self, *arguments: Any) -> None:
        """As in SSLSocket, within the time that is left."""
        self._arm()
        super().sendall(*arguments)


@cache
def default_tls() -> ssl.SSLContext:
    """Certificates verified against the system's authorities, or certifi's where the system has none."""
    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509_ca"]:
        context.load_verify_locations(certifi.where())
    return bounded_tls(context)


def bounded_tls(context: ssl.SSLContext) -> ssl.SSLContext:
    """A context whose sockets keep the deadline. Raises ValueError for one that does not verify."""
    if context.verify_mode is not ssl.CERT_REQUIRED or not context.check_hostname:
        raise ValueError("a TLS context that does not verify certificates and host names")
    context.sslsocket_class = BoundedTLSSocket
    return context


class Connection(http.client.HTTPConnection):
    """One connection to one origin, to an address that the policy has permitted."""

    sock: BoundedSocket | BoundedTLSSocket | None

    def __init__(self, origin: Origin, policy: OutgoingPolicy, tls: ssl.SSLContext) -> None:
        super().__init__(origin.host, origin.port)
        self._origin = origin
        self._policy = policy
        self._tls = tls
        self.deadline = float("inf")
        self.last_used = 0.0

    def connect(self) -> None:
        """Look the name up, check, connect, and greet by TLS where the scheme says so."""
        plain = self._plain_socket()
        if self._origin.scheme == "http":
            self.sock = plain
            return
        try:
            plain._arm()  # the handshake counts as one call
            secured = self._tls.wrap_socket(plain, server_hostname=self._origin.host)
        except BaseException:
            plain.close()
            raise
        secured.deadline = self.deadline  # type: ignore[attr-defined]  # sslsocket_class is BoundedTLSSocket
        self.sock = secured  # type: ignore[assignment]

    def _plain_socket(self) -> BoundedSocket:
        left = self.deadline - time.monotonic()
        failure: OSError = TimeoutError("the deadline has passed")
        for family, address in endpoints(self._origin, self._policy, left):
            sock = BoundedSocket(family, socket.SOCK_STREAM)
            sock.deadline = self.deadline
            try:
                sock._arm()
                sock.connect(address)
            except OSError as error:
                failure = error
                sock.close()
                continue
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
        raise failure

    def ask(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None, deadline: float
    ) -> http.client.HTTPResponse:
        """Send a request and read the head of the answer before the deadline. Raises OSError, HTTPException, RemoteUnavailable."""
        self.deadline = deadline
        if self.sock is not None:
            self.sock.deadline = deadline
        self.request(method, target, body, {"Host": self._origin.authority, **headers})
        return self.getresponse()


class Connections:
    """The kept connections of one client, by origin. Safe to use from many threads."""

    def __init__(self, policy: OutgoingPolicy, tls: ssl.SSLContext | None) -> None:
        self._policy = policy
        self._tls = tls
        self._idle: dict[Origin, deque[Connection]] = {}
        self._lock = Lock()
        weakref.finalize(self, _close_all, self._idle)

    def take(self, origin: Origin) -> tuple[Connection, bool]:
        """A connection, and whether it has been used before (the other side may have closed it since)."""
        now = time.monotonic()
        while True:
            with self._lock:
                idle = self._idle.get(origin)
                connection = idle.pop() if idle else None
            if connection is None:
                return Connection(origin, self._policy, self._tls or default_tls()), False
            if now - connection.last_used < _IDLE_SECONDS:
                return connection, True
            connection.close()

    def give_back(self, origin: Origin, connection: Connection) -> None:
        """Keep a connection whose answer has been read to its end."""
        connection.last_used = time.monotonic()
        with self._lock:
            idle = self._idle.setdefault(origin, deque())
            if len(idle) < _IDLE and connection.sock is not None:
                idle.append(connection)
                return
        connection.close()


def _close_all(idle: dict[Origin, deque[Connection]]) -> None:
    for connections in idle.values():
        while connections:
            connections.pop().close()


def told(error: BaseException) -> str:
    """What went wrong with a connection, in words that hold nothing secret."""
    if isinstance(error, RemoteUnavailable):
        return str(error)
    if isinstance(error, TimeoutError):
        return "it took too long"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return "TLS could not be agreed on"
    if isinstance(error, ConnectionRefusedError):
        return "it refuses connections"
    return "the connection broke" if isinstance(error, OSError) else "it does not speak HTTP"
