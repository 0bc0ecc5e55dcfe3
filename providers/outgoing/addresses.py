"""Who may be asked: URLs, host names and the addresses behind them.

A name is looked up once, and the connection goes to an address of that very answer: what was checked is what is connected to
(no DNS rebinding). Addresses that are not global (loopback, private, link-local with the clouds' metadata service, shared,
multicast, reserved, and all of these inside IPv6 transition addresses) are refused unless the operator names the host.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from providers.outgoing.errors import RemoteUnavailable

type Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_DEFAULT_PORTS = {"http": 80, "https": 443}
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_MAXIMUM_URL = 16_384  # characters; longer queries are sent as a form


class Origin(NamedTuple):
    """Scheme, host (lower case, without brackets) and port of a URL."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """`host`, or `host:port` where the port is not the scheme's own: for messages and the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


class Endpoint(NamedTuple):
    """One address that may be connected to: the family and the socket address of `getaddrinfo`."""

    family: int
    address: tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class OutgoingPolicy:
    """Who may be asked.

    `allowed_hosts`: `host` or `host:port` (IPv6 in brackets) that may lie on private addresses. Link-local ones are allowed only
    where the entry is the address itself. `outgoing` False: nobody but these.
    """

    allowed_hosts: frozenset[str] = frozenset()
    outgoing: bool = True

    def is_named(self, origin: Origin) -> bool:
        """Whether the operator has named this host."""
        host = f"[{origin.host}]" if ":" in origin.host else origin.host
        named = {entry.lower() for entry in self.allowed_hosts}
        return bool(named & {host, origin.host, f"{host}:{origin.port}"})

    def permits(self, address: Address, origin: Origin) -> bool:
        """Whether a connection for `origin` may go to this address."""
        inner = unwrapped(address)
        if not self.is_named(origin):
            return self.outgoing and _is_global(inner)
        if inner.is_link_local or inner.is_multicast or inner.is_unspecified:
            return origin.host == str(address) and not inner.is_multicast
        return True


def unwrapped(address: Address) -> Address:
    """The IPv4 address inside an IPv6 transition address (mapped, 6to4, Teredo, NAT64); other addresses as they are."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _is_global(address: Address) -> bool:
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_link_local)


def split_url(url: str) -> tuple[Origin, SplitResult]:
    """The origin and the parts of a URL that may be asked for. Raises RemoteUnavailable with what is wrong, never the URL."""
    if len(url) > _MAXIMUM_URL or not url.isascii() or any(ord(letter) <= 32 for letter in url):
        raise RemoteUnavailable(
            f"A URL to a remote service holds spaces, control or other than ASCII characters, or more than {_MAXIMUM_URL}"
        )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise RemoteUnavailable("A URL to a remote service cannot be read: is its port a number?") from None
    if parts.scheme not in _DEFAULT_PORTS:
        raise RemoteUnavailable(f"Remote services are asked by http and https, not {parts.scheme[:20]!r}")
    if not host:
        raise RemoteUnavailable("A URL to a remote service names no host")
    if parts.username is not None or parts.password is not None:
        raise RemoteUnavailable(
            f"The URL to {host} holds a user name or password; name the credentials in the description instead"
        )
    return Origin(parts.scheme, host.lower().rstrip("."), port or _DEFAULT_PORTS[parts.scheme]), parts


def check_host(origin: Origin, policy: OutgoingPolicy) -> None:
    """Raise RemoteUnavailable where the policy forbids the host whatever its address: nothing is looked up then."""
    if not policy.outgoing and not policy.is_named(origin):
        raise RemoteUnavailable(
            f"{origin.authority} may not be asked: this server asks only the hosts that its settings allow"
        )


def endpoints(origin: Origin, policy: OutgoingPolicy, seconds: float) -> list[Endpoint]:
    """The addresses of a host that may be connected to, in the resolver's order. Raises RemoteUnavailable."""
    found = _look_up(origin, seconds)
    permitted = [endpoint for endpoint in found if policy.permits(_address_of(endpoint), origin)]
    if not permitted:
        raise RemoteUnavailable(
            f"{origin.authority} may not be asked: it has no public address. If it is a service of your own, "
            "name it in the setting allowed_hosts"
        )
    return permitted


def _address_of(endpoint: Endpoint) -> Address:
    return ipaddress.ip_address(str(endpoint.address[0]).split("%", 1)[0])


def _look_up(origin: Origin, seconds: float) -> list[Endpoint]:
    """`getaddrinfo`, which has no time limit of its own, in a thread that is left behind when it takes too long."""
    answers: SimpleQueue[list[Endpoint] | OSError | UnicodeError] = SimpleQueue()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            answers.put(error)
        else:
            answers.put(
                _distinct(
                    [
                        Endpoint(int(family), (str(address[0]), *address[1:]))
                        for family, _, _, _, address in found
                    ]
                )
            )

    threading.Thread(target=ask, name="host lookup", daemon=True).start()
    try:
        answer = answers.get(timeout=max(seconds, 0.001))
    except Empty:
        raise RemoteUnavailable(f"The name {origin.host} was not resolved within {seconds:.0f} s") from None
    if isinstance(answer, list):
        return answer
    raise RemoteUnavailable(f"The name {origin.host[:200]} cannot be resolved") from answer


def _distinct(found: Sequence[Endpoint]) -> list[Endpoint]:
    return list(dict.fromkeys(found))
