"""Both datapaths beside HAProxy in one run."""

from __future__ import annotations

from bench import datapaths
from bench.result import Result


async def proxy_nftables() -> list[Result]:
    return [_result("proxy-nftables", await datapaths.run("nftables"), 1.5)]


async def proxy_userspace() -> list[Result]:
    return [_result("proxy-userspace", await datapaths.run("userspace"), 0.9)]


def _result(name: str, measured: dict[str, float], factor: float) -> Result:
    value, peer = measured["requests_per_second"], measured["haproxy_requests_per_second"]
    return Result(name, value, "/s", "HAProxy, 1 thread", peer, f"≥ {factor:g} × HAProxy", value >= factor * peer)
