"""The operations by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from flask import Response

from server.http.answer import Answer
from server.http.context import respond
from server.http.wfs.capabilities import get_capabilities
from server.http.wfs.describe import describe_feature_type
from server.http.wfs.errors import NOT_SUPPORTED, WfsError, invalid
from server.http.wfs.feature_types import Service
from server.http.wfs.features import get_feature, get_property_value
from server.http.wfs.parameters import SERVICE, VERSIONS
from server.http.wfs.stored_queries import describe_stored_queries, list_stored_queries
from server.http.wfs.xml_request import OPERATIONS, OTHER_OPERATIONS

_OPERATIONS: Final[dict[str, Callable[[Service], Answer | Response]]] = {
    "GetCapabilities": get_capabilities,
    "DescribeFeatureType": describe_feature_type,
    "GetFeature": get_feature,
    "GetPropertyValue": get_property_value,
    "ListStoredQueries": list_stored_queries,
    "DescribeStoredQueries": describe_stored_queries,
}


def run(service: Service) -> Response:
    """The answer to a request. Raises WfsError and what a store raises."""
    parameters = service.parameters
    asked_service = parameters.needed("service", SERVICE)
    if asked_service.upper() != SERVICE:
        raise invalid("service", asked_service, SERVICE)
    operation = parameters.needed("request", ", ".join(OPERATIONS))
    if operation in OTHER_OPERATIONS:
        raise WfsError(
            NOT_SUPPORTED, f"there is no {operation} here; there are: {', '.join(OPERATIONS)}", operation
        )
    answer = _OPERATIONS.get(operation)
    if answer is None:
        raise invalid("request", operation, ", ".join(OPERATIONS))
    version = parameters.get("version")
    if operation != "GetCapabilities" and version is not None and version not in VERSIONS:
        # Who gives none gets the one there is.
        raise invalid("version", version, ", ".join(VERSIONS))
    made = answer(service)
    return made if isinstance(made, Response) else respond(made)
