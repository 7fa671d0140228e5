"""Where a webhook is, as the configurations of conversions and of admission say it alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

DEFAULT_PORT = 443


@dataclass(frozen=True, slots=True)
class Service:
    namespace: str
    name: str
    port: int


@dataclass(frozen=True, slots=True)
class Hook:
    """``url`` is what is asked for; with a ``service`` its host is the name that the certificate must have, ``<name>.<namespace>.svc``,
    and not where the connection goes. ``ca_bundle`` is PEM; without it the system's authorities are trusted."""

    url: str
    service: Service | None = None
    ca_bundle: bytes = b""


def hook_of(config: Any, timeout_seconds: float) -> Hook:
    """From a WebhookClientConfig, of whatever group: the fields are the same. The timeout is told to the webhook, as Kubernetes does."""
    query = f"timeout={timeout_seconds:g}s"
    if not config.HasField("service"):
        parts = urlsplit(config.url)
        return Hook(urlunsplit((*parts[:3], f"{parts.query}&{query}" if parts.query else query, "")), None, config.ca_bundle)
    found = config.service
    service = Service(found.namespace, found.name, found.port if found.HasField("port") else DEFAULT_PORT)
    path = found.path if found.path.startswith("/") else f"/{found.path}"
    return Hook(f"https://{service.name}.{service.namespace}.svc:{service.port}{path}?{query}", service, config.ca_bundle)
