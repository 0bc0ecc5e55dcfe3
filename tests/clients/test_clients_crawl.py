"""A crawler from the portal and the API: every link of ours leads somewhere, and no page needs another server."""

import json
import re
from collections import Counter, deque
from html.parser import HTMLParser
from urllib.parse import urldefrag, urljoin, urlsplit

import pytest

pytestmark = pytest.mark.clients

MOST_PAGES = 600
STARTS = ("/", "/ogc/", "/t/helsinki/", "/t/auckland/", "/t/helsinki/scene")
# Pages of one template differ in a number or a name only: enough of each kind are looked at.
MOST_OF_A_KIND = 12
LOADED = {
    ("script", "src"),
    ("img", "src"),
    ("iframe", "src"),
    ("source", "src"),
    ("video", "src"),
    ("object", "data"),
    ("link", "href"),
    ("form", "action"),
    ("use", "href"),
}
IN_SCRIPTS = re.compile(
    r"""(?:\bimport\s*\(?\s*|\bfrom\s*|\bfetch\s*\(\s*|\bimportScripts\s*\(\s*)["'`](https?:)?//"""
)
IN_STYLES = re.compile(r"""(?:@import\s+(?:url\()?|url\()\s*["']?(?:https?:)?//""")


class Links(HTMLParser):
    """Addresses in a page: those that are loaded, and those that are only linked."""

    def __init__(self):
        super().__init__()
        self.loaded, self.linked = set(), set()

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        for name in ("href", "src", "action", "data"):
            value = values.get(name)
            if value and not value.startswith(("data:", "mailto:", "javascript:")):
                passive = tag == "link" and values.get("rel") in ("canonical", "alternate", "license")
                (self.loaded if (tag, name) in LOADED and not passive else self.linked).add(value)
        for source in (values.get("srcset") or "").split(","):
            if source.strip():
                self.loaded.add(source.split()[0])


def hrefs(value):
    """Every "href" of a JSON document that is no template."""
    if isinstance(value, dict):
        if isinstance(value.get("href"), str) and not value.get("templated") and "{" not in value["href"]:
            yield value["href"]
        # The queries of EDR need parameters: their addresses are no documents.
        value = [one for name, one in value.items() if name != "data_queries"]
    if isinstance(value, list):
        for one in value:
            yield from hrefs(one)


def kind_of(address):
    """The address without what differs between pages of one kind."""
    parts = urlsplit(address)
    path = re.sub(r"(/items/|/locations/|/processes/)[^/]+", r"\1*", parts.path)
    path = re.sub(r"/\d+", "/0", path)
    if "/download/" in path:
        return "/download/" + path.rpartition("/")[2], ""
    return path, re.sub(r"=[^&]*", "", parts.query) if "/items" in path else parts.query


class Crawl:
    """Follows links breadth first."""

    def __init__(self, http, origin):
        self.http, self.origin = http, origin
        self.waiting = deque(("(start)", origin + path) for path in STARTS)
        self.seen = {address for _, address in self.waiting}
        self.kinds = Counter()
        self.broken, self.foreign, self.types, self.bytes = [], [], Counter(), 0

    def run(self):
        while self.waiting and sum(self.types.values()) < MOST_PAGES:
            source, address = self.waiting.popleft()
            self.visit(source, address)
        return self

    def visit(self, source, address):
        # Two forms of a page: as a browser asks for it and, below the API, as a program does.
        headers = {"Accept": "text/html,*/*;q=0.8" if "/ogc" not in address else "*/*"}
        with self.http.get(address, headers=headers, timeout=60, stream=True) as reply:
            kind = reply.headers.get("Content-Type", "").partition(";")[0]
            self.types[kind] += 1
            if reply.status_code == 405 and "POST" in reply.headers["Allow"]:
                return  # a process is run by POST: its address is told, not to be followed
            if reply.status_code >= 400:
                self.broken.append(f"{reply.status_code} {address} (from {source})")
                return
            if not reply.url.startswith(self.origin + "/"):
                self.foreign.append(f"{address} leads to {reply.url}")
                return
            if kind == "text/html":
                self.page(address, reply.text)
            elif kind.endswith("json") and "/download/" not in address:
                self.follow(address, hrefs(json.loads(reply.content)))
            elif "/download/" in address:
                # To its end: a large file holds one of the server's few places until then.
                self.bytes += sum(len(chunk) for chunk in reply.iter_content(1 << 16))
            elif kind in ("text/javascript", "application/javascript", "text/css"):
                self.code(address, reply.text)

    def page(self, address, text):
        links = Links()
        links.feed(text)
        for value in links.loaded:
            if not urljoin(address, value).startswith(self.origin + "/"):
                self.foreign.append(f"{address} loads {value}")
        self.follow(address, links.loaded | links.linked)
        for script in re.findall(r"<script[^>]*>(.*?)</script>", text, re.DOTALL):
            if IN_SCRIPTS.search(script):
                self.foreign.append(f"{address} imports from another server")
            if '"imports"' in script:
                self.import_map(address, json.loads(script)["imports"])
        for style in re.findall(r"<style[^>]*>(.*?)</style>", text, re.DOTALL):
            if IN_STYLES.search(style):
                self.foreign.append(f"{address} has styles from another server")

    def import_map(self, address, imports):
        for target in imports.values():
            if not urljoin(address, target).startswith(self.origin + "/"):
                self.foreign.append(f"{address} maps an import to {target}")
        self.follow(address, (target for target in imports.values() if not target.endswith("/")))

    def code(self, address, text):
        found = (
            IN_SCRIPTS.search(text) if "javascript" in self.kind_of_file(address) else IN_STYLES.search(text)
        )
        if found:
            self.foreign.append(f"{address}: {text[max(0, found.start() - 20) : found.end() + 60]}")

    @staticmethod
    def kind_of_file(address):
        return "css" if urlsplit(address).path.endswith(".css") else "javascript"

    def follow(self, source, values):
        for value in values:
            address = urldefrag(urljoin(source, value)).url
            if not address.startswith(self.origin + "/") or address in self.seen:
                continue
            self.seen.add(address)
            self.kinds[kind_of(address)] += 1
            if self.kinds[kind_of(address)] <= (1 if "/download/" in address else MOST_OF_A_KIND):
                self.waiting.append((source, address))


@pytest.fixture(scope="module")
def crawl(city, http):
    return Crawl(http, city).run()


def test_no_link_is_broken(crawl):
    assert crawl.broken == []


def test_nothing_comes_from_another_server(crawl):
    assert crawl.foreign == []


def test_enough_was_seen(crawl, published):
    """Pages, documents, scripts, styles, pictures and files; and every collection in every view."""
    assert crawl.bytes > 1_000_000
    assert crawl.types["text/html"] > 40
    assert crawl.types["application/json"] > 40
    assert {"text/css", "text/javascript", "application/geo+json", "image/png"} <= set(crawl.types)
    for one in published.values():
        city = f"{crawl.origin}/ogc/collections/{one.qualified_id}"
        tenant = f"{crawl.origin}/t/{one.tenant}/ogc/collections/{one.id}"
        assert any(address.startswith(city) for address in crawl.seen)
        assert any(address.startswith(tenant) for address in crawl.seen)
