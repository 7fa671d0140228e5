"""Storage in bytes, as drivers count it, and as objects write it."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal

from knarr.machinery.quantity import Notation, Quantity


def in_bytes(amount: Quantity) -> int:
    """Rounded up."""
    return int(amount.value.to_integral_value(ROUND_CEILING))


def binary(size_bytes: int) -> str:
    """An amount as provisioners write it: ``1Gi``, ``1500``."""
    return str(Quantity(Decimal(size_bytes), Notation.BINARY))
