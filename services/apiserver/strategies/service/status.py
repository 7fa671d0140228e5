"""Rules about what a load balancer says of itself in ``status.loadBalancer``."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import Cause
from knarr.machinery.validation import (
    Path,
    check_format,
    dns1123_subdomain,
    forbidden,
    invalid,
    ip_address,
    is_address,
    not_supported,
    required,
)
from services.apiserver.strategies.paths import STATUS

INGRESS = STATUS.child("loadBalancer", "ingress")
IP_MODES = ("Proxy", "VIP")


def validate_balancer_status(service: core.Service) -> list[Cause]:
    ingress = service.status.load_balancer.ingress
    if ingress and service.spec.type != "LoadBalancer":
        return [forbidden(INGRESS, "may only be used when `spec.type` is 'LoadBalancer'")]
    return [cause for index, entry in enumerate(ingress) for cause in _ingress(entry, INGRESS.index(index))]


def _ingress(entry: core.LoadBalancerIngress, path: Path) -> list[Cause]:
    causes = check_format(path.child("ip"), entry.ip, ip_address) if entry.ip else []
    causes += _ip_mode(entry, path.child("ipMode"))
    if entry.hostname:
        here = path.child("hostname")
        causes += check_format(here, entry.hostname, dns1123_subdomain)
        if is_address(entry.hostname):
            causes.append(invalid(here, entry.hostname, "must be a DNS name, not an IP address"))
    return causes


def _ip_mode(entry: core.LoadBalancerIngress, path: Path) -> list[Cause]:
    if not entry.HasField("ip_mode"):
        return [required(path, "must be specified when `ip` is set")] if entry.ip else []
    if not entry.ip:
        return [forbidden(path, "may not be specified when `ip` is not set")]
    return [] if entry.ip_mode in IP_MODES else [not_supported(path, entry.ip_mode, IP_MODES)]
