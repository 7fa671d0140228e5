"""Probes over the network, for every runtime whose pods have one."""

from __future__ import annotations

from knarr.service.late import loaded
from services.kubelet.runtime.port import GrpcCheck, HttpCheck, ProbeResult, TcpCheck

# With a client of HTTP, which a kubelet without such a probe does not need: 10 MB and 0.1 s.
CHECKS = "services.kubelet.runtime.checks"


async def check_network(check: HttpCheck | TcpCheck | GrpcCheck, timeout_seconds: float) -> ProbeResult:
    """Asks once; never raises, neither for what the other side does nor for a host or header that nobody could send."""
    checks = await loaded(CHECKS)
    result: ProbeResult = await checks.check_network(check, timeout_seconds)
    return result
