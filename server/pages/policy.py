"""The HTTP headers of a page: a Content-Security-Policy that lets a page load from this server and nowhere else.

The one inline script is the import map (browsers accept no external one); it is allowed by its hash. Cesium compiles
WebAssembly decoders, starts workers from blobs and writes `<style>` for its credits, so the scene alone may do that. No
page may evaluate text as code. `blob:` images are how MapLibre and Cesium hand decoded tiles to the page.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping


def script_hash(text: str) -> str:
    """The CSP source expression of an inline script (`'sha256-...'`)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def content_security_policy(import_map: str, *, scene: bool) -> str:
    """The policy of a page that carries `import_map`; with `scene` also what Cesium needs (see above)."""
    directives = {
        "default-src": ["'none'"],
        "script-src": ["'self'", script_hash(import_map), *(["'wasm-unsafe-eval'"] if scene else [])],
        "worker-src": ["'self'", *(["blob:"] if scene else [])],
        "style-src": ["'self'", *(["'unsafe-inline'"] if scene else [])],
        "img-src": ["'self'", "data:", "blob:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'", *(["blob:", "data:"] if scene else [])],
        "form-action": ["'self'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'self'"],
    }
    return "; ".join(f"{name} {' '.join(sources)}" for name, sources in directives.items())


def page_headers(import_map: str, *, scene: bool) -> Mapping[str, str]:
    """All headers of an HTML page."""
    return {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": content_security_policy(import_map, scene=scene),
        "Referrer-Policy": "strict-origin-when-cross-origin",
        "X-Content-Type-Options": "nosniff",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
        "Vary": "Accept, Accept-Language, Cookie",
        "Cache-Control": "no-cache",
    }
