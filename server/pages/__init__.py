"""The web pages of the portal: pure rendering of catalogue objects and JSON documents, and the assets they load.

Nothing here knows the web framework. `server.http` asks `decide` first, then calls a method of `Pages` with what the
caller may see, and sends the text with `Pages.headers()`.
"""

from server.pages.assets import Asset
from server.pages.documents import DOCUMENT_KINDS
from server.pages.frame import PageRequest, PageSettings
from server.pages.language import LANGUAGE_COOKIE, LANGUAGES, choose_language, language_cookie
from server.pages.links import Links, downloads
from server.pages.map_views import StyleChoice
from server.pages.pages import Pages
from server.pages.scene import SceneServices, has_scene

__all__ = [
    "DOCUMENT_KINDS",
    "LANGUAGES",
    "LANGUAGE_COOKIE",
    "Asset",
    "Links",
    "PageRequest",
    "PageSettings",
    "Pages",
    "SceneServices",
    "StyleChoice",
    "choose_language",
    "downloads",
    "has_scene",
    "language_cookie",
]
