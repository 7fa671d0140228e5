"""What several components ask of an endpoint in an EndpointSlice."""

from __future__ import annotations

from knarr.api.discovery.v1 import discovery_pb2 as discovery


def takes_connections(endpoint: discovery.Endpoint) -> bool:
    """Whether it is ready; what does not say counts as ready."""
    return bool(endpoint.conditions.ready) or not endpoint.conditions.HasField("ready")
