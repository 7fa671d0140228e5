"""Objects of every kind that is served, compiled as what they refer to is known now."""

from __future__ import annotations

from dataclasses import replace

from services.gateway.gateway_api import GatewayApi
from services.gateway.rest import Rest
from services.gateway.routing.table import Origin
from services.gateway.secrets import Secrets
from services.gateway.services import Services
from services.gateway.sources.compiled import Compiled
from services.gateway.sources.gateway_api.listeners import walls
from services.gateway.sources.gateway_api.objects import GATEWAY, ROUTES
from services.gateway.sources.ingress import compile_ingress


class Compiler:
    """``https_port`` is where clients reach the port for TLS."""

    def __init__(self, rest: Rest, gateway_api: GatewayApi, services: Services, secrets: Secrets, https_port: int) -> None:
        self._rest, self._gateway_api, self._services, self._secrets = rest, gateway_api, services, secrets
        self._https_port = https_port

    def compile(self, origin: Origin) -> Compiled | None:
        """None where it is gone, or nobody's. Gateways before their routes."""
        compiled = self._compiled(origin)
        if compiled is not None:
            compiled.routes = [replace(route, action=self._services.finished(route.action)) for route in compiled.routes]
        return compiled

    def _compiled(self, origin: Origin) -> Compiled | None:
        if origin.kind == GATEWAY:
            return self._gateway(origin)
        if origin.kind in ROUTES:
            return self._gateway_api.compile(origin)
        ingress = self._rest.ingresses.store.get(origin.namespace, origin.name)
        if ingress is None or not self._rest.is_ours(ingress):
            return None
        return compile_ingress(ingress, self._secrets.get, self._https_port)

    def _gateway(self, origin: Origin) -> Compiled | None:
        """Its own routes are those between its listeners."""
        listeners = self._gateway_api.listeners.get(origin)
        return None if listeners is None else Compiled(walls(listeners), secrets={name for each in listeners for name in each.secrets})
