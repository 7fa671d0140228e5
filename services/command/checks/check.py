"""One check: what is looked at, why, how it is mended, and what it found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, TypeVar

# What is looked at: a cluster, or a machine.
F = TypeVar("F")


class Weight(Enum):
    """What becomes of a finding: it fails the whole, or it is told."""

    FAIL = "fail"
    ADVICE = "advice"


class NotHere(Exception):
    """What a check is about cannot be seen from where the command runs."""


@dataclass(frozen=True, slots=True)
class Check(Generic[F]):
    """``look`` answers sentences about what is not as it should be, none where all is well; it raises NotHere.

    ``cis`` are the recommendations of the CIS benchmark for Kubernetes that it is about.
    """

    id: str
    what: str
    why: str
    mend: str
    look: Callable[[F], Sequence[str]]
    weight: Weight = Weight.FAIL
    cis: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """``state`` is pass, fail, advice or skipped; then the only finding says why."""

    check: Check[Any]
    state: str
    findings: tuple[str, ...] = ()


def run(check: Check[F], facts: F) -> Result:
    try:
        findings = tuple(check.look(facts))
    except NotHere as reason:
        return Result(check, "skipped", (str(reason),))
    return Result(check, check.weight.value, findings) if findings else Result(check, "pass")
