"""The section ``local`` of the configuration file."""

from __future__ import annotations

from dataclasses import dataclass

from services.cloud.providers.local.pool import Pool


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """ValueError for a pool that cannot be."""

    # Where load balancers get their addresses: CIDR (without its first and last address), `first-last`, or single addresses.
    pool: tuple[str, ...] = ("10.97.0.0/24",)

    def __post_init__(self) -> None:
        try:
            Pool.parse(self.pool)
        except ValueError as error:
            raise ValueError(f"pool: {error}") from error
