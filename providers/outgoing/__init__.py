"""The one guarded way out of the server: every request to another host goes through `Client`.

Only http and https, to addresses that the policy allows and that are checked at the moment of connecting; no proxies and no
passwords from the environment; redirects, bytes and seconds are bounded; a host that fails is left alone for a while, and one
that is slow gets few threads. `addresses` decides whom, `connections` how long, `breaker` whether now, `client` puts it together.
"""

from providers.outgoing.addresses import OutgoingPolicy
from providers.outgoing.breaker import CircuitBreaker, configure_bulkheads
from providers.outgoing.client import Answer, Authorization, Client
from providers.outgoing.errors import RemoteBusy, RemoteStumbled, RemoteUnavailable

__all__ = [
    "Answer",
    "Authorization",
    "CircuitBreaker",
    "Client",
    "OutgoingPolicy",
    "RemoteBusy",
    "RemoteStumbled",
    "RemoteUnavailable",
    "configure_bulkheads",
]
