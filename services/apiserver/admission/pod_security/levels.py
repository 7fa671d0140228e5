"""The levels of Kubernetes' Pod Security Standards, their versions, and the policy that the labels of a namespace ask for. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from knarr.machinery.errors import Cause
from knarr.machinery.validation import Path, invalid

PREFIX = "pod-security.kubernetes.io/"
PRIVILEGED, BASELINE, RESTRICTED = LEVELS = ("privileged", "baseline", "restricted")
MODES = ("enforce", "audit", "warn")
LATEST = "latest"
LABELS = tuple(PREFIX + name for mode in MODES for name in (mode, f"{mode}-version"))
LEVEL_WORDS, VERSION_WORDS = f"must be one of {', '.join(LEVELS)}", 'must be "latest" or "v1.x"'

_KNOWN = frozenset(LABELS)
_VERSION = re.compile(r"v1\.(0|[1-9][0-9]{0,5})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Standard:
    """A level as of a version of Kubernetes; shown as ``restricted:v1.25``."""

    level: str = PRIVILEGED
    version: str = LATEST

    def __str__(self) -> str:
        return f"{self.level}:{self.version}"

    @property
    def minor(self) -> float:
        """Of its version; infinite for the latest one."""
        return math.inf if self.version == LATEST else int(self.version.removeprefix("v1."))


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds in a namespace: what is refused, what the audit log tells, and what its user is warned of."""

    enforce: Standard = field(default_factory=Standard)
    audit: Standard = field(default_factory=Standard)
    warn: Standard = field(default_factory=Standard)

    def allows_all(self, *modes: str) -> bool:
        return all(getattr(self, mode).level == PRIVILEGED for mode in modes)


def level_error(level: str) -> str:
    """Why it is none; empty when it is one."""
    return "" if level in LEVELS else LEVEL_WORDS


def version_error(version: str) -> str:
    """Why it is none; empty when it is one."""
    return "" if version == LATEST or _VERSION.fullmatch(version) else VERSION_WORDS


def says_nothing(labels: Mapping[str, str]) -> bool:
    """Whether the labels of a namespace ask for nothing."""
    return _KNOWN.isdisjoint(labels)


def policy_of(labels: Mapping[str, str], default: Policy) -> Policy:
    """What is misspelled is taken for the strictest where it refuses, and for nothing where it only tells."""
    if says_nothing(labels):
        return default
    return _policy(tuple(labels.get(label) for label in LABELS), default)


@lru_cache(maxsize=1024)
def _policy(values: tuple[str | None, ...], default: Policy) -> Policy:
    found = default
    for mode, level, version in zip(MODES, values[::2], values[1::2], strict=True):
        standard: Standard = getattr(found, mode)
        if level is not None:
            fallback = RESTRICTED if mode == "enforce" else PRIVILEGED
            standard = replace(standard, level=fallback if level_error(level) else level)
        if version is not None:
            standard = replace(standard, version=LATEST if version_error(version) else version)
        found = replace(found, **{mode: standard})
    return found


def label_causes(labels: Mapping[str, str]) -> Iterator[Cause]:
    """What is misspelled in them."""
    for label in () if says_nothing(labels) else LABELS:
        if label in labels:
            error = (version_error if label.endswith("-version") else level_error)(labels[label])
            if error:
                yield invalid(Path("metadata").child("labels").key(label), labels[label], error)
