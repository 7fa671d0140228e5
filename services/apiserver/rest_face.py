"""The REST face of a whole API server."""

from __future__ import annotations

from services.apiserver.component import ApiServer
from services.apiserver.rest.application import Application, create_app


def rest_face(apiserver: ApiServer) -> Application:
    """Answers for all that it serves, by all that it knows of callers."""
    return create_app(
        apiserver.api,
        apiserver.callers,
        apiserver.registry,
        checks=apiserver.checks,
        aggregation=apiserver.aggregation,
        anonymous=lambda: apiserver.known.anonymous,
    )
