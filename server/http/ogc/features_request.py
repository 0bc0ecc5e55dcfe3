"""What the routes of features begin with: the collection, allowed, and whether it may be written."""

from __future__ import annotations

from server.http.context import RequestContext
from server.http.errors import Forbidden, NotAuthenticated
from server.http.features import FeatureRequest
from server.identity.decision import ANONYMOUS, Action, decide
from server.registry.catalogue import RepresentationKind


def feature_request(here: RequestContext, public_id: str) -> FeatureRequest:
    """A request for features of a collection that this client may see. Raises NotFound."""
    collection, decision = here.having(public_id, RepresentationKind.FEATURES)
    return FeatureRequest(collection, decision, here.url_of(public_id), here.parameters)


def may_write(here: RequestContext, asked: FeatureRequest) -> bool:
    """Whether who asks may edit the features."""
    return decide(here.who, Action.WRITE, asked.collection).allowed


def writing_request(here: RequestContext, public_id: str) -> FeatureRequest:
    """The same of one who may also write.

    Raises NotFound where the collection is not this client's to see, then NotAuthenticated for one who has not said who he
    is, and Forbidden for one who has.
    """
    asked = feature_request(here, public_id)
    if not may_write(here, asked):
        if here.who == ANONYMOUS:
            raise NotAuthenticated(
                f"editing {public_id!r} needs an Authorization header with a token that may write"
            )
        raise Forbidden(f"{here.who.id!r} may read {public_id!r} and not edit it")
    return asked
