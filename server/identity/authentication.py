"""Who asks: the Authorization header, judged against the tokens that the registry accepts (RFC 6750)."""

from __future__ import annotations

import hashlib
import hmac

from server.errors import IdentityError
from server.identity.decision import ANONYMOUS, Principal
from server.registry.catalogue import Catalogue

OPERATOR = Principal("operator", operator=True)
_LONGEST_HEADER = 1024


def authenticate(authorization: str | None, catalogue: Catalogue) -> Principal:
    """The principal behind an Authorization header; ANONYMOUS where there is none.

    Raises IdentityError (HTTP 401) for another scheme than Bearer and for a token that is not accepted. The time it
    takes does not tell how much of a token was right: digests are compared, each in constant time.
    """
    if authorization is None:
        return ANONYMOUS
    scheme, _, token = authorization.strip().partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or len(authorization) > _LONGEST_HEADER:
        raise IdentityError("the Authorization header is not understood; allowed: `Bearer TOKEN`")
    digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
    accepted = False
    for known in catalogue.operator_token_hashes:
        accepted |= hmac.compare_digest(digest, known)
    if not accepted:
        raise IdentityError(
            "the bearer token is not valid; leave the Authorization header out to see public data"
        )
    return OPERATOR
