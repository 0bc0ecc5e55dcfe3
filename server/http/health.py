"""Liveness, readiness, metrics, and the log line of a defect."""

from __future__ import annotations

import logging

from flask import Flask, Response, request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest

from server.errors import RegistryUnavailable
from server.http.context import json_answer, respond
from server.http.errors import problem
from server.http.services import Services
from server.identity.decision import ANONYMOUS, Action, Principal, decide
from server.registry.catalogue import Catalogue

OPEN_ENDPOINTS = frozenset({"live", "ready", "metrics", "robots"})
_log = logging.getLogger(__name__)


def log_defect(error: Exception) -> None:
    """Log an exception that no table knows, with its traceback."""
    _log.error("request failed", exc_info=error)


def seen(catalogue: Catalogue, who: Principal) -> int:
    """How many collections `who` may know of."""
    return sum(decide(who, Action.LIST, each).allowed for each in catalogue.collections.values())


def register(app: Flask, services: Services) -> None:
    """Add the routes."""

    def live() -> Response:
        return respond(json_answer({"status": "live"}))

    def ready() -> Response:
        try:
            catalogue = services.catalogue.current()
        except RegistryUnavailable as error:
            return respond(problem(503, str(error)))
        return respond(json_answer({"status": "ready", "collections": seen(catalogue, ANONYMOUS)}))

    def metrics() -> Response:
        registry = CollectorRegistry()
        catalogue = services.catalogue.current()
        who = services.principal(request.environ)
        Gauge("chengtu_collections", "Published collections that the asker may see", registry=registry).set(
            seen(catalogue, who)
        )
        Gauge("chengtu_tenants", "Tenants", registry=registry).set(len(catalogue.tenants))
        if who.operator:  # it moves with private collections too
            Gauge("chengtu_registry_revision", "Revision of the registry", registry=registry).set(
                catalogue.revision
            )
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)

    def robots() -> Response:
        return Response("User-agent: *\nAllow: /\n", content_type="text/plain; charset=utf-8")

    app.add_url_rule("/health/live", "live", live)
    app.add_url_rule("/health/ready", "ready", ready)
    app.add_url_rule("/metrics", "metrics", metrics)
    app.add_url_rule("/robots.txt", "robots", robots)
