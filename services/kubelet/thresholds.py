"""Eviction thresholds: at how little of what is left a node protects itself. Pure; written as on kubelet's command line.

``memory.available<100Mi,nodefs.available<10%`` says both; a share is one of what there is in all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal, InvalidOperation

from knarr.machinery import quantity
from knarr.machinery.forms import parse_duration

MEMORY, ALLOCATABLE_MEMORY = "memory.available", "allocatableMemory.available"
NODEFS, NODEFS_INODES = "nodefs.available", "nodefs.inodesFree"
IMAGEFS, IMAGEFS_INODES = "imagefs.available", "imagefs.inodesFree"
PIDS = "pid.available"
# What there is too little of, as messages call it, by the signal that tells so.
RESOURCES = {
    MEMORY: "memory",
    ALLOCATABLE_MEMORY: "memory",
    NODEFS: "ephemeral-storage",
    NODEFS_INODES: "inodes",
    IMAGEFS: "ephemeral-storage",
    IMAGEFS_INODES: "inodes",
    PIDS: "pids",
}
# Kubernetes' own on Linux.
DEFAULT_HARD = "memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%,imagefs.available<15%,imagefs.inodesFree<5%"


@dataclass(frozen=True, slots=True)
class Amount:
    """So many bytes, files or processes, or so large a ``share`` (0 to 1) of all there is."""

    number: int = 0
    share: Decimal = Decimal(0)

    def of(self, capacity: int) -> int:
        """How many that are."""
        return int(self.share * capacity) if self.share else self.number


@dataclass(frozen=True, slots=True)
class Threshold:
    """Met while less than ``amount`` is available. A hard one has no grace. Once met it holds until there is ``reclaim`` more."""

    signal: str
    amount: Amount
    grace: timedelta = timedelta()
    reclaim: Amount = Amount()

    @property
    def hard(self) -> bool:
        return not self.grace


@dataclass(frozen=True, slots=True)
class GarbageRules:
    """From how full a disk on (percent) images are given up, and down to what; how old one must be; and how long one may lie unused, 0: for
    ever. Kubernetes' defaults."""

    high_percent: int = 85
    low_percent: int = 80
    minimum_age: timedelta = timedelta(minutes=2)
    maximum_unused: timedelta = timedelta()


def parse_amounts(text: str, sign: str, *, zero: bool) -> dict[str, Amount]:
    """Of ``signal<amount,…``, by signal. ``sign`` is what stands between, ``zero``: whether nothing is an amount, too.
    Raises ValueError with words that name what is wrong."""
    found: dict[str, Amount] = {}
    for signal, value in _pairs(text, sign):
        found[signal] = _amount(signal, value, zero=zero)
    return found


def parse_graces(text: str) -> dict[str, timedelta]:
    """Of ``signal=1m30s,…``. Raises ValueError."""
    found: dict[str, timedelta] = {}
    for signal, value in _pairs(text, "="):
        try:
            grace = timedelta(microseconds=parse_duration(value) / 1000)
        except ValueError:
            grace = timedelta()
        if grace <= timedelta():
            raise ValueError(f"{value!r} is not how long {signal} may last, like 1m30s")
        found[signal] = grace
    return found


def thresholds_of(
    hard: Mapping[str, Amount], soft: Mapping[str, Amount], graces: Mapping[str, timedelta], reclaims: Mapping[str, Amount]
) -> tuple[Threshold, ...]:
    """All of a node's. A soft one without a grace is an error, a hard one of 0% or 100% is off. Raises ValueError."""
    found = [Threshold(signal, amount) for signal, amount in hard.items() if not _is_off(amount)]
    for signal, amount in soft.items():
        if signal not in graces:
            raise ValueError(f"the soft threshold of {signal} has no grace period: give it in --eviction-soft-grace-period")
        found.append(Threshold(signal, amount, graces[signal]))
    found = [replace(threshold, reclaim=reclaims.get(threshold.signal, Amount())) for threshold in found]
    # What all pods together may have runs short as the machine's memory does.
    allocatable = [replace(threshold, signal=ALLOCATABLE_MEMORY) for threshold in found if threshold.signal == MEMORY and threshold.hard]
    return (*found, *allocatable)


def _is_off(amount: Amount) -> bool:
    return amount.share >= 1 or (not amount.share and not amount.number)


def _pairs(text: str, sign: str) -> list[tuple[str, str]]:
    """Each signal once."""
    pairs: list[tuple[str, str]] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        signal, found, value = part.partition(sign)
        if not found or not value:
            raise ValueError(f"{part!r} is not of the form signal{sign}value, like {NODEFS}{sign}{'1m' if sign == '=' else '10%'}")
        if signal not in RESOURCES or signal == ALLOCATABLE_MEMORY:
            raise ValueError(f"{signal!r} is no signal; one of {', '.join(name for name in RESOURCES if name != ALLOCATABLE_MEMORY)}")
        if any(signal == other for other, _ in pairs):
            raise ValueError(f"{signal} is said twice")
        pairs.append((signal, value))
    return pairs


def _amount(signal: str, text: str, *, zero: bool) -> Amount:
    try:
        share = Decimal(text.removesuffix("%")) / 100 if text.endswith("%") else None
        number = quantity.value(text) if share is None else 0
    except (ValueError, InvalidOperation):
        raise ValueError(f"{text!r} is no amount for {signal}, like 1Gi or 10%") from None
    if share is not None and not 0 <= share <= 1:
        raise ValueError(f"{text!r} is no share of {signal}, from 0% to 100%")
    if number < 0 or (share is None and not number and not zero):
        raise ValueError(f"{text!r} for {signal} must be positive")
    return Amount(share=share) if share is not None else Amount(number)


DEFAULT_THRESHOLDS = thresholds_of(parse_amounts(DEFAULT_HARD, "<", zero=False), {}, {}, {})
DEFAULT_GARBAGE = GarbageRules()
