"""Storage that drivers count in bytes, as objects write it."""

from __future__ import annotations

from decimal import Decimal

from knarr.machinery.quantity import Notation, Quantity


def binary(size_bytes: int) -> str:
    """An amount as provisioners write it: ``1Gi``, ``1500``."""
    return str(Quantity(Decimal(size_bytes), Notation.BINARY))
