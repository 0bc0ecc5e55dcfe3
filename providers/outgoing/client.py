"""Requests to one remote service: bounded in time, bytes and redirects, behind a circuit breaker and a bulkhead."""

from __future__ import annotations

import http.client
import re
import ssl
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.message import Message
from types import MappingProxyType
from urllib.parse import urlencode, urljoin, urlunsplit

from providers.errors import AnswerTooLarge
from providers.outgoing.addresses import Origin, OutgoingPolicy, check_host, split_url
from providers.outgoing.breaker import CircuitBreaker, bulkheads
from providers.outgoing.connections import Connection, Connections, told
from providers.outgoing.errors import RemoteStumbled, RemoteUnavailable

MEBIBYTE = 1 << 20
JSON = ("application/json", "application/geo+json", "+json", "text/json", "application/vnd.geo+json")
XML = ("application/xml", "text/xml", "+xml", "application/gml+xml", "application/vnd.ogc.se_xml")
LONGEST_GET = 4_000  # characters of a query that is still sent in the URL; servers refuse above 8,000
_REDIRECTS = 3
_REDIRECT_STATUS = (301, 302, 303, 307, 308)
_CONDITIONAL = frozenset({"If-None-Match", "If-Modified-Since"})
_CHUNK = 1 << 16
_USER_AGENT = "Chengtu"
_HEADER_VALUE = re.compile(r"[\x21-\x7e\x80-\xff](?:[\t \x21-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?")


@dataclass(frozen=True, slots=True)
class Authorization:
    """What proves who asks; sent to the service's own origin only. Never shown: its repr holds nothing."""

    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    parameters: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)

    @property
    def is_empty(self) -> bool:
        """Nothing to send."""
        return not self.headers and not self.parameters


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, read to its end and decoded. `url` is where it came from after redirects, without credentials."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str

    @property
    def media_type(self) -> str:
        """The media type without parameters, in lower case."""
        return self.headers.get("content-type", "").split(";", 1)[0].strip().lower()


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None
    accept: Sequence[str]
    limit: int
    deadline: float


class Client:
    """The way to one remote service. Safe to use from many threads; make it after the fork.

    `name` stands in messages ("wfs maps.example.org"). `timeout`: seconds for one whole request, redirects and all.
    `home` is the service's URL: credentials go to its origin only.
    """

    def __init__(
        self,
        policy: OutgoingPolicy,
        home: str,
        *,
        name: str = "",
        timeout: float = 10.0,
        authorization: Authorization = Authorization(),
        breaker: CircuitBreaker | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Raises RemoteUnavailable where the policy forbids the host, or credentials would travel in the clear."""
        self.policy = policy
        self.origin, _ = split_url(home)
        check_host(self.origin, policy)
        self.name = name or self.origin.authority
        self.timeout = timeout
        self.breaker = breaker or CircuitBreaker()
        self._authorization = authorization
        self._connections = Connections(policy, tls)
        if not authorization.is_empty and self.origin.scheme != "https" and not policy.is_named(self.origin):
            raise RemoteUnavailable(
                f"{self.name} would get its credentials in the clear: use https, or name the host in allowed_hosts"
            )

    def get(
        self,
        url: str,
        params: Mapping[str, str] | None = None,
        *,
        accept: Sequence[str] = JSON,
        limit: int = 64 * MEBIBYTE,
        timeout: float | None = None,
        may_post: bool = False,
        conditions: Mapping[str, str] = MappingProxyType({}),
    ) -> Answer:
        """GET; with `may_post` a POST of the same parameters as a form where the URL would be too long for servers.

        `conditions` are the headers of a conditional request (If-None-Match, If-Modified-Since): 304 is an answer then.
        Answers below 500 come back as they are, with the body of any media type where they are errors; raises
        RemoteUnavailable for everything else, AnswerTooLarge above `limit` bytes (decoded).
        """
        query = urlencode(params or {})
        if may_post and len(query) > LONGEST_GET:
            return self._send("POST", url, query.encode(), accept, limit, timeout, conditions)
        joined = url if not query else f"{url}{'&' if '?' in url else '?'}{query}"
        return self._send("GET", joined, None, accept, limit, timeout, conditions)

    def _send(
        self,
        method: str,
        url: str,
        body: bytes | None,
        accept: Sequence[str],
        limit: int,
        timeout: float | None,
        conditions: Mapping[str, str],
    ) -> Answer:
        headers = {
            **{name: header_value(value) for name, value in conditions.items()},
            "User-Agent": _USER_AGENT,
            "Accept": ", ".join([kind for kind in accept if not kind.startswith("+")] + ["*/*;q=0.1"]),
            "Accept-Encoding": "gzip",
        }
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        request = _Request(method, url, headers, body, accept, limit, deadline)
        self.breaker.refuse_while_open(self.name)
        with bulkheads().place(self.origin.authority), self.breaker.passage(self.name):
            return self._follow(request)

    def _follow(self, request: _Request) -> Answer:
        """The answer after at most three redirects, each to a URL and an address that are checked like the first."""
        url, method, body = request.url, request.method, request.body
        for _ in range(_REDIRECTS + 1):
            origin, parts = split_url(url)
            check_host(origin, self.policy)
            if origin.scheme == "http" and self.origin.scheme == "https":
                raise RemoteUnavailable(f"{self.name} redirects from https to http")
            answer = self._exchange(origin, url, method, body, request)
            if answer.status not in _REDIRECT_STATUS:
                return self._checked(answer, request)
            url = urljoin(urlunsplit(parts), answer.headers.get("location", ""))
            if answer.status == 303:
                method, body = "GET", None
        raise RemoteUnavailable(f"{self.name} redirects more than {_REDIRECTS} times")

    def _exchange(
        self, origin: Origin, url: str, method: str, body: bytes | None, request: _Request
    ) -> Answer:
        headers, target = self._with_credentials(origin, url, request.headers)
        while True:
            connection, was_used = self._connections.take(origin)
            try:
                response = connection.ask(method, target, headers, body, request.deadline)
                content = _content(response, request.limit)
            except AnswerTooLarge as error:
                connection.close()
                raise AnswerTooLarge(f"{self.name} {error}") from None
            except RemoteUnavailable:
                connection.close()
                raise
            except (OSError, http.client.HTTPException, ValueError, zlib.error) as error:
                connection.close()
                if was_used and not isinstance(error, TimeoutError):
                    continue  # a kept connection that the other side had closed: a new one tells more
                raise RemoteUnavailable(f"{self.name} does not answer: {told(error)}") from error
            self._keep(origin, connection, response)
            return Answer(response.status, _plain(response.headers), content, url)

    def _keep(self, origin: Origin, connection: Connection, response: http.client.HTTPResponse) -> None:
        if response.will_close:
            connection.close()
        else:
            self._connections.give_back(origin, connection)

    def _with_credentials(
        self, origin: Origin, url: str, headers: Mapping[str, str]
    ) -> tuple[dict[str, str], str]:
        """Headers and request target; credentials only for the service's own origin."""
        _, parts = split_url(url)
        query, sent = parts.query, dict(headers)
        if origin == self.origin:
            sent |= self._authorization.headers
            secret = urlencode(self._authorization.parameters)
            query = "&".join(part for part in (query, secret) if part)
        return sent, urlunsplit(("", "", parts.path or "/", query, ""))

    def _checked(self, answer: Answer, request: _Request) -> Answer:
        """An answer that can be worked with, or RemoteUnavailable."""
        if answer.status in (500, 501):
            # The host is there, and may have stumbled over this one request: others are not shut out by it.
            raise RemoteStumbled(f"{self.name} answers {answer.status}")
        if answer.status > 501 or answer.status == 429:
            raise RemoteUnavailable(f"{self.name} answers {answer.status}", _retry_after(answer))
        if answer.status in (401, 407):
            raise RemoteUnavailable(
                f"{self.name} answers {answer.status}: it does not accept the credentials given for it, or wants some"
            )
        if answer.status == 304 and not _CONDITIONAL.isdisjoint(request.headers):
            return answer
        if answer.status < 200 or 300 <= answer.status < 400:
            raise RemoteUnavailable(f"{self.name} answers {answer.status}, which was not asked for")
        kind = answer.media_type
        fits = any(kind.endswith(end) if end.startswith("+") else kind == end for end in request.accept)
        if answer.status < 300 and not fits:
            raise RemoteUnavailable(
                f"{self.name} answers {kind[:60] or 'without a media type'!r} where {request.accept[0]} was asked for"
            )
        return answer


def header_value(text: str) -> str:
    """A text that can stand in a header. Raises ValueError for line breaks and other control characters."""
    if _HEADER_VALUE.fullmatch(text) is None:
        raise ValueError("control characters in a header")
    return text


def _plain(headers: Message) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _content(response: http.client.HTTPResponse, limit: int) -> bytes:
    """The decoded body. Raises AnswerTooLarge as soon as it is longer than `limit`: a bomb is never unpacked whole."""
    coding = (response.headers.get("content-encoding") or "identity").strip().lower()
    if coding not in ("identity", "gzip", "x-gzip", "deflate"):
        raise ValueError(f"content coding {coding[:20]!r}")
    unpack = None if coding == "identity" else zlib.decompressobj(zlib.MAX_WBITS | 32)
    parts: list[bytes] = []
    size = received = 0
    for part, consumed in _parts(response, unpack):
        size += len(part)
        received += consumed
        if max(size, received) > limit:
            raise AnswerTooLarge(f"answers with more than {limit:,} bytes; ask for fewer features")
        parts.append(part)
    if response.length or (unpack is not None and received and not unpack.eof):
        raise ValueError("a body that ends in the middle")
    return b"".join(parts)


def _parts(
    response: http.client.HTTPResponse, unpack: zlib._Decompress | None
) -> Iterator[tuple[bytes, int]]:
    """The decoded body in parts of bounded size, and how many bytes of the wire each took."""
    while chunk := response.read(_CHUNK):
        if unpack is None:
            yield chunk, len(chunk)
            continue
        consumed, part = len(chunk), b"-"
        while chunk or part:
            part = unpack.decompress(chunk, _CHUNK)
            chunk = unpack.unconsumed_tail
            yield part, consumed
            consumed = 0


def _retry_after(answer: Answer) -> float | None:
    text = answer.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 7 else None
