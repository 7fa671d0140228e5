"""CPU as the kernel is told of it: weights of cgroups v1 and parts of a period. Pure. Specified by Kubernetes' helpers for cgroups."""

from __future__ import annotations

MIN_SHARES, MAX_SHARES, SHARES_PER_CPU = 2, 262_144, 1024
PERIOD_MICROS, MIN_QUOTA_MICROS = 100_000, 1000
# How the kernel and all engines are told to take a limit away.
UNLIMITED = -1


def shares(milli_cpu: int) -> int:
    """The weight of so much CPU beside others'."""
    return min(max(milli_cpu * SHARES_PER_CPU // 1000, MIN_SHARES), MAX_SHARES)


def quota_micros(milli_cpu: int) -> int:
    """Of each ``PERIOD_MICROS``; 0 for no CPU, which is no limit."""
    return max(milli_cpu * PERIOD_MICROS // 1000, MIN_QUOTA_MICROS) if milli_cpu else 0
