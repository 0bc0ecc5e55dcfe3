"""What a worker holds: settings, the catalogue, pages, files and map services; and who is asking."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from providers.features.parser import QueryLimits
from server.http.answer import Environ
from server.http.collection_index import CollectionIndex, CollectionViews
from server.http.errors import InvalidParameter, NotFound
from server.http.files import FileSender
from server.http.maps import MapServices
from server.http.places import Places
from server.http.request_body import BodyReader
from server.http.scope import Scope
from server.http.tile_maker import TileMaker
from server.identity.authentication import authenticate
from server.identity.decision import ANONYMOUS, Action, Decision, Principal, decide
from server.pages import Pages
from server.registry.catalogue import Catalogue, CatalogueReader, Collection
from server.settings import Settings

_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]{1,253})(:\d{1,5})?")


@dataclass(slots=True)
class Services:
    """The shared objects of one worker process; built after the fork."""

    settings: Settings
    catalogue: CatalogueReader
    pages: Pages
    files: FileSender
    limits: QueryLimits
    maps: MapServices
    tiles: TileMaker
    bodies: BodyReader
    heavy: Places
    views: CollectionViews = field(default_factory=CollectionViews)

    def principal(self, environ: Environ) -> Principal:
        """Who asks. Raises server.errors.IdentityError where a token is given that is not valid."""
        header = environ.get("HTTP_AUTHORIZATION")
        if not header:
            return ANONYMOUS
        return authenticate(header, self.catalogue.current())

    def origin(self, environ: Environ) -> str:
        """`scheme://host[:port]` of links: the configured public URL, else what the client used.

        Raises InvalidParameter where the Host header is not a host.
        """
        configured = self.settings.server.public_url
        if configured:
            return configured.rstrip("/")
        host = environ.get("HTTP_HOST") or f"{environ['SERVER_NAME']}:{environ['SERVER_PORT']}"
        if _HOST.fullmatch(host) is None:
            raise InvalidParameter(f"Host {host!r} is not a host name")
        return f"{environ.get('wsgi.url_scheme', 'http')}://{host}"

    def allowed(
        self, catalogue: Catalogue, scope: Scope, public_id: str, who: Principal, action: Action = Action.READ
    ) -> tuple[Collection, Decision]:
        """The collection of this view and what `who` may see of it.

        Raises NotFound alike where it does not exist and where it is not `who`'s to see.
        """
        collection = scope.find(catalogue, public_id)
        decision = None if collection is None else decide(who, action, collection)
        if collection is None or decision is None or not decision.allowed:
            view = "the city's view" if scope.tenant is None else f"tenant {scope.tenant!r}"
            raise NotFound(
                f"there is no collection {public_id!r} in {view}; {scope.prefix}/ogc/collections lists what there is"
            )
        return collection, decision

    def visible(self, catalogue: Catalogue, scope: Scope, who: Principal) -> list[Collection]:
        """The collections `who` may see in a list; not to be changed."""
        return self.index(catalogue, scope, who).collections

    def index(self, catalogue: Catalogue, scope: Scope, who: Principal) -> CollectionIndex:
        """The same, to be searched."""
        return self.views.of(catalogue, scope, who)
