"""Bearer tokens: what is accepted, what is refused, and what decide makes of it."""

from __future__ import annotations

import hashlib

import pytest

from server.errors import IdentityError
from server.identity import ANONYMOUS, Action, Principal, authenticate, decide
from server.registry.catalogue import Catalogue

TOKEN = "k" * 43
CATALOGUE = Catalogue(
    1, {}, {}, (hashlib.sha256(b"another").digest(), hashlib.sha256(TOKEN.encode()).digest())
)


def test_no_header_is_anonymous() -> None:
    assert authenticate(None, CATALOGUE) is ANONYMOUS


@pytest.mark.parametrize(
    "header", [f"Bearer {TOKEN}", f"bearer {TOKEN}", f"  BEARER   {TOKEN} ", "Bearer another"]
)
def test_an_accepted_token_is_the_operator(header: str) -> None:
    assert authenticate(header, CATALOGUE) == Principal("operator", operator=True)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        TOKEN,
        f"Basic {TOKEN}",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN} {TOKEN}",
        "Bearer " + "x" * 2000,
        "Bearer \udcff\u00e9",
        f"Bearer {hashlib.sha256(TOKEN.encode()).hexdigest()}",
    ],
)
def test_anything_else_is_refused_without_saying_it_again(header: str) -> None:
    with pytest.raises(IdentityError) as caught:
        authenticate(header, CATALOGUE)
    assert TOKEN not in str(caught.value)


def test_a_registry_without_keys_accepts_nothing() -> None:
    with pytest.raises(IdentityError):
        authenticate(f"Bearer {TOKEN}", Catalogue(1, {}, {}))


@pytest.mark.parametrize("action", list(Action))
def test_only_the_operator_writes_and_operates(action: Action) -> None:
    anyone = action not in (Action.WRITE, Action.OPERATE)
    assert decide(ANONYMOUS, action, None).allowed is anyone
    assert decide(Principal("operator", operator=True), action, None).allowed
