"""Who asks, and what they may do."""

from server.identity.authentication import authenticate
from server.identity.decision import ANONYMOUS, Action, Decision, Principal, decide

__all__ = ["ANONYMOUS", "Action", "Decision", "Principal", "authenticate", "decide"]
