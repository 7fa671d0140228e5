"""What an instance of the gateway must be told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from knarr.client.leader import Election

HTTP_PORT, HTTPS_PORT = 80, 443
# In kube-system.
LEASE = "knarr-gateway"


@dataclass(frozen=True, slots=True)
class Published:
    """Of which Service an instance is an endpoint, and as what."""

    namespace: str
    service: str
    # The address of the endpoint, IPv4, and the node that has it; empty: none.
    address: str
    node_name: str = ""
    # How often an instance says that it lives, and after how much silence the others take its endpoint away, seconds.
    renew_seconds: float = 0.8
    lease_seconds: float = 3.0
    # How long a stopping instance still answers after it has taken its endpoint away, seconds.
    drain_seconds: float = 1.0

    @property
    def instance(self) -> str:
        """The name of this instance."""
        return self.node_name or self.address.replace(".", "-")


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """What one instance is told."""

    # Where configurations lie while they are in force.
    folder: Path
    # IPv4 addresses that clients reach it at.
    addresses: tuple[str, ...] = ("0.0.0.0",)
    # What listens for port 80 and for port 443; other ports of Gateways are listened on as they are.
    http_port: int = HTTP_PORT
    https_port: int = HTTPS_PORT
    # Told in the status of what it serves, unless it is published by a Service; empty: none.
    status_address: str = ""
    # The Service whose endpoint it is, and whose load balancer's addresses are told; None: there is none.
    published: Published | None = None
    # Whether each Gateway has a Service of its own beside that, with an address of its own.
    apart: bool = False
    # The first port that is opened for one of a Gateway with an address of its own: such are looked for from there on.
    first_own_port: int = 22_000
    # Of several instances one writes what objects are told: the one that holds the lease LEASE.
    election: Election = field(default_factory=lambda: Election("gateway"))
    # Whether the kinds of Gateway API are made where they are not there, with a class.
    gateway_api: bool = False
    # Threads of the proxy, and the most connections of clients at once.
    threads: int = 2
    connections: int = 20_000
    # How long a proxy that was replaced may go on with its requests, seconds.
    leave_seconds: int = 3600
    # How often names of ExternalName Services are resolved, seconds.
    resolve_seconds: float = 15.0

    def listens(self, port: int) -> int:
        """The port that is opened for one that clients mean."""
        return {HTTP_PORT: self.http_port, HTTPS_PORT: self.https_port}.get(port, port)
