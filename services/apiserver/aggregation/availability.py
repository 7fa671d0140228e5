"""Whether requests can be passed on, as far as the Service of an APIService says it. Pure; in Kubernetes' reasons and words."""

from __future__ import annotations

from typing import NamedTuple

from knarr.api.apiregistration.v1 import apiregistration_pb2 as apiregistration
from knarr.api.core.v1 import core_pb2 as core
from services.apiserver.ways import addresses

PASSED = "all checks passed"


class Verdict(NamedTuple):
    """The condition Available."""

    status: str
    reason: str
    message: str


WELL = Verdict("True", "Passed", PASSED)


def failed(url: str, words: str) -> Verdict:
    """Of a server that did not answer as it should when it was asked for what it serves."""
    return Verdict("False", "FailedDiscoveryCheck", f"failing or missing response from {url}: {words}")


def of_service(spec: apiregistration.APIServiceSpec, service: core.Service | None, endpoints: core.Endpoints | None) -> Verdict | None:
    """Why nobody can be asked; None where somebody can."""
    wanted = spec.service
    if service is None:
        return _away("ServiceNotFound", f'service/{wanted.name} in "{wanted.namespace}" is not present')
    if service.spec.type != "ClusterIP":
        return None
    port = next((port for port in service.spec.ports if port.port == wanted.port), None)
    if port is None:
        return _away("ServicePortError", f'service/{wanted.name} in "{wanted.namespace}" is not listening on port {wanted.port}')
    if endpoints is None:
        return _away("EndpointsNotFound", f'cannot find endpoints for service/{wanted.name} in "{wanted.namespace}"')
    if not addresses(endpoints, port.name):
        words = f'endpoints for service/{wanted.name} in "{wanted.namespace}" have no addresses with port name "{port.name}"'
        return _away("MissingEndpoints", words)
    return None


def _away(reason: str, message: str) -> Verdict:
    return Verdict("False", reason, message)
