"""What an instance of the gateway must be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

HTTP_PORT, HTTPS_PORT = 80, 443


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
    # Told in the status of what it serves; empty: none.
    status_address: str = ""
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
