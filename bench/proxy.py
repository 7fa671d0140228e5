"""Both datapaths beside HAProxy, nginx's stream module and a direct connection, in one run each."""

from __future__ import annotations

from dataclasses import dataclass

from bench import datapaths
from bench.result import Result

NO_TARGET = "none: told for comparison"
OTHERS = {"nginx": "nginx stream", datapaths.DIRECT: "direct"}


@dataclass(frozen=True, slots=True)
class Figure:
    """A row of the table: the measure, its unit and scale, and by what factor of HAProxy's it is judged (0: not at all)."""

    suffix: str
    measure: str
    unit: str
    scale: float
    factor: float = 0.0


def _figures(requests: float, connections: float, throughput: float) -> tuple[Figure, ...]:
    return (
        Figure("", "requests", "/s", 1.0, requests),
        Figure("-connections", "connections", "/s", 1.0, connections),
        Figure("-throughput", "throughput", "Gbit/s", 1e-9, throughput),
        Figure("-latency", "latency", "ms p99", 1.0),
        Figure("-memory", "memory", "MiB at 5,000", 1 / (1 << 20)),
    )


NFTABLES = _figures(requests=1.5, connections=1.0, throughput=0.0)
USERSPACE = _figures(requests=0.9, connections=0.7, throughput=0.9)


async def proxy_nftables() -> list[Result]:
    return _results("proxy-nftables", await datapaths.run("nftables"), NFTABLES)


async def proxy_userspace() -> list[Result]:
    return _results("proxy-userspace", await datapaths.run("userspace"), USERSPACE)


def _results(name: str, measured: dict[str, datapaths.Figures], figures: tuple[Figure, ...]) -> list[Result]:
    return [_result(name + figure.suffix, measured[figure.measure], figure) for figure in figures]


def _result(name: str, found: datapaths.Figures, figure: Figure) -> Result:
    scaled = {who: value * figure.scale for who, value in found.items()}
    value, peer = scaled[datapaths.OURS], scaled["haproxy"]
    others = ", ".join(f"{label} {scaled[who]:,.3g}" for who, label in OTHERS.items() if who in scaled)
    target = f"≥ {figure.factor:g} × HAProxy" if figure.factor else NO_TARGET
    return Result(name, value, figure.unit, f"HAProxy, 1 thread ({others})", peer, target, value >= figure.factor * peer)
